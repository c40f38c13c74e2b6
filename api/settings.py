"""Settings of a session: how densely a stream is kept, how much memory it may take, how much a question reads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .errors import SettingsError

if TYPE_CHECKING:
    from .pruning.recipe_settings import Build

MIB = 1 << 20

LEAST_DISK_BYTES = 64 * MIB

FRAME_TOKENS = 196
"""Most visual tokens of a frame where the model leaves the choice: as many as a frame of LLaVA-OneVision has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold a session's settings; every bound is strict.

    keyframes: "gate" encodes frames that show something new, "all" encodes every frame.  heartbeat_s: a frame is kept
    after so long without one.  recipe: pruning recipe, by name or as a function of RecipeSettings
    that makes one (docs/pruning.md).  prune_rate: average share of visual tokens kept.  chunk_frames: keyframes
    prefilled together.  window_frames: keyframes before a chunk that it sees.
    recent_frames: newest keyframes that every question reads, encoded anew.  memory_tokens: most recalled tokens a
    question reads; None for 16 whole frames' worth.  gist_tokens: most tokens of gist that it reads of the story around
    them.  codec: how keys and values are kept (docs/codecs.md).
    archive_bytes: cap on host memory that the past takes.  index_bytes: cap on the indexes within it; None for half of
    it.  device_bytes: cap on recalled blocks kept decoded on the
    model's device.  disk_bytes: cap on the files of a memory on disk.  keep_s: what is older is forgotten; None keeps
    what fits.  sync_s: what was stored is safe from a power cut at the latest after so long.
    gate: whether history joins ("auto" reads it from the question's words).  fusion: which scores recall uses.
    positions: what becomes of the positions between recalled blocks (docs/positions.md).
    reading: how the recalled tokens are pruned for the one question that reads them, a name of
    pruning.readings.READINGS; nothing is written back.  reading_rate: share of the recalled visual tokens that it
    keeps.
    thumbnail_px: longer side of evidence pictures, 0 for none.
    Raises SettingsError for a value outside its limits.
    """

    keyframes: Literal["gate", "all"] = "gate"
    heartbeat_s: float = 10.0
    recipe: "str | Build" = "novelty"
    prune_rate: float = 0.25
    chunk_frames: int = 8
    window_frames: int = 8
    recent_frames: int = 4
    memory_tokens: int | None = None
    gist_tokens: int = 0
    codec: Literal["raw", "raw16", "int8", "int4", "int2", "auto"] = "int4"
    archive_bytes: int = 2048 * MIB
    index_bytes: int | None = None
    device_bytes: int = 256 * MIB
    disk_bytes: int = 65_536 * MIB
    keep_s: float | None = None
    sync_s: float = 1.0
    gate: Literal["auto", "always", "never"] = "auto"
    fusion: Literal["heads", "embeddings", "fused"] = "fused"
    positions: Literal["contiguous", "capped", "kept"] = "contiguous"
    reading: str = "none"
    reading_rate: float = 0.5
    thumbnail_px: int = 160

    def __post_init__(self) -> None:
        for name, least, most in (
            ("heartbeat_s", 0.01, 86_400.0),
            ("prune_rate", 0.01, 1.0),
            ("reading_rate", 0.01, 1.0),
            ("chunk_frames", 1, 64),
            ("window_frames", 0, 256),
            ("recent_frames", 1, 64),
            ("memory_tokens", 0, 1_000_000),
            ("gist_tokens", 0, 1_000_000),
            ("thumbnail_px", 0, 4096),
            ("index_bytes", 1 << 16, 1 << 50),
            ("device_bytes", 0, 1 << 50),
            ("keep_s", 1.0, 1e9),
            ("sync_s", 0.0, 3600.0),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise SettingsError(f"{name} is {value}; give a value from {least} to {most}")
        if self.archive_bytes < MIB:
            raise SettingsError(f"archive_bytes is {self.archive_bytes}; give at least {MIB} (1 MiB)")
        if self.disk_bytes < LEAST_DISK_BYTES:
            raise SettingsError(f"disk_bytes is {self.disk_bytes}; give at least {LEAST_DISK_BYTES} (64 MiB)")
        for name, choices in (
            ("codec", ("raw", "raw16", "int8", "int4", "int2", "auto")),
            ("keyframes", ("gate", "all")),
            ("gate", ("auto", "always", "never")),
            ("fusion", ("heads", "embeddings", "fused")),
            ("positions", ("contiguous", "capped", "kept")),
        ):
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")
