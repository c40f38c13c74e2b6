"""The short-term window: the newest blocks, exact, that the next chunk is prefilled over."""

from collections import deque
from collections.abc import Iterable

from ..errors import SettingsError
from .block import KVBlock


class Window:
    """Keep the newest blocks, at most max_blocks of them and at most max_tokens tokens.

    Both bounds are strict: a block longer than max_tokens goes straight through.  max_blocks 0 keeps nothing.
    """

    def __init__(self, max_blocks: int, max_tokens: int) -> None:
        if max_blocks < 0 or max_tokens < 0:
            raise SettingsError(
                f"the window's bounds must be 0 or more, not {max_blocks} blocks and {max_tokens} tokens"
            )
        self.max_blocks = max_blocks
        self.max_tokens = max_tokens
        self._blocks: deque[KVBlock] = deque()
        self._tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def blocks(self) -> tuple[KVBlock, ...]:
        """The blocks inside, oldest first."""
        return tuple(self._blocks)

    @property
    def tokens(self) -> int:
        """Number of tokens inside."""
        return self._tokens

    @property
    def nbytes(self) -> int:
        """True bytes of the blocks inside."""
        return sum(block.nbytes for block in self._blocks)

    def push(self, blocks: Iterable[KVBlock]) -> tuple[KVBlock, ...]:
        """Take in new blocks in time order; give back those that had to leave, oldest first."""
        left: list[KVBlock] = []
        for block in blocks:
            self._blocks.append(block)
            self._tokens += len(block)
            while self._blocks and (len(self._blocks) > self.max_blocks or self._tokens > self.max_tokens):
                oldest = self._blocks.popleft()
                self._tokens -= len(oldest)
                left.append(oldest)
        return tuple(left)

    def drain(self) -> tuple[KVBlock, ...]:
        """Empty the window and give back what was inside, oldest first."""
        left = tuple(self._blocks)
        self._blocks.clear()
        self._tokens = 0
        return left
