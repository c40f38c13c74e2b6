"""The timeline: which stretches of a stream are kept, which only as gist, and which were given up."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .consolidation import GIST
from .forgotten import Forgotten

Kind = Literal["kept", "gist", "forgotten"]

MOST_STRETCHES = 256


@dataclass(frozen=True, slots=True)
class Stretch:
    """Name a stretch [start_us, end_us) of stream time and what is left of it."""

    start_us: int
    end_us: int
    kind: Kind


def timeline_of(
    blocks: NDArray[np.void],
    groups: NDArray[np.void],
    forgotten: Iterable[Forgotten],
    most: int = MOST_STRETCHES,
) -> tuple[Stretch, ...]:
    """Lay out what is remembered in time order, in at most `most` stretches.

    blocks, groups: rows of BLOCK and GROUP in time order.  Neighbours of one kind are one stretch; where there are too
    many, the shortest gaps between two of one kind are closed, then the shortest stretches are counted to the one
    before them.
    """
    laid: list[Stretch] = []
    if len(blocks):
        gist = (groups["level"] >= GIST)[np.searchsorted(groups["id"], blocks["id"], side="right") - 1]
        apart = (np.diff(gist.astype(np.int8)) != 0) | (blocks["start_us"][1:] > blocks["end_us"][:-1])
        firsts = np.concatenate([[0], np.flatnonzero(apart) + 1])
        lasts = np.append(firsts[1:], len(blocks)) - 1
        laid = [
            Stretch(int(blocks["start_us"][first]), int(blocks["end_us"][last]), "gist" if gist[first] else "kept")
            for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
        ]
    laid += [Stretch(one.start_us, one.end_us, "forgotten") for one in forgotten]
    return _fewer(sorted(laid, key=lambda one: (one.start_us, one.end_us)), most)


def joined(laid: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Make one stretch of neighbours of one kind that touch."""
    found: list[Stretch] = []
    for one in laid:
        if found and found[-1].kind == one.kind and one.start_us <= found[-1].end_us:
            found[-1] = replace(found[-1], end_us=max(found[-1].end_us, one.end_us))
        else:
            found.append(one)
    return tuple(found)


def _fewer(laid: list[Stretch], most: int) -> tuple[Stretch, ...]:
    """Close as many of the shortest gaps between two of one kind as it takes, then swallow the shortest stretches."""
    if len(laid) > most:
        gaps = sorted(
            (after.start_us - before.end_us, place)
            for place, (before, after) in enumerate(pairwise(laid))
            if before.kind == after.kind
        )
        laid = _without(laid, {place for _, place in gaps[: len(laid) - most]})
    if len(laid) > most:
        lengths = sorted((one.end_us - one.start_us, place) for place, one in enumerate(laid[1:]))
        laid = _without(laid, {place for _, place in lengths[: len(laid) - most]})
    return tuple(laid)


def _without(laid: list[Stretch], places: set[int]) -> list[Stretch]:
    """Let the stretches at these places reach over the next ones."""
    found: list[Stretch] = []
    for place, one in enumerate(laid):
        if place - 1 in places:
            found[-1] = replace(found[-1], end_us=max(found[-1].end_us, one.end_us))
        else:
            found.append(one)
    return found
