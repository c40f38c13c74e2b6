"""A memory in a folder: closed, killed, reopened, read beside its writer; what was seen is there and goes on."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onlooker.answer import Answer
from onlooker.errors import SettingsError, SourceError, StorageError
from onlooker.frame import Frame
from onlooker.models.backbone import Backbone, HeadId, Sampling
from onlooker.models.loading import load_backbone
from onlooker.settings import MIB, Settings
from onlooker.stream.session import Session
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 3))
QUESTION = "where was the red ball ?"
SHORT = Sampling(6)
SETTINGS = Settings(
    chunk_frames=3, window_frames=4, recent_frames=2, heartbeat_s=2.0, memory_tokens=24, codec="raw", thumbnail_px=16
)
COUNT = 60


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def model(
    request: pytest.FixtureRequest, make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Backbone:
    return load_backbone(str(make_tiny_model(tmp_path_factory.mktemp("family"), family=request.param)), device="cpu")


def show(count: int = COUNT, seed: int = 3) -> list[Frame]:
    """Frames of uneven times, the first one not at 0."""
    rng = np.random.default_rng(seed)
    times = 7_300_000 + rng.integers(1, 1_500_000, count).cumsum()
    drawn = Show(seed, 64.0, 56).frames(2.0)
    return [
        Frame.from_array(frame.image, int(time), n) for n, (frame, time) in enumerate(zip(drawn, times, strict=False))
    ]


FRAMES = show()


def watch(session: Session, frames: Iterable[Frame]) -> Session:
    for frame in frames:
        session.see(frame)
    return session


def told(answer: Answer) -> tuple[Any, ...]:
    """Everything an answer says, without what the clock says."""
    said = (answer.text, answer.status, answer.asked_at_us, answer.refers_to_us, answer.evidence, answer.forgotten_us)
    return (*said, dict(answer.usage))


def asked(session: Session, **between: int) -> tuple[Any, ...]:
    """What is recalled for a question, how strongly, and the greedy answer."""
    reading = session._open().read(QUESTION, **between)
    hits = (reading.recalled.block_ids, reading.recalled.scores, reading.recalled.relevance, reading.likeness)
    return (hits, reading.context.keys.sum().item(), told(session.ask(QUESTION, sampling=SHORT, **between)))


def without_now(said: tuple[Any, ...]) -> tuple[Any, ...]:
    """An answer without the time of the last frame, which nobody knows after a kill."""
    return (*said[:2], *said[3:])


def stored(session: Session) -> dict[int, tuple[Any, ...]]:
    """All that the archive holds, to the bit."""
    archive = session._open().ingest.archive
    found: dict[int, tuple[Any, ...]] = {}
    for block_id in archive.block_ids:
        block = archive.get(block_id)
        tensors = tuple(
            getattr(block, name)
            .flatten()
            .clone(memory_format=torch.contiguous_format)
            .view(torch.uint8)
            .numpy()
            .tobytes()
            for name in ("keys", "values", "positions", "coords")
        )
        facts = (block.extent, block.span_us, block.place, archive.thumbnail(block_id))
        found[block_id] = (*tensors, *facts)
    return found


def assert_same(one: Session, other: Session) -> None:
    assert one.report == other.report
    assert one.last_us == other.last_us
    assert stored(one) == stored(other)
    assert asked(one) == asked(other)


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@contextmanager
def killed(session: Session, folder: Path, copy: Path) -> Iterator[Path]:
    """What is left of a session that is cut off now: its files as they are, synced."""
    assert session._store is not None
    session._store.sync()
    shutil.copytree(folder, copy)
    try:
        yield copy
    finally:
        session._store.close()


@pytest.mark.parametrize(("codec", "count"), [("raw", 26), ("raw16", 14), ("int4", 14)])
def test_reopening_after_every_frame_changes_nothing(model: Backbone, tmp_path: Path, codec: str, count: int) -> None:
    """Before the first frame, in the middle of each chunk, at its border: every place there is."""
    reopen_after_each(model, replace(SETTINGS, codec=codec, keyframes="all"), tmp_path, count)


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "keyframes"), [("raw", "gate"), ("int8", "all"), ("int2", "gate")])
def test_reopening_after_every_frame_of_a_longer_stream(
    model: Backbone, tmp_path: Path, codec: str, keyframes: str
) -> None:
    reopen_after_each(model, replace(SETTINGS, codec=codec, keyframes=keyframes), tmp_path, COUNT)


def reopen_after_each(model: Backbone, settings: Settings, folder: Path, count: int) -> None:
    with Session(model, settings, HEADS) as whole:
        for number, frame in enumerate(FRAMES[:count]):
            with Session(model, settings, HEADS, memory=folder) as session:
                assert session.report == whole.report
                if number % 9 == 4:
                    assert asked(session) == asked(whole)
                assert session.see(frame) == whole.see(frame)
                if number % 9 == 7:
                    assert asked(session) == asked(whole)
        with Session(model, settings, HEADS, memory=folder) as session:
            assert len(session._open().ingest.archive) > count // 6
            assert_same(session, whole)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 29, 30, 31, COUNT - 1, COUNT])
def test_a_stream_that_is_cut_once_ends_as_the_whole_one(tiny_backbone: Backbone, tmp_path: Path, cut: int) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:cut])
    with (
        Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session,
        Session(tiny_backbone, SETTINGS, HEADS) as whole,
    ):
        assert session.last_us == (FRAMES[cut - 1].time_us if cut else None)
        watch(session, FRAMES[cut:])
        assert_same(session, watch(whole, FRAMES))


def test_frames_that_were_seen_before_are_refused_after_reopening(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:5])
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        with pytest.raises(SourceError, match="came after one of"):
            session.see(FRAMES[4])
        watch(session, FRAMES[5:6])
        assert session.see(FRAMES[6].image) in (True, False)  # a bare picture's time goes on behind the last one's
        assert session.last_us is not None and session.last_us > FRAMES[5].time_us


@pytest.mark.parametrize("count", [0, 2, 4, 28, 45])
def test_after_a_kill_all_that_was_synced_is_there(model: Backbone, tmp_path: Path, count: int) -> None:
    session = watch(Session(model, SETTINGS, HEADS, memory=tmp_path / "a"), FRAMES[:count])
    with killed(session, tmp_path / "a", tmp_path / "b") as copy, Session(model, SETTINGS, HEADS, memory=copy) as after:
        archive = after._open().ingest.archive
        assert stored(after) == stored(session)
        if len(archive) > 6:
            start_us = session._open().ingest.recent()[0].time_us
            ours, theirs = (asked(one, until_us=start_us) for one in (after, session))
            assert ours[:2] == theirs[:2]
            assert without_now(ours[2]) == without_now(theirs[2])
        last = archive.block_ids[-1:]
        rest = [frame for frame in FRAMES if frame.time_us > (after.last_us or 0)]
        if last:
            assert rest[0].time_us == archive.span_of(last[0])[1]  # the frame that ended the last block comes again
        watch(after, rest)
        assert archive.block_ids == tuple(range(len(archive))) and len(archive) > len(last) + 10
        spans = [archive.span_of(block_id) for block_id in archive.block_ids]
        assert all(one[1] == other[0] for one, other in pairwise(spans))
        assert asked(after)


@pytest.mark.parametrize(("saved", "count"), [(7, 7), (7, 8), (7, 30), (28, 29), (1, 2)])
def test_a_kill_some_time_after_save_loses_no_more_than_what_came_after_it(
    tiny_backbone: Backbone, tmp_path: Path, saved: int, count: int
) -> None:
    session = watch(Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path / "a"), FRAMES[:saved])
    session.save()
    at_save = (session.report, asked(session))
    before = session.memory.blocks
    watch(session, FRAMES[saved:count])
    with (
        killed(session, tmp_path / "a", tmp_path / "b") as copy,
        Session(tiny_backbone, SETTINGS, HEADS, memory=copy) as after,
    ):
        assert stored(after) == stored(session)
        if session.memory.blocks == before:  # nothing was stored since: the checkpoint holds
            assert (after.report, asked(after)) == at_save
            watch(after, FRAMES[saved:])
            with Session(tiny_backbone, SETTINGS, HEADS) as whole:
                assert_same(after, watch(whole, FRAMES))
        else:
            assert after.report.keyframes == after.memory.blocks
            watch(after, [frame for frame in FRAMES if frame.time_us > (after.last_us or 0)])
            assert after.memory.blocks > session.memory.blocks


def test_reading_beside_a_writer_sees_what_was_saved_and_changes_nothing(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as writer:
        watch(writer, FRAMES[:30])
        writer.save()
        before, files = asked(writer), bytes_in(tmp_path)
        with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path, read_only=True) as reader:
            assert asked(reader) == before and stored(reader) == stored(writer)
            watch(writer, FRAMES[30:])
            assert asked(reader) == before
            with pytest.raises(SettingsError, match="read only"):
                reader.see(FRAMES[30])
            with pytest.raises(SettingsError, match="read only"):
                reader.forget(everything=True)
            reader.save()
        with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path, read_only=True) as later:
            assert stored(later) == stored(writer)
        with pytest.raises(StorageError, match="another process is writing"):
            Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path)
        assert files[:100] == bytes_in(tmp_path)[:100]
    files = bytes_in(tmp_path)
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path, read_only=True) as reader:
        asked(reader)
    assert bytes_in(tmp_path) == files


def test_a_folder_of_the_first_version_goes_on_with_all_that_waited(
    tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gate and its recipe begin anew; keyframes that were not stored yet are there."""
    settings = replace(SETTINGS, keyframes="all")
    with monkeypatch.context() as older, Session(tiny_backbone, settings, HEADS, memory=tmp_path) as session:
        older.setattr("onlooker.stream.checkpoint.VERSION", 1)
        watch(session, FRAMES[:13])
        report, last_us = session.report, session.last_us
        session.save()
        session.close()
    with Session(tiny_backbone, settings, HEADS, memory=tmp_path) as later:
        assert later.report == report
        assert later.last_us == last_us
        assert later.exact
        assert len(later._open().ingest._pending) > 0
        watch(later, FRAMES[13:20])


def test_a_session_that_cannot_begin_leaves_the_folder_free(tiny_backbone: Backbone, tmp_path: Path) -> None:
    for wrong in (replace(SETTINGS, reading="nonsense"), replace(SETTINGS, recipe="shears")):
        with pytest.raises(SettingsError, match="there is no"):
            Session(tiny_backbone, wrong, HEADS, memory=tmp_path)
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:3])


def test_a_reader_whose_blocks_a_writer_forgot_answers_without_them(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as writer:
        watch(writer, FRAMES[:40])
        writer.save()
        with Session(tiny_backbone, replace(SETTINGS, archive_bytes=MIB), HEADS, memory=tmp_path, read_only=True) as (
            reader
        ):
            assert reader._store is not None
            reader._store.limit(0)  # nothing of it is in host memory yet
            writer.forget(None, FRAMES[20].time_us)
            reading = reader._open().read(QUESTION, until_us=FRAMES[20].time_us)
            assert reading.recalled.block_ids == ()
            assert reader.ask(QUESTION, sampling=SHORT).text is not None


def test_nothing_is_read_only_where_there_is_nothing(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk_frames": 2},
        {"chunk_frames": 8},
        {"recent_frames": 1},
        {"recent_frames": 6},
        {"window_frames": 0},
        {"recipe": "uniform"},
        {"prune_rate": 1.0},
        {"codec": "int4"},
        {"codec": "int8"},
        {"thumbnail_px": 0},
        {"keyframes": "all"},
    ],
    ids=str,
)
def test_settings_may_change_between_runs(tiny_backbone: Backbone, tmp_path: Path, changes: dict[str, object]) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        before = stored(watch(session, FRAMES[:31]))
    with Session(tiny_backbone, replace(SETTINGS, **changes), HEADS, memory=tmp_path) as session:
        assert stored(session) == before
        watch(session, FRAMES[31:])
        after = stored(session)
        assert {block_id: after[block_id] for block_id in before} == before and len(after) > len(before)
        assert list(after) == list(range(len(after)))
        assert session.report.frames == COUNT
        answer = asked(session)
        archive = session._open().ingest.archive
        spans = [archive.span_of(block_id) for block_id in archive.block_ids]
        assert all(one[1] == other[0] for one, other in pairwise(spans))
    with Session(tiny_backbone, replace(SETTINGS, **changes), HEADS, memory=tmp_path) as session:
        assert stored(session) == after and asked(session) == answer


def test_heads_that_were_calibrated_later_are_searched_by_the_stored_keys(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    later = (HeadId(0, 3), *HEADS)
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:40])
    with (
        Session(tiny_backbone, SETTINGS, later, memory=tmp_path) as session,
        Session(tiny_backbone, SETTINGS, later) as whole,
    ):
        watch(whole, FRAMES[:40])
        ours, theirs = (one._open().ingest.archive.traces.keys for one in (session, whole))
        assert ours.keys() == theirs.keys() and len(ours) > len(session._open().ingest.archive.traces.heads) - 2
        for place, trace in ours.items():
            assert len(trace.index) == len(theirs[place].index)
        assert asked(session) == asked(whole)  # codec raw keeps the keys as they were
        watch(session, FRAMES[40:])
        assert asked(session) == asked(watch(whole, FRAMES[40:]))


def test_a_group_whose_keys_cannot_be_read_for_new_heads_is_forgotten_once(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES)
        whole = stored(session)
        assert session._store is not None
        broken = session._store.log.read(session._store._groups[3][0])
    flip(tmp_path, broken)
    for _ in range(2):
        for read_only in (True, False):
            with Session(tiny_backbone, SETTINGS, (HeadId(0, 3),), memory=tmp_path, read_only=read_only) as session:
                assert [one.count for one in session.memory.forgotten] == [3]
                assert stored(session) == {i: facts for i, facts in whole.items() if i not in (3, 4, 5)}


def test_a_memory_without_the_heads_of_before_is_searched_by_features(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:30])
    with (
        Session(tiny_backbone, SETTINGS, (), memory=tmp_path) as session,
        Session(tiny_backbone, SETTINGS, ()) as whole,
    ):
        assert asked(session) == asked(watch(whole, FRAMES[:30]))


@pytest.mark.parametrize("codec", ["raw", "int4"])
@pytest.mark.parametrize(("first", "last"), [(0, 60), (5, 9), (54, 60), (58, 60), (59, 60), (0, 57)])
def test_what_is_forgotten_is_nowhere_any_more(
    tiny_backbone: Backbone, tmp_path: Path, first: int, last: int, codec: str
) -> None:
    """In the archive, in the window, among the newest frames, among those that wait: bytes of none are left."""
    settings = replace(SETTINGS, keyframes="all", codec=codec, recipe="none")
    frames, times = noise(COUNT), [frame.time_us for frame in FRAMES]
    since_us, until_us = times[first], times[last] if last < COUNT else None
    with Session(tiny_backbone, settings, HEADS, memory=tmp_path) as session:
        watch(session, frames)
        session.save()
        ingest = session._open().ingest
        archive = ingest.archive
        before = stored(session)
        kept = {i: facts for i, facts in before.items() if not first <= i < last}
        markers = [pixels(frames[n]) for n in range(first, last) if n >= len(before)]
        for block_id in range(first, min(last, len(before))):
            block = archive.get(block_id)
            markers.append(archive.thumbnail(block_id))
            if codec == "raw":
                markers.append(block.values[0, 0, 0].numpy().tobytes())
        for item in [item for item in ingest._encoded if first <= item.block_id < last]:
            markers.append(item.features[0].numpy().tobytes())
        assert markers and all(marker in bytes_in(tmp_path) for marker in markers)
        assert session.forget(since_us, until_us) == last - first
        folder = bytes_in(tmp_path)
        assert not [number for number, marker in enumerate(markers) if marker in folder]
        after = stored(session)
        assert {i: facts for i, facts in after.items() if i in kept} == kept
        # Keyframes that wait before the stretch are stored, so that none of them spans it.
        assert after.keys() == kept.keys() | set(range(len(before), first))
        assert all(not first <= block.block_id < last for block in ingest.window.blocks)
        assert all(not first <= item.block_id < last for item in ingest._encoded)
        assert session.forget(since_us, until_us) == 0
        for wrong in ((times[5], times[5]), (times[5], times[4]), (None, None)):
            with pytest.raises(SettingsError, match=r"forget|range ends"):
                session.forget(*wrong)
        assert stored(session) == after
        answer = asked(session)
    with Session(tiny_backbone, settings, HEADS, memory=tmp_path) as session:
        assert stored(session) == after
        assert asked(session) == answer
        rest = show(72)[60:]
        watch(session, [replace(frame, time_us=times[-1] + 1 + n * 900_000) for n, frame in enumerate(rest)])
        archive = session._open().ingest.archive
        assert len(archive) > len(after)
        assert archive.block_ids == tuple(sorted(set(archive.block_ids)))


def noise(count: int) -> list[Frame]:
    """Frames of which no two have anything in common, at the times of the others."""
    rng = np.random.default_rng(1)
    return [replace(frame, image=rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for frame in FRAMES[:count]]


def pixels(frame: Frame) -> bytes:
    """A frame that waits, as its checkpoint keeps it."""
    from onlooker.stream.checkpoint import Checkpoint

    point = Checkpoint()
    point.put_frame("it", frame)
    return point.tensors["it"].numpy().tobytes()


def test_thumbnails_of_the_gate_and_cells_of_pruning_are_forgotten_as_well(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES)
        session.save()
        ingest = session._open().ingest
        gate, pruning = ingest._gate.state, ingest._state.memory
        assert gate is not None
        markers = [
            gate.kept.tobytes(),
            gate.last.tobytes(),
            next(t for name, t in pruning.items() if name.endswith("/reference")).numpy().tobytes(),
        ]
        assert all(marker in bytes_in(tmp_path) for marker in markers)
        session.forget(everything=True)
        folder = bytes_in(tmp_path)
        assert [marker in folder for marker in markers] == [False] * 3
        assert session.see(replace(FRAMES[0], time_us=10**9))  # as if it were the first one


def test_the_newest_frames_are_forgotten_though_their_blocks_are_gone_already(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, keyframes="all", recent_frames=12, window_frames=12)
    with Session(tiny_backbone, settings, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:30])
        ingest = session._open().ingest
        ingest.archive.forget(FRAMES[16].time_us, FRAMES[22].time_us)  # as a cap would
        assert {item.block_id for item in ingest._encoded} >= set(range(16, 22))
        session.forget(FRAMES[15].time_us, FRAMES[24].time_us)
        assert not {item.block_id for item in ingest._encoded} & set(range(15, 24))
        assert not {block.block_id for block in ingest.window.blocks} & set(range(15, 24))


def test_a_memory_of_which_all_was_forgotten_goes_on_behind_it(tiny_backbone: Backbone, tmp_path: Path) -> None:
    session = watch(Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path / "a"), FRAMES[:40])
    session._open().ingest.archive.forget()
    with (
        killed(session, tmp_path / "a", tmp_path / "b") as copy,
        Session(tiny_backbone, SETTINGS, HEADS, memory=copy) as after,
    ):
        assert after.memory.blocks == 0 and after.memory.forgotten == session.memory.forgotten
        assert after.last_us is not None and FRAMES[30].time_us < after.last_us <= FRAMES[39].time_us
        assert after.ask(QUESTION, sampling=SHORT).forgotten_us
        watch(after, [frame for frame in FRAMES if frame.time_us > after.last_us])
        archive = after._open().ingest.archive
        last_id = session._open().ingest.archive.last_id
        assert last_id is not None and archive.block_ids[0] == last_id + 1


def test_the_newest_stretch_stays_forgotten_for_who_goes_on(tiny_backbone: Backbone, tmp_path: Path) -> None:
    session = watch(Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path / "a"), FRAMES[:40])
    archive = session._open().ingest.archive
    last = archive.last
    archive.forget(FRAMES[25].time_us)
    with (
        killed(session, tmp_path / "a", tmp_path / "b") as copy,
        Session(tiny_backbone, SETTINGS, HEADS, memory=copy) as after,
    ):
        assert after._open().ingest.archive.last == last  # ids and times are not given twice
        watch(after, [frame for frame in FRAMES if frame.time_us > (after.last_us or 0)])
        assert not after._open().ingest.archive.between(FRAMES[26].time_us, FRAMES[30].time_us)


@pytest.mark.parametrize("place", ["put", "log.append"])
def test_a_full_disk_stops_watching_and_not_asking(
    tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    settings = replace(SETTINGS, keyframes="all")
    with Session(tiny_backbone, settings, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:30])
        store = session._store
        assert store is not None
        owner = store if place == "put" else store.log
        before = stored(session)
        with monkeypatch.context() as patch:
            patch.setattr(owner, place.rpartition(".")[2], full)
            due = len(session._open().ingest._pending) >= SETTINGS.chunk_frames
            rest = iter(FRAMES[30:])
            while not due:  # frames wait in host memory until their chunk is due
                session.see(next(rest))
                due = len(session._open().ingest._pending) >= SETTINGS.chunk_frames
            report, answer = session.report, asked(session)
            for frame in list(rest)[:4]:
                with pytest.raises(StorageError, match="the disk is full"):
                    session.see(frame)
                assert session.report == report and stored(session) == before
                assert asked(session) == answer
        assert session.last_us is not None
        watch(session, [frame for frame in FRAMES[30:] if frame.time_us > session.last_us])
        with Session(tiny_backbone, settings, HEADS) as whole:
            assert_same(session, watch(whole, FRAMES))


def full(*_: object) -> None:
    raise StorageError("the disk is full: make room there")


def test_closing_does_not_hide_what_went_wrong_first(
    tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = watch(Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path), FRAMES[:10])
    assert session._store is not None
    monkeypatch.setattr(session._store.log, "append", full)
    with pytest.raises(ZeroDivisionError), session:
        1 / 0  # noqa: B018
    session = Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path)  # closed all the same, and open to the next
    assert session._store is not None
    monkeypatch.setattr(session._store.log, "append", full)
    with pytest.raises(StorageError, match="the disk is full"):
        session.close()
    session.close()
    Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path).close()


def test_saving_over_and_over_stays_under_the_cap_on_disk(tiny_backbone: Backbone, tmp_path: Path) -> None:
    settings = replace(SETTINGS, disk_bytes=64 * MIB, keyframes="all", chunk_frames=64)
    rng = np.random.default_rng(0)
    with Session(tiny_backbone, settings, HEADS, memory=tmp_path) as session:
        for number in range(12):  # noise does not pack: each waiting frame is a large picture
            session.see(Frame(rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8), number))
        for _ in range(8):
            session.save()
            assert session.memory.disk_bytes <= settings.disk_bytes
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= settings.disk_bytes


def test_a_damaged_note_of_the_stream_costs_no_new_video(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:30])
        store = session._store
        assert store is not None
        note = store.log.read(store._notes["stream"][0])
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        assert session._store is not None
        session._store.unnote("checkpoint")
        session._reader = None  # as if it were killed: no checkpoint is written
        session._store.close()
    flip(tmp_path, note)
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        before = session._open().ingest.archive.block_ids
        assert before and session.last_us is not None and session.last_us > FRAMES[0].time_us
        watch(session, [frame for frame in FRAMES if frame.time_us > session.last_us])
        after = session._open().ingest.archive.block_ids
        assert after[: len(before)] == before and len(after) > len(before) + 5
        assert after == tuple(range(len(after)))
        told = session._store.noted("stream") if session._store is not None else None
        assert told is not None  # the next process finds it again


def test_behind_a_crash_now_is_what_was_stored_last(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES[:30])
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        assert session._store is not None
        session._store.unnote("checkpoint")
        session._reader = None  # as if it were killed
        session._store.close()
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path, read_only=True) as session:
        archive = session._open().ingest.archive
        reading = session._open().read("what is on the screen now ?")
        assert not reading.history and reading.recalled.block_ids == archive.block_ids[-2:]
        [evidence] = reading.evidence
        assert (evidence.start_us, evidence.end_us) == archive.span_of(archive.block_ids[-1])
        assert len(reading.context) == len(session._open().ingest.sink) + reading.recalled.tokens


def test_a_memory_belongs_to_one_source(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        session.belongs_to("1234", "walk.mp4")
        session.belongs_to("1234", "moved/walk.mp4")
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        session.belongs_to("1234", "walk.mp4")
        with pytest.raises(SettingsError, match=r"of walk\.mp4, and run\.mp4 is another video"):
            session.belongs_to("5678", "run.mp4")
        assert session._store is not None
        assert json.loads(session._store.noted("source") or b"")["name"] == "walk.mp4"


def test_what_is_damaged_is_left_out_also_by_who_only_reads(tiny_backbone: Backbone, tmp_path: Path) -> None:
    with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path) as session:
        watch(session, FRAMES)
        whole = stored(session)
        assert session._store is not None
        broken = session._store.log.read(session._store._groups[9][0])
    flip(tmp_path, broken)
    for read_only in (True, False):
        with Session(tiny_backbone, SETTINGS, HEADS, memory=tmp_path, read_only=read_only) as session:
            archive = session._open().ingest.archive
            between = {"since_us": archive.span_of(9)[0], "until_us": archive.span_of(11)[1]}
            assert session._open().read(QUESTION, **between).recalled.block_ids == ()
            assert session.ask(QUESTION, **between).status == "not_remembered"
            assert [(gone.start_us, gone.count) for gone in archive.forgotten] == [(starts(whole)[9], 3)]
            left = stored(session)
            assert left == {i: facts for i, facts in whole.items() if i not in (9, 10, 11)}


def starts(whole: dict[int, tuple[Any, ...]]) -> list[int]:
    return [facts[5][0] for facts in whole.values()]


def flip(folder: Path, payload: bytes) -> None:
    """Change a bit in the middle of a record's payload."""
    for path in folder.glob("*.seg"):
        data = bytearray(path.read_bytes())
        at = data.find(payload)
        if at >= 0:
            data[at + len(payload) // 2] ^= 4
            path.write_bytes(data)
            return
    raise AssertionError("no such record")
