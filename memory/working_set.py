"""The working set: recalled blocks, decoded and ready, near the model."""

from collections import OrderedDict
from collections.abc import Iterable

from .block import KVBlock


class WorkingSet:
    """Keep the blocks that were read last, at most cap_bytes of them; 0 keeps none.

    The cap is strict: a block larger than it is not kept, and room is made before one is taken in.
    """

    def __init__(self, cap_bytes: int) -> None:
        self.cap_bytes = cap_bytes
        self._blocks: OrderedDict[int, KVBlock] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def nbytes(self) -> int:
        """True bytes of the tensors held."""
        return self._bytes

    def get(self, block_id: int) -> KVBlock | None:
        """Give a block that is here, and count it as just read."""
        block = self._blocks.get(block_id)
        if block is not None:
            self._blocks.move_to_end(block_id)
        return block

    def put(self, block: KVBlock) -> None:
        """Take a block in, in place of those that were not read for longest."""
        self.drop([block.block_id])
        if block.nbytes > self.cap_bytes:
            return
        while self._bytes + block.nbytes > self.cap_bytes:
            _, oldest = self._blocks.popitem(last=False)
            self._bytes -= oldest.nbytes
        self._blocks[block.block_id] = block
        self._bytes += block.nbytes

    def drop(self, block_ids: Iterable[int]) -> None:
        """Let blocks go; one that is not here is no error."""
        for block_id in block_ids:
            block = self._blocks.pop(block_id, None)
            if block is not None:
                self._bytes -= block.nbytes
