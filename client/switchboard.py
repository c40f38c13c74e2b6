"""What comes from a server, handed to who waits for it."""

import logging
import threading
from collections.abc import Callable

from ..errors import OnlookerError
from ..stream.protocol import server_events as told
from .call import Call
from .event_queue import EventQueue
from .failures import failure_of
from .inquiry import RemoteInquiry
from .records import ConnectionChanged, RemoteEvent

Listener = Callable[[RemoteEvent], None]

_logger = logging.getLogger(__name__)


class Switchboard:
    """Hold who waits for what of one session: inquiries, calls, listeners of watches, and queues of events.

    on_event(), on_change() and on_over() are called from the link's thread, the rest from any.  settled: set when the
    session was opened, or will not be.
    """

    def __init__(self) -> None:
        self.settled = threading.Event()
        self._lock = threading.Lock()
        self._inquiries: dict[str, RemoteInquiry] = {}
        self._calls: dict[str, Call] = {}
        self._listeners: dict[str, Listener] = {}
        self._queues: list[EventQueue] = []
        self._created: told.SessionCreated | None = None
        self._config: told.Config | None = None
        self._stats: told.Stats | None = None

    @property
    def created(self) -> told.SessionCreated | None:
        """What the server said about the session, newest."""
        return self._created

    @property
    def config(self) -> told.Config | None:
        """The settings in effect."""
        return self._config

    @property
    def stats(self) -> told.Stats | None:
        """What the server counts, newest."""
        return self._stats

    @property
    def waiting(self) -> int:
        """How many inquiries and calls wait."""
        with self._lock:
            return len(self._inquiries) + len(self._calls)

    def add_inquiry(self, inquiry: RemoteInquiry) -> None:
        """Let a question wait for its answer."""
        with self._lock:
            self._inquiries[inquiry.id] = inquiry

    def add_call(self, event_id: str, call: Call) -> None:
        """Let a call wait for its reply."""
        with self._lock:
            self._calls[event_id] = call

    def drop(self, event_id: str) -> None:
        """Let an inquiry or a call wait no longer."""
        with self._lock:
            self._inquiries.pop(event_id, None)
            self._calls.pop(event_id, None)

    def listen(self, watch_id: str, listener: Listener) -> None:
        """Give what a watch tells to a listener."""
        with self._lock:
            self._listeners[watch_id] = listener

    def unlisten(self, watch_id: str) -> None:
        """Give what a watch tells to those who iterate over the events."""
        with self._lock:
            self._listeners.pop(watch_id, None)

    def add_queue(self, queue: EventQueue) -> None:
        """Put events into a queue from here on."""
        with self._lock:
            self._queues.append(queue)

    def drop_queue(self, queue: EventQueue) -> None:
        """Put no more events into a queue."""
        with self._lock:
            self._queues.remove(queue)

    def on_event(self, event: told.ServerEvent) -> None:
        """Hand over what came."""
        match event:
            case told.SessionCreated():
                self._created, self._config = event, event.config
                self.settled.set()
            case told.SessionUpdated():
                self._config = event.config
            case told.SessionStats():
                self._stats = event
            case told.WatchFired() | told.WatchCleared():
                self._tell(event)
            case (
                told.SourceStatus()
                | told.FrameAccepted()
                | told.FrameDropped()
                | told.MemoryEvicted()
                | told.SessionGoingAway()
                | told.SessionClosed()
            ):
                self._spread(event)
            case told.Error():
                self._fail(event)
            case _:
                self._answer(event)
        event_id: str | None = getattr(event, "event_id", None)
        with self._lock:
            call = None if event_id is None else self._calls.get(event_id)
        if call is not None:
            call.answer(event)

    def on_change(self, connected: bool, reason: str) -> None:
        """Tell that the connection came or went."""
        self._spread(ConnectionChanged(connected, reason))

    def on_over(self, failure: OnlookerError) -> None:
        """Let nobody wait any more: the session is over."""
        with self._lock:
            calls, inquiries, queues = [*self._calls.values()], [*self._inquiries.values()], [*self._queues]
            self._inquiries.clear()
        for call in calls:
            call.fail(failure)
        for inquiry in inquiries:
            inquiry.fail(failure)
        for queue in queues:
            queue.close()
        self.settled.set()

    def _answer(self, event: told.ServerEvent) -> None:
        """Bring an answer a step further."""
        if isinstance(event, told.ResponseCreated):
            with self._lock:
                inquiry = None if event.event_id is None else self._inquiries.get(event.event_id)
            if inquiry is not None:
                inquiry.begin(event.response_id)
        elif isinstance(
            event,
            told.ResponseOutputTextDelta | told.ResponseOutputTextDone | told.ResponseEvidence | told.ResponseDone,
        ):
            with self._lock:
                found = [one for one in self._inquiries.values() if one.response_id == event.response_id]
                if isinstance(event, told.ResponseDone):
                    for inquiry in found:
                        del self._inquiries[inquiry.id]
            for inquiry in found:
                match event:
                    case told.ResponseOutputTextDelta():
                        inquiry.piece(event.delta)
                    case told.ResponseEvidence():
                        inquiry.evidence(event.evidence)
                    case told.ResponseDone():
                        inquiry.end(event)

    def _fail(self, error: told.Error) -> None:
        """Hand an error to what it answers, else to everyone."""
        with self._lock:
            inquiry = None if error.event_id is None else self._inquiries.pop(error.event_id, None)
            known = inquiry is not None or error.event_id in self._calls
        if inquiry is not None:
            inquiry.fail(failure_of(error))
        elif not known and error.code != "unknown_response":  # a cancel that came when the answer had ended
            _logger.warning("the server says: %s; %s (%s)", error.message, error.remedy, error.code)
            self._spread(error)

    def _tell(self, event: told.WatchFired | told.WatchCleared) -> None:
        with self._lock:
            listener = self._listeners.get(event.watch_id)
        if listener is None:
            self._spread(event)
            return
        try:
            listener(event)
        except Exception:
            _logger.exception("a listener of %s failed", event.watch_id)

    def _spread(self, event: RemoteEvent) -> None:
        with self._lock:
            queues = [*self._queues]
        for queue in queues:
            queue.put(event)
