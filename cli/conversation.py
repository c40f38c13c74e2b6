"""A conversation about a live session: questions, commands, and what happens meanwhile."""

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import OnlookerError, SettingsError
from ..memory.time_phrases import format_clock, parse_moment
from ..models.backbone import Sampling
from ..stream.engine.events import MemoryForgot, SessionEvent, SessionFailed, SourceChanged, WatchCleared, WatchFired
from ..stream.engine.live_session import LiveSession
from ..stream.live.live_source import LiveSource
from .asking import timings_of
from .chat_commands import EVERYTHING, Span, help_lines, parse_command, parse_range, parse_since
from .chat_reports import memory_facts, memory_lines, source_line, status_facts, status_lines
from .evidence import EvidenceFolder
from .halting import Halting
from .voices import Voice

if TYPE_CHECKING:
    from ..stream.engine.events import Listener

IDLE_S = 1.0
LOOK_S = 0.05


class Conversation:
    """Take lines of a person or a program, and say what comes of them; say what happens in between.

    take() is for one thread.  A thread of its own says what the session tells of, never in the midst of an answer.
    saves: whether memory is kept in a folder.  folder: where pictures go.  timings: are said below answers.
    """

    def __init__(
        self,
        session: LiveSession,
        source: LiveSource,
        voice: Voice,
        halting: Halting,
        sampling: Sampling,
        *,
        saves: bool = False,
        folder: EvidenceFolder | None = None,
        timings: bool = False,
    ) -> None:
        self._session, self._source, self._voice, self._halting = session, source, voice, halting
        self._sampling, self._saves, self._folder, self._timings = sampling, saves, folder, timings
        self._span = EVERYTHING
        self._watches: dict[str, str] = {}  # what a person calls them: the condition
        self._count = self._asked = 0
        self.blind = False
        self._turn = threading.Lock()  # one speaks at a time
        self._idle: Callable[[], None] = lambda: None
        self._events: queue.SimpleQueue[SessionEvent | None] = queue.SimpleQueue()
        self._hear: Listener = self._events.put
        self._leave = session.subscribe(self._hear)
        self._speaker = threading.Thread(target=self._speak, name="onlooker-chat", daemon=True)
        self._speaker.start()

    @property
    def now_us(self) -> int:
        """Stream time of the newest frame that was seen."""
        return self._session.stats.now_us or 0

    def on_idle(self, work: Callable[[], None]) -> None:
        """Do something once a second, while nobody speaks."""
        self._idle = work

    def take(self, line: str, *, patient: bool = False) -> bool:
        """Answer a question or do a command; say whether the conversation goes on.

        patient: wait for the first frame where none was seen; `blind` says when none will come.
        """
        words = " ".join(line.split())
        if not words:
            return True
        try:
            command = parse_command(words)
            if command is None:
                self._ask(words, self._span, patient)
            elif command.name == "quit":
                return False
            else:
                self._do(command.name, command.words, patient)
        except OnlookerError as error:
            self._note(str(error))
        return True

    def close(self) -> None:
        """Say what is still to be said, and no more."""
        self._leave()
        self._events.put(None)
        self._speaker.join(5.0)

    def _ask(self, question: str, span: Span, patient: bool) -> None:
        if not self._can_see(patient):
            if not self.blind:
                self._note(f"nothing was seen yet; {source_line(self._source)}")
            return
        writer = self._voice.answers
        since_us, until_us = span.bounds(self.now_us)
        inquiry = self._session.submit(
            question, since_us=since_us, until_us=until_us, sampling=self._sampling, listener=_nobody
        )
        self._asked += 1
        try:
            with self._turn, self._voice.answering(), self._halting.cancelling(inquiry):
                writer.begin(question, self.now_us)
                for piece in inquiry:
                    writer.piece(piece)
                ended = inquiry.result()
                paths = () if self._folder is None else self._folder.write(ended.answer, self._asked, True)
                writer.end(ended.answer, paths)
        finally:
            inquiry.cancel()  # a second Ctrl-C must not leave it decoding
        if ended.ending == "failed":
            self._note(ended.message)
        elif ended.ending == "deadline":
            self._note("cut off: the answer took longer than it may")
        elif self._timings:
            self._note(timings_of(ended.answer))
        if self._folder is not None and self._folder.failure is not None:
            self._note(self._folder.failure)
            self._folder.failure = None

    def _can_see(self, patient: bool) -> bool:
        """Say whether anything was seen; where patient, wait for it while something may come."""
        while True:
            stats = self._session.stats
            if stats.taken or stats.span_us is not None:
                return True
            over = self._source.status.state in ("failed", "ended") and not stats.waiting
            if over or not patient:
                self.blind = over and patient
                return False
            time.sleep(LOOK_S)

    def _do(self, name: str, words: str, patient: bool) -> None:
        if name in ("since", "range"):
            self._read_only(name, words, patient)
        elif name == "wait":
            self._wait(words)
        elif name == "watch":
            self._watch(words)
        elif name == "unwatch":
            self._unwatch(words)
        elif name == "mark":
            mark = self._session.mark(words)
            self._reply(
                name,
                [f"marked {format_clock(mark.time_us)}: {mark.label}"],
                {"label": mark.label, "time_s": mark.time_us / 1e6},
            )
        elif name == "memory":
            state = self._session.memory()
            self._reply(name, memory_lines(state), memory_facts(state))
        elif name == "status":
            stats = self._session.stats
            self._reply(name, status_lines(stats, self._source), status_facts(stats, self._source))
        elif name == "save":
            if not self._saves:
                raise SettingsError("there is no folder to save to; start with --memory DIR to keep what is seen")
            self._session.save()
            self._reply(name, ["saved"], {})
        else:
            self._reply("help", help_lines(), {"lines": help_lines()})

    def _read_only(self, name: str, words: str, patient: bool) -> None:
        if words:
            span, question = (parse_since if name == "since" else parse_range)(words)
            if question:
                self._ask(question, span, patient)
                return
            self._span = span
        since_us, until_us = self._span.bounds(self.now_us)
        facts: dict[str, object] = {
            "since_s": None if since_us is None else since_us / 1e6,
            "until_s": None if until_us is None else until_us / 1e6,
        }
        self._reply(name, [f"questions read {self._span.text}"], facts)

    def _wait(self, words: str) -> None:
        """Let the stream run: frames in hand are taken in when this ends."""
        try:
            end = None if not words else time.monotonic() + parse_moment(words) / 1e6
        except ValueError as error:
            raise SettingsError(f"{words!r:.40} is no time; write /wait 10s") from error
        while end is None or time.monotonic() < end:
            over = self._source.status.state in ("ended", "failed")
            if over and not self._session.stats.waiting:
                return
            time.sleep(LOOK_S)

    def _watch(self, words: str) -> None:
        if not words:
            listed = [f"{number}  {condition}" for number, condition in self._watches.items()]
            nothing = ["nothing is watched for; /watch CONDITION begins"]
            self._reply("watch", listed or nothing, {"watches": dict(self._watches)})
            return
        number = str(self._count + 1)
        self._session.watch(words, watch_id=number)
        self._count += 1
        self._watches[number] = words
        self._reply("watch", [f"watching for: {words}  [{number}]"], {"watch": number, "condition": words})

    def _unwatch(self, words: str) -> None:
        number = words.strip("[]")
        if number == "all" or (not number and len(self._watches) == 1):
            wanted = list(self._watches)
        elif number in self._watches:
            wanted = [number]
        else:
            known = ", ".join(self._watches) or "none"
            raise SettingsError(f"no condition has the number {words!r:.20}; there are: {known}")
        for one in wanted:
            self._session.unwatch(one)
            self._reply("unwatch", [f"no longer watching for: {self._watches.pop(one)}"], {"watch": one})

    def _reply(self, name: str, lines: list[str], facts: dict[str, object]) -> None:
        with self._turn:
            self._voice.reply(name, lines, facts)

    def _note(self, text: str) -> None:
        with self._turn:
            self._voice.note(text)

    def _speak(self) -> None:
        """Say what the session tells of, until None comes."""
        live = False
        while True:
            try:
                event = self._events.get(timeout=IDLE_S)
            except queue.Empty:
                with self._turn:
                    self._idle()
                continue
            if event is None:
                return
            with self._turn:
                if isinstance(event, SourceChanged):
                    live = self._tell_source(event, live)
                else:
                    self._tell(event)
                self._idle()

    def _tell(self, event: SessionEvent) -> None:
        if isinstance(event, WatchFired | WatchCleared):
            self._voice.alert(event.watch_id, event)
        elif isinstance(event, SessionFailed):
            self._voice.note(event.message)
        elif isinstance(event, MemoryForgot):
            spans = ", ".join(f"{format_clock(start)}–{format_clock(end)}" for start, end in event.spans_us)
            self._voice.note(f"forgotten, over the caps or the age that is kept: {spans}")

    def _tell_source(self, event: SourceChanged, live: bool) -> bool:
        """Say how the source does, but for what goes without saying; give whether it has been live."""
        state = event.status.state
        if state == "live":
            if live:
                self._voice.note(f"{event.source} is live again")
            return True
        if state != "connecting" or event.status.reason:
            self._voice.note(source_line(self._source))
        return live


def _nobody(event: SessionEvent) -> None:
    """Hear nothing: the inquiry itself is read."""
