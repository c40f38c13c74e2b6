"""Loading: from a name to a backbone."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import is_accelerate_available
from transformers.utils import logging as transformers_logging

from ..errors import ModelError
from ..memory.codecs.tables import CodecTables
from ..settings import FRAME_TOKENS
from .attention import register_attention
from .backbone import Backbone
from .cache import lacking, local_folder
from .calibrations import OWN_TABLES, Calibrations, default_folder
from .fit import bytes_text, weights_numbers
from .hub import Access, fetch_settings, fetch_weights, plan
from .llava_onevision import LlavaOnevisionBackbone
from .machine import device_room
from .quantisation import check_quantisation
from .qwen2_5_vl import Qwen2_5VLBackbone
from .qwen3_vl import Qwen3VLBackbone
from .vision_attention import register_vision_attention

_ADAPTERS = {adapter.model_type: adapter for adapter in (LlavaOnevisionBackbone, Qwen2_5VLBackbone, Qwen3VLBackbone)}
_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}


def load_backbone(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    *,
    access: Access | None = None,
    frame_tokens: int = FRAME_TOKENS,
) -> Backbone:
    """Load a model by name: "pocket" (bundled), a local folder, or a model hub id.

    device: "auto" (CUDA where it is), "cpu", "cuda" or "cuda:1".  dtype: "auto" (float32 on the CPU, bfloat16 on CUDA,
    float16 where CUDA has no bfloat16), or its name.  revision: a branch, tag or commit of a hub id.  access: how the
    hub is reached; its revision counts where none is given.  frame_tokens: most visual tokens of a frame, for the
    families that leave the choice (Qwen-VL).  Retrieval heads that the user calibrated go before those of the model's
    own folder.  Only safetensors weights are read and no code from a model folder is run.  Raises ModelError.
    """
    access = access or Access()
    if revision is not None:
        access = replace(access, revision=revision)
    where = device_of(device)
    number_type = dtype_of(dtype, where)
    local = local_folder(name)
    if local is not None and access.revision is not None:
        access.told(f"{name} is no hub id, so it has no revisions: --revision {access.revision} is ignored")
    folder = local or fetch_settings(name, access)
    config = _config(folder)
    adapter = _ADAPTERS[_architecture(folder, config)]
    quantised = check_quantisation(name, config)
    if local is None and lacking(folder):
        download = plan(name, folder)
        held = download.weights_bytes
        if not quantised:
            held = held * number_type.itemsize // _number_type(config).itemsize
        _check_room(name, held, where, access)
        fetch_weights(download, access)
    missing = lacking(folder)
    if missing:
        raise ModelError(
            f"{folder} holds no {missing[0]}; fetch the model again"
            if any(folder.glob("*.safetensors"))
            else f"{folder} holds no *.safetensors weights; other formats are not read, convert them"
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} holds no tokenizer.json; save its tokenizer in the fast format")
    if not quantised:
        _check_room(name, weights_numbers(folder) * number_type.itemsize, where, access)
    try:
        with _no_progress_bars():
            model, report = _weights(adapter.model_class, folder, where, number_type, quantised)
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # safetensors, tokenizers and transformers each raise kinds of their own
        raise ModelError(f"cannot load the model in {folder}: {type(error).__name__}: {error}") from error
    lost = sorted(report["missing_keys"])
    if lost:
        raise ModelError(f"{folder} lacks {len(lost)} weights, such as {lost[0]}; fetch the model again")
    backbone = adapter(name, model, tokenizer, folder, folder.name if local is None else None, frame_tokens)
    users = default_folder()
    calibrations = None if users is None else Calibrations(users)
    kept = None if calibrations is None else calibrations.find(backbone.weights)
    if kept is not None:
        backbone.use(kept)
    tables = None if calibrations is None else calibrations.tables(backbone.weights)
    if tables is None and (folder / OWN_TABLES).is_file():
        tables = CodecTables.load(folder / OWN_TABLES)
    if tables is not None:
        tables.check(backbone.layout)
        backbone.codec_tables = tables
    return backbone


def fetch(name: str, access: Access) -> Path:
    """Fetch a hub model whole into the local cache, and nothing of one that could not be loaded; give its folder.

    Of the bundled model and a path only the folder is given.  Raises ModelError.
    """
    local = local_folder(name)
    if local is not None:
        return local
    folder = fetch_settings(name, access)
    config = _config(folder)
    _architecture(folder, config)
    check_quantisation(name, config)
    if lacking(folder):
        fetch_weights(plan(name, folder), access)
    return folder


def _weights(
    model_class: Any, folder: Path, device: torch.device, number_type: torch.dtype, quantised: bool
) -> tuple[Any, Mapping[str, Any]]:
    """Load weights onto a device; give the model and transformers' report of what lacked.

    A device map would want the package `accelerate`.  Without one, weights that keep their number type stay views of
    the file, so on their way to a GPU they cost no host memory; they get their new number type there, one by one.
    """
    options: dict[str, Any] = {"dtype": number_type if quantised or device.type == "cpu" else "auto"}
    if quantised and is_accelerate_available():
        options["device_map"] = {"": device}
    model, report = model_class.from_pretrained(
        str(folder),
        attn_implementation={"text_config": register_attention(), "vision_config": register_vision_attention()},
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **options,
    )
    if not quantised:
        _move(model, device, number_type)
    elif "device_map" not in options:
        model.to(device)
    return model, report


def _move(model: torch.nn.Module, device: torch.device, number_type: torch.dtype) -> None:
    """Move a model to a device, and its weights, one by one, to a number type; buffers keep theirs."""
    for weight in model.parameters():
        weight.data = weight.data.to(device).to(number_type)
    model.to(device)


def _check_room(name: str, held_bytes: int, device: torch.device, access: Access) -> None:
    """Say when weights do not fit into what is free.  Raises ModelError when the device can never hold them."""
    room = device_room(device)
    if not room.total_bytes or held_bytes <= room.free_bytes:
        return
    takes = f"the weights of {name} take {bytes_text(held_bytes)} on {device}"
    if held_bytes > room.total_bytes:
        smaller = "another number type (--dtype bfloat16), " if device.type == "cpu" else ""
        raise ModelError(
            f"{takes}, which has {bytes_text(room.total_bytes)} in all; take {smaller}a smaller model or another device"
        )
    access.told(f"{takes}, of which only {bytes_text(room.free_bytes)} are free: loading may fail or be very slow")


def _config(folder: Path) -> Mapping[str, object]:
    """Read the config.json of a model folder."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} holds no config.json, so it is no model folder; give one that has, pocket, or a Hugging Face id"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path} ({error}); fetch the model again") from error
    return config if isinstance(config, dict) else {}


def _architecture(folder: Path, config: Mapping[str, object]) -> str:
    """Choose the adapter; code that a folder brings along (`auto_map`) is never run, whatever its architecture."""
    kind = config.get("model_type")
    if kind not in _ADAPTERS:
        own_code = "auto_map" in config
        raise ModelError(
            f"{folder} is a {kind} model"
            + (" that needs its own code (trust_remote_code), which Onlooker never runs" if own_code else "")
            + f"; supported are: {', '.join(sorted(_ADAPTERS))}"
        )
    return str(kind)


def _number_type(config: Mapping[str, object]) -> torch.dtype:
    """Read the number type that a checkpoint was saved in; bfloat16 where its config does not say."""
    text = config.get("text_config")
    nested = text if isinstance(text, Mapping) else {}
    names = (place.get(key) for place in (config, nested) for key in ("dtype", "torch_dtype"))
    return next((_DTYPES[name] for name in names if isinstance(name, str) and name in _DTYPES), torch.bfloat16)


def device_of(name: str) -> torch.device:
    """Choose the device by name, as load_backbone takes it.  Raises ModelError."""
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


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """Choose the number type by name, as load_backbone takes it.  Raises ModelError."""
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
