"""Rules 3, 4, 5 and 7 for every family: what is stored is causal, bounded, isolated, and no matter how it came."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.frame import Frame
from onlooker.memory.positions import CAPPED_GAP
from onlooker.models.backbone import Backbone, HeadId, Sampling
from onlooker.models.loading import load_backbone
from onlooker.settings import MIB, Settings
from onlooker.stream.ingest import STAMP_TOKENS, Ingest
from onlooker.stream.reading import Reader
from onlooker.stream.seen import Seen
from onlooker.stream.session import Session
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 3))
QUESTIONS = ("where was the red ball ?", "what is seen ?")
SETTINGS = Settings(codec="raw", chunk_frames=3, window_frames=4, recent_frames=2, heartbeat_s=2.0)


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def model(
    request: pytest.FixtureRequest, make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Backbone:
    return load_backbone(str(make_tiny_model(tmp_path_factory.mktemp("family"), family=request.param)), device="cpu")


def show(seed: int, count: int = 40, since_us: int = 7_300_000) -> list[Frame]:
    """Frames of uneven times, the first one not at 0."""
    rng = np.random.default_rng(seed)
    times = since_us + rng.integers(1, 1_500_000, count).cumsum()
    drawn = Show(seed, 64.0, 64).frames(2.0)
    return [
        Frame.from_array(frame.image, int(time), n) for n, (frame, time) in enumerate(zip(drawn, times, strict=False))
    ]


def watched(model: Backbone, frames: Sequence[Frame], ask_after: Sequence[int] = ()) -> Session:
    session = Session(model, SETTINGS, HEADS)
    for number, frame in enumerate(frames):
        session.see(frame)
        if number in ask_after:
            session.ask(QUESTIONS[number % 2], sampling=Sampling(2))
    return session


def assert_same_memory(one: Session, other: Session, blocks: int | None = None) -> None:
    """The same blocks, up to so many of them."""
    archives = [session._open().ingest.archive for session in (one, other)]
    ids = [archive.block_ids[:blocks] for archive in archives]
    assert ids[0] == ids[1] and ids[0]
    for block_id in ids[0]:
        a, b = (archive.get(block_id) for archive in archives)
        assert (a.extent, a.span_us, a.place) == (b.extent, b.span_us, b.place)
        for name in ("keys", "values", "positions", "coords"):
            assert torch.equal(getattr(a, name), getattr(b, name))


@settings(max_examples=8)
@given(asked=st.sets(st.integers(0, 39), max_size=6), seed=st.integers(0, 2))
def test_questions_change_nothing_that_is_stored(model: Backbone, asked: set[int], seed: int) -> None:
    frames = show(seed)
    assert_same_memory(watched(model, frames, sorted(asked)), watched(model, frames))


@settings(max_examples=8)
@given(cut=st.integers(8, 39), seed=st.integers(0, 2))
def test_what_comes_later_changes_nothing_before(model: Backbone, cut: int, seed: int) -> None:
    frames = show(seed)
    short, whole = watched(model, frames[:cut]), Session(model, SETTINGS, HEADS)
    answer = None
    for number, frame in enumerate(frames):
        if number == cut:  # what a question asked here says must not wait for what comes
            stream = whole.ask_stream(QUESTIONS[0], sampling=Sampling(8))
        whole.see(frame)
        if number == cut:
            for _ in stream:
                pass
            answer = stream.answer
    kept = len(short._open().ingest.archive)
    if kept:
        assert_same_memory(short, whole, kept)
    alone = short.ask(QUESTIONS[0], sampling=Sampling(8))
    assert answer is not None
    assert (answer.text, answer.evidence) == (alone.text, alone.evidence)


def test_interleaved_sessions_equal_separate_ones(model: Backbone) -> None:
    streams = [show(1), show(2, since_us=900_000_000)]
    apart = [watched(model, frames) for frames in streams]
    together = [Session(model, SETTINGS, HEADS) for _ in streams]
    for frames in zip(*streams, strict=True):
        for session, frame in zip(together, frames, strict=True):
            session.see(frame)
    for one, other in zip(apart, together, strict=True):
        assert_same_memory(one, other)
    running = [session.ask_stream(QUESTIONS[0], sampling=Sampling(8)) for session in together]
    for _ in range(8):
        for answer in running:
            next(answer, None)
    want = [session.ask(QUESTIONS[0], sampling=Sampling(8)) for session in apart]
    for answer in running:
        list(answer)
    assert [answer.answer.text for answer in running] == [answer.text for answer in want]


def test_places_tell_the_whole_streams_story(model: Backbone) -> None:
    """Blocks that follow each other touch: where one ends the next one starts, also over the borders of chunks."""
    frames = show(0)
    archive = watched(model, frames)._open().ingest.archive
    blocks = [archive.get(block_id) for block_id in archive.block_ids]
    for before, after in pairwise(blocks):
        assert before.place is not None and after.place == before.place + before.extent
    assert blocks[0].place == 0
    if model.layout.ids_per_second:
        for block in blocks:
            assert block.place == (block.span_us[0] - frames[0].time_us) * 2 // 1_000_000
    else:
        assert all(block.extent >= len(block) or model.layout.rotary.axes == 3 for block in blocks)


def test_recent_frames_whose_features_are_kept_hold_no_more_than_themselves(model: Backbone) -> None:
    """Cut out of a chunk by copy: a view would keep the features and planes of all the chunk alive."""
    seen = watched(model, show(0))._open().ingest.recent()
    for item in seen:
        for plane in (item.tokens.features, *item.tokens.extras.values()):
            assert plane.untyped_storage().nbytes() == plane.numel() * plane.element_size()


def test_memory_stays_under_its_caps(model: Backbone) -> None:
    small = Settings(chunk_frames=2, window_frames=2, keyframes="all", archive_bytes=MIB, recipe="none")
    ingest = Ingest(model, small, HEADS)
    picture = np.random.default_rng(0).integers(0, 256, (270, 480, 3), dtype=np.uint8)
    for number in range(300):
        ingest.see(Frame.from_array(np.roll(picture, 31 * number, axis=1), number * 700_000, number))
        assert ingest.archive.nbytes <= MIB
        assert ingest.window.tokens <= 2 * (ingest.cells + STAMP_TOKENS)
    assert ingest.archive.forgotten
    assert len(ingest.window) == 2


def test_frames_of_other_sizes_are_brought_to_the_first_ones_grid(model: Backbone) -> None:
    ingest = Ingest(model, Settings(chunk_frames=2, keyframes="all"), HEADS)
    for number, (height, width) in enumerate([(64, 96), (96, 64), (1, 1), (2160, 3840), (64, 96)]):
        ingest.see(Frame.from_array(np.full((height, width, 3), 60 + number, np.uint8), number, number))
    assert ingest.grid == model.grid_of(64, 96)
    assert len(ingest.archive) == 4
    assert all(item.tokens.grid == ingest.grid for item in ingest.recent())


def test_the_setting_of_positions_says_where_recalled_blocks_stand(model: Backbone) -> None:
    """A question reads old blocks and the newest frames; what lay between them is left out, or leaves its gap."""
    frames = show(4, 40, since_us=0)
    ends = {}
    for positions in ("contiguous", "capped", "kept"):
        settings = replace(SETTINGS, positions=positions, keyframes="all", gate="always", memory_tokens=60)
        reader = Reader(Ingest(model, settings, HEADS), HEADS)
        for frame in frames:
            reader.ingest.see(frame)
        reading = reader.read(QUESTIONS[0])
        ingest, archive = reader.ingest, reader.ingest.archive
        blocks = [archive.get(block_id) for block_id in reading.recalled.block_ids]
        seen = ingest.recent()
        assert blocks and blocks[-1].block_id < seen[0].block_id
        # By hand: each block where the one before it ended, and further by what the setting gives of what is missing.
        position, before, last, last_start = len(ingest.sink), None, 1, 0
        for place, extent in [*((block.place, block.extent) for block in blocks), (recent_place(ingest, seen[0]), 0)]:
            assert place is not None
            missing = 0 if before is None else place - before
            assert missing >= 0
            gap = {"contiguous": 0, "capped": min(missing, CAPPED_GAP), "kept": missing}[positions]
            position += max(gap, 1) if missing and model.layout.ids_per_second and last == 0 else gap
            last_start, position = position, position + extent
            before, last = place + extent, extent
        near = ingest.prefill_frames(seen)
        assert near is not None
        assert reading.context.next_position == last_start + int(near.positions.max()) + 1
        ends[positions] = reading.context.next_position
    assert ends["contiguous"] < ends["capped"] <= ends["kept"]


def recent_place(ingest: Ingest, item: Seen) -> int:
    """Where the newest frames start: at their own block's place, or behind the last block while they have none."""
    archive = ingest.archive
    if item.block_id in archive:
        place = archive.get(item.block_id).place
    else:
        last = archive.get(archive.block_ids[-1])
        assert last.place is not None and item.block_id == last.block_id + 1
        place = last.place + last.extent
    assert place is not None
    return place


def test_frames_that_are_looked_at_again_stand_at_their_own_times(model: Backbone) -> None:
    frames = show(5)
    ingest = watched(model, frames)._open().ingest
    again = ingest.look(frames[3:9:2])
    block = ingest.run(again, [ingest.sink], -1)
    if model.layout.ids_per_second:
        halves = [(frame.time_us - frames[0].time_us) // 500_000 for frame in frames[3:9:2]]
        assert [item.place for item in again] == halves
        shown = block.positions[:, 0].reshape(3, -1)[:, 0]
        assert (shown - shown[0]).tolist() == [half - halves[0] for half in halves]
    else:
        assert int(block.positions.max()) + 1 == block.extent
