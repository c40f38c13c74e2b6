"""Calibrations: which retrieval heads a model was found to have, kept for the user beside no model's own files.

Beside them are the tables of codec `auto`.  One JSON file a model in the user's data folder, named by the weights'
fingerprint: number type, time stamps and frame size change what is stored of a stream, but not which heads know where
things are.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError, OnlookerError
from ..memory.codecs.tables import CodecTables
from .backbone import HeadId

OWN_TABLES = Path("codec") / "tables.safetensors"
"""Where a model's own folder has its codec tables: not beside the weights, whose fingerprint they would change."""


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """Hold what a calibration chose.

    weights: fingerprint of the weights.  fingerprint: of the whole model as it was calibrated (KVLayout.fingerprint).
    relevance: as in ModelCard; None where it was not measured.  recall: span recall on streams that did not choose,
    with its 95 % interval.  streams: what it was calibrated on, in words.
    """

    model: str
    weights: str
    fingerprint: str
    heads: tuple[HeadId, ...]
    relevance: float | None
    recall: tuple[float, float, float]
    streams: str


class Calibrations:
    """Keep calibrations in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, weights: str) -> Path:
        """Name the file of a model's calibration, whether there is one or not."""
        return self.folder / f"{weights}.json"

    def find(self, weights: str) -> StoredCalibration | None:
        """Read the calibration of a model by its weights' fingerprint; None where there is none.

        Raises ModelError for a file that cannot be read, means nothing or is of other weights.
        """
        path = self.path_of(weights)
        try:
            if not path.is_file():
                return None
        except OSError:  # a folder that this user may not enter holds nothing of theirs
            return None
        kept = _read(path)
        if kept.weights != weights:
            raise ModelError(
                f"the calibration {path} is of other weights ({kept.weights}); remove it and calibrate again"
            )
        return kept

    def tables_path(self, weights: str) -> Path:
        """Name the file of a model's codec tables, whether there is one or not."""
        return self.folder / f"{weights}.codec.safetensors"

    def tables(self, weights: str) -> CodecTables | None:
        """Read a model's codec tables by its weights' fingerprint; None where there are none.

        Raises SettingsError as CodecTables.load does.
        """
        path = self.tables_path(weights)
        try:
            there = path.is_file()
        except OSError:
            return None
        return CodecTables.load(path) if there else None

    def all(self) -> tuple[StoredCalibration, ...]:
        """Read every calibration, by the models' names.  Raises ModelError as find() does."""
        found = [_read(path) for path in sorted(self.folder.glob("*.json"))]
        return tuple(sorted(found, key=lambda stored: stored.model))

    def save(self, stored: StoredCalibration) -> Path:
        """Write a calibration in place of an older one of the same weights.  Raises OnlookerError where that fails."""
        path = self.path_of(stored.weights)
        fields = {
            "model": stored.model,
            "weights": stored.weights,
            "fingerprint": stored.fingerprint,
            "retrieval_heads": [[head.layer, head.head] for head in stored.heads],
            "relevance": stored.relevance,
            "span_recall": list(stored.recall),
            "streams": stored.streams,
        }
        beside = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise OnlookerError(f"cannot write {path}: {error.strerror}; check the folder and the disk") from error
        return path


def default_folder(environment: Mapping[str, str] | None = None) -> Path | None:
    """Name the folder that a user's calibrations are in: $XDG_DATA_HOME/onlooker/calibrations.

    environment: in place of the process's own.  None for a user without a home, as in some containers.
    """
    given = (os.environ if environment is None else environment).get("XDG_DATA_HOME", "")
    try:
        base = Path(given) if given else Path.home() / ".local" / "share"
    except RuntimeError:
        return None
    return base / "onlooker" / "calibrations"


def _read(path: Path) -> StoredCalibration:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        low, middle, high = (float(number) for number in fields["span_recall"])
        heads = tuple(_head(pair) for pair in fields["retrieval_heads"])
        if not heads or len(set(heads)) < len(heads):
            raise ValueError(f"retrieval_heads: {fields['retrieval_heads']!r:.80}")
        relevance = fields["relevance"]
        if relevance is not None and not (type(relevance) in (int, float) and -1.0 <= relevance <= 1.0):
            raise ValueError(f"relevance: {relevance!r}")
        return StoredCalibration(
            model=str(fields["model"]),
            weights=str(fields["weights"]),
            fingerprint=str(fields["fingerprint"]),
            heads=heads,
            relevance=relevance,
            recall=(low, middle, high),
            streams=str(fields["streams"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"cannot read the calibration {path} ({error!r}); remove it and calibrate again") from error


def _head(pair: object) -> HeadId:
    if not (isinstance(pair, list) and len(pair) == 2 and all(type(number) is int and number >= 0 for number in pair)):
        raise ValueError(f"a head: {pair!r}")
    return HeadId(*pair)
