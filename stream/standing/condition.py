"""Conditions: from the words of a standing question to the question that the model is asked."""

import re
from dataclasses import dataclass, fields

from ...errors import ModelError, SettingsError
from ...models.card import CARD_NAME, ModelCard

MOST_CHARACTERS = 500
FIELD = "standing"  # of a model's card
HOLE = "{}"

# A text without a question mark that begins with one of these is a question all the same.
_ASKING = re.compile(
    r"(?:is|are|was|were|does|do|did|has|have|isn't|aren't|wasn't|weren't|doesn't|don't|didn't|hasn't|haven't)\b"
    r"|(?:can|could|will|would) (?:you|we|i|he|she|it|they|there|any\w*|some\w*)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Manner:
    """Say how a model is asked whether a condition holds, and how its answer is read.

    {} is where the condition goes.  question: for a condition that is a question.  statement: for any other, a thing's
    name or a sentence.  rise, fall: the scores, of 0 for no to 1 for yes, from which on and down to which a condition
    becomes true and false.  glance: the cosine of the question's best word with what is shown up to which the answer
    is no without asking; None to always ask.  A model's onlooker.json may have its own under "standing".
    Raises ModelError for a value outside its limits.
    """

    question: str = "{} Answer yes or no."
    statement: str = "Is this true of what is shown now: {}? Answer yes or no."
    rise: float = 0.5
    fall: float = 0.35
    glance: float | None = None

    def __post_init__(self) -> None:
        for name in ("question", "statement"):
            wording: object = getattr(self, name)
            if not isinstance(wording, str) or wording.count(HOLE) != 1:
                raise ModelError(f'"{FIELD}" has {name} {wording!r}; give a text with one {HOLE} in it')
        numbers = (self.rise, self.fall, 0.0 if self.glance is None else self.glance)
        if not all(type(number) in (int, float) for number in numbers):
            raise ModelError(f'"{FIELD}" has rise, fall and glance {numbers}; give numbers')
        if not 0.0 <= self.fall < self.rise <= 1.0:
            raise ModelError(f'"{FIELD}" has rise {self.rise} and fall {self.fall}; give 0 <= fall < rise <= 1')
        if self.glance is not None and not -1.0 <= self.glance <= 1.0:
            raise ModelError(f'"{FIELD}" has glance {self.glance}; give a cosine from -1 to 1')

    @classmethod
    def of(cls, card: ModelCard) -> "Manner":
        """Take a model's own from its card, this default where it has none.  Raises ModelError for one of no use."""
        given = card.other.get(FIELD, {})
        known = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or not set(given) <= known:
            raise ModelError(f'{CARD_NAME}: "{FIELD}" must be an object of {", ".join(sorted(known))}, not {given!r}')
        return cls(**given)

    def put(self, condition: str) -> str:
        """Write the question for a condition that tidy() gave."""
        if is_question(condition):
            asked = condition if condition.endswith("?") else f"{condition}?"
            return asked if "yes or no" in asked.lower() else self.question.replace(HOLE, asked)
        return self.statement.replace(HOLE, condition.rstrip(".!"))


def tidy(condition: str) -> str:
    """Give a condition on one line.  Raises SettingsError when it is no text, says nothing or is too long."""
    given: object = condition
    if not isinstance(given, str):
        raise SettingsError(f"the condition is {given!r:.80}, not text; give words, such as 'is there a snowman?'")
    text = " ".join(condition.encode("utf-8", "replace").decode("utf-8").split())
    if len(text) > MOST_CHARACTERS:
        raise SettingsError(f"the condition has {len(text)} characters; the limit is {MOST_CHARACTERS}: say it shorter")
    if not re.search(r"\w", text):
        raise SettingsError(
            f"the condition {text!r} has no words; say what to watch for, such as 'is there a snowman?'"
        )
    return text


def is_question(condition: str) -> bool:
    """Say whether a condition is a question already, with or without its mark."""
    return condition.endswith("?") or _ASKING.match(condition) is not None
