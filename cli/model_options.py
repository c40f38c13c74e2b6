"""The options by which every command names its model, and loading it as they say."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..settings import FRAME_TOKENS

if TYPE_CHECKING:
    from ..models.backbone import Backbone

MODEL = Annotated[str, typer.Option(help="pocket, a folder, or a Hugging Face id.")]
DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
DTYPE = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
REVISION = Annotated[str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a Hugging Face id.")]
OFFLINE = Annotated[bool, typer.Option("--offline", help="Ask nothing of the network.")]
MOST_OF_A_FRAME = Annotated[
    int, typer.Option(min=1, max=16_384, help="Most visual tokens of a frame, where the model leaves the choice.")
]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Hold the options."""

    name: str = "pocket"
    device: str = "auto"
    dtype: str = "auto"
    revision: str | None = None
    offline: bool = False
    frame_tokens: int = FRAME_TOKENS


def load(choice: ModelChoice, quiet: bool = False) -> "Backbone":
    """Load the model; what is fetched, and what may not fit, is said on stderr unless quiet is asked for.

    Ctrl-C during a download leaves at once.  Raises ModelError.
    """
    from ..models.hub import Access
    from ..models.loading import load_backbone
    from .abandoning import abandonable

    def told(line: str) -> None:
        if not quiet:
            typer.echo(f"onlooker: {line}", err=True)

    access = Access(choice.revision, choice.offline, told, not quiet, abandonable)
    return load_backbone(
        choice.name, device=choice.device, dtype=choice.dtype, access=access, frame_tokens=choice.frame_tokens
    )
