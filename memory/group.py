"""A group: consecutive blocks that are coded and stored together, as two records.

The *head* says what the blocks are and holds their vectors for the indexes: all that is read when a memory is opened.
The *body* holds what is read when a block is recalled: coded keys and values, positions, thumbnails.
docs/format.md has the layout of both.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecallError
from .block import KVBlock
from .catalogue import BLOCK, NO_PLACE
from .codecs.codec import Codec
from .traces import KeyHead
from .vectors import decode_vectors, select_vectors

_HEAD = struct.Struct("<4sHHqIHI8s")  # magic, version, level, group id, blocks, key heads, bytes of features, codec
_KEY_HEAD = struct.Struct("<HHI")  # layer, key head, bytes
_BODY = struct.Struct("<4sHHqIHHQII")  # magic, version, level, id, tokens, axes, codec name, codes, places, pictures
_HEAD_MAGIC, _BODY_MAGIC, _VERSION = b"OLGH", b"OLGB", 1


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Hold what is known of a group without reading its keys.

    table: BLOCK [blocks].  keys: coded vectors of each indexed key head, a row per token; features: coded visual
    features, a row per visual token; b"" where there are none.  level: see consolidation.  codec: that of the body,
    at most 8 letters.
    """

    group_id: int
    level: int
    codec: str
    table: NDArray[np.void]
    keys: Mapping[KeyHead, bytes]
    features: bytes

    def to_bytes(self) -> bytes:
        """Write the record."""
        parts = [
            _HEAD.pack(
                _HEAD_MAGIC,
                _VERSION,
                self.level,
                self.group_id,
                len(self.table),
                len(self.keys),
                len(self.features),
                self.codec.encode("ascii"),
            ),
            self.table.tobytes(),
        ]
        for (layer, kv_head), coded in self.keys.items():
            parts += [_KEY_HEAD.pack(layer, kv_head, len(coded)), coded]
        return b"".join((*parts, self.features))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Head":
        """Read what to_bytes wrote.  Raises RecallError for anything else."""
        try:
            magic, version, level, group_id, blocks, heads, feature_bytes, codec = _HEAD.unpack_from(data)
            _check("head", magic, _HEAD_MAGIC, version)
            at = _HEAD.size
            table = np.frombuffer(data, BLOCK, blocks, at).copy()
            at += blocks * BLOCK.itemsize
            keys: dict[KeyHead, bytes] = {}
            for _ in range(heads):
                layer, kv_head, size = _KEY_HEAD.unpack_from(data, at)
                at += _KEY_HEAD.size
                keys[layer, kv_head] = data[at : at + size]
                at += size
            name = codec.rstrip(b"\0").decode("ascii")
        except (struct.error, ValueError) as error:  # UnicodeDecodeError is a ValueError
            raise RecallError(f"a group's head of {len(data)} bytes cannot be read ({error})") from error
        if at + feature_bytes != len(data):
            raise RecallError(f"a group's head has {len(data)} bytes in place of {at + feature_bytes}")
        return cls(group_id, level, name, table, keys, data[at:])

    def without(self, block_ids: set[int]) -> "Head":
        """Leave blocks out, their vectors too."""
        keep = ~np.isin(self.table["id"], list(block_ids))
        kept = self.table[keep].copy()
        vectors = _rows(self.table["vectors"], keep)
        keys = {place: select_vectors(coded, vectors) for place, coded in self.keys.items()}
        features = self.features
        if features:
            features = select_vectors(features, _rows(self.table["visual"], keep))
        kept["row"] = np.cumsum(kept["tokens"]) - kept["tokens"]
        return replace(self, table=kept, keys=keys, features=features)

    def key_vectors(self) -> dict[KeyHead, NDArray[np.float32]]:
        """Decode the vectors [n, head_dim] of every key head."""
        return {place: decode_vectors(coded) for place, coded in self.keys.items()}

    def feature_vectors(self) -> NDArray[np.float32] | None:
        """Decode the visual features [v, D]; None where there are none."""
        return decode_vectors(self.features) if self.features else None


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """Hold what is read of a group when a block of it is recalled.

    codes: its n tokens' keys and values, as the codec of this name wrote them.  positions: int64 [n, axes].  coords:
    int32 [n, 3].  pictures: a thumbnail for each block, JPEG or empty.
    """

    group_id: int
    level: int
    codec: str
    codes: bytes
    positions: Tensor
    coords: Tensor
    pictures: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Write the record."""
        axes = self.positions.shape[1]
        numbers = torch.cat((self.positions.to(torch.int32), self.coords.to(torch.int32)), dim=1)  # [n, axes + 3]
        places = zlib.compress(numbers.T.contiguous().numpy().astype("<i4").tobytes(), 6)
        lengths = np.array([len(picture) for picture in self.pictures], dtype="<u4").tobytes()
        name = self.codec.encode("ascii")
        header = _BODY.pack(
            _BODY_MAGIC,
            _VERSION,
            self.level,
            self.group_id,
            len(self.positions),
            axes,
            len(name),
            len(self.codes),
            len(places),
            len(self.pictures),
        )
        return b"".join((header, name, lengths, places, self.codes, *self.pictures))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Body":
        """Read what to_bytes wrote.  Raises RecallError for anything else."""
        try:
            fields = _BODY.unpack_from(data)
            magic, version, level, group_id, tokens, axes, name_bytes, code_bytes, place_bytes, pictures = fields
            _check("body", magic, _BODY_MAGIC, version)
            at = _BODY.size
            name = data[at : at + name_bytes].decode("ascii")
            at += name_bytes
            lengths = np.frombuffer(data, "<u4", pictures, at).tolist()
            at += 4 * pictures
            raw = zlib.decompress(data[at : at + place_bytes])
            numbers = np.frombuffer(raw, "<i4").reshape(axes + 3, tokens).T.copy()
            at += place_bytes
        except (struct.error, ValueError, UnicodeDecodeError, zlib.error) as error:
            raise RecallError(f"a group's body of {len(data)} bytes cannot be read ({error})") from error
        if at + code_bytes + sum(lengths) != len(data):
            raise RecallError(f"a group's body has {len(data)} bytes in place of {at + code_bytes + sum(lengths)}")
        codes = data[at : at + code_bytes]
        at += code_bytes
        shown = []
        for length in lengths:
            shown.append(data[at : at + length])
            at += length
        places = torch.from_numpy(numbers)
        return cls(
            group_id, level, name, codes, places[:, :axes].to(torch.int64), places[:, axes:].contiguous(), tuple(shown)
        )

    def without(self, codec: Codec, table: NDArray[np.void], block_ids: set[int]) -> "Body":
        """Leave blocks out, their tokens and pictures too.  table: BLOCK of the blocks that are inside now."""
        keep = ~np.isin(table["id"], list(block_ids))
        rows = _rows(table["tokens"], keep)
        return replace(
            self.kept(codec, rows),
            pictures=tuple(picture for picture, stays in zip(self.pictures, keep.tolist(), strict=True) if stays),
        )

    def kept(self, codec: Codec, rows: NDArray[np.int64]) -> "Body":
        """Keep only these tokens; their codes are copied, not coded again."""
        index = torch.from_numpy(rows)
        return replace(
            self,
            codes=codec.select(self.codes, rows.tolist()),
            positions=self.positions[index],
            coords=self.coords[index],
        )

    def block(self, entry: np.void, codec: Codec, device: torch.device | None = None) -> KVBlock:
        """Decode one block, by its row of the table; keys and values go to the device, host memory by default."""
        return self.blocks([entry], codec, device)[0]

    def blocks(self, entries: Sequence[np.void], codec: Codec, device: torch.device | None = None) -> list[KVBlock]:
        """Decode several blocks in one go, as block() does."""
        spans = [(int(entry["row"]), int(entry["row"]) + int(entry["tokens"])) for entry in entries]
        rows: list[int] = [row for first, last in spans for row in range(first, last)]
        keys, values = codec.decode(self.codes, rows, device)
        found, start = [], 0
        for entry, (first, last) in zip(entries, spans, strict=True):
            part, place = slice(start, start + last - first), int(entry["place"])
            start += last - first
            found.append(
                KVBlock(
                    block_id=int(entry["id"]),
                    keys=keys[:, :, part].clone(),
                    values=values[:, :, part].clone(),
                    positions=self.positions[first:last].clone(),
                    extent=int(entry["extent"]),
                    coords=self.coords[first:last].clone(),
                    span_us=(int(entry["start_us"]), int(entry["end_us"])),
                    place=None if place == NO_PLACE else place,
                )
            )
        return found


def table_of(blocks: Sequence[KVBlock], visual: Sequence[int], pictures: Sequence[bytes]) -> NDArray[np.void]:
    """Write blocks as rows of BLOCK.  visual: how many visual features each has."""
    table = np.zeros(len(blocks), dtype=BLOCK)
    row = 0
    for entry, block, count, picture in zip(table, blocks, visual, pictures, strict=True):
        place = NO_PLACE if block.place is None else block.place
        entry["id"], entry["place"], entry["extent"] = block.block_id, place, block.extent
        entry["start_us"], entry["end_us"] = block.span_us
        entry["row"], entry["tokens"], entry["vectors"] = row, len(block), len(block)
        entry["visual"], entry["picture_bytes"] = count, len(picture)
        row += len(block)
    return table


def _rows(counts: NDArray[np.int32], keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """List the rows of the blocks that stay, by how many each block has."""
    return np.flatnonzero(np.repeat(keep, counts)).astype(np.int64)


def _check(what: str, magic: bytes, wanted: bytes, version: int) -> None:
    if magic != wanted:
        raise RecallError(f"this is no group's {what} (it begins with {magic!r}); the memory is damaged")
    if version != _VERSION:
        raise RecallError(
            f"a group's {what} is of format {version}, and this Onlooker reads {_VERSION}; read it with the version "
            "that wrote it"
        )
