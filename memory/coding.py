"""Coding: from the blocks of a chunk to a stored group, and from a stored group to the indexes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecallError
from .block import KVBlock
from .codecs.codec import Codec
from .group import Body, Head, table_of
from .traces import KeyHead, Traces, to_numpy, unit
from .vectors import encode_vectors

KEY_BITS, FEATURE_BITS = 8, 4
"""Bits a number of the vectors that indexes are built from."""


def code_group(
    codec: Codec,
    traces: Traces,
    blocks: Sequence[KVBlock],
    features: Sequence[Tensor | None],
    pictures: Sequence[bytes],
) -> tuple[Head, Body]:
    """Code blocks, one or more, as one group that is named by its first block.

    features: visual features [v, D] of each block, all of them or none.  Raises RecallError where they do not fit.
    """
    dim = traces.features.index.dim if traces.features is not None else 0
    shown = [part if dim and part is not None else torch.empty((0, dim)) for part in features]
    for part in shown:
        if part.ndim != 2 or part.shape[1] != dim:
            raise RecallError(f"features of shape {list(part.shape)} do not fit an index of [n, {dim}]")
    keys = torch.cat([block.keys for block in blocks], dim=2)
    values = torch.cat([block.values for block in blocks], dim=2)
    table = table_of(blocks, [len(part) for part in shown], pictures)
    head = Head(
        group_id=blocks[0].block_id,
        level=0,
        codec=codec.name,
        table=table,
        keys={place: encode_vectors(to_numpy(keys[place]), KEY_BITS) for place in traces.keys},
        features=encode_vectors(unit(to_numpy(torch.cat(shown))), FEATURE_BITS) if dim else b"",
    )
    body = Body(
        group_id=blocks[0].block_id,
        level=0,
        codec=codec.name,
        codes=codec.encode(keys, values),
        positions=torch.cat([block.positions for block in blocks]),
        coords=torch.cat([block.coords for block in blocks]),
        pictures=tuple(pictures),
    )
    return head, body


def index_group(traces: Traces, head: Head) -> None:
    """Put a stored group's vectors into the indexes.  A call that was interrupted can be made again."""
    table = head.table
    keys = {place: list(_cut(vectors, table)) for place, vectors in head.key_vectors().items() if place in traces.keys}
    features = head.feature_vectors()
    seen = None if features is None else list(_by(features, table["visual"]))
    for number, entry in enumerate(table):
        span_us = (int(entry["start_us"]), int(entry["end_us"]))
        shown = None if seen is None else unit(seen[number])
        traces.take(int(entry["id"]), span_us, {place: parts[number] for place, parts in keys.items()}, shown)


def with_keys(head: Head, keys: Tensor, places: Sequence[KeyHead]) -> Head:
    """Add the vectors of key heads that were not indexed when a group was written, from its keys as they are now."""
    coded: Mapping[KeyHead, bytes] = {place: encode_vectors(to_numpy(keys[place]), KEY_BITS) for place in places}
    return replace(head, keys={**head.keys, **coded})


def _cut(vectors: NDArray[np.float32], table: NDArray[np.void]) -> Iterator[NDArray[np.float32]]:
    """Cut key vectors by block: one for each token there was, or, where they were read later, for each there is."""
    counts = table["vectors"] if len(vectors) == table["vectors"].sum() else table["tokens"]
    return _by(vectors, counts)


def _by(vectors: NDArray[np.float32], counts: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
    if len(vectors) != counts.sum():
        raise RecallError(f"{len(vectors)} vectors do not fit blocks of {counts.tolist()}; the memory is damaged")
    yield from np.split(vectors, np.cumsum(counts)[:-1])
