"""Rules 3, 4 and 7: what is stored, and how much of it."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.frame import Frame
from onlooker.memory.archive import Archive
from onlooker.models.backbone import Backbone, HeadId
from onlooker.models.loading import load_backbone
from onlooker.settings import MIB, Settings
from onlooker.stream.ingest import Ingest
from onlooker.stream.seen import thumbnail
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 1))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(Show(3, 60, size=56).frames(2.0))


def feed(backbone: Backbone, frames: Iterable[Frame], **changes: Any) -> Ingest:
    ingest = Ingest(backbone, Settings(**{"codec": "raw", **changes}), HEADS)
    for frame in frames:
        ingest.see(frame)
    return ingest


def assert_same(one: Archive, other: Archive, upto: int | None = None) -> None:
    """All that is stored is equal, bit by bit; upto: of the first so many blocks."""
    assert one.block_ids[:upto] == other.block_ids[:upto]
    for block_id in one.block_ids[:upto]:
        a, b = one.get(block_id), other.get(block_id)
        assert torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values)
        assert torch.equal(a.coords, b.coords) and torch.equal(a.positions, b.positions)
        assert a.span_us == b.span_us and a.extent == b.extent
        assert one.thumbnail(block_id) == other.thumbnail(block_id)


def test_blocks_follow_the_keyframes(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    ingest = feed(tiny_backbone, frames[:20], keyframes="all", recipe="none", chunk_frames=8)
    assert ingest.archive.block_ids == tuple(range(16))
    times = [frame.time_us for frame in frames]
    for block_id in ingest.archive.block_ids:
        block = ingest.archive.get(block_id)
        assert block.span_us == (times[block_id], times[block_id + 1])
        assert block.coords.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
        assert block.positions.tolist() == [[0], [1], [2], [3]]
    report = ingest.report
    assert (report.frames, report.keyframes, report.cells, report.tokens) == (20, 20, 64, 64)
    assert report.now_us == times[19]


def test_stamps_stand_before_their_frames(
    make_tiny_model: Callable[..., Path], tmp_path: Path, frames: list[Frame]
) -> None:
    backbone = load_backbone(str(make_tiny_model(tmp_path, card={"time_stamps": "clock"})), device="cpu")
    ingest = feed(backbone, frames[:10], keyframes="all", recipe="none", chunk_frames=4)
    block = ingest.archive.get(7)  # 3.5 s: "0:03", four tokens
    assert block.coords[:4].eq(-1).all() and len(block) == 8
    seen = ingest.recent()
    recent = ingest.prefill_frames(seen)
    assert recent is not None
    assert len(recent) == sum(ingest.length(item) for item in seen) == 4 * 8
    assert recent.coords[4].tolist() == [0, 0, 0] and recent.coords[8].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("cut", [1, 8, 9, 30, 57])
def test_cutting_the_stream_changes_nothing_before(tiny_backbone: Backbone, frames: list[Frame], cut: int) -> None:
    whole, part = feed(tiny_backbone, frames), feed(tiny_backbone, frames[:cut])
    assert_same(part.archive, whole.archive, upto=len(part.archive))
    assert len(part.archive) < len(whole.archive)


@settings(max_examples=8)
@given(asked=st.sets(st.integers(0, 59)))
def test_looking_in_between_changes_nothing(tiny_backbone: Backbone, frames: list[Frame], asked: set[int]) -> None:
    plain, looked = feed(tiny_backbone, frames), feed(tiny_backbone, ())
    for number, frame in enumerate(frames[:60]):
        looked.see(frame)
        if number in asked:
            looked.prefill_frames(looked.recent())
            looked.waiting()
    for frame in frames[60:]:
        looked.see(frame)
    assert_same(plain.archive, looked.archive)


def test_interleaved_streams_equal_separate_ones(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    others = list(Show(4, 60, size=56).frames(2.0))
    first, second = feed(tiny_backbone, ()), feed(tiny_backbone, ())
    for one, other in zip(frames, others, strict=True):
        first.see(one)
        second.see(other)
    assert_same(first.archive, feed(tiny_backbone, frames).archive)
    assert_same(second.archive, feed(tiny_backbone, others).archive)


def test_a_buffer_that_is_drawn_into_again_does_no_harm(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    buffer, reused = np.empty_like(frames[0].image), feed(tiny_backbone, ())
    for frame in frames:
        buffer[:] = frame.image
        reused.see(Frame(buffer, frame.time_us))
    assert_same(reused.archive, feed(tiny_backbone, frames).archive)


@pytest.mark.parametrize(
    "changes", [{"window_frames": 0}, {"window_frames": 0, "chunk_frames": 1}, {"chunk_frames": 1}]
)
def test_smallest_settings(tiny_backbone: Backbone, frames: list[Frame], changes: dict[str, Any]) -> None:
    ingest = feed(tiny_backbone, frames[:20], keyframes="all", recent_frames=1, **changes)
    assert len(ingest.archive) == (19 if ingest.settings.chunk_frames == 1 else 16)
    assert len(ingest.window) == (0 if ingest.settings.window_frames == 0 else 8)
    assert [item.block_id for item in ingest.recent()] == list(range(len(ingest.archive), 20))


def test_recent_frames_reach_into_what_is_stored(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    ingest = feed(tiny_backbone, frames[:22], keyframes="all", chunk_frames=4, recent_frames=9)
    seen = ingest.recent()
    assert [item.block_id for item in seen] == list(range(13, 22))
    assert [item.end_us for item in seen] == [*(frame.time_us for frame in frames[14:22]), None]
    ingest = feed(tiny_backbone, frames[:24], keyframes="all", chunk_frames=8, recent_frames=2)
    assert [item.block_id for item in ingest.recent()] == list(range(16, 24))  # all that wait


def test_waiting_frames_are_encoded_once_for_many_questions(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest, calls = feed(tiny_backbone, frames[:12], keyframes="all"), []
    encode = tiny_backbone.encode
    monkeypatch.setattr(
        tiny_backbone, "encode", lambda images, *rest: calls.append(len(images)) or encode(images, *rest)
    )
    assert ingest.recent() == ingest.recent() == ingest.recent()
    assert calls == [1] * 4  # each alone: its features depend on nothing else
    ingest.see(frames[12])
    assert len(ingest.recent()) == 5 and calls == [1] * 5  # only the new one
    assert [item.end_us for item in ingest.recent()] == [*(frame.time_us for frame in frames[9:13]), None]


def test_waiting_gives_the_blocks_that_would_be_stored(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    ingest = feed(tiny_backbone, frames[:16], keyframes="all")
    waiting = ingest.waiting()
    ingest.see(frames[16])
    assert [block.block_id for block in waiting] == list(range(8, 16))
    for block in waiting:
        assert torch.equal(block.keys, ingest.archive.get(block.block_id).keys)


def test_keyframes_of_which_nothing_is_left(tiny_backbone: Backbone) -> None:
    """A still picture at a rate of less than a token a frame: whole chunks are pruned away."""
    still = np.full((56, 56, 3), 90, np.uint8)
    ingest = feed(
        tiny_backbone, (Frame(still, n * 1000) for n in range(60)), keyframes="all", prune_rate=0.05, chunk_frames=4
    )
    sizes = [ingest.archive.size(block_id) for block_id in ingest.archive.block_ids]
    assert len(sizes) == 56 and sizes[0] == 4 and sizes.count(0) > 40
    assert ingest.report.tokens == sum(size or 0 for size in sizes)


def test_a_chunk_that_fails_leaves_everything_as_it_was(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = feed(tiny_backbone, ())
    failures = 0
    for frame in frames:
        before, held = ingest.report, ingest.archive.block_ids
        with monkeypatch.context() as patch:
            patch.setattr(tiny_backbone, "prefill", lambda *_, **__: 1 / 0)
            try:
                ingest.see(frame)
            except ZeroDivisionError:
                failures += 1
                assert (ingest.report, ingest.archive.block_ids) == (before, held)
            else:
                continue  # no chunk was due
        ingest.see(frame)
    assert failures
    assert_same(ingest.archive, feed(tiny_backbone, frames).archive)


@pytest.mark.parametrize("place", ["archive.extend", "traces._add"])
def test_an_interrupt_while_a_chunk_is_stored_loses_nothing(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    whole = feed(tiny_backbone, frames)
    ingest = feed(tiny_backbone, ())
    owner, name = (ingest.archive, "extend") if place == "archive.extend" else (ingest.archive.traces, "_add")
    real, calls, interrupted = getattr(owner, name), 0, 0

    def fails_now_and_then(*words: object) -> object:
        nonlocal calls
        calls += 1
        if calls % 4 == 3:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(owner, name, fails_now_and_then)
    for frame in frames:
        while True:
            try:
                ingest.see(frame)
                break
            except KeyboardInterrupt:
                interrupted += 1
    assert interrupted
    assert ingest.report == whole.report
    assert_same(ingest.archive, whole.archive)
    for key_head, trace in ingest.archive.traces.keys.items():
        assert len(trace.index) == len(whole.archive.traces.keys[key_head].index)


def test_the_archive_obeys_its_cap(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    ingest = feed(tiny_backbone, (), keyframes="all", recipe="none", archive_bytes=MIB)
    for number in range(400):
        ingest.see(replace(frames[number % len(frames)], time_us=number * 1000))
        assert ingest.archive.nbytes <= MIB
        assert len(ingest._pending) <= 8 and len(ingest._encoded) <= 4 and len(ingest.window) <= 8
    [forgotten] = ingest.archive.forgotten
    assert forgotten.start_us == 0 and forgotten.count + len(ingest.archive) == 392
    assert ingest.archive.span() == (forgotten.end_us, 392_000)
    assert sum(ingest.archive.stats().levels[1:]) > 0  # what is old was consolidated before it had to go


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory from /proc")
def test_memory_is_flat_over_100_000_frames(tiny_backbone: Backbone) -> None:
    """Resident memory after 100,000 frames is where it was after 2,000, when archive, window and chunk are full.

    8 MiB are allowed for what the allocators keep: growth of 100 bytes a frame would already be more.
    """
    chance = np.random.default_rng(0)
    pictures = [chance.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(7)]
    ingest = feed(tiny_backbone, (), heartbeat_s=0.1, archive_bytes=MIB, chunk_frames=64, thumbnail_px=8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(100_000):
            # The picture changes every fourth frame; the gate skips the others, as it does on real streams.
            ingest.see(Frame(pictures[number // 4 % 7], number * 1000))
            if number == 2_000:
                early, blocks = resident_bytes(), len(ingest.archive)
            if number % 10_000 == 0:
                ingest.prefill_frames(ingest.recent())
    finally:
        torch.set_num_threads(threads)
    assert ingest.archive.nbytes <= MIB and ingest.archive.forgotten
    assert ingest.report.keyframes >= 25_000 and blocks
    assert resident_bytes() - early < 8 * MIB


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (56, 56), (400, 300)])
def test_thumbnails_fit_their_side(shape: tuple[int, int]) -> None:
    import cv2

    picture = cv2.imdecode(np.frombuffer(thumbnail(np.zeros((*shape, 3), np.uint8), 160), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert max(picture.shape[:2]) == min(160, max(shape)) and min(picture.shape[:2]) >= 1
    assert thumbnail(np.zeros((*shape, 3), np.uint8), 0) == b""
