"""A memory's folder: whose it is, and the store that is opened in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import StorageError
from .block import KVLayout, RotarySpec
from .log.about import ABOUT_NAMES
from .log.log import SegmentLog
from .log_store import LogStore

FORMAT = 1
_KIND = "onlooker memory"
_LEAST_SEGMENT, _MOST_SEGMENT = 1 << 20, 16 << 20


@dataclass(frozen=True, slots=True)
class Owner:
    """Say which model a memory belongs to.

    feature_dim: width of its visual features.  revision, frame_tokens: what the model was loaded with.
    """

    model: str
    layout: KVLayout
    feature_dim: int
    revision: str | None = None
    frame_tokens: int = 0

    def to_dict(self) -> dict[str, object]:
        """Write it for the folder's description."""
        layout = self.layout
        return {
            "kind": _KIND,
            "format": FORMAT,
            "model": self.model,
            "fingerprint": layout.fingerprint,
            "revision": self.revision,
            "frame_tokens": self.frame_tokens,
            "feature_dim": self.feature_dim,
            "layers": layout.layers,
            "query_heads": layout.query_heads,
            "kv_heads": layout.kv_heads,
            "head_dim": layout.head_dim,
            "dtype": str(layout.dtype).removeprefix("torch."),
            "ids_per_second": layout.ids_per_second,
            "rotary": {
                "inv_freq": list(layout.rotary.inv_freq),
                "sections": list(layout.rotary.sections),
                "interleaved": layout.rotary.interleaved,
                "scaling": layout.rotary.scaling,
            },
        }

    @classmethod
    def of(cls, about: Mapping[str, object], folder: Path) -> "Owner":
        """Read what to_dict wrote.  Raises StorageError for anything else."""
        if about.get("kind") != _KIND:
            raise StorageError(f"{folder} is no memory of Onlooker's; give the folder of one, or a new one")
        if about.get("format") != FORMAT:
            raise StorageError(
                f"the memory in {folder} is of format {about.get('format')}, and this Onlooker reads {FORMAT}; read it "
                "with the version that wrote it"
            )
        try:
            fields: dict[str, object] = dict(about)
            rotary = fields["rotary"]
            assert isinstance(rotary, dict)
            spec = RotarySpec(
                inv_freq=tuple(float(one) for one in rotary["inv_freq"]),
                sections=tuple(int(one) for one in rotary["sections"]),
                interleaved=bool(rotary["interleaved"]),
                scaling=float(rotary["scaling"]),
            )
            numbers = {name: _whole(fields[name]) for name in ("layers", "query_heads", "kv_heads", "head_dim")}
            dtype = getattr(torch, str(fields["dtype"]))
            layout = KVLayout(
                **numbers,
                dtype=dtype,
                rotary=spec,
                fingerprint=str(fields["fingerprint"]),
                ids_per_second=_whole(fields["ids_per_second"]),
            )
            revision = fields["revision"]
            return cls(
                model=str(fields["model"]),
                layout=layout,
                feature_dim=_whole(fields["feature_dim"]),
                revision=None if revision is None else str(revision),
                frame_tokens=_whole(fields["frame_tokens"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise StorageError(f"the description of the memory in {folder} cannot be read ({error!r})") from error


def open_store(folder: Path, owner: Owner, disk_cap_bytes: int, *, write: bool = True, sync_s: float = 1.0) -> LogStore:
    """Open a memory's store, or make one where there is none yet and it is to be written.

    Raises StorageError for a memory of another model, with both named, and as SegmentLog does.
    """
    segment_bytes = min(max(disk_cap_bytes // 32, _LEAST_SEGMENT), _MOST_SEGMENT)
    if write and not is_memory(folder):
        made = SegmentLog.create(folder, owner.to_dict(), segment_bytes=segment_bytes)
        return LogStore(made, segment_bytes, sync_s=sync_s)
    if not is_memory(folder):
        raise StorageError(f"there is no memory in {folder}; make one with: onlooker ask VIDEO --memory {folder}")
    log = SegmentLog.open(folder, write=write, segment_bytes=segment_bytes)
    try:
        check_owner(Owner.of(log.about, folder), owner, folder)
        return LogStore(log, segment_bytes, sync_s=sync_s, writing=write)
    except BaseException:
        log.close()
        raise


def open_owner(folder: Path) -> Owner:
    """Say which model a memory belongs to.  Raises StorageError where there is no memory."""
    if not is_memory(folder):
        raise StorageError(f"there is no memory in {folder}; make one with: onlooker ask VIDEO --memory {folder}")
    with SegmentLog.open(folder, write=False) as log:
        return Owner.of(log.about, folder)


def is_memory(folder: Path) -> bool:
    """Say whether there is a log in a folder."""
    try:
        return any(path.name in ABOUT_NAMES for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"cannot look into {folder}: {error.strerror}; check the folder") from error


def check_owner(stored: Owner, wanted: Owner, folder: Path) -> None:
    """Raise StorageError, naming both, unless a memory was made by this model."""
    if stored.layout.fingerprint != wanted.layout.fingerprint or stored.feature_dim != wanted.feature_dim:
        raise StorageError(
            f"the memory in {folder} was made by {stored.model} (fingerprint {stored.layout.fingerprint}), and this is "
            f"{wanted.model} (fingerprint {wanted.layout.fingerprint}: other weights, number type, time stamps or "
            "frame size); load the model that made it, or give another folder"
        )


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no whole number")
    return value
