"""The tables of codec `auto`: what calibration measured on a model, and how it spends the bits.

A block is a few key heads of one layer side by side, keys or values, up to 128 columns; blocks stand in the order of
the columns (columns.py), so [blocks, width] is one number per column.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ...errors import OnlookerError, SettingsError
from ..block import KVLayout
from .digits import PER_BYTE, bytes_of

FORMAT = 1
LEVELS: tuple[int, ...] = (1, *sorted(PER_BYTE))
"""How many levels a component may have; of 1 level nothing is stored."""

MOST_WIDTH = 128
"""Columns of a block at most, where a head has not more by itself."""

_KEY = "onlooker codec tables"


@dataclass(frozen=True, eq=False)
class CodecTables:
    """Hold the transform of every block, and the levels and grid of every component that it has.

    shape: (layers, kv_heads, head_dim) of the cache.  basis: float16 [blocks, width, width], a row per component: what
    one unit of it adds to the columns.  mean, reach: float32 [blocks, width], the columns' means and how far from them
    numbers are believed.  levels: uint8 [blocks, width], places in LEVELS.  points: for each number of levels, float16
    [components, levels], ascending, of the components that have so many, in order.  source: what was measured, in
    words.
    """

    shape: tuple[int, int, int]
    basis: Tensor
    mean: Tensor
    reach: Tensor
    levels: Tensor
    points: Mapping[int, Tensor]
    source: str = ""

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the tables: a payload names the tables that it was coded with."""
        digest = hashlib.sha256(repr((FORMAT, self.shape)).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.digest()

    @property
    def row_bytes(self) -> int:
        """Bytes of one token."""
        return sum(bytes_of(len(points), levels) for levels, points in self.points.items())

    @property
    def bits(self) -> float:
        """Bits of one number, without the tables themselves and the few bytes before a group."""
        return 8 * self.row_bytes / self.mean.numel()

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors, which are held and stored once per memory."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors().values())

    def check(self, layout: KVLayout) -> None:
        """Raise SettingsError when the tables are for another cache than the layout's."""
        wanted = (layout.layers, layout.kv_heads, layout.head_dim)
        if self.shape != wanted:
            raise SettingsError(
                f"the codec's tables are for {_told(self.shape)}, the model has {_told(wanted)}; calibrate this model"
            )

    def to_bytes(self) -> bytes:
        """Write a safetensors file whose metadata is one JSON object."""
        about = {"format": FORMAT, "shape": self.shape, "source": self.source, "sha256": self.digest.hex()}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self._tensors().items()}
        return save(tensors, {_KEY: json.dumps(about, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "CodecTables":
        """Read to_bytes' output.  Raises SettingsError for anything else, and where the hash does not fit."""
        try:
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"][_KEY])
            if about["format"] != FORMAT:
                raise SettingsError(f"codec tables of format {about['format']} were given, this reads {FORMAT}")
            tensors = load(data)
            layers, kv_heads, head_dim = map(int, about["shape"])
            tables = cls(
                shape=(layers, kv_heads, head_dim),
                basis=tensors.pop("basis"),
                mean=tensors.pop("mean"),
                reach=tensors.pop("reach"),
                levels=tensors.pop("levels"),
                points={int(name.removeprefix("points")): tensors[name] for name in sorted(tensors)},
                source=str(about["source"]),
            )
            sound = tables.digest.hex() == about["sha256"] and tables._fits()
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise SettingsError(f"these bytes are no codec tables ({error}); calibrate the model again") from error
        if not sound:
            raise SettingsError("the codec's tables are damaged: their hash is another; calibrate the model again")
        return tables

    def save(self, path: Path) -> None:
        """Write the tables to a file.  Raises OnlookerError where the disk refuses."""
        try:
            path.write_bytes(self.to_bytes())
        except OSError as error:
            raise OnlookerError(f"cannot write {path}: {error}; check the folder and the disk") from error

    @classmethod
    def load(cls, path: Path) -> "CodecTables":
        """Read the tables from a file.  Raises SettingsError as from_bytes does, and where it cannot be read."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"cannot read {path} ({error}); calibrate the model again") from error
        return cls.from_bytes(data)

    def _tensors(self) -> dict[str, Tensor]:
        points = {f"points{levels}": tensor for levels, tensor in self.points.items()}
        return {"basis": self.basis, "mean": self.mean, "reach": self.reach, "levels": self.levels, **points}

    def _fits(self) -> bool:
        """Say whether all shapes fit each other."""
        layers, kv_heads, head_dim = self.shape
        width = block_heads(kv_heads, head_dim) * head_dim
        blocks = 2 * layers * kv_heads * head_dim // width
        counts = torch.bincount(self.levels.flatten().long(), minlength=len(LEVELS)).tolist()
        return (
            tuple(self.basis.shape) == (blocks, width, width)
            and all(tuple(part.shape) == (blocks, width) for part in (self.mean, self.reach, self.levels))
            and len(counts) == len(LEVELS)
            and all(
                tuple(self.points[levels].shape) == (count, levels)
                for levels, count in zip(LEVELS[1:], counts[1:], strict=True)
            )
        )


def block_heads(kv_heads: int, head_dim: int) -> int:
    """Give how many key heads of a layer share a block: the most that divide them evenly and fit MOST_WIDTH."""
    most = max(1, min(kv_heads, MOST_WIDTH // head_dim))
    return next(count for count in range(most, 0, -1) if kv_heads % count == 0)


def _told(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]} layers x {shape[1]} key heads x {shape[2]}"
