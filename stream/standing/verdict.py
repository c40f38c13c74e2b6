"""Verdicts: yes or no, read from a model's first token or from its words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ModelError
from ...memory.block import Context
from ...memory.positions import text_positions
from ...models.backbone import Backbone, Sampling

LEAST_SURE = 0.5
"""Probability that the first token is a yes or a no, below which the words are decoded and read instead."""
MOST_WORDS = Sampling(max_tokens=24)
_FEW_WORDS = Sampling(max_tokens=8)

_YES = ("yes", "yeah", "yep", "true", "correct")
_NO = ("no", "nope", "not", "false", "never")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold what the model thinks of a condition.

    score: from 0 (no) to 1 (yes); None when it said neither.  text: what it said, None where no words were decoded.
    """

    score: float | None
    text: str | None = None


class Judge:
    """Ask a backbone for yes or no over a context; keeps nothing of any stream.

    The score is the probability of the tokens that begin a yes, against those and the ones that begin a no.  Where
    these are unlikely altogether, or a tokenizer has none, the answer's first words are decoded and read.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        yes, no = (_first_ids(backbone, words) for words in (("yes", "Yes", "YES"), ("no", "No", "NO")))
        self._yes, self._no = sorted(yes - no), sorted(no - yes)

    def judge(self, rows: Tensor, context: Context) -> Verdict:
        """Put a question, embeddings [n, D], over a context.  Raises ModelError when the model's numbers fail."""
        score = self._first_token(rows, context) if self._yes and self._no else None
        if score is not None:
            return Verdict(score)
        text = self._decode(rows, context, _FEW_WORDS)
        said = read(text)
        return Verdict(None if said is None else float(said), text)

    def words(self, rows: Tensor, context: Context) -> str:
        """Decode what the model says to a question, embeddings [n, D], over a context."""
        return self._decode(rows, context, MOST_WORDS)

    def _first_token(self, rows: Tensor, context: Context) -> float | None:
        logits = self._backbone.prefill(rows, self._positions(rows, context), context, logits=True).logits
        assert logits is not None
        if not bool(torch.isfinite(logits).all()):
            raise ModelError("the model's logits are not finite; load it with dtype bfloat16 or float32")
        chances = torch.softmax(logits, dim=-1)
        yes, no = (float(chances[ids].sum()) for ids in (self._yes, self._no))
        return yes / (yes + no) if yes + no >= LEAST_SURE else None

    def _decode(self, rows: Tensor, context: Context, sampling: Sampling) -> str:
        return "".join(self._backbone.generate(rows, self._positions(rows, context), context, sampling)).strip()

    def _positions(self, rows: Tensor, context: Context) -> Tensor:
        axes = self._backbone.layout.rotary.axes
        return text_positions(len(rows), context.next_position, axes, context.keys.device)


def read(text: str) -> bool | None:
    """Read yes or no from the first word of an answer; None when it is neither."""
    found = _WORD.search(text.casefold())
    if found is None or not (found[0] in _YES or found[0] in _NO):
        return None
    return found[0] in _YES


def _first_ids(backbone: Backbone, words: Sequence[str]) -> set[int]:
    """Give the tokens that a word may begin with, at the start of an answer or behind a space."""
    tokenized = (backbone.tokenize(lead + word) for word in words for lead in ("", " "))
    return {int(ids[0]) for ids in tokenized if len(ids)}
