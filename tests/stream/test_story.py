"""The story around what was recalled is read as gist, within its budget."""

from typing import Any

import pytest
import torch

from onlooker.memory.gist import gist_of
from onlooker.models.backbone import HeadId
from onlooker.settings import Settings
from onlooker.stream.ingest import Ingest
from onlooker.stream.reading import Reader
from onlooker.stream.story import story_of
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 3))
QUESTION = "where was the red ball ?"


@pytest.fixture(scope="module")
def ingest(tiny_backbone: Any) -> Ingest:
    settings = Settings(codec="raw", keyframes="all", recipe="none", memory_tokens=27)
    found = Ingest(tiny_backbone, settings, HEADS)
    for frame in Show(3, 64.0, size=56).frames(1.0):
        found.see(frame)
    return found


@pytest.mark.parametrize("budget", [0, 7, 8, 40, 10_000])
def test_a_story_is_gist_of_other_blocks_in_time_order_within_its_budget(ingest: Ingest, budget: int) -> None:
    archive = ingest.archive
    told = story_of(archive, {3, 4}, budget, until_us=40_000_000)
    assert sum(map(len, told)) <= budget
    ids = [block.block_id for block in told]
    assert ids == sorted(ids) and not {3, 4} & set(ids) and all(archive.span_of(one)[0] < 40_000_000 for one in ids)
    for block in told:
        whole = gist_of(archive.get(block.block_id))
        assert torch.equal(block.keys, whole.keys) and torch.equal(block.coords, whole.coords)
    if budget == 10_000:
        assert len(ids) == len(archive.between(None, 40_000_000)) - 2
    assert archive.working.nbytes == 0 or budget == 0  # what is read in passing is not kept near


def test_reading_lays_the_story_between_what_was_recalled(ingest: Ingest) -> None:
    plain = Reader(ingest, HEADS).read(QUESTION)
    ingest.settings = Settings(codec="raw", keyframes="all", recipe="none", memory_tokens=27, gist_tokens=24)
    told = Reader(ingest, HEADS).read(QUESTION)
    assert told.recalled == plain.recalled and told.evidence == plain.evidence
    assert 0 < len(told.context) - len(plain.context) <= 24
    ids = [block_id for block_id in told.context.block_ids if block_id >= 0]
    assert ids == sorted(ids) and set(plain.recalled.block_ids) < set(ids)
