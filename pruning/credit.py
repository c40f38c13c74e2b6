"""The account that pays for a stream's tokens, for budgets that know how many they want."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .stages import Cells, Memory

SCALE = 1 << 20  # credit is counted in fractions of a token this small, in integers: exact on every device


@dataclass(frozen=True, slots=True)
class Account:
    """Pay for wanted cells from a token bucket.

    refill: credit per frame, in 1/SCALE tokens.  floor: cells that are paid in any case, at most the refill.  depth:
    most credit that can be saved, in whole frames.  refresh_frames: a frame is paid whole when this many have gone by
    since the last whole one, 0 for never.  The stream starts with the credit of one whole frame, N tokens; so the first
    n frames get at most N + n * refill, and any n frames in a row at most depth * N + n * refill.  Frames that are
    whole by order come on top of that: they may leave debt, up to depth * N, which later frames pay off.  spill:
    whether what cannot be saved any more is spent on cells that nobody asked for, so that the average is the refill
    even while nothing happens.

    Memory: credit int64 [] in 1/SCALE tokens, since int64 [] (frames since the last whole one).
    """

    refill: int
    floor: int = 0
    depth: int = 8
    refresh_frames: int = 0
    spill: bool = False

    def filled(self, cells: Cells, memory: Memory) -> Tensor:
        """Say how full the account is when this frame comes, float64 [] within 0..1."""
        if "credit" not in memory:
            return torch.full((), 1.0 / self.depth, dtype=torch.float64, device=cells.features.device)
        return ((memory["credit"] + self.refill).double() / (self.depth * len(cells) * SCALE)).clamp(0.0, 1.0)

    def pay(self, wanted: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give as many of the wanted cells (int64 []) as can be paid for, and what is left.

        memory may hold entries of the caller's; they are not read, and not given back.
        """
        total = len(cells)
        limit = self.depth * total * SCALE
        if "credit" in memory:
            credit = memory["credit"] + self.refill
            since = memory["since"] + 1
        else:
            credit = torch.full((), total * SCALE, dtype=torch.int64, device=wanted.device)
            since = torch.zeros_like(credit)
        saved = credit.clamp(max=limit)
        paid = (saved // SCALE).clamp(min=self.floor)
        count = torch.minimum(wanted.clamp(min=self.floor), paid)
        if self.spill:
            over = (credit - count * SCALE - limit).clamp(min=0)
            count = (count + over // SCALE).clamp(max=total)
        else:
            credit = saved
        if self.refresh_frames:
            count = torch.where(since >= self.refresh_frames, total, count)
        if cells.whole:
            count = torch.full_like(count, total)
        if cells.open is not None:
            count = count * cells.open
        # A part of a token that overflows waits for the rest of it.
        left = (credit - count * SCALE).clamp(-limit, limit + (SCALE - 1 if self.spill else 0))
        return count, {"credit": left, "since": since.masked_fill(count == total, 0)}

    def still(self, cells: int) -> float:
        """Give the average while nothing is wanted: what spills, or the floor; and the whole frames by order."""
        if self.spill:
            return max(self.refill / SCALE, self.floor)
        if not self.refresh_frames:
            return self.floor
        return ((self.refresh_frames - 1) * self.floor + cells) / self.refresh_frames
