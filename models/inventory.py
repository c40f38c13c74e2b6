"""The inventory: which models can be run, and which of them are on this machine."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from .cache import bundled_folder, cached_models
from .catalogue import BUNDLED_NAME, CATALOGUE, known_model

State = Literal["bundled", "here", "in part", "not fetched"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Describe one model.

    weights_bytes: on this disk, or as published where it is not here.  licence: None where it is not known.
    state: whether it is here.  revision: the branch, tag or commit that is here; None where none is.
    """

    name: str
    family: str
    weights_bytes: int
    licence: str | None
    state: State
    revision: str | None = None
    folder: Path | None = None

    def to_dict(self) -> dict[str, object]:
        """Give what --json writes."""
        return {**asdict(self), "folder": None if self.folder is None else str(self.folder)}


def inventory() -> tuple[Entry, ...]:
    """List the bundled model, the known ones in the catalogue's order, then others in the local cache.

    Asks nothing of the network.
    """
    bundled = bundled_folder()
    entries = [Entry(BUNDLED_NAME, "llava_onevision", _weights(bundled), "apache-2.0", "bundled", None, bundled)]
    cached = cached_models()
    for known in CATALOGUE:
        if not any(model.name.lower() == known.name.lower() for model in cached):
            entries.append(Entry(known.name, known.family, known.weights_bytes(), known.licence, "not fetched"))
    places = {known.name.lower(): place for place, known in enumerate(CATALOGUE)}
    for model in cached:
        listed = known_model(model.name)
        for revision in model.revisions:
            entries.append(
                Entry(
                    name=model.name,
                    family=model.family,
                    weights_bytes=_weights(model.folder)
                    if model.complete or listed is None
                    else listed.weights_bytes(),
                    licence=None if listed is None else listed.licence,
                    state="here" if model.complete else "in part",
                    revision=revision,
                    folder=model.folder,
                )
            )
    return (entries[0], *sorted(entries[1:], key=lambda entry: places.get(entry.name.lower(), len(places))))


def _weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
