"""A loaded model: shared by any number of sessions, which keep all that belongs to a stream."""

from typing import TYPE_CHECKING

from .settings import FRAME_TOKENS, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from .models.backbone import Backbone
    from .stream.session import Session


class Model:
    """Hold a backbone; make sessions on it."""

    def __init__(self, backbone: "Backbone") -> None:
        self.backbone = backbone

    @property
    def name(self) -> str:
        """The name it was loaded by."""
        return self.backbone.name

    def session(
        self, settings: Settings | None = None, *, memory: "str | Path | None" = None, read_only: bool = False
    ) -> "Session":
        """Start watching a new stream, or go on with one that a folder remembers.

        memory: a folder that keeps the past on disk.  read_only: only ask about it.  Raises StorageError as Session.
        """
        from .stream.session import Session

        return Session(self.backbone, settings, memory=memory, read_only=read_only)


def load(
    name: str = "pocket",
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    offline: bool = False,
    frame_tokens: int = FRAME_TOKENS,
) -> Model:
    """Load a model: "pocket" (bundled), a folder, or a hub id such as "llava-hf/llava-onevision-qwen2-0.5b-ov-hf".

    device: "auto", "cpu", "cuda" or "cuda:1".  dtype: "auto", "float32", "bfloat16", "float16".  revision: a branch,
    tag or commit of a hub id.  offline: take it from the local cache and ask nothing of the network.
    frame_tokens: most visual tokens of a frame, where the model leaves the choice (Qwen-VL).
    Raises ModelError when it cannot be loaded.
    """
    from .models.hub import Access
    from .models.loading import load_backbone

    access = Access(revision, offline)
    return Model(load_backbone(name, device=device, dtype=dtype, access=access, frame_tokens=frame_tokens))
