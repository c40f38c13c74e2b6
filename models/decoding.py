"""Decoding: from logits to token ids, from token ids to pieces of text."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..errors import ModelError
from .backbone import Sampling

# What tokenizers write for bytes that are no complete character, perhaps not yet.
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TextDecoder(Protocol):
    """Turn token ids into text (the part of a tokenizer that decoding needs)."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str | list[str]:
        """Write the text of all ids."""
        ...


class TokenPicker:
    """Pick token ids from logits, greedily or by nucleus sampling, with a random state of its own."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        # On the CPU whatever the model's device is, so that a seed gives the same draws everywhere.
        self._random = torch.Generator().manual_seed(sampling.seed)

    def pick(self, logits: Tensor) -> int:
        """Pick one id by float32 logits [vocab].  Raises ModelError when they are not finite."""
        if not bool(torch.isfinite(logits).all()):
            raise ModelError("the model's logits are not finite; load it with dtype bfloat16 or float32")
        if self._sampling.temperature == 0.0:
            return int(logits.argmax())
        below = logits.cpu().double() - logits.max().item()  # so that a tiny temperature leaves the best one at 0
        probabilities = torch.softmax(below / self._sampling.temperature, dim=-1)
        ordered, ids = probabilities.sort(descending=True, stable=True)
        # Nucleus: the fewest tokens whose mass reaches top_p; the first one always stays.
        ordered[ordered.cumsum(0) - ordered >= self._sampling.top_p] = 0.0
        return int(ids[torch.multinomial(ordered, 1, generator=self._random)])


class Decoding(Iterator[str]):
    """Yield an answer's text in pieces that join to the tokenizer's own decoding of all its ids.

    token_ids: the ids so far, without the one that stopped it.  finish: None while it runs, then "stop" (the model
    ended its answer) or "length" (the limit was reached).  After close() nothing more is decoded, not even to complete
    a character.
    """

    def __init__(self, tokens: Iterator[int], decoder: TextDecoder, stop_ids: AbstractSet[int]) -> None:
        self.token_ids: list[int] = []
        self.finish: Literal["stop", "length"] | None = None
        self._tokens, self._decoder, self._stop_ids = tokens, decoder, stop_ids
        self._given = ""
        self._closed = False

    def close(self) -> None:
        """Stop before the next token; may be called from any thread."""
        self._closed = True

    def __next__(self) -> str:
        while self.finish is None and not self._closed:
            token = next(self._tokens, None)
            if token is None:
                self.finish = "length"
            elif token in self._stop_ids:
                self.finish = "stop"
            else:
                self.token_ids.append(token)
            text = self._text()
            if self.finish is None:
                # A later byte can still complete a character, so these wait for the next token or for the end.
                text = text.rstrip(_INCOMPLETE)
                if not text.startswith(self._given):
                    continue  # a decoder that rewrites its own past: wait until it agrees again
            piece = text[_common(text, self._given) :]
            if piece:
                self._given = text
                return piece
        raise StopIteration

    def _text(self) -> str:
        """Decode all ids anew: a piece alone would lose the spaces and characters that span two tokens."""
        if not self.token_ids:
            return ""
        text = self._decoder.decode(self.token_ids, skip_special_tokens=True)
        return text if isinstance(text, str) else "".join(text)


def _common(text: str, other: str) -> int:
    """Count the characters that two texts begin with alike."""
    if text.startswith(other):
        return len(other)
    return next((place for place, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), len(text))
