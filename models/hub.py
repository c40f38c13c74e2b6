"""The model hub: what a download would take, and the download itself."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm as hub_bar

from ..errors import ModelError
from .cache import WEIGHT_FILES, cache_folder, find, free_bytes
from .catalogue import BUNDLED_NAME
from .fit import bytes_text

SETTINGS_FILES = ("*.json", "*.jinja", "*.txt", "*.model")

SPARE_BYTES = 256 << 20
"""Disk space that a download must leave: a full disk harms more than this program."""


def log(line: str) -> None:
    """Say a line where a program that uses the library may listen."""
    logging.getLogger("onlooker").info(line)


def unguarded(_name: str) -> AbstractContextManager[None]:
    """Do nothing around a download."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Access:
    """Say how a hub model is reached.

    revision: branch, tag or commit; None for the main branch.  offline: nothing is asked of the network.  told: gets
    a line before weights are fetched.  bars: whether a bar shows how far a download is, on a terminal.  guard: makes
    what surrounds the download of a model's weights.
    """

    revision: str | None = None
    offline: bool = False
    told: Callable[[str], None] = log
    bars: bool = True
    guard: Callable[[str], AbstractContextManager[None]] = unguarded


@dataclass(frozen=True, slots=True)
class Download:
    """Hold what fetching a model would bring.

    commit: the revision's.  licence: as the model's page names it; None where it names none.  total_bytes: all its
    files that Onlooker reads.  weights_bytes: of those, the weights.  missing_bytes: what is not in the cache yet.
    """

    name: str
    commit: str
    licence: str | None
    total_bytes: int
    weights_bytes: int
    missing_bytes: int
    cache: Path
    free_bytes: int

    def text(self) -> str:
        """Write in one line what is about to be fetched."""
        missing, total = bytes_text(self.missing_bytes), bytes_text(self.total_bytes)
        size = missing if missing == total else f"{missing} of {total}"
        return (
            f"fetching {self.name}: {size}, licence {self.licence or 'not stated'}, "
            f"into {self.cache} ({bytes_text(self.free_bytes)} free)"
        )

    def check(self) -> None:
        """Raise ModelError when the disk has too little room."""
        if self.missing_bytes + SPARE_BYTES <= self.free_bytes:
            return
        short = self.missing_bytes + SPARE_BYTES - self.free_bytes
        raise ModelError(
            f"{self.name} takes {bytes_text(self.missing_bytes)}, but the disk of {self.cache} has only "
            f"{bytes_text(self.free_bytes)} free; free {bytes_text(short)} more, or set HF_HOME to a folder on another "
            "disk; no weights were fetched"
        )


def fetch_settings(name: str, access: Access) -> Path:
    """Fetch the small files of a model, or find them in the local cache.  Raises ModelError."""
    if access.offline:
        return find(name, access.revision)
    with _told_plainly(name, access.revision):
        return Path(
            snapshot_download(name, revision=access.revision, allow_patterns=list(SETTINGS_FILES), tqdm_class=_NoBar)
        )


def plan(name: str, folder: Path, api: HfApi | None = None) -> Download:
    """Ask the hub what the rest of a model would take.  folder: where its settings are.  Raises ModelError."""
    with _told_plainly(name, folder.name):
        info = (api or HfApi()).model_info(name, revision=folder.name, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    weights, wanted = matching(sizes, WEIGHT_FILES), matching(sizes, (*SETTINGS_FILES, *WEIGHT_FILES))
    card: Any = info.card_data  # a mapping that is typed by what cards usually hold
    licence = None if card is None else card.get("license_name") or card.get("license")
    return Download(
        name=name,
        commit=folder.name,
        licence=None if licence is None else str(licence),
        total_bytes=sum(sizes[file] for file in wanted),
        weights_bytes=sum(sizes[file] for file in weights),
        missing_bytes=sum(sizes[file] for file in wanted if not (folder / file).exists()),
        cache=cache_folder(),
        free_bytes=free_bytes(cache_folder()),
    )


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Choose the files that a download with these patterns fetches."""
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def fetch_weights(download: Download, access: Access) -> Path:
    """Fetch what is missing of a model, after saying what that is; what is there already is not fetched again.

    Raises ModelError, before a byte is fetched when the disk has too little room.
    """
    download.check()
    access.told(download.text())
    with access.guard(download.name), _told_plainly(download.name, download.commit):
        return Path(
            snapshot_download(
                download.name,
                revision=download.commit,  # whose settings were checked, wherever the branch has moved since
                allow_patterns=[*SETTINGS_FILES, *WEIGHT_FILES],
                tqdm_class=_OneBar if access.bars else _NoBar,
            )
        )


class _NoBar(hub_bar):
    """Show nothing: the small files are there in a moment."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]


class _OneBar(hub_bar):
    """Show one bar for all the bytes: the hub's client shows three, of which two say the same in other words."""

    def __init__(self, *args: Any, **options: Any) -> None:
        if options.get("name") == "huggingface_hub.snapshot_download" and options.get("unit") == "B":
            form = "onlooker: fetched {n_fmt}B of {total_fmt}B |{bar}| {rate_fmt}, {remaining} left"
            # Delayed until it is known how many bytes there are.
            options |= {"desc": "", "bar_format": form, "leave": False, "dynamic_ncols": True, "delay": 1e-3}
        else:
            options["disable"] = True
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]


@contextmanager
def _told_plainly(name: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into ModelErrors that say what to do."""
    try:
        yield
    except GatedRepoError as error:
        raise ModelError(f"{name} asks for a licence; accept it on its page, then run: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"there is neither a folder nor a hub model {name!r}; check the spelling") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision!r}; check the spelling") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelError(
            f"{name} is not in the local cache, or not whole, and the model hub cannot be reached; go online, "
            f'give a local folder, or use "{BUNDLED_NAME}"'
        ) from error
    except Exception as error:  # the client's transport raises kinds of its own, others in each of its versions
        raise ModelError(f"cannot fetch {name}: {' '.join(str(error).split()) or type(error).__name__}") from error
