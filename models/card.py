"""The model card: what Onlooker has to know about a model and transformers has no field for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ModelError
from .backbone import HeadId

CARD_NAME = "onlooker.json"

TimeStamps = Literal["clock", "none"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Hold the contents of a model folder's onlooker.json.

    system_prompt: said before the first frame; empty for none.  time_stamps: "clock" when the model was trained with
    the stream's clock as text before each frame.  retrieval_heads: the calibrated heads, best first.  relevance: the
    calibrated cosine between a question's words and what was seen above which something relevant is remembered; None
    where it was not calibrated.  other: further fields, as they stand in the file.
    """

    system_prompt: str = ""
    time_stamps: TimeStamps = "none"
    retrieval_heads: tuple[HeadId, ...] = ()
    relevance: float | None = None
    other: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, layers: int, query_heads: int) -> "ModelCard":
        """Read onlooker.json from a model folder; defaults where there is none.

        Raises ModelError when it cannot be parsed or names a head that the model (layers × query_heads) lacks.
        """
        path = folder / CARD_NAME
        if not path.is_file():
            return cls()
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is not valid JSON ({error}); mend it or remove it") from error
        if not isinstance(fields, dict):
            raise ModelError(f"{path} must hold a JSON object, not {type(fields).__name__}")
        system_prompt = fields.pop("system_prompt", None) or ""
        time_stamps = fields.pop("time_stamps", "none")
        if not isinstance(system_prompt, str):
            raise ModelError(f'{path}: "system_prompt" must be a string, not {system_prompt!r}')
        if time_stamps not in ("clock", "none"):
            raise ModelError(f'{path}: "time_stamps" must be "clock" or "none", not {time_stamps!r}')
        heads = _heads(fields.pop("retrieval_heads", None) or [], path, layers, query_heads)
        relevance = fields.pop("relevance", None)
        if relevance is not None and not (type(relevance) in (int, float) and -1.0 <= relevance <= 1.0):
            raise ModelError(
                f'{path}: "relevance" must be a cosine from -1 to 1, not {relevance!r}; calibrate it again'
            )
        return cls(system_prompt, time_stamps, heads, relevance, fields)


def _heads(pairs: object, path: Path, layers: int, query_heads: int) -> tuple[HeadId, ...]:
    """Check pairs of [layer, head]."""
    if not isinstance(pairs, list):
        raise ModelError(f'{path}: "retrieval_heads" must be a list of [layer, head], not {pairs!r}')
    heads = []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair)):
            raise ModelError(f'{path}: "retrieval_heads" must be a list of [layer, head], but one entry is {pair!r}')
        if not (0 <= pair[0] < layers and 0 <= pair[1] < query_heads):
            raise ModelError(
                f'{path}: "retrieval_heads" names {pair}, but the model has {layers} layers of {query_heads} heads; '
                "calibrate it again"
            )
        heads.append(HeadId(*pair))
    return tuple(heads)


def clock_text(time_us: int) -> str:
    """Write a stream time as the clock stamp does: " m:ss", from an hour on " h:mm:ss"; whole seconds, rounded down."""
    seconds = max(time_us, 0) // 1_000_000
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f" {hours}:{minutes:02}:{seconds:02}" if hours else f" {minutes}:{seconds:02}"
