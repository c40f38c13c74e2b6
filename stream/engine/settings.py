"""Settings of an engine: how many sessions it serves, how much may wait, how long an answer may take."""

from dataclasses import dataclass

from ...errors import SettingsError


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Hold an engine's bounds; every one is strict.

    max_sessions: open at once.  concurrent_answers: decoded in turns, token by token; each holds a context on the
    device.  queued_questions: of one session, that wait to be read.  patience_s: a frame that waited so long gets a
    turn between two tokens of answers, which go first otherwise.  deadline_s: of a question that names none.
    max_watches: standing questions of one session.
    Raises SettingsError for a value outside its limits.
    """

    max_sessions: int = 64
    concurrent_answers: int = 4
    queued_questions: int = 8
    patience_s: float = 0.5
    deadline_s: float = 60.0
    max_watches: int = 16

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_sessions", 1, 4096),
            ("concurrent_answers", 1, 64),
            ("queued_questions", 1, 1024),
            ("patience_s", 0.0, 60.0),
            ("deadline_s", 0.001, 86_400.0),
            ("max_watches", 0, 256),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(f"{name} is {value}; give a value from {least} to {most}")
