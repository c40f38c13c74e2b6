"""The working set keeps the blocks that were read last, under a strict cap."""

from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.block import KVBlock
from onlooker.memory.working_set import WorkingSet


def block(block_id: int, n: int) -> KVBlock:
    numbers = torch.zeros(1, 1, n, 2)
    return KVBlock(block_id, numbers, numbers, torch.zeros(n, 1).long(), n, torch.zeros(n, 3).int(), (0, 1))


TOKEN = block(0, 1).nbytes
STEPS = st.lists(st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 7), st.integers(1, 5)), max_size=60)


@given(STEPS, st.integers(0, 12))
def test_it_is_a_bounded_list_of_what_was_read_last(steps: list[tuple[str, int, int]], room: int) -> None:
    working = WorkingSet(room * TOKEN)
    model: OrderedDict[int, int] = OrderedDict()
    for step, block_id, n in steps:
        if step == "put":
            working.put(block(block_id, n))
            model.pop(block_id, None)
            if n <= room:
                while sum(model.values()) + n > room:
                    model.popitem(last=False)
                model[block_id] = n
        elif step == "get":
            found = working.get(block_id)
            assert (found is None) == (block_id not in model)
            if found is not None:
                assert (found.block_id, len(found)) == (block_id, model[block_id])
                model.move_to_end(block_id)
        else:
            working.drop([block_id, 99])
            model.pop(block_id, None)
        assert len(working) == len(model)
        assert working.nbytes == sum(model.values()) * TOKEN <= working.cap_bytes
        assert [one for one in range(8) if one in working._blocks] == sorted(model)


@pytest.mark.parametrize("cap", [0, TOKEN - 1])
def test_a_block_larger_than_the_cap_is_not_kept(cap: int) -> None:
    working = WorkingSet(cap)
    working.put(block(0, 1))
    assert working.get(0) is None and working.nbytes == 0
