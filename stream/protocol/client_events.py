"""What a client sends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from .errors import EventError
from .event_table import Bounds, EventTable
from .limits import Limits
from .schema import read_record
from .shape import Count, Id, Many, Number, Text, TimeUs, Whole, Word

MOST_QUESTION = 8192
MOST_CONDITION = 1024
MOST_LABEL = 128
MOST_EVIDENCE = 8
MOST_TOKENS = 4096

Question = Annotated[str, Text(0, MOST_QUESTION, "bad_question")]
Condition = Annotated[str, Text(1, MOST_CONDITION, "bad_question")]
Label = Annotated[str, Text(1, MOST_LABEL)]
Fps = Annotated[float, Number(0.01, 1000.0)]
Tokens = Annotated[int, Whole(1, MOST_TOKENS)]
Temperature = Annotated[float, Number(0.0, 2.0)]
Milliseconds = Annotated[int, Whole(0, 86_400_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEvent:
    """Any event of a client's."""

    TYPE: ClassVar[str] = ""

    event_id: Annotated[Id | None, "comes back in what answers it; make it unique within the session"] = None

    def check(self) -> None:
        """Raise EventError for fields that contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Name a session to come back to."""

    session_id: Annotated[Id, "of session.created"]
    token: Annotated[str, Text(1, 128), "the newest resume_token"]
    last_seq: Annotated[Count, "the last seq that was seen; 0 for none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """Say how a session's stream is kept; what is left out is the server's choice."""

    keyframes: Annotated[
        Literal["gate", "all"] | None, "whether only frames that show something new are kept, or all"
    ] = None
    heartbeat_s: Annotated[float | None, Number(0.01, 86_400.0), "a frame is kept after so long without one"] = None
    prune_rate: Annotated[float | None, Number(0.01, 1.0), "average share of a frame's tokens that is kept"] = None
    memory_tokens: Annotated[int | None, Whole(0, 1_000_000), "most recalled tokens that a question reads"] = None
    gate: Annotated[
        Literal["auto", "always", "never"] | None, "whether a question reads the past; auto goes by its words"
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdate(ClientEvent):
    """Open or resume a session, as the first event; later change what may change."""

    TYPE: ClassVar[str] = "session.update"

    source: Annotated[
        Word | None, '"frames" (the default) to push frames, or a camera\'s name; in the first event only'
    ] = None
    resume: Annotated[Resume | None, "the session to come back to; in the first event only"] = None
    settings: Annotated[SessionSettings | None, "how the stream is kept; before the first frame only"] = None
    fps: Annotated[Fps | None, "frames a second that you wish to be taken at most"] = None
    max_tokens: Annotated[Tokens | None, "most tokens of an answer"] = None
    temperature: Annotated[Temperature | None, "0 for the likeliest answer"] = None
    frame_reports: Annotated[
        Literal["summary", "each"] | None, "whether every frame is reported, or only drops, once a second"
    ] = None
    stats: Annotated[bool | None, "whether session.stats comes once a second"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceList(ClientEvent):
    """Ask which sources there are."""

    TYPE: ClassVar[str] = "source.list"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputText:
    """Text of a message."""

    TYPE: ClassVar[str] = "input_text"

    text: Annotated[Question, "the question"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """A picture of a message."""

    TYPE: ClassVar[str] = "input_image"

    image_url: Annotated[str, Text(1, 16 << 20), "data:image/jpeg;base64,… (or png, webp); no address is fetched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A person's message."""

    TYPE: ClassVar[str] = "message"

    role: Annotated[Literal["user"], "who says it"]
    content: Annotated[tuple[InputText | InputImage, ...], Many(8), "its parts, in order"]

    def check(self) -> None:
        """Raise EventError for a message without parts."""
        if not self.content:
            raise EventError("invalid_event", "the message has no content", param="item.content", remedy="give a part")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationItemCreate(ClientEvent):
    """Lay down a question for the next response.create, or show a picture taken now (as OpenAI's clients do)."""

    TYPE: ClassVar[str] = "conversation.item.create"

    item: Annotated[Message, "the message"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCreate(ClientEvent):
    """Ask a question about what was seen so far."""

    TYPE: ClassVar[str] = "response.create"

    question: Annotated[Question | None, "the question; without it the text of the last item is asked"] = None
    since_us: Annotated[TimeUs | None, "read only what was seen from here on"] = None
    until_us: Annotated[TimeUs | None, "read only what was seen before this"] = None
    evidence: Annotated[int, Whole(0, MOST_EVIDENCE), "most pieces of evidence that are told"] = 4
    max_tokens: Annotated[Tokens | None, "most tokens of this answer"] = None
    temperature: Annotated[Temperature | None, "for this answer"] = None
    deadline_ms: Annotated[int | None, Whole(1, 3_600_000), "the answer ends after so long, however far it is"] = None

    def check(self) -> None:
        """Raise EventError for an empty range."""
        _check_range(self.since_us, self.until_us, "bad_question")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCancel(ClientEvent):
    """Stop an answer within one token."""

    TYPE: ClassVar[str] = "response.cancel"

    response_id: Annotated[Id, "of response.created"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCreate(ClientEvent):
    """Put a standing question."""

    TYPE: ClassVar[str] = "watch.create"

    condition: Annotated[Condition, "what to look for, such as 'there is a dog'"]
    cooldown_ms: Annotated[Milliseconds | None, "least time between two alerts"] = None
    look_ms: Annotated[
        Milliseconds | None, "judge by the keyframes of so long before now; 0, or none, for the newest alone"
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDelete(ClientEvent):
    """End a standing question."""

    TYPE: ClassVar[str] = "watch.delete"

    watch_id: Annotated[Id, "of watch.created"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchList(ClientEvent):
    """Ask which standing questions there are."""

    TYPE: ClassVar[str] = "watch.list"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGet(ClientEvent):
    """Ask what is remembered."""

    TYPE: ClassVar[str] = "memory.get"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMark(ClientEvent):
    """Give a moment a name."""

    TYPE: ClassVar[str] = "memory.mark"

    label: Annotated[Label, "the name"]
    time_us: Annotated[TimeUs | None, "stream time of the moment; without it, now"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryClear(ClientEvent):
    """Forget a stretch, or everything."""

    TYPE: ClassVar[str] = "memory.clear"

    since_us: Annotated[TimeUs | None, "forget what was seen from here on"] = None
    until_us: Annotated[TimeUs | None, "forget what was seen before this"] = None
    everything: Annotated[bool, "true, without a range, to forget all"] = False

    def check(self) -> None:
        """Raise EventError unless there is a range, or everything, and not both."""
        if self.everything != (self.since_us is None and self.until_us is None):
            raise EventError(
                "invalid_event",
                "it must be clear what to forget",
                param="everything",
                remedy='give since_us, until_us or both, or "everything":true without them',
            )
        _check_range(self.since_us, self.until_us, "invalid_event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(ClientEvent):
    """Ask for a sign of life, and the server's clock."""

    TYPE: ClassVar[str] = "ping"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClose(ClientEvent):
    """End the session for good."""

    TYPE: ClassVar[str] = "session.close"

    forget: Annotated[bool, "whether what was seen is deleted, even where the server keeps memories"] = False


CLIENT_EVENTS: EventTable[ClientEvent] = EventTable(
    (
        SessionUpdate,
        SourceList,
        ConversationItemCreate,
        ResponseCreate,
        ResponseCancel,
        WatchCreate,
        WatchDelete,
        WatchList,
        MemoryGet,
        MemoryMark,
        MemoryClear,
        Ping,
        SessionClose,
    ),
    nulls=False,
)


def read(text: str, limits: Limits) -> ClientEvent:
    """Read a client's event.  Raises EventError for anything that is not exactly one."""
    return CLIENT_EVENTS.read(text, Bounds(limits.message_bytes, limits.json_depth, limits.json_values))


def write(event: ClientEvent) -> str:
    """Write a client's event; fields that are None are left out."""
    return CLIENT_EVENTS.write(event)


def from_settings(settings: Mapping[str, object]) -> SessionSettings:
    """Make SessionSettings of a mapping, strictly.  Raises EventError."""
    return read_record(SessionSettings, settings, "settings")


def _check_range(since_us: int | None, until_us: int | None, code: str) -> None:
    if since_us is not None and until_us is not None and until_us <= since_us:
        raise EventError(
            code,
            f"the range ends at {until_us} us, not after its start at {since_us} us",
            param="until_us",
            remedy="give until_us > since_us",
        )
