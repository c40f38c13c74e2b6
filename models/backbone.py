"""The contract between Onlooker and a vision language model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import SettingsError
from ..memory.block import Context, KVLayout
from ..memory.codecs.tables import CodecTables
from .rows import Rows
from .tokens import VisualTokens

if TYPE_CHECKING:
    from .card import ModelCard
    from .decoding import Decoding


MOST_ANSWER_TOKENS = 8192
"""The longest answer that may be asked for: room for all of it is set aside before the first token."""


@dataclass(frozen=True, slots=True, order=True)
class HeadId:
    """Name one query head of one layer."""

    layer: int
    head: int


@dataclass(frozen=True, slots=True, eq=False)
class LayerContext:
    """Hold the context of one layer: keys (rotated) and values, [kv_heads, n, head_dim]."""

    keys: Tensor
    values: Tensor


# Chooses one layer's context while a pass runs: (layer, raw queries [query_heads, n, head_dim]) -> LayerContext.
ContextSelector = Callable[[int, Tensor], LayerContext]


@dataclass(frozen=True, slots=True, eq=False)
class Prefill:
    """Hold what a pass over n tokens left behind.

    keys, values: [layers, kv_heads, n, head_dim], keys raw.  queries: raw (unrotated) query vectors [n, head_dim] of
    the heads that were asked for.  logits: float32 [vocab] after the last token, or None when not asked for.
    """

    keys: Tensor
    values: Tensor
    queries: Mapping[HeadId, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Say how an answer is decoded: temperature 0 is greedy.

    max_tokens: 1 to MOST_ANSWER_TOKENS.  temperature: 0 or more.  top_p: over 0, up to 1.
    Raises SettingsError outside of these.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= MOST_ANSWER_TOKENS:
            raise SettingsError(f"max_tokens is {self.max_tokens}; give 1 to {MOST_ANSWER_TOKENS}")
        if not 0.0 <= self.temperature < float("inf"):
            raise SettingsError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if not 0.0 < self.top_p <= 1.0:
            raise SettingsError(f"top_p is {self.top_p}; it must be over 0 and at most 1")


class Backbone(Protocol):
    """Encode frames, prefill tokens over a context, decode text from one.

    A backbone keeps no state of any stream: positions, clocks and caches belong to the caller.

    card: what the model's own folder says about its prompt, time stamps and retrieval heads.  weights: fingerprint of
    its config and weights alone (layout.fingerprint has all that made a memory).  revision, frame_tokens: what it was
    loaded with.  codec_tables: what codec `auto` was calibrated to, None where it was not.
    """

    name: str
    revision: str | None
    frame_tokens: int
    weights: str
    layout: KVLayout
    hidden_size: int
    device: torch.device
    card: "ModelCard"
    codec_tables: CodecTables | None

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Say how many (h, w) cells a frame of this height and width in pixels has: its visual tokens."""
        ...

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Turn RGB frames [H, W, 3] into visual tokens of the language model's input space.

        grid: (h, w) cells that every frame is brought to; by default those of the first frame.
        planes: what to put into the extras besides, float32, of TOWER_PLANES.  For each of the L layers of the vision
        tower that shape the features, "saliency" [n, L] is the attention that a cell's patches receive, from their
        own frame or window, 1 on average; "values" [n, L] the L1 norm of their value vectors; both go from patches
        to cells as the features do, by mean or by the model's pooling.  "pixels" [n, 48]: as cell_pixels().
        """
        ...

    def frame(self, tokens: VisualTokens) -> Rows:
        """Make the rows of one frame's surviving tokens: its time stamp, its markers, its tokens at their places."""
        ...

    def tokenize(self, text: str) -> Tensor:
        """Turn text into token ids, int64 [n], special tokens in the text recognised."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Look up input embeddings [n, D]."""
        ...

    def stamp(self, time_us: int) -> str:
        """Write the text time stamp that precedes a frame; empty when the model's format has none."""
        ...

    def opening(self) -> Tensor:
        """Give the embeddings [n, D] of everything before the first frame (the sink: system prompt, role)."""
        ...

    def question(self, text: str) -> tuple[Tensor, Tensor]:
        """Give the embeddings [n, D] of everything after the last frame, and which rows are the question's own words.

        The rows are bool [n]; those around the question's are the template's.
        """
        ...

    def prefill(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None = None,
        *,
        heads: Sequence[HeadId] = (),
        logits: bool = False,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> Prefill:
        """Run n tokens, causal among themselves and seeing all of the context.

        features: [n, D].  positions: int64 [n, axes], absolute.  select: gives each layer its own context in place
        of context, from that layer's raw queries.  planes: as in Rows.
        """
        ...

    def generate(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        sampling: Sampling,
        *,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> "Decoding":
        """Prefill features over the context, then decode; yields pieces of text that join to the answer."""
        ...
