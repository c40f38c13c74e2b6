"""Rate and distortion of codecs: what keys and values take, and what is wrong with what attention makes of them.

Part of `onlooker bench codec`.  Own codecs and rivals are measured on the same streams, each at its true bits: all
that is stored per group is counted, and tables that a memory has once are told apart.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from ..errors import SettingsError
from ..memory.block import KVLayout
from ..memory.codecs.choice import CODECS, codec_of
from ..memory.codecs.codec import Codec
from ..memory.codecs.tables import CodecTables
from ..memory.rotary import angle_table, rotate
from .codec_samples import Group, Sampled
from .rival_codecs import RivalCodec, rival_codecs
from .tally import aligned

CONTEXT_GROUPS = 2  # consecutive groups that a question's queries meet: as many frames as recall reads


@dataclass(frozen=True, slots=True, eq=False)
class Reread:
    """Hold what a stream's groups read back as: pairs of keys and values, and the bytes they took.

    encode_s, decode_s: seconds together; None where nothing was packed.
    """

    groups: tuple[tuple[Tensor, Tensor], ...]
    nbytes: float
    encode_s: float | None = None
    decode_s: float | None = None


class Coded(Protocol):
    """Code a stream's groups and read them back."""

    @property
    def name(self) -> str:
        """The name in tables."""
        ...

    def reread(self, groups: Sequence[Group]) -> Reread:
        """Code groups in time order and read them back."""
        ...


@dataclass(frozen=True, slots=True)
class Own:
    """Code group by group with a codec of memory/codecs."""

    codec: Codec

    @property
    def name(self) -> str:
        """The codec's name."""
        return self.codec.name

    def reread(self, groups: Sequence[Group]) -> Reread:
        """Code each group by itself, as the archive does."""
        encode_s = decode_s = 0.0
        count, found = 0, []
        for group in groups:
            start = time.perf_counter()
            data = self.codec.encode(group.keys, group.values)
            middle = time.perf_counter()
            found.append(self.codec.decode(data))
            encode_s, decode_s = encode_s + middle - start, decode_s + time.perf_counter() - middle
            count += len(data)
        return Reread(tuple(found), count, encode_s, decode_s)


@dataclass(frozen=True, slots=True)
class Rival:
    """Code a stream whole with a rival's codec."""

    codec: RivalCodec

    @property
    def name(self) -> str:
        """The codec's name."""
        return self.codec.name

    def reread(self, groups: Sequence[Group]) -> Reread:
        """Code all groups end to end, and cut what is read back where they end."""
        keys, values, nbytes = self.codec.reread(
            torch.cat([group.keys for group in groups], dim=2),
            torch.cat([group.values for group in groups], dim=2),
            torch.cat([group.positions for group in groups]),
        )
        sizes = [len(group.positions) for group in groups]
        return Reread(tuple(zip(keys.split(sizes, dim=2), values.split(sizes, dim=2), strict=True)), nbytes)


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one codec's measurements.

    bits: true bits a number.  key_error, value_error: squared error as a share of the spread around each column's
    mean.  logit_error: of logits less each query's mean, as a share of theirs.  output_error: of what attention adds
    up, as a share of its square.  encode_ms, decode_ms: of a group on average, None where nothing was packed.
    """

    codec: str
    bits: float
    key_error: float
    value_error: float
    logit_error: float
    output_error: float
    encode_ms: float | None
    decode_ms: float | None


def coded_by_name(layout: KVLayout, tables: CodecTables | None, names: Sequence[str] | None = None) -> list[Coded]:
    """List own codecs and rivals by name; None for all, `auto` only where there are tables.

    Raises SettingsError for a name that is not there.
    """
    own = [name for name in CODECS if name != "auto" or tables is not None]
    listed: list[Coded] = [Own(codec_of(name, layout, tables)) for name in own]
    listed += [Rival(codec) for codec in rival_codecs(layout)]
    known = [coded.name for coded in listed]
    for name in names or ():
        if name not in known:
            raise SettingsError(f"there is no codec {name!r} to measure; choose from {', '.join(known)}")
    return [coded for coded in listed if names is None or coded.name in names]


def measure_codecs(streams: Sequence[Sampled], layout: KVLayout, codecs: Sequence[Coded]) -> list[Row]:
    """Measure codecs on streams, each of CONTEXT_GROUPS groups or more."""
    return [_measure(streams, layout, codec) for codec in codecs]


def codec_table(rows: Sequence[Row]) -> str:
    """Write rows as a table."""
    lines = [["codec", "true bits", "keys", "values", "logits", "attention", "encode ms", "decode ms"]]
    for row in rows:
        errors = (row.key_error, row.value_error, row.logit_error, row.output_error)
        times = ("-" if ms is None else f"{ms:.1f}" for ms in (row.encode_ms, row.decode_ms))
        lines.append([row.codec, f"{row.bits:.3f}", *(f"{error:.5f}" for error in errors), *times])
    return aligned(lines)


def _measure(streams: Sequence[Sampled], layout: KVLayout, codec: Coded) -> Row:
    wrong, whole = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    nbytes, numbers, groups = 0.0, 0, 0
    encode_s: float | None = 0.0
    decode_s: float | None = 0.0
    for stream in streams:
        found = codec.reread(stream.groups)
        nbytes, groups = nbytes + found.nbytes, groups + len(stream.groups)
        numbers += sum(2 * group.keys.numel() for group in stream.groups)
        encode_s = None if encode_s is None or found.encode_s is None else encode_s + found.encode_s
        decode_s = None if decode_s is None or found.decode_s is None else decode_s + found.decode_s
        for side, true in enumerate(([g.keys for g in stream.groups], [g.values for g in stream.groups])):
            both = torch.cat(true, dim=2).double()
            read = torch.cat([pair[side] for pair in found.groups], dim=2).double()
            wrong[side] += (read - both).square().sum()
            whole[side] += (both - both.mean(dim=2, keepdim=True)).square().sum()
        for error, size in _attention_errors(stream, layout, found):
            wrong[2:] += error
            whole[2:] += size
    shares = (wrong / whole.clamp_min(1e-30)).tolist()
    per_group = [None if seconds is None else seconds / groups * 1e3 for seconds in (encode_s, decode_s)]
    return Row(codec.name, nbytes * 8 / numbers, *shares, *per_group)


def _attention_errors(stream: Sampled, layout: KVLayout, found: Reread) -> list[tuple[Tensor, Tensor]]:
    """Let each question meet a stretch of the stream, true and read back: squared errors and sizes, float64 [2]."""
    errors = []
    pairs = list(pairwise(range(len(stream.groups))))
    for number, asked in enumerate(stream.queries):
        chosen = pairs[number * len(pairs) // len(stream.queries)]
        true = [(stream.groups[place].keys, stream.groups[place].values) for place in chosen]
        count = sum(keys.shape[2] for keys, _ in true)
        if not count:
            continue
        # Laid end to end, as recall lays them, and the question behind.
        positions = torch.arange(count + asked.shape[2])[:, None].expand(-1, layout.rotary.axes)
        cos, sin = angle_table(positions, layout.rotary, torch.float32)
        query = rotate(asked, cos[count:], sin[count:])
        seen, output = _attend(query, true, cos[:count], sin[:count])
        seen_again, output_again = _attend(query, [found.groups[place] for place in chosen], cos[:count], sin[:count])
        moved = seen_again - seen
        moved, seen = (part - part.mean(dim=-1, keepdim=True) for part in (moved, seen))
        wrong = torch.stack((moved.square().sum(), (output_again - output).square().sum()))
        errors.append((wrong.double(), torch.stack((seen.square().sum(), output.square().sum())).double()))
    return errors


def _attend(query: Tensor, parts: Sequence[tuple[Tensor, Tensor]], cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Attend with turned queries [layers, query_heads, m, head_dim]: logits [.., m, n], outputs [.., m, head_dim]."""
    keys = rotate(torch.cat([keys for keys, _ in parts], dim=2).float(), cos, sin)
    values = torch.cat([values for _, values in parts], dim=2).float()
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
    logits = query @ keys.mT / query.shape[-1] ** 0.5
    return logits, logits.softmax(dim=-1) @ values
