"""The questions of the sprite theatre: kinds, wordings and the answers' form."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .cast import plural
from .script import place_of
from .stage import Scene

Kind = Literal["present", "presence", "place", "colour", "neighbour", "motion", "order", "count", "text", "when"]
KINDS: tuple[Kind, ...] = (
    "present", "presence", "place", "colour", "neighbour", "motion", "order", "count", "text", "when"
)  # fmt: skip
NOT_SEEN = "not seen"

# {x}, {y}: things ("dog"); {xs}: plural.  The last wording of each kind is never used in training: it measures how a
# person's own phrasing fares.
WORDINGS: dict[str, tuple[str, ...]] = {
    "present": (
        "what is on the screen now?",
        "what do you see right now?",
        "what is shown at the moment?",
        "what is there now?",
        "what can you see currently?",
        "which things are visible at present?",
        "now, what is in the picture?",
        "what is being shown right now?",
    ),
    "presence": (
        "was there a {x}?",
        "did you see a {x}?",
        "has a {x} been shown?",
        "did a {x} appear?",
        "was a {x} on the screen?",
        "have you seen the {x}?",
        "is there a {x} at any time?",
        "did the {x} ever come up?",
    ),
    "place": (
        "where was the {x}?",
        "where did the {x} appear?",
        "in which part of the picture was the {x}?",
        "where on the screen was the {x}?",
        "which corner or side was the {x} in?",
        "what was the position of the {x}?",
        "where did you see the {x}?",
        "at what spot was the {x} located?",
    ),
    "colour": (
        "what colour was the background behind the {x}?",
        "what color was the scene with the {x}?",
        "which colour was behind the {x}?",
        "what was the background colour when the {x} was shown?",
        "the {x} was on what colour?",
        "what colour was the backdrop of the {x}?",
        "on which color did the {x} stand?",
        "tell me the colour of the scene where the {x} was",
    ),
    "neighbour": (
        "what was next to the {x}?",
        "what was beside the {x}?",
        "which thing stood near the {x}?",
        "what was shown together with the {x}?",
        "who was the neighbour of the {x}?",
        "what else was there with the {x}?",
        "what was by the {x}?",
        "what did you see along with the {x}?",
    ),
    "motion": (
        "which way did the {x} move?",
        "in which direction did the {x} go?",
        "where did the {x} move to?",
        "what direction was the {x} moving?",
        "how did the {x} move?",
        "which way was the {x} travelling?",
        "which direction did the {x} drift?",
        "to which side was the {x} going?",
    ),
    "order": (
        "which came first, the {x} or the {y}?",
        "what was shown first, the {x} or the {y}?",
        "did the {x} appear before or after the {y}?",
        "was the {x} before or after the {y}?",
        "which was earlier, the {x} or the {y}?",
        "did the {x} come after or before the {y}?",
        "did you see the {x} before or after the {y}?",
        "what appeared first, the {x} or the {y}?",
    ),
    "count": (
        "how many {xs} were there?",
        "how many {xs} did you see?",
        "what number of {xs} was shown?",
        "count the {xs}",
        "how many {xs} appeared at the same time?",
        "how many {xs} were on the screen?",
        "tell me how many {xs} there were",
        "how many {xs} could you see?",
    ),
    "text": (
        "what did the sign near the {x} say?",
        "what was written beside the {x}?",
        "what word was on the board with the {x}?",
        "which word was next to the {x}?",
        "read the sign by the {x}",
        "what text was shown with the {x}?",
        "what did the board say next to the {x}?",
        "what was the word on the sign near the {x}?",
    ),
    "when": (
        "when did the {x} appear?",
        "at what time was the {x} shown?",
        "when was the {x} on the screen?",
        "at which minute did you see the {x}?",
        "what was the time when the {x} came?",
        "when did you see the {x}?",
        "when was there a {x}?",
        "at what time did you see the {x}?",
    ),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Hold a question, its right answer and where the evidence is.

    spans_us: the stretches that must be known to answer, in time order; empty for a "no".  asked_us: the stream time
    at which it is asked.  For `when`, every time inside the span (whole seconds) counts as right, and so does the
    second before it begins: clocks are rounded down, so it is what the frame just before the cut can bear.
    """

    text: str
    answer: str
    kind: Kind
    spans_us: tuple[tuple[int, int], ...]
    asked_us: int

    def accepts(self, reply: str) -> bool:
        """Say whether a reply is right: equal words, or for `when` a time inside the span or up to a second early."""
        said = reply.strip().lower().rstrip(".")
        if self.kind != "when" or said == NOT_SEEN or not self.spans_us:
            return said == self.answer
        told = seconds_of(said.removeprefix("at "))
        start, end = self.spans_us[0]
        return told is not None and start // 1_000_000 - 1 <= told <= end // 1_000_000


def seconds_of(clock: str) -> int | None:
    """Read "3:25" or "1:03:25" as seconds; None when it is no time."""
    parts = clock.replace(" ", "").split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts):
        return None
    value = 0
    for part in parts:
        value = value * 60 + int(part)
    return value


def clock_of(time_us: int) -> str:
    """Write a stream time as "3:25" or "1:03:25", whole seconds."""
    seconds = time_us // 1_000_000
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def wording(rng: np.random.Generator, kind: Kind, x: str = "", y: str = "", held_out: bool = False) -> str:
    """Choose a wording; held_out takes the one that training never sees."""
    known = WORDINGS[kind]
    chosen = known[-1] if held_out else known[int(rng.integers(len(known) - 1))]
    return chosen.format(x=x, y=y, xs=plural(x) if x else "")


def order_answer(text: str, x: str, y: str, x_first: bool) -> str:
    """Answer an order question in the form that its wording asks for."""
    if " before " in f" {text} " and " after " in f" {text} ":
        return "before" if x_first else "after"
    return f"the {x if x_first else y}"


def things_of(scene: Scene) -> str:
    """Answer what is on the stage: names from left to right (from the top where equal), copies counted."""
    names: list[str] = []
    if scene.kind == "group":
        names.append(f"{len(scene.actors)} {plural(scene.actors[0].sprite)}")
    elif scene.kind == "busy":  # they stand one above the other
        names += [f"the {actor.sprite}" for actor in scene.actors]
    else:
        names += [f"the {actor.sprite}" for actor in sorted(scene.actors, key=lambda actor: actor.start[0])]
    if scene.sign is not None:
        names.append("a sign")
    return " and ".join(names) if names else "nothing"


def kinds_of(scene: Scene) -> tuple[Kind, ...]:
    """List the kinds that can be asked of an event's things afterwards."""
    extra: dict[str, tuple[Kind, ...]] = {
        "solo": ("place",),
        "pair": ("neighbour",),
        "move": ("motion",),
        "group": ("count",),
        "sign": ("text",),
    }
    return ("colour", "when", "presence", *extra.get(scene.kind, ()))


def fact(scene: Scene, kind: Kind, actor: int) -> str:
    """Answer a question of one kind about one actor of an event (order and present are asked of more than that)."""
    thing = scene.actors[actor]
    if kind == "place":
        return place_of(thing.start)
    if kind == "colour":
        return scene.backdrop.colour
    if kind == "neighbour":
        return f"the {scene.actors[1 - actor].sprite}"
    if kind == "motion":
        dx, dy = thing.end[0] - thing.start[0], thing.end[1] - thing.start[1]
        return ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
    if kind == "count":
        return str(len(scene.actors))
    if kind == "text" and scene.sign is not None:
        return scene.sign.word
    if kind == "when":
        return f"at {clock_of(scene.start_us)}"
    if kind == "presence":
        return "yes"
    raise ValueError(f"an event of kind {scene.kind} answers no question of kind {kind}")
