"""Loading: from a name to a backbone."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from ..errors import ModelError
from .attention import register_attention
from .backbone import Backbone
from .llava_onevision import LlavaOnevisionBackbone

BUNDLED_NAME = "pocket"

_ADAPTERS = {adapter.model_type: adapter for adapter in (LlavaOnevisionBackbone,)}
_SETTINGS_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]
_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}


def load_backbone(name: str, device: str = "auto", dtype: str = "auto", revision: str | None = None) -> Backbone:
    """Load a model by name: "pocket" (bundled), a local folder, or a model hub id.

    device: "auto" (CUDA where it is), "cpu", "cuda" or "cuda:1".  dtype: "auto" (float32 on the CPU, bfloat16 on CUDA,
    float16 where CUDA has no bfloat16), or its name.  revision: a branch, tag or commit of a hub id.  Only safetensors
    weights are read and no code from a model folder is run.  Raises ModelError.
    """
    where = _device(device)
    number_type = _dtype(dtype, where)
    folder = _folder(name, revision)
    adapter = _ADAPTERS[_architecture(folder)]
    if not any(folder.glob("*.safetensors")):
        if not _is_local(name):
            folder = _download(name, revision, [*_SETTINGS_FILES, "*.safetensors"])
        if not any(folder.glob("*.safetensors")):
            raise ModelError(f"{folder} holds no *.safetensors weights; other formats are not read, convert them")
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} holds no tokenizer.json; save its tokenizer in the fast format")
    commit = None if _is_local(name) else folder.name
    attention = {"text_config": register_attention(), "vision_config": "sdpa"}
    try:
        with _no_progress_bars():
            loaded: Any = adapter.model_class.from_pretrained(
                str(folder),
                dtype=number_type,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # safetensors, tokenizers and transformers each raise kinds of their own
        raise ModelError(f"cannot load the model in {folder}: {type(error).__name__}: {error}") from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"{folder} lacks {len(missing)} weights, such as {missing[0]}; fetch the model again")
    return adapter(name, model.to(where), tokenizer, folder, commit)


def _is_local(name: str) -> bool:
    return name == BUNDLED_NAME or _path(name).is_dir()


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ModelError(f"{name} is in the home of a user that this machine lacks; give another folder") from error


def _folder(name: str, revision: str | None) -> Path:
    """Find the folder of a model, fetching at first only the settings of one on the hub."""
    if not name.strip():
        raise ModelError(f'the model\'s name is empty; give "{BUNDLED_NAME}", a folder, or a hub id (owner/model)')
    if name == BUNDLED_NAME:
        bundled = Path(str(files(__package__) / BUNDLED_NAME))
        if not bundled.is_dir():
            raise ModelError(f"the bundled model is missing from {bundled}; install the package again")
        return bundled
    path = _path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name} is a file; give the folder of the model")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is None:
        raise ModelError(
            f'there is no model folder {name!r}; give "{BUNDLED_NAME}", an existing folder, or a hub id (owner/model)'
        )
    return _download(name, revision, _SETTINGS_FILES)


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    """Fetch the matching files of a hub model, or find them in the local cache."""
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise ModelError(f"{name} asks for a licence; accept it on its page, then run: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"there is neither a folder nor a hub model {name!r}; check the spelling") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision!r}; check the spelling") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name} is not in the local cache, and the model hub cannot be reached; go online, "
            f'give a local folder, or use "{BUNDLED_NAME}"'
        ) from error
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise ModelError(f"cannot fetch {name}: {error}") from error


def _architecture(folder: Path) -> str:
    """Read the architecture of the model in a folder."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} holds no config.json, so it is no model folder; give one that has, pocket, or a Hugging Face id"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path} ({error}); fetch the model again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in _ADAPTERS:
        raise ModelError(f"{folder} is a {kind} model; supported are: {', '.join(sorted(_ADAPTERS))}")
    return str(kind)


def _device(name: str) -> torch.device:
    """Choose the device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise ModelError(f'unknown device {name!r}; give "auto", "cpu", "cuda" or "cuda:1"')
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ModelError(f'device {name!r} was asked for, but torch finds no CUDA here; use device "cpu"')
        if (device.index or 0) >= torch.cuda.device_count():
            raise ModelError(f"there is no device {name!r}; this machine has {torch.cuda.device_count()}")
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    """Choose the number type."""
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if name not in _DTYPES:
        raise ModelError(f'unknown dtype {name!r}; give "auto", "float32", "bfloat16" or "float16"')
    return _DTYPES[name]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers' progress bars off a caller's stderr, and leave its setting as it was."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
