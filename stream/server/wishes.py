"""What a client may change of its session at any time."""

from dataclasses import dataclass

from ..protocol import client_events as asked

DEFAULT_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Wishes:
    """Hold what a client may change at any time."""

    fps: float
    max_tokens: int = DEFAULT_TOKENS
    temperature: float = 0.0
    each: bool = False
    stats: bool = False

    def changed(self, event: asked.SessionUpdate) -> "Wishes":
        """Give them as an event changes them."""
        return Wishes(
            fps=self.fps if event.fps is None else event.fps,
            max_tokens=self.max_tokens if event.max_tokens is None else event.max_tokens,
            temperature=self.temperature if event.temperature is None else event.temperature,
            each=self.each if event.frame_reports is None else event.frame_reports == "each",
            stats=self.stats if event.stats is None else event.stats,
        )
