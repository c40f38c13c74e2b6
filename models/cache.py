"""The local cache of the model hub: which models are on this machine, and where."""

import json
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound, HFValidationError, LocalEntryNotFoundError

from ..errors import ModelError
from .catalogue import BUNDLED_NAME, FAMILIES

WEIGHT_FILES = ("*.safetensors",)

_INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """Describe a model in the local cache that Onlooker can run.

    revisions: the branches and tags that lead to it, its commit where none does.  complete: whether no weights lack.
    """

    name: str
    family: str
    commit: str
    revisions: tuple[str, ...]
    folder: Path
    disk_bytes: int
    complete: bool


def is_hub_id(name: str) -> bool:
    """Say whether a name has the form owner/model."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def bundled_folder() -> Path:
    """Find the folder of the bundled model.  Raises ModelError when the package lacks it."""
    bundled = Path(str(files(__package__) / BUNDLED_NAME))
    if not bundled.is_dir():
        raise ModelError(f"the bundled model is missing from {bundled}; install the package again")
    return bundled


def locate(name: str, revision: str | None = None) -> Path:
    """Find the folder of a model on this machine, asking nothing of the network.  Raises ModelError."""
    return local_folder(name) or find(name, revision)


def local_folder(name: str) -> Path | None:
    """Find the folder of the bundled model or of a path; None for a hub id.  Raises ModelError for neither."""
    if not name.strip():
        raise ModelError(f'the model\'s name is empty; give "{BUNDLED_NAME}", a folder, or a hub id (owner/model)')
    if name == BUNDLED_NAME:
        return bundled_folder()
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise ModelError(f"{name} is in the home of a user that this machine lacks; give another folder") from error
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name} is a file; give the folder of the model")
    if not is_hub_id(name):
        raise ModelError(
            f'there is no model folder {name!r}; give "{BUNDLED_NAME}", an existing folder, or a hub id (owner/model)'
        )
    return None


def cache_folder() -> Path:
    """Name the folder of the local cache; HF_HOME and HF_HUB_CACHE move it."""
    return Path(constants.HF_HUB_CACHE).expanduser()


def free_bytes(folder: Path) -> int:
    """Measure the free space of the disk that a folder is on, or would be on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def lacking(folder: Path) -> tuple[str, ...]:
    """Name the weight files that a model folder should hold and does not; "*.safetensors" when it holds none at all."""
    try:
        names = set(json.loads((folder / _INDEX_NAME).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return () if any(folder.glob("*.safetensors")) else WEIGHT_FILES
    return tuple(sorted(str(name) for name in names if not (folder / str(name)).is_file()))


def find(name: str, revision: str | None = None) -> Path:
    """Find the folder of a model in the local cache, asking nothing of the network.

    Raises ModelError when it is not there, or not whole.
    """
    pull = f"onlooker models pull {name}" + ("" if revision is None else f" --revision {revision}")
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns="config.json", local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        which = name if revision is None else f"{name} at revision {revision}"
        raise ModelError(f"{which} is not in the local cache ({cache_folder()}); fetch it with: {pull}") from error
    missing = lacking(folder)
    if missing:
        what = "its weights" if missing == WEIGHT_FILES else f"{len(missing)} weight files, such as {missing[0]}"
        raise ModelError(f"{name} is in the local cache, but lacks {what}; fetch the rest with: {pull}")
    return folder


def unfinished(name: str) -> frozenset[Path]:
    """List the files of a model that are half written: by a download that runs, or was killed and is never taken up."""
    blobs = cache_folder() / f"models--{name.replace('/', '--')}" / "blobs"
    return frozenset(blobs.glob("*.incomplete"))


def cached_models() -> tuple[CachedModel, ...]:
    """List the models in the local cache that Onlooker can run, by name; asks nothing of the network."""
    try:
        repos = scan_cache_dir(cache_folder()).repos
    except CacheNotFound:
        return ()
    found = []
    for repo in sorted(repos, key=lambda repo: repo.repo_id.lower()):
        for revision in sorted(repo.revisions, key=lambda revision: -revision.last_modified):
            family = _family(revision.snapshot_path) if repo.repo_type == "model" else None
            if family is not None:
                found.append(
                    CachedModel(
                        name=repo.repo_id,
                        family=family,
                        commit=revision.commit_hash,
                        revisions=tuple(sorted(revision.refs)) or (revision.commit_hash,),
                        folder=revision.snapshot_path,
                        disk_bytes=revision.size_on_disk,
                        complete=not lacking(revision.snapshot_path),
                    )
                )
    return tuple(found)


def _family(folder: Path) -> str | None:
    """Read the family of the model in a folder; None for one that Onlooker cannot run."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if kind in FAMILIES else None
