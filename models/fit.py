"""The fit of a model: what its weights take, what its memory grows by, how long a cap will hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import ModelError
from ..settings import FRAME_TOKENS, Settings

if TYPE_CHECKING:
    from ..memory.block import KVLayout

_PICTURE_BYTES = 6_000  # a keyframe's thumbnail, about
_BLOCK_BYTES = 130  # a keyframe's row in tables with their reserve, and its share of its group's objects
_ROW_BYTES = 1  # a token's position and coordinates, packed, about
_BITS = {"raw16": 16.0, "int8": 8.0, "int4": 4.0, "int2": 2.0, "auto": 2.0}  # of codecs; raw: the model's own
_INDEX_BYTES = 1.2  # of a channel of an indexed vector, once it is settled (docs/index.md: 76 bytes for 64)
_COLUMN_BYTES = 3  # that int8, int4 and int2 keep for every channel of a group (docs/codecs.md)
_DEFAULT_FPS = 2.0


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Give the numbers of a text model from which the bytes of its cache follow."""

    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    hidden_size: int

    def token_bytes(self, number_bytes: int = 2) -> int:
        """Size one token's keys and values over all layers, with so many bytes a number."""
        return 2 * self.layers * self.kv_heads * self.head_dim * number_bytes

    @classmethod
    def of_config(cls, config: Mapping[str, object]) -> Self:
        """Read the shape from the contents of a config.json.  Raises ModelError when a number is missing."""
        nested = config.get("text_config")
        # Qwen2.5-VL's published files hold the text model's numbers at the top level.
        text = {**config, **nested} if isinstance(nested, Mapping) else config

        def number(name: str, default: object = None) -> int:
            value = text.get(name, default)
            if type(value) is not int or value < 1:
                raise ModelError(f"config.json gives {name} as {value!r}; it must be a whole number; fetch it again")
            return value

        hidden, heads = number("hidden_size"), number("num_attention_heads")
        return cls(
            layers=number("num_hidden_layers"),
            query_heads=heads,
            kv_heads=number("num_key_value_heads", heads),
            head_dim=number("head_dim", hidden // heads),
            hidden_size=hidden,
        )

    @classmethod
    def of_layout(cls, layout: "KVLayout", hidden_size: int) -> Self:
        """Take the shape of a loaded model."""
        return cls(layout.layers, layout.query_heads, layout.kv_heads, layout.head_dim, hidden_size)


@dataclass(frozen=True, slots=True)
class Fit:
    """Say what a memory takes.

    token_bytes: keys and values of a token as the model makes them.  bits: a number of them as it is kept.
    frame_tokens: kept of a keyframe, time stamp included.  frame_bytes: all that the archive keeps of a keyframe;
    pruning may leave less.  index_bytes: its part that is vectors to search.  fixed_bytes: what recall needs before the
    first keyframe.  still_bytes_h: an hour of a scene in which nothing moves.  busy_bytes_h: an hour in which every
    frame shows something new.  cap_bytes: what the archive may take.
    """

    token_bytes: int
    bits: float
    frame_tokens: int
    frame_bytes: int
    index_bytes: int
    fixed_bytes: int
    still_bytes_h: int
    busy_bytes_h: int
    cap_bytes: int

    @property
    def still_h(self) -> float:
        """Hours of a still scene that the cap holds."""
        return max(self.cap_bytes - self.fixed_bytes, 0) / self.still_bytes_h

    @property
    def busy_h(self) -> float:
        """Hours of a scene that always changes that the cap holds."""
        return max(self.cap_bytes - self.fixed_bytes, 0) / self.busy_bytes_h


def fit(
    shape: CacheShape,
    settings: Settings | None = None,
    *,
    number_bytes: int = 2,
    frame_tokens: int = FRAME_TOKENS,
    stamp_tokens: int = 0,
    key_heads: int = 0,
    fps: float = _DEFAULT_FPS,
) -> Fit:
    """Work out what a memory takes.

    number_bytes: of the cache's number type.  frame_tokens: visual tokens of a whole frame.  stamp_tokens: text tokens
    of a keyframe.  key_heads: calibrated retrieval heads, whose keys are indexed.  fps: frames a second looked at.
    """
    settings = settings or Settings()
    token_bytes = shape.token_bytes(number_bytes)
    rate = 1.0 if settings.recipe == "none" else settings.prune_rate
    kept = max(1, round(frame_tokens * rate))
    tokens = kept + stamp_tokens
    # Recall indexes the visual features and the keys of the calibrated heads.
    index_bytes = round(_INDEX_BYTES * (kept * shape.hidden_size + tokens * key_heads * shape.head_dim))
    numbers = 2 * shape.layers * shape.kv_heads * shape.head_dim
    bits = _BITS.get(settings.codec, 8.0 * number_bytes)
    if settings.codec.startswith("int"):  # for all tokens of a chunk together
        bits += 8.0 * _COLUMN_BYTES / (settings.chunk_frames * tokens)
    coded_bytes = round(tokens * (numbers * bits / 8 + _ROW_BYTES))
    picture_bytes = _PICTURE_BYTES if settings.thumbnail_px else 0
    frame_bytes = coded_bytes + index_bytes + picture_bytes + _BLOCK_BYTES
    # Running means and covariances, in fp64.
    fixed_bytes = 8 * sum(width * (width + 1) for width in (shape.hidden_size, *[shape.head_dim] * key_heads))
    busy = fps * 3600.0
    still = busy if settings.keyframes == "all" else min(3600.0 / settings.heartbeat_s, busy)
    return Fit(
        token_bytes=token_bytes,
        bits=bits,
        frame_tokens=tokens,
        frame_bytes=frame_bytes,
        index_bytes=index_bytes,
        fixed_bytes=fixed_bytes,
        still_bytes_h=round(still * frame_bytes),
        busy_bytes_h=round(busy * frame_bytes),
        cap_bytes=settings.archive_bytes,
    )


def describe(found: Fit) -> str:
    """Write in one line what the memory grows by, and how long its cap will hold."""
    return (
        f"memory: {bytes_text(found.token_bytes)} of keys and values a token, kept at {found.bits:.1f} bits a number, "
        f"up to {bytes_text(found.frame_bytes)} a keyframe; {bytes_text(found.still_bytes_h)} (a still scene) to "
        f"{bytes_text(found.busy_bytes_h)} (one that always changes) an hour; {bytes_text(found.cap_bytes)} hold "
        f"{hours_text(found.still_h)} to {hours_text(found.busy_h)}"
    )


def weights_numbers(folder: Path) -> int:
    """Count the numbers in a model folder's safetensors files; reads their headers only.  Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - this is no mapping
                    count = 1
                    for side in file.get_slice(name).get_shape():
                        count *= side
                    total += count
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot load {path} ({error}); fetch the model again") from error
    return total


def bytes_text(count: float) -> str:
    """Write a number of bytes for people: "512 B", "14.6 MB", "15.9 GB" (powers of 1000)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * size:  # so that 999,999 is not written as 1000.0 kB
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def hours_text(hours: float) -> str:
    """Write a length of time for people: "40 s", "12 min", "3.4 h", "5.1 days"."""
    if hours >= 47.95:
        return f"{hours / 24:.1f} days"
    if hours >= 0.995:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 0.995 else f"{hours * 3600:.0f} s"
