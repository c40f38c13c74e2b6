"""The story: blocks between those that were recalled, read as gist.

What a question needs is read dense; a few pooled tokens of what lies between say how it hangs together (Video-XL-2's
bi-level reading, arXiv 2506.19225, without training).
"""

from collections.abc import Collection

import torch

from ..memory.archive import Archive
from ..memory.block import KVBlock
from ..memory.gist import SIDE, gist_of

STAMP_TOKENS = 4  # of a time stamp, about: how many blocks are asked for


def story_of(
    archive: Archive,
    exclude: Collection[int],
    budget_tokens: int,
    since_us: int | None = None,
    until_us: int | None = None,
    device: torch.device | None = None,
) -> list[KVBlock]:
    """Read blocks evenly over what is remembered of a stretch as gist, at most budget_tokens, in time order.

    exclude: blocks that are read anyway.
    """
    ids = [block_id for block_id in archive.between(since_us, until_us) if block_id not in exclude]
    count = min(len(ids), budget_tokens // (STAMP_TOKENS + SIDE * SIDE))
    chosen = [ids[(2 * number + 1) * len(ids) // (2 * count)] for number in range(count)]
    story, left = list[KVBlock](), budget_tokens
    for block in archive.read(chosen, device, near=False):
        gist = gist_of(block)
        if len(gist) <= left:
            story.append(gist)
            left -= len(gist)
    return story
