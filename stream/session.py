"""A session: one stream's memory, fed with frames and asked questions, from any threads."""

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from numpy.typing import ArrayLike

from ..answer import Answer
from ..errors import RecallError, SettingsError, SourceError, StorageError
from ..frame import Frame
from ..memory.archive_stats import ArchiveStats
from ..memory.forgotten import Forgotten
from ..memory.log_store import CHECKPOINT, LogStore
from ..memory.timeline import Stretch, joined
from ..models.backbone import Backbone, HeadId, Sampling
from ..settings import Settings
from .answering import AnswerStream
from .checkpoint import Checkpoint
from .holding import archive_of, open_memory
from .ingest import Ingest, IngestReport
from .reading import Reader, check_question
from .turns import Turns

SOURCE = "source"  # the note that names what is watched
OWN = "own:"  # what the caller's notes begin with
MOST_CHARACTERS = 8_192
EXAMPLE = "'what is on the screen now?'"
MOST_US = 1 << 62  # stream times are kept as int64


class Session:
    """Watch one stream and answer questions about it.

    Everything that belongs to the stream lives here; the backbone is shared and keeps none of it. see() and ask() may
    be called from different threads: they take turns at the memory, and an answer is decoded outside of the turn.

    memory: a folder that keeps the past on disk.  One that has a memory already is gone on with: the stream's next
    frame comes behind its last one.  read_only: only ask; another process may be watching into the folder meanwhile.
    Raises StorageError for a folder of another model, one that another process writes, or a disk that fails.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: Settings | None = None,
        heads: tuple[HeadId, ...] | None = None,
        *,
        memory: str | Path | None = None,
        read_only: bool = False,
    ) -> None:
        self.settings = settings or Settings()
        self.backbone = backbone
        self.heads = backbone.card.retrieval_heads if heads is None else heads
        self.read_only = read_only
        if read_only and memory is None:
            raise SettingsError("there is nothing to read: read_only needs the folder of a memory; give memory=")
        self._turns = Turns()
        self._last_us: int | None = None
        self._exact = True
        self._numbers = itertools.count()
        self._began = time.monotonic()
        self._store = None if memory is None else open_memory(backbone, self.settings, Path(memory), not read_only)
        try:
            ingest = Ingest(
                backbone, self.settings, self.heads, archive_of(backbone, self.settings, self.heads, self._store)
            )
            if self._store is not None:
                self._go_on(ingest, self._store)
            reader = Reader(ingest, self.heads)
        except BaseException:
            if self._store is not None:
                self._store.close()
            raise
        self._reader: Reader | None = reader
        self._last_report = ingest.report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:
                raise  # else what went wrong first says more

    def close(self) -> None:
        """Give the stream's memory back; later calls raise SettingsError, only `report` still answers.

        A memory in a folder is saved first.  Raises StorageError where that fails; it is closed all the same.
        """
        with self._turns:
            reader, self._reader = self._reader, None
            if reader is None:
                return
            self._last_report = reader.ingest.report
            if self._store is None:
                return
            try:
                if not self.read_only:
                    self._save(reader.ingest, self._store)
            finally:
                self._store.close()

    def belongs_to(self, identity: str, name: str) -> None:
        """Bind a memory in a folder to the source that is watched into it.

        Raises SettingsError when it belongs to another one, whose frames would then seem to follow each other.
        """
        with self._turns:
            self._open()
            if self._store is None:
                return
            told = self._store.noted(SOURCE)
            if told is None:
                if not self.read_only:
                    self._store.note(SOURCE, json.dumps({"identity": identity, "name": name}).encode())
                return
            held = json.loads(told)
            if held["identity"] != identity:
                raise SettingsError(
                    f"this memory is of {held['name']}, and {name} is another video; give another folder for it"
                )

    def save(self) -> None:
        """Make all that was seen safe on the disk, so that another process can go on from here.

        When this returns, what was seen is there after a power cut.  It does nothing for a memory without a folder.
        Raises StorageError where the disk fails.
        """
        with self._turns:
            ingest = self._open().ingest
            if self._store is not None and not self.read_only:
                self._save(ingest, self._store)

    def forget(self, since_us: int | None = None, until_us: int | None = None, *, everything: bool = False) -> int:
        """Forget all that was seen in [since_us, until_us), on the disk too; give the number of keyframes that went.

        Their bytes are gone from the folder when this returns.  everything: in place of a range.  Raises SettingsError
        for an empty range or none, StorageError where the disk fails.
        """
        if everything != (since_us is None and until_us is None):
            raise SettingsError("say what to forget: since_us, until_us or both, or everything=True without them")
        if since_us is not None and until_us is not None and until_us <= since_us:
            raise SettingsError(f"the range ends at {until_us} us, not after its start at {since_us} us")
        with self._turns:
            ingest = self._open().ingest
            if self.read_only:
                raise SettingsError("the memory was opened to be read only; open it without read_only to forget")
            count = ingest.forget(since_us, until_us)
            self._open().refresh()
            if self._store is not None:
                self._save(ingest, self._store)
                self._store.reclaim()
                self._store.reclaim()  # the first one leaves the names of what it freed
            return count

    def see(self, frame: Frame | ArrayLike, time_us: int | None = None, *, after_gap: bool = False) -> bool:
        """Take in the next frame; say whether it was kept as a keyframe.

        frame: a Frame, or a picture [H, W], [H, W, 1, 3 or 4] with time_us, its capture time in microseconds (default:
        the time since the session was made).  The picture is copied, so its array may be used again.  after_gap: the
        stream was away before it: what was seen last did not last until now, and this one is kept.  Raises
        SourceError for what is no picture and for a time that is not whole or not later than the last frame's; the
        frame is then left out.
        """
        if not isinstance(frame, Frame):
            now_us = round((time.monotonic() - self._began) * 1e6)
            frame = Frame.from_array(frame, now_us if time_us is None else time_us, next(self._numbers))
            clocked = time_us is None
        elif time_us is not None:
            raise SettingsError(f"a Frame has its own time, {frame.time_us} us; give time_us with a bare picture only")
        else:
            clocked = False
        if self.read_only:
            raise SettingsError("the memory was opened to be read only; open it without read_only to watch")
        if abs(frame.time_us) > MOST_US:
            raise SourceError(f"a frame's time is {frame.time_us} us; the limit is {MOST_US} us either side of zero")
        with self._turns:
            ingest = self._open().ingest
            if self._last_us is not None and frame.time_us <= self._last_us:
                if not clocked:
                    raise SourceError(
                        f"a frame of {frame.time_us} us came after one of {self._last_us} us; "
                        "give each frame a later time than the last, or start a new session for a new stream"
                    )
                frame = replace(frame, time_us=self._last_us + 1)  # two threads, or frames that came with times before
            kept = ingest.see(frame, after_gap)
            self._last_us = frame.time_us
            return kept

    def check(self, question: str) -> None:
        """Raise SettingsError for a question that ask() refuses, whatever was seen: empty, too long, without words."""
        check_question(*self.backbone.question(checked(question)))

    def ask(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        sampling: Sampling | None = None,
    ) -> Answer:
        """Answer a question about what was seen so far.

        since_us, until_us: read only this stretch of stream time.  Raises SettingsError for an empty range, or for a
        question that is no text, empty or too long.
        """
        stream = self.ask_stream(question, since_us=since_us, until_us=until_us, sampling=sampling)
        for _ in stream:
            pass
        return stream.answer

    def ask_stream(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        sampling: Sampling | None = None,
    ) -> AnswerStream:
        """Answer piece by piece: iterate over the text, then read `.answer`.  What was seen until now is what counts.

        Raises SettingsError as ask() does.
        """
        asked = time.perf_counter()
        text = checked(question)
        if since_us is not None and until_us is not None and until_us <= since_us:
            raise SettingsError(f"the range ends at {until_us} us, not after its start at {since_us} us")
        sampling = sampling or Sampling()
        with self._turns:
            reader = self._open()
            if self._last_us is None:
                return AnswerStream(self.backbone, text, 0, asked, None, sampling, ())
            reading = reader.read(text, since_us, until_us)
            now_us, forgotten = reader.ingest.now_us, reader.ingest.archive.forgotten
        gone = _inside(forgotten, reading.since_us, reading.until_us) if reading.history else ()
        return AnswerStream(self.backbone, text, now_us, asked, reading, sampling, gone)

    @contextmanager
    def at_hand(self) -> Iterator[Ingest]:
        """Give what was taken in, to be read; frames and questions of other threads wait for the block's end."""
        with self._turns:
            yield self._open().ingest

    @property
    def report(self) -> IngestReport:
        """What was taken in so far."""
        reader = self._reader
        return self._last_report if reader is None else reader.ingest.report

    @property
    def memory(self) -> ArchiveStats:
        """What is remembered, in true bytes."""
        with self._turns:
            return self._open().ingest.archive.stats()

    @property
    def timeline(self) -> tuple[Stretch, ...]:
        """What is kept of the stream, what only as gist and what was given up, in time order."""
        with self._turns:
            ingest = self._open().ingest
            # The newest keyframes wait for their chunk: they are remembered whole.
            return joined((*ingest.archive.timeline(), *(Stretch(*span_us, "kept") for span_us in ingest.waits_us)))

    @property
    def span_us(self) -> tuple[int, int] | None:
        """The stretch of stream time from the first thing that is remembered to the last; None where nothing is."""
        with self._turns:
            ingest = self._open().ingest
            stored, waits = ingest.archive.span(), ingest.waits_us
            spans = [*([stored] if stored is not None else []), *waits]
            return (spans[0][0], spans[-1][1]) if spans else None

    def note(self, key: str, words: bytes) -> None:
        """Keep a few words of the caller's own in the memory's folder, in place of earlier ones under the same key.

        A memory without a folder keeps none.

        Raises StorageError where the disk fails, SettingsError for a memory that is only read.
        """
        with self._turns:
            store = self._open().ingest.archive.store
            if self.read_only:
                raise SettingsError(
                    "the memory was opened to be read only; open it without read_only to note something"
                )
            store.note(OWN + key, words)

    def noted(self, key: str) -> bytes | None:
        """Give the words under a key; None where there are none."""
        with self._turns:
            return self._open().ingest.archive.store.noted(OWN + key)

    @property
    def last_us(self) -> int | None:
        """Time of the last frame that was seen, in this session or before it in its folder; None before the first."""
        return self._last_us

    @property
    def damage(self) -> int:
        """How many damaged places of its folder are known; onlooker memory verify looks for all."""
        return 0 if self._store is None else len(self._store.log.damage)

    @property
    def exact(self) -> bool:
        """Whether a frame was seen at last_us; after a crash it is just before the first frame that was lost."""
        return self._exact

    def _go_on(self, ingest: Ingest, store: LogStore) -> None:
        """Take over what a folder has."""
        ingest.archive.load()
        saved = store.noted(CHECKPOINT, newest=True)
        point = None
        if saved is not None:
            try:
                point = Checkpoint.from_bytes(saved)
            except RecallError:  # of another version: what is stored is there all the same
                point = None
        if point is not None:
            ingest.thaw(point)
            self._last_us = point.facts["last_us"]
            self._numbers = itertools.count(point.facts["next_seq"])
        else:
            ingest.pick_up()
            self._exact = False
            self._last_us = None if ingest.archive.last is None else ingest.now_us
            self._numbers = itertools.count(ingest.report.frames)
        if self._last_us is not None:
            self._began -= (self._last_us + 1) / 1e6  # frames that come without a time go on from there

    def _save(self, ingest: Ingest, store: LogStore) -> None:
        point = ingest.freeze()
        number = next(self._numbers)
        self._numbers = itertools.count(number)
        point.facts.update(last_us=self._last_us, next_seq=number)
        words = point.to_bytes()
        ingest.archive.make_room(len(words))
        store.note(CHECKPOINT, words)
        store.sync()

    def _open(self) -> Reader:
        if self._reader is None:
            raise SettingsError("the session is closed; start a new one with model.session()")
        return self._reader


def checked(question: str) -> str:
    """Give a question on one line, what is no valid text replaced.

    Raises SettingsError when it is no text, empty or too long.
    """
    given: object = question
    if not isinstance(given, str):
        raise SettingsError(f"the question is {given!r:.80}, not text; ask something, such as {EXAMPLE}")
    if len(question) > MOST_CHARACTERS:
        raise SettingsError(
            f"the question is {len(question)} characters long; the limit is {MOST_CHARACTERS}: ask a shorter one"
        )
    text = " ".join(question.encode("utf-8", "replace").decode("utf-8").split())
    if not text:
        raise SettingsError(f"the question is empty; ask something, such as {EXAMPLE}")
    return text


def _inside(forgotten: Iterable[Forgotten], since_us: int | None, until_us: int | None) -> tuple[tuple[int, int], ...]:
    """Cut what was forgotten down to the stretch that was asked about."""
    cut = []
    for one in forgotten:
        start_us = one.start_us if since_us is None else max(since_us, one.start_us)
        end_us = one.end_us if until_us is None else min(until_us, one.end_us)
        if start_us < end_us:
            cut.append((start_us, end_us))
    return tuple(cut)
