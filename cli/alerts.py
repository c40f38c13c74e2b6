"""Alerts: what `onlooker watch` writes when a condition becomes true, and when it is over."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TextIO

MOST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Alert:
    """Hold one alert.

    event: "fired", or "cleared" when what had fired is over.  watch: the condition's number, from 1.  time_us: stream
    time of the keyframe.  unix_us: the same by the wall clock, in microseconds since 1970; None for a file.  score:
    from 0 to 1, None where the model's words were read.  latency_ms: from the frame to this.  picture: its file, where
    one was written.  image: JPEG, or empty.
    """

    event: str
    watch: int
    condition: str
    time_us: int
    unix_us: int | None = None
    text: str = ""
    score: float | None = None
    latency_ms: float | None = None
    picture: str | None = None
    image: bytes = b""

    @property
    def at(self) -> str | None:
        """The wall clock in ISO 8601, UTC, to the millisecond; None for a file."""
        if self.unix_us is None:
            return None
        return datetime.fromtimestamp(self.unix_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def to_json(self, with_image: bool = False) -> str:
        """Write it as a JSON object on one line; with_image: the picture too, as a data: URL."""
        fields: dict[str, object] = {
            "event": self.event,
            "watch": self.watch,
            "condition": self.condition,
            "time_s": self.time_us / 1e6,
            "at": self.at,
        }
        if self.event == "fired":
            fields |= {
                "text": self.text[:MOST_TEXT],
                "score": None if self.score is None else round(self.score, 4),
                "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 1),
                "picture": self.picture,
            }
            if with_image:
                coded = base64.b64encode(self.image).decode("ascii")
                fields["image"] = f"data:image/jpeg;base64,{coded}" if coded else None
        return json.dumps(fields, ensure_ascii=False, allow_nan=False)

    def environment(self) -> dict[str, str]:
        """Give the variables that a command gets."""
        words = {
            "ONLOOKER_EVENT": self.event,
            "ONLOOKER_WATCH": str(self.watch),
            "ONLOOKER_CONDITION": self.condition,
            "ONLOOKER_TIME_S": f"{self.time_us / 1e6:.3f}",
            "ONLOOKER_AT": self.at or "",
            "ONLOOKER_TEXT": self.text[:MOST_TEXT],
            "ONLOOKER_PICTURE": self.picture or "",
        }
        return {name: word.replace("\0", "") for name, word in words.items()}


class AlertWriter(Protocol):
    """Write alerts as they come."""

    def write(self, alert: Alert) -> None:
        """Write one."""
        ...


class PlainAlerts:
    """Write one line an alert, for people."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, alert: Alert) -> None:
        """Write the line: wall clock where there is one, stream time, what happened."""
        from ..memory.time_phrases import format_clock

        at = "" if alert.unix_us is None else f"{datetime.fromtimestamp(alert.unix_us / 1e6):%Y-%m-%d %H:%M:%S}  "
        word = "true" if alert.event == "fired" else "over"
        said = f"  ({' '.join(alert.text.split())})" if alert.text else ""
        picture = f"  {alert.picture}" if alert.picture else ""
        self._out.write(f"{at}{format_clock(alert.time_us)}  {word}  {alert.condition}{said}{picture}\n")
        self._out.flush()


class JsonAlerts:
    """Write one JSON object a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, alert: Alert) -> None:
        """Write the object."""
        self._out.write(alert.to_json() + "\n")
        self._out.flush()
