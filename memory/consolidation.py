"""Consolidation: what an archive gives up when it is full, little by little and the oldest first.

A group goes down a ladder: coded more coarsely, then without its redundant tokens, then as gist alone, then not at
all.  Which group takes its next step is a matter of cost: that of the step (STEP_COST), halved for every half of the
remembered time that the group is old, raised by every doubling of how often it was read.  So for groups of one age the
order is the ladder's, and the oldest and least read are further down than the newest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .block import KVBlock
from .codecs.codec import Codec
from .gist import gist_of
from .group import Body

FRESH, COARSE, THIN, GIST, GONE = range(5)
"""Levels of a group: as it was written, coded more coarsely, thinned, pooled, forgotten."""

LEVEL_NAMES = ("fresh", "coarse", "thin", "gist", "forgotten")

STEP_COST = (1.0, 8.0, 12.0, 16.0)
"""What it costs to take the step from each level to the next.  The first one costs answers next to nothing; losing
tokens costs them dearly (docs/memory.md), so half of a group's tokens count as half of the group."""

HALVINGS = 2.0
"""How often cost halves over the time remembered.  Everything is coded more coarsely (1) before anything is thinned
(8 / 4), and the oldest is forgotten (16 / 4) before the newer half loses tokens (8 / 2)."""

KEPT_SHARE = 0.5
"""Share of a group's visual tokens that thinning keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Hold what the steps need: all codecs by name, the one of coarse groups and the one of gist."""

    codecs: Mapping[str, Codec]
    coarse: str
    gist: str


def next_group(groups: NDArray[np.void]) -> int:
    """Choose which of the groups (rows of GROUP in time order, one or more) takes its next step."""
    oldest, newest = int(groups["start_us"][0]), int(groups["end_us"][-1])
    age = (newest - groups["end_us"]) / max(newest - oldest, 1)
    cost = np.asarray(STEP_COST)[groups["level"]] * 0.5 ** (HALVINGS * age) * (1.0 + np.log2(1.0 + groups["reads"]))
    return int(np.argmin(cost))


def consolidate(body: Body, table: NDArray[np.void], ladder: Ladder) -> tuple[Body, NDArray[np.void]]:
    """Take one step down the ladder, above forgetting; steps that save nothing are passed over.

    table: BLOCK of the group's blocks.  Returns what takes the place of both, on level GIST at the lowest.
    """
    level, before = body.level, len(body.codes)
    while level < GIST:
        level += 1
        if level == COARSE:
            changed, rows = _coarser(body, ladder), table
        elif level == THIN:
            changed, rows = _thinned(body, table, ladder)
        else:
            changed, rows = _pooled(body, table, ladder)
        if len(changed.codes) < before:
            return replace(changed, level=level), rows
    return replace(body, level=GIST), table


def _coarser(body: Body, ladder: Ladder) -> Body:
    if body.codec == ladder.coarse:
        return body
    keys, values = ladder.codecs[body.codec].decode(body.codes)
    return replace(body, codec=ladder.coarse, codes=ladder.codecs[ladder.coarse].encode(keys, values))


def _thinned(body: Body, table: NDArray[np.void], ladder: Ladder) -> tuple[Body, NDArray[np.void]]:
    """Drop the visual tokens that are most like what was at their place in the frame before (InfiniPot-V, TaR)."""
    codec = ladder.codecs[body.codec]
    keys, _ = codec.decode(body.codes)
    visual = (body.coords[:, 0] >= 0).nonzero().squeeze(1)
    keep_visual = round(KEPT_SHARE * len(visual))
    likeness = _redundancy(keys, body.coords, table)[visual]
    order = torch.argsort(likeness, stable=True)  # the least redundant first
    stays = body.coords[:, 0] < 0
    stays[visual[order[:keep_visual]]] = True
    rows = stays.nonzero().squeeze(1).numpy()
    thin = body.kept(codec, rows)
    changed = table.copy()
    marks = stays.numpy().astype(np.int64)
    changed["tokens"] = [marks[int(b["row"]) : int(b["row"]) + int(b["tokens"])].sum() for b in table]
    return _renumbered(thin, changed)


def _redundancy(keys: Tensor, coords: Tensor, table: NDArray[np.void]) -> Tensor:
    """Give each token's cosine with the token at the same place in the block before, -2 without one: [n].

    Of the middle layer's raw keys, less their mean over the group: a key bias would make all tokens alike.
    """
    rows = keys[keys.shape[0] // 2].float().transpose(0, 1).flatten(1).cpu()  # [n, kv_heads * head_dim]
    rows = torch.nn.functional.normalize(rows - rows.mean(dim=0), dim=1)
    likeness = torch.full((len(rows),), -2.0)
    before: dict[tuple[int, int], int] = {}
    for entry in table:
        first = int(entry["row"])
        here: dict[tuple[int, int], int] = {}
        for row in range(first, first + int(entry["tokens"])):
            t, h, w = coords[row].tolist()
            if t < 0:
                continue
            here[h, w] = row
            if (h, w) in before:
                likeness[row] = rows[row] @ rows[before[h, w]]
        before |= here
    return likeness


def _pooled(body: Body, table: NDArray[np.void], ladder: Ladder) -> tuple[Body, NDArray[np.void]]:
    """Put each block's gist in its place."""
    codec = ladder.codecs[body.codec]
    gists: list[KVBlock] = [gist_of(body.block(entry, codec)) for entry in table]
    changed = table.copy()
    changed["tokens"] = [len(gist) for gist in gists]
    changed["extent"] = [gist.extent for gist in gists]
    changed["row"] = np.cumsum(changed["tokens"]) - changed["tokens"]
    codes = ladder.codecs[ladder.gist].encode(
        torch.cat([gist.keys for gist in gists], dim=2), torch.cat([gist.values for gist in gists], dim=2)
    )
    pooled = replace(
        body,
        codec=ladder.gist,
        codes=codes,
        positions=torch.cat([gist.positions for gist in gists]),
        coords=torch.cat([gist.coords for gist in gists]),
    )
    return pooled, changed


def _renumbered(body: Body, table: NDArray[np.void]) -> tuple[Body, NDArray[np.void]]:
    """Say in the table where blocks begin now; on one axis tokens follow each other without holes."""
    table["row"] = np.cumsum(table["tokens"]) - table["tokens"]
    if body.positions.shape[1] > 1:
        return body, table
    table["extent"] = table["tokens"]
    positions = [torch.arange(count) for count in table["tokens"].tolist()]
    return replace(body, positions=torch.cat(positions)[:, None] if positions else body.positions), table
