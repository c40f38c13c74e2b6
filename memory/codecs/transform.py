"""Codec `auto`: transform coding with tables that calibration measured.

Keys and values of a head are far from independent in their channels, and queries feel some directions of them more
than others.  Each block of columns is therefore turned into the components of its principal axes (the
Karhunen-Loeve transform; for keys in the metric of the queries), every component gets as many levels as reverse
water-filling gives it (Cover and Thomas, Elements of Information Theory, 10.3), and its own grid.  All of that is in
the tables: a group stores codes and a header, so a group of one token costs no more per token than one of thousands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..block import KVLayout
from .codec import Data, Rows
from .columns import from_matrix, to_matrix
from .digits import bytes_of, pack, unpack
from .payload import Payload, Stamp, read_payload, select_rows
from .tables import LEVELS, CodecTables

# Products of matrices round differently for other numbers of rows.  Tiles of one height make a row's bytes and numbers
# the same whatever rows stand beside it; they also keep the temporaries of a large model small.
_TILE = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Class:
    """Hold the components of one number of levels: int64 [m] places, float32 [m, levels] points, ascending."""

    levels: int
    places: Tensor
    points: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Transform:
    """Hold the tables on one device, ready for use.  forward: float32 [blocks, width, width], basis's inverse."""

    mean: Tensor
    reach: Tensor
    basis: Tensor
    forward: Tensor
    classes: tuple[_Class, ...]


@dataclass(frozen=True, slots=True)
class TransformCodec:
    """Code every component of every block with the levels that the tables give it.

    NaN is coded as its column's mean and what is beyond the column's reach as that; the row's other numbers in the
    same block feel it, nothing else does.
    """

    layout: KVLayout
    tables: CodecTables
    name: str = "auto"
    _ready: dict[torch.device, _Transform] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.tables.check(self.layout)

    @property
    def stamp(self) -> Stamp:
        """What its payloads are known by: the tables too."""
        return Stamp.of(self.name, self.layout, self.tables.digest)

    def encode(self, keys: Tensor, values: Tensor) -> bytes:
        """Code keys and values [layers, kv_heads, n, head_dim]."""
        matrix = to_matrix(keys, values, self.layout)
        with_tables = self._on(matrix.device)
        tiles = [_coded(tile, with_tables) for tile in _tiles(matrix)]
        rows = torch.cat(tiles)[: len(matrix)].cpu().numpy() if tiles else np.empty((0, self.tables.row_bytes))
        return Payload(self.stamp, 0, b"", np.asarray(rows, dtype=np.uint8)).write()

    def decode(self, data: Data, rows: Rows | None = None, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Read rows back."""
        payload = read_payload(data, self.stamp)
        payload.check(self.tables.row_bytes, 0)
        picked = torch.from_numpy(payload.pick(rows)).to(device)
        with_tables = self._on(picked.device)
        tiles = [_decoded(tile, with_tables).to(self.layout.dtype) for tile in _tiles(picked)]
        whole = torch.cat(tiles)[: len(picked)] if tiles else picked.new_empty((0, self.tables.mean.numel()))
        return from_matrix(whole, self.layout)

    def select(self, data: Data, rows: Sequence[int]) -> bytes:
        """Keep some rows."""
        return select_rows(data, rows, self.stamp)

    def tokens(self, data: Data) -> int:
        """Count the rows."""
        return len(read_payload(data, self.stamp))

    def _on(self, device: torch.device) -> _Transform:
        """Give the tables on a device; made once for each."""
        if device not in self._ready:
            self._ready[device] = _transform(self.tables, device)
        return self._ready[device]


def _transform(tables: CodecTables, device: torch.device) -> _Transform:
    basis = tables.basis.to(torch.float64)
    forward = torch.linalg.inv(basis).to(torch.float32)  # of the basis as it is stored, so its rounding costs nothing
    levels = tables.levels.flatten().long()
    classes = []
    for number, count in enumerate(LEVELS[1:], 1):
        places = (levels == number).nonzero().squeeze(1)
        if len(places):
            points = tables.points[count].to(device, torch.float32).contiguous()
            classes.append(_Class(count, places.to(device), points))
    return _Transform(
        tables.mean.to(device),
        tables.reach.to(device),
        basis.to(device, torch.float32),
        forward.to(device),
        tuple(classes),
    )


def _tiles(rows: Tensor) -> list[Tensor]:
    """Cut rows [n, width] into tiles [_TILE, width], the last one filled up with zeros."""
    return list(pad(rows, (0, 0, 0, -len(rows) % _TILE)).split(_TILE)) if len(rows) else []


def _coded(matrix: Tensor, tables: _Transform) -> Tensor:
    """Code rows [n, columns]: uint8 [n, bytes of a row], the components of few levels first."""
    blocks, width = tables.mean.shape
    centred = matrix.to(torch.float32).reshape(len(matrix), blocks, width) - tables.mean
    centred = torch.maximum(torch.minimum(centred.nan_to_num(0.0, torch.inf, -torch.inf), tables.reach), -tables.reach)
    components = torch.bmm(tables.forward.mT, centred.permute(1, 2, 0)).reshape(blocks * width, len(matrix))
    packed = []
    for part in tables.classes:
        borders = (part.points[:, 1:] + part.points[:, :-1]) / 2  # [m, levels - 1]
        codes = torch.searchsorted(borders, components[part.places], out_int32=True)  # [m, n]
        packed.append(pack(codes.to(torch.uint8).T.contiguous(), part.levels))
    return torch.cat(packed, dim=1) if packed else matrix.new_empty((len(matrix), 0), dtype=torch.uint8)


def _decoded(rows: Tensor, tables: _Transform) -> Tensor:
    """Turn bytes uint8 [n, bytes of a row] back into rows float32 [n, columns]."""
    blocks, width = tables.mean.shape
    components = torch.zeros((blocks * width, len(rows)), device=rows.device)
    at = 0
    for part in tables.classes:
        count = bytes_of(len(part.places), part.levels)
        digits = torch.arange(part.levels, dtype=torch.float32)
        codes = unpack(rows[:, at : at + count], part.levels, len(part.places), digits)
        components[part.places] = part.points.gather(1, codes.T.long())
        at += count
    columns = torch.bmm(tables.basis.mT, components.reshape(blocks, width, len(rows)))  # [blocks, width, n]
    return (columns.permute(2, 0, 1) + tables.mean).reshape(len(rows), blocks * width)
