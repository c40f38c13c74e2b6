"""The fingerprint of a model: what made a memory, so that another model never reads it."""

import hashlib
import json
from pathlib import Path

import torch

from ..errors import ModelError
from ..memory.block import RotarySpec
from .card import ModelCard
from .preprocess import PixelScale
from .template import PromptFormat

# Weight files up to this size are hashed whole; of larger ones the header, the size and samples of the data.
_WHOLE_BYTES = 1 << 28
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


def weights_fingerprint(folder: Path) -> str:
    """Hash a model folder's config and weights: 32 hexadecimal digits.  Raises ModelError when they cannot be read."""
    digest = hashlib.sha256()
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        # Which version of transformers wrote the file changes nothing.
        config.pop("transformers_version", None)
        digest.update(json.dumps(config, sort_keys=True).encode())
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(path.name.encode())
            _add_weights(path, digest)
    except OSError as error:
        raise ModelError(f"cannot read the model in {folder} ({error})") from error
    return digest.hexdigest()[:32]


def fingerprint(
    weights: str,
    revision: str | None,
    dtype: torch.dtype,
    rotary: RotarySpec,
    preprocessing: PixelScale,
    prompt: PromptFormat,
    card: ModelCard,
) -> str:
    """Hash all that decides what keys and values a stream leaves behind: 32 hexadecimal digits.

    weights: their own fingerprint.  Retrieval heads are left out: calibrating anew does not change what is stored.
    """
    made_by = (weights, revision, str(dtype), rotary, preprocessing, prompt, card.time_stamps)
    return hashlib.sha256(repr(made_by).encode()).hexdigest()[:32]


def _add_weights(path: Path, digest: "hashlib._Hash") -> None:
    """Add one safetensors file to a digest."""
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            return
        header = int.from_bytes(file.read(8), "little")
        digest.update(file.read(min(header, size)))
        start = file.tell()
        for number in range(_SAMPLES):
            file.seek(start + (size - start - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
