"""What the server sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from .client_events import Condition, Fps, Label, Milliseconds, Question, Temperature, Tokens
from .errors import ERRORS, MOST_MESSAGE, MOST_PARAM
from .event_table import Bounds, EventTable
from .limits import Limits
from .shape import MOST_EXACT, Amount, Count, Id, Many, Number, SpanUs, Text, TimeUs, Whole, Word, Words

MOST_TEXT = 1 << 20

BOUNDS = Bounds(bytes=8 << 20, depth=16, values=65_536)
"""Of what a client of ours reads: more than a server of ours sends."""

Explained = Annotated[str, Text(0, MOST_MESSAGE)]
Answered = Annotated[str, Text(0, MOST_TEXT)]
ImagePath = Annotated[str, Text(1, 512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """Any event of the server's; those that are just this are not replayed."""

    TYPE: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequenced(ServerEvent):
    """An event of the session: numbered, kept for a while, and sent again to a client that comes back."""

    seq: Annotated[int | None, Whole(1, MOST_EXACT), "its number in the session, from 1, without gaps"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering(Sequenced):
    """A numbered event that may answer one of the client's."""

    event_id: Annotated[Id | None, "of the client's event that this answers, where it had one"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The model that answers."""

    name: Annotated[Words, "its name"]
    calibrated: Annotated[bool, "whether its heads were calibrated, so that the past is found well"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSettings:
    """How the stream is kept, all of it in effect."""

    keyframes: Annotated[Literal["gate", "all"], "which frames are kept"]
    heartbeat_s: Annotated[float, Number(0.01, 86_400.0), "a frame is kept after so long without one"]
    prune_rate: Annotated[float, Number(0.01, 1.0), "average share of a frame's tokens that is kept"]
    memory_tokens: Annotated[int | None, Whole(0, 1_000_000), "most recalled tokens that a question reads"]
    gate: Annotated[Literal["auto", "always", "never"], "whether a question reads the past"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings in effect."""

    settings: Annotated[KeptSettings, "how the stream is kept"]
    fps: Annotated[Fps, "frames a second that are taken at most"]
    max_tokens: Annotated[Tokens, "most tokens of an answer"]
    temperature: Annotated[Temperature, "0 for the likeliest answer"]
    frame_reports: Annotated[Literal["summary", "each"], "whether every frame is reported"]
    stats: Annotated[bool, "whether session.stats comes once a second"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What the session may send, at most."""

    max_frame_bytes: Annotated[Count, "bytes of one picture"]
    max_pixels: Annotated[Count, "pixels of one picture, width × height"]
    max_fps: Annotated[Fps, "frames a second that are taken; more are dropped"]
    formats: Annotated[tuple[Word, ...], Many(16), "of pictures"]
    questions_queued: Annotated[Count, "questions that may wait"]
    question_chars: Annotated[Count, "characters of a question"]
    watches: Annotated[Count, "standing questions"]
    idle_s: Annotated[Amount, "the session is closed when nothing happens for so long"]
    resume_s: Annotated[Amount, "it can be resumed for so long after a drop"]
    message_bytes: Annotated[Count, "bytes of one text message"]

    @classmethod
    def of(cls, limits: Limits, formats: tuple[str, ...] = ("jpeg", "png", "webp")) -> "SessionLimits":
        """Tell what a client should know of its limits."""
        return cls(
            max_frame_bytes=limits.max_frame_bytes,
            max_pixels=limits.max_pixels,
            max_fps=limits.max_fps,
            formats=formats,
            questions_queued=limits.questions_queued,
            question_chars=limits.question_chars,
            watches=limits.watches,
            idle_s=limits.idle_s,
            resume_s=limits.resume_s,
            message_bytes=limits.message_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """How a source does."""

    state: Annotated[Word, "connecting, live, stale, reconnecting, failed or ended"]
    code: Annotated[Word | None, "why it is not live, stable for programs"] = None
    reason: Annotated[Explained, "the same for people"] = ""
    fps: Annotated[Amount, "frames that came in a second, lately"] = 0.0
    age_ms: Annotated[Amount | None, "since the newest frame came"] = None
    retry_ms: Annotated[Amount | None, "until the next try"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Figures of a session."""

    frames: Annotated[Count, "frames that came"]
    kept: Annotated[Count, "that became keyframes"]
    dropped: Annotated[Count, "that were not taken in, for whatever reason"]
    fps: Annotated[Amount, "frames that came in a second, lately"]
    target_fps: Annotated[Amount, "frames a second that it makes sense to send now"]
    age_ms: Annotated[Amount | None, "since the newest frame that was taken in came"]
    now_us: Annotated[TimeUs | None, "stream time of that frame"]
    span_us: Annotated[SpanUs | None, "the first and the last moment that memory covers"]
    used_bytes: Annotated[Count, "of memory in RAM"]
    disk_bytes: Annotated[Count, "of memory on disk"]
    tokens: Annotated[Count, "of memory"]
    queued: Annotated[Count, "questions that wait or are being answered"]
    source: Annotated[SourceState | None, "how the session's source does"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated(ServerEvent):
    """The session is open. On a resumed one what was missed follows, up to `last_seq`."""

    TYPE: ClassVar[str] = "session.created"

    event_id: Annotated[Id | None, "of the session.update that asked for it"] = None
    session_id: Annotated[Id, "its name"]
    resume_token: Annotated[str, Text(1, 128), "secret that resumes it, new each time"]
    resumed: Annotated[bool, "whether it was there before"]
    gap: Annotated[bool, "whether events were lost between `resume.last_seq` and what follows"]
    source: Annotated[Word, '"frames", or the camera it looks at']
    model: Annotated[ModelInfo, "what answers"]
    config: Annotated[Config, "the settings in effect"]
    limits: Annotated[SessionLimits, "what you may send"]
    origin_unix_us: Annotated[TimeUs, "stream time 0, in microseconds since 1970"]
    server_unix_us: Annotated[TimeUs, "the server's clock now"]
    started_us: Annotated[TimeUs | None, "stream time when a camera's session was joined"] = None
    last_seq: Annotated[Count, "the session's newest seq; what was missed ends there"] = 0
    received: Annotated[
        tuple[Id, ...], Many(256), "on a resumed one: event_id of what came before the drop; send the rest again"
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdated(Answering):
    """Settings were changed."""

    TYPE: ClassVar[str] = "session.updated"

    config: Annotated[Config, "the settings in effect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Answering):
    """The session is over, and cannot be resumed."""

    TYPE: ClassVar[str] = "session.closed"

    reason: Annotated[Word, "closed (you asked), idle, going_away or failed"]
    stats: Annotated[Stats | None, "its last figures"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionGoingAway(Sequenced):
    """The server will close the connection soon; the session can be resumed where memories are kept on disk."""

    TYPE: ClassVar[str] = "session.going_away"

    reason: Annotated[Words, "why"]
    deadline_ms: Annotated[Milliseconds, "how long from now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats(ServerEvent, Stats):
    """Figures, once a second where asked for."""

    TYPE: ClassVar[str] = "session.stats"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSource:
    """A source of source.list."""

    name: Annotated[Word, "what session.update takes"]
    state: Annotated[Word, "as in source.status"]
    reason: Annotated[Explained, "why it is not live"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceListed(Answering):
    """The sources there are."""

    TYPE: ClassVar[str] = "source.listed"

    sources: Annotated[tuple[ListedSource, ...], Many(1024), "those besides frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus(Sequenced):
    """The state of the session's source changed."""

    TYPE: ClassVar[str] = "source.status"

    source: Annotated[Word, "its name"]
    state: Annotated[Word, "connecting, live, stale, reconnecting, failed or ended"]
    code: Annotated[Word | None, "why it is not live, stable for programs"] = None
    reason: Annotated[Explained, "the same for people"] = ""
    fps: Annotated[Amount, "frames that came in a second, lately"] = 0.0
    age_ms: Annotated[Amount | None, "since the newest frame came"] = None
    retry_ms: Annotated[Amount | None, "until the next try"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameAccepted(ServerEvent):
    """A frame was taken; comes with frame_reports "each"."""

    TYPE: ClassVar[str] = "frame.accepted"

    sequence: Annotated[int, Whole(0, 0xFFFFFFFF), "the frame's number in its header"]
    time_us: Annotated[TimeUs, "its stream time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDropped(ServerEvent):
    """Frames were not taken in since the last such event."""

    TYPE: ClassVar[str] = "frame.dropped"

    reason: Annotated[
        Word,
        "busy (a newer one came first), rate (more than max_fps), late (not after one that was taken), too_big, "
        "bad_image, failed",
    ]
    count: Annotated[Count, "how many"]
    last_sequence: Annotated[int, Whole(0, 0xFFFFFFFF), "the number of the last of them"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationItemAdded(Answering):
    """A message was laid down."""

    TYPE: ClassVar[str] = "conversation.item.added"

    item_id: Annotated[Id, "its name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCreated(Answering):
    """A question was taken: what the answer may know is settled."""

    TYPE: ClassVar[str] = "response.created"

    response_id: Annotated[Id, "the answer's name"]
    question: Annotated[Question, "what was asked"]
    asked_at_us: Annotated[TimeUs, "stream time of the newest frame that it may know"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOutputTextDelta(Sequenced):
    """The next piece of an answer."""

    TYPE: ClassVar[str] = "response.output_text.delta"

    response_id: Annotated[Id, "of response.created"]
    delta: Annotated[Answered, "text to append"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOutputTextDone(Sequenced):
    """An answer's text is whole."""

    TYPE: ClassVar[str] = "response.output_text.done"

    response_id: Annotated[Id, "of response.created"]
    text: Annotated[Answered, "all of it"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePiece:
    """A stretch of the stream that an answer was read from."""

    index: Annotated[Count, "its place, the best first, from 0"]
    start_us: Annotated[TimeUs, "stream time"]
    end_us: Annotated[TimeUs, "stream time"]
    score: Annotated[float, Number(-1e15, 1e15), "how strongly it was recalled; compare within one answer only"]
    source: Annotated[Literal["recalled", "recent"], "from memory, or among the newest frames"]
    image: Annotated[ImagePath | None, "path of a JPEG on the same server, behind the same token"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseEvidence(Sequenced):
    """Where an answer comes from."""

    TYPE: ClassVar[str] = "response.evidence"

    response_id: Annotated[Id, "of response.created"]
    evidence: Annotated[tuple[EvidencePiece, ...], Many(64), "the pieces"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What went wrong with an answer."""

    code: Annotated[Word, "as in error"]
    message: Annotated[Explained, "for people"]
    remedy: Annotated[Explained, "what to do"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDone(Sequenced):
    """An answer has ended."""

    TYPE: ClassVar[str] = "response.done"

    response_id: Annotated[Id, "of response.created"]
    status: Annotated[Literal["completed", "cancelled", "incomplete", "failed"], "how it ended"]
    reason: Annotated[
        Word | None, "deadline or max_tokens with incomplete; not_remembered with completed: nothing was found"
    ] = None
    text: Annotated[Answered, "all of it, or as far as it came"]
    refers_to_us: Annotated[TimeUs | None, "the moment that the answer is about"] = None
    asked_at_us: Annotated[TimeUs, "stream time when it was asked"]
    forgotten_us: Annotated[tuple[SpanUs, ...], Many(1024), "stretches of the asked range that memory gave up"] = ()
    usage: Annotated[Mapping[str, Count], Many(64), "tokens: context, question, recalled, answer"] = field(
        default_factory=dict
    )
    timings: Annotated[Mapping[str, Amount], Many(64), "milliseconds by stage, queue_ms and total_ms among them"] = (
        field(default_factory=dict)
    )
    error: Annotated[Fault | None, "what went wrong, with failed"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCreated(Answering):
    """A standing question was taken."""

    TYPE: ClassVar[str] = "watch.created"

    watch_id: Annotated[Id, "its name"]
    condition: Annotated[Condition, "what it looks for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDeleted(Answering):
    """A standing question has ended."""

    TYPE: ClassVar[str] = "watch.deleted"

    watch_id: Annotated[Id, "its name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedWatch:
    """A standing question."""

    watch_id: Annotated[Id, "its name"]
    condition: Annotated[Condition, "what it looks for"]
    cooldown_ms: Annotated[Milliseconds, "least time between two alerts"]
    look_ms: Annotated[Milliseconds, "it judges by the keyframes of so long; 0 for the newest alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchListed(Answering):
    """The standing questions there are."""

    TYPE: ClassVar[str] = "watch.listed"

    watches: Annotated[tuple[ListedWatch, ...], Many(256), "in the order of their making"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFired(Sequenced):
    """A condition became true."""

    TYPE: ClassVar[str] = "watch.fired"

    watch_id: Annotated[Id, "of watch.created"]
    condition: Annotated[Condition, "what it looks for"]
    time_us: Annotated[TimeUs, "stream time of the frame that shows it"]
    latency_ms: Annotated[Amount, "from that frame's arrival"]
    text: Annotated[Answered, "what the model said"]
    image: Annotated[ImagePath | None, "path of a JPEG, as in response.evidence"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCleared(Sequenced):
    """A condition is not true any more; it may fire again."""

    TYPE: ClassVar[str] = "watch.cleared"

    watch_id: Annotated[Id, "of watch.created"]
    condition: Annotated[Condition, "what it looks for"]
    time_us: Annotated[TimeUs, "stream time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of stream time."""

    start_us: Annotated[TimeUs, "stream time"]
    end_us: Annotated[TimeUs, "stream time"]
    kind: Annotated[Literal["kept", "gist", "forgotten"], "what is left of it"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A named moment."""

    label: Annotated[Label, "its name"]
    time_us: Annotated[TimeUs, "stream time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryState(Answering):
    """What is remembered."""

    TYPE: ClassVar[str] = "memory.state"

    keyframes: Annotated[Count, "that are remembered"]
    tokens: Annotated[Count, "that they have"]
    used_bytes: Annotated[Count, "in RAM"]
    cap_bytes: Annotated[Count, "in RAM at most"]
    disk_bytes: Annotated[Count, "on disk"]
    disk_cap_bytes: Annotated[Count, "on disk at most; 0 where memory is not on disk"]
    span_us: Annotated[SpanUs | None, "the first and the last moment covered"]
    timeline: Annotated[tuple[Stretch, ...], Many(1024), "in order of time"]
    marks: Annotated[tuple[Mark, ...], Many(1024), "in order of time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMarked(Answering):
    """A moment has a name."""

    TYPE: ClassVar[str] = "memory.marked"

    label: Annotated[Label, "its name"]
    time_us: Annotated[TimeUs, "stream time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCleared(Answering):
    """What was asked to be forgotten is gone, from the disk too."""

    TYPE: ClassVar[str] = "memory.cleared"

    keyframes: Annotated[Count, "that went"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEvicted(Sequenced):
    """Memory gave something up, over its caps or its age."""

    TYPE: ClassVar[str] = "memory.evicted"

    spans_us: Annotated[tuple[SpanUs, ...], Many(1024), "stretches of stream time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Error(Answering):
    """Something went wrong. The connection stays open unless it is fatal."""

    TYPE: ClassVar[str] = "error"

    code: Annotated[Word, "stable; see the errors"]
    message: Annotated[Explained, "what is wrong, for people"]
    remedy: Annotated[Explained, "what to do about it"]
    param: Annotated[str | None, Text(0, MOST_PARAM), "the field that is wrong"] = None
    retryable: Annotated[bool, "whether the same may work later"] = False
    retry_after_ms: Annotated[Milliseconds | None, "how much later"] = None
    fatal: Annotated[bool, "whether the connection is closed now"] = False

    @classmethod
    def of(
        cls,
        code: str,
        message: str = "",
        *,
        remedy: str | None = None,
        param: str | None = None,
        event_id: str | None = None,
        retry_after_ms: int | None = None,
        fatal: bool | None = None,
    ) -> "Error":
        """Make an error by its code; what is left out is the code's own."""
        kind = ERRORS[code]
        return cls(
            event_id=event_id,
            code=code,
            message=(message or kind.meaning)[:MOST_MESSAGE],
            remedy=(kind.remedy if remedy is None else remedy)[:MOST_MESSAGE],
            param=None if param is None else param[:MOST_PARAM],
            retryable=kind.retryable,
            retry_after_ms=retry_after_ms,
            fatal=kind.fatal if fatal is None else fatal,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(ServerEvent):
    """A sign of life."""

    TYPE: ClassVar[str] = "pong"

    event_id: Annotated[Id | None, "of the ping"] = None
    server_unix_us: Annotated[TimeUs, "the server's clock"]


SERVER_EVENTS: EventTable[ServerEvent] = EventTable(
    (
        SessionCreated,
        SessionUpdated,
        SessionClosed,
        SessionGoingAway,
        SessionStats,
        SourceListed,
        SourceStatus,
        FrameAccepted,
        FrameDropped,
        ConversationItemAdded,
        ResponseCreated,
        ResponseOutputTextDelta,
        ResponseOutputTextDone,
        ResponseEvidence,
        ResponseDone,
        WatchCreated,
        WatchDeleted,
        WatchListed,
        WatchFired,
        WatchCleared,
        MemoryState,
        MemoryMarked,
        MemoryCleared,
        MemoryEvicted,
        Error,
        Pong,
    ),
    nulls=True,
)


def read(text: str) -> ServerEvent | None:
    """Read a server's event; None for one of a type that is not known here, whose fields nobody reads.

    Raises EventError for what is no event.
    """
    return SERVER_EVENTS.read_lenient(text, BOUNDS)


def write(event: ServerEvent) -> str:
    """Write a server's event; `seq` and `event_id` are left out where there is none, other fields may be null.

    Raises ValueError for NaN and infinities.
    """
    return SERVER_EVENTS.write(event)
