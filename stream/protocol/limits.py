"""What one connection may send, and what is kept for one that comes back."""

from dataclasses import dataclass

from ...errors import SettingsError

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Hold the limits of a connection and of its session; every one is strict.

    max_frame_bytes, max_pixels: of one picture, looked at before anything is decoded.  max_fps: pictures a second that
    are taken; more are dropped and counted.  message_bytes: of one text message.  message_rate: text messages a second
    in the long run, message_burst of them at once.  json_depth, json_values: how deep a message may be nested, and how
    many values it may have.  errors_in_a_row: messages that cannot be read before the connection is closed.
    questions_queued, question_chars, watches: of one session.  hello_s: the first event must come within this.
    idle_s: a session in which nothing happens is closed after so long.  resume_s: a session without a connection lives
    so long.  replay_events, replay_bytes: what is kept for one that comes back.
    Raises SettingsError for a value outside its limits.
    """

    max_frame_bytes: int = 4 * MIB
    max_pixels: int = 1 << 24
    max_fps: float = 30.0
    message_bytes: int = 64 * KIB
    message_rate: float = 20.0
    message_burst: int = 60
    json_depth: int = 8
    json_values: int = 1024
    errors_in_a_row: int = 16
    questions_queued: int = 8
    question_chars: int = 8192
    watches: int = 16
    hello_s: float = 10.0
    idle_s: float = 600.0
    resume_s: float = 120.0
    replay_events: int = 2048
    replay_bytes: int = 1 * MIB

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_frame_bytes", 1 * KIB, 64 * MIB),
            ("max_pixels", 1 << 10, 1 << 26),
            ("max_fps", 0.1, 1000.0),
            ("message_bytes", 1 * KIB, 16 * MIB),
            ("message_rate", 0.1, 1e6),
            ("message_burst", 1, 1_000_000),
            ("json_depth", 6, 64),
            ("json_values", 64, 1_000_000),
            ("errors_in_a_row", 1, 1_000_000),
            ("questions_queued", 1, 1024),
            ("question_chars", 1, 8192),
            ("watches", 0, 256),
            ("hello_s", 0.05, 3600.0),
            ("idle_s", 0.05, 1e9),
            ("resume_s", 0.05, 1e9),
            ("replay_events", 16, 1_000_000),
            ("replay_bytes", 16 * KIB, 1 << 30),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(f"{name} is {value}; give a value from {least} to {most}")
