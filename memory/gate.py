"""The gate: whether a question needs history, or the recent window answers it alone."""

import re
from dataclasses import dataclass
from typing import Literal

from .time_phrases import TimeRange, parse_time

GateSetting = Literal["auto", "always", "never"]

# Each list decides against those after it.  These ask for the past, whatever else the question says.
_PAST = (
    r"was|were|wasn't|weren't|did|didn't|had|hadn't|ever|never|already|ago|before|after|earlier|previously|formerly|"
    r"past|last|first|once|again|since|until|so far|up to now|just now|beginning|start|when|how often|"
    r"how many times|how long|remember|happened|appeared|yesterday"
)
# These name this moment.
_NOW = r"now|right now|currently|at the moment|at present|presently|at this moment|this moment"
# These speak of the past unless this moment is named: "what is seen?", but "what is seen now?".
_MAYBE_PAST = r"has|have|hasn't|haven't|been|yet|saw|seen"
# These speak of what is there as long as nothing else is said.
_HERE = r"still|on (?:the |my )?(?:screen|camera|picture)|in (?:the )?(?:picture|view)"
_CUES = ((_PAST, True), (_NOW, False), (_MAYBE_PAST, True), (_HERE, False))


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Say whether history joins the context.  cue: the words that decided, or the setting, or "default".

    range: the stretch of time that the question names, if it does.
    """

    history: bool
    cue: str
    range: TimeRange | None = None


def decide(question: str, now_us: int, setting: GateSetting = "auto", start_us: int = 0) -> GateDecision:
    """Decide from the words of an English question.

    A named time or a past cue brings history in; a present cue without them leaves it out, and one that names this
    moment ("now") outdoes the weak past cues ("seen", "has"); without any cue history joins, because reading too much
    costs less than not having seen.  "always" and "never" decide for all questions.
    """
    named = parse_time(question, now_us, start_us)
    if setting != "auto":
        return GateDecision(setting == "always", setting, named)
    if named is not None:
        return GateDecision(True, named.phrase, named)
    text = " ".join(question.lower().replace("’", "'").split())
    for pattern, history in _CUES:
        match = re.search(rf"\b(?:{pattern})\b", text)
        if match is not None:
            return GateDecision(history, match.group(0))
    return GateDecision(True, "default")
