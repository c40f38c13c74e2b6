"""Contexts of stage two: what recall will put before the model, made from the bank, with packed questions.

A context is the sink, frames in time order (each its time stamp, then the visual tokens that pruning left), then
questions that see the whole context and not each other. Three attention patterns are mixed, so that blocks cached at
ingest and assembled later are nothing new: full causal; a window of the last frames; stretches that see only the sink
and themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from onlooker.theatre.cast import SPRITES
from onlooker.theatre.questions import NOT_SEEN, Kind, clock_of, fact, kinds_of, order_answer, things_of, wording
from onlooker.theatre.stage import Scene

from .design import SYSTEM_PROMPT
from .phrases import phrase
from .scenes import Filmed

WINDOWS = (4, 17)
MOST_RECENT = 8
# Words that a question loses its sense without.
TELLING = frozenset("before after where when many colour color move direction way next sign first".split())
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold one context with its packed questions, n tokens.

    ids: int [n], -1 for visual tokens.  features: [visual, D].  positions, labels: int [n] (labels already shifted: the
    token that follows).  part: int [n], -1 context, else the question's number.  frame: int [n], -1 for the sink.
    stretch: int [n].  pattern: 0 full, 1 window (of `window` frames), 2 stretches.  kinds: kind per question.
    """

    ids: np.ndarray
    features: Tensor
    positions: np.ndarray
    labels: np.ndarray
    part: np.ndarray
    frame: np.ndarray
    stretch: np.ndarray
    pattern: int
    window: int
    kinds: tuple[Kind, ...]

    def mask(self) -> np.ndarray:
        """Build the attention mask, bool [n, n], True where row may see column."""
        order = np.arange(len(self.ids))
        allowed = order[:, None] >= order[None, :]
        is_context = self.part == -1
        row, column = self.frame[:, None], self.frame[None, :]
        near = column == -1
        if self.pattern == 0:
            near = np.ones_like(allowed)
        elif self.pattern == 1:
            near = near | (row - column < self.window)
        else:
            near = near | (self.stretch[:, None] == self.stretch[None, :])
        recent = self.stretch.max()
        if self.pattern:
            clean = self.stretch[:, None] == recent
            near = np.where(clean, (column == -1) | (self.stretch[None, :] == recent), near)
        from_context = allowed & is_context[None, :] & near
        from_question = allowed & (is_context[None, :] | (self.part[:, None] == self.part[None, :]))
        return np.where(is_context[:, None], from_context, from_question)


class Writer:
    """Write samples from a bank of filmed scenes."""

    def __init__(self, bank: Sequence[Filmed], tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.bank = bank
        self.tokenizer = tokenizer
        self.rng = np.random.default_rng([0x7EA3, seed])
        self.free = 0.5
        self.cache: dict[str, list[int]] = {}
        self.unknown = tokenizer.unk_token_id
        self.plain = set(tokenizer.get_vocab()) - set(SPRITES)

    def encode(self, text: str) -> list[int]:
        """Tokenize with a small cache."""
        if text not in self.cache:
            if len(self.cache) > 50_000:
                self.cache.clear()
            self.cache[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(self.cache[text])

    def cast_scenes(self, frames: int) -> list[tuple[Filmed, list[int]]]:
        """Choose scenes without a sprite in common, and frames of each, until `frames` are reached."""
        rng, chosen, used, total = self.rng, [], set(), 0
        for _ in range(200):
            if total >= frames:
                break
            filmed = self.bank[int(rng.integers(len(self.bank)))]
            sprites = {actor.sprite for actor in filmed.scene.actors}
            if sprites & used or len(used) > 62:
                continue
            used |= sprites
            available = len(filmed.moments_us)
            if filmed.scene.kind == "move" and frames - total >= 2:
                # what shows which way it went: at least two moments, in order
                count = int(rng.integers(2, min(available, frames - total) + 1))
            elif filmed.scene.kind == "move":
                continue
            else:
                count = int(rng.integers(1, min(3, available, frames - total) + 1))
            picked = sorted(rng.choice(available, count, replace=False).tolist())
            chosen.append((filmed, picked))
            total += count
        if chosen and rng.random() < 0.4:  # what is on the screen now stays a while
            filmed, picked = chosen[-1]
            chosen[-1] = filmed, sorted(picked + rng.choice(picked, int(rng.integers(1, MOST_RECENT - 2))).tolist())
        return chosen

    def sample(self, frames: int, questions: int) -> Sample:
        """Write one sample."""
        rng = self.rng
        scenes = self.cast_scenes(frames)
        now_s = np.exp(rng.uniform(np.log(2), np.log(8_000))) if rng.random() < 0.6 else rng.uniform(0, 3_300)
        now = int(now_s * 1e6)
        opening = self.encode(f"<|im_start|>system \n{SYSTEM_PROMPT}<|im_end|><|im_start|>user ")
        ids = list(opening)
        frame_of, stretch_of = [-1] * len(ids), [-1] * len(ids)
        features: list[Tensor] = []
        told: list[tuple[Scene, int, int]] = []  # scene, first and last moment shown
        last = sum(len(picked) for _, picked in scenes) - 1
        number, stretch = 0, 0
        prune = rng.random() < 0.7
        scattered = rng.random() < 0.5
        recent_frames = int(rng.integers(2, MOST_RECENT + 1))
        for filmed, picked in scenes:
            began = now
            shown = None
            for step, index in enumerate(picked):
                if step:
                    gap = (filmed.moments_us[index] - filmed.moments_us[picked[step - 1]]) or 500_000
                    now += gap
                tokens = filmed.features[index]
                keep = self.survivors(tokens, shown, number > last - recent_frames) if prune else np.arange(len(tokens))
                shown = tokens
                if number == last - recent_frames + 1:
                    stretch += 1
                stamp = self.encode(clock_of(now))
                ids += stamp + [-1] * len(keep)
                features.append(tokens[torch.from_numpy(keep)])
                frame_of += [number] * (len(stamp) + len(keep))
                stretch_of += [stretch] * (len(stamp) + len(keep))
                number += 1
            told.append((filmed.scene, began, now))
            now += self.pause(scattered)
            if rng.random() < 0.5:
                stretch += 1
        if last >= 0 and number <= recent_frames:
            stretch_of = [0 if s >= 0 else s for s in stretch_of]
        positions = list(range(len(ids)))
        length = len(ids)
        labels, part, kinds = [IGNORED] * length, [-1] * length, []
        for q in range(questions):
            kind, text, answer = self.ask(told)
            asked = self.forget_words(self.encode(f"\n{text}"))
            tail = self.encode("<|im_end|><|im_start|>assistant\n")
            said = [*self.encode(answer), self.tokenizer.eos_token_id]
            row = [-2, *asked, *tail, *said[:-1]]  # -2: the newline feature that closes the video
            ids += row
            labels += [IGNORED] * (len(row) - len(said)) + said
            positions += range(length, length + len(row))
            part += [q] * len(row)
            frame_of += [10_000] * len(row)
            stretch_of += [-2] * len(row)
            kinds.append(kind)
        visual = torch.cat(features) if features else torch.zeros(0, 256, dtype=torch.bfloat16)
        arrays = [np.asarray(a) for a in (ids, positions, labels, part, frame_of, stretch_of)]
        pattern = int(rng.choice(3, p=[0.25, 0.45, 0.3]))
        return Sample(arrays[0], visual, *arrays[1:], pattern, int(rng.integers(*WINDOWS)), tuple(kinds))

    def pause(self, scattered: bool) -> int:
        """Choose the time between two scenes: that of a story, or of what recall picks from far apart."""
        rng = self.rng
        if scattered:
            return int(np.exp(rng.uniform(np.log(1), np.log(600))) * 1e6)
        return int(rng.uniform(0.5, 20 if rng.random() < 0.7 else 400) * 1e6)

    def survivors(self, tokens: Tensor, shown: Tensor | None, recent: bool) -> np.ndarray:
        """Choose which cells pruning leaves: new ones mostly, and a random few."""
        rng, cells = self.rng, tokens.shape[0]
        if recent and rng.random() < 0.7:
            return np.arange(cells)
        if shown is None:
            count = cells if rng.random() < 0.6 else int(rng.integers(cells * 5 // 8, cells + 1))
            return np.sort(rng.choice(cells, count, replace=False))
        similar = torch.cosine_similarity(tokens.float(), shown.float(), dim=-1).numpy()
        count = int(rng.integers(2, cells + 1))
        return np.sort(np.argsort(similar + rng.normal(0, 0.05, cells))[:count])

    def forget_words(self, ids: list[int]) -> list[int]:
        """Turn a few of a question's plain words into <unk>, as words that are not known would be."""
        if self.rng.random() > 0.25:
            return ids
        words = self.tokenizer.convert_ids_to_tokens(ids)
        drop = 0.15
        return [
            self.unknown if w in self.plain and w not in TELLING and w.isalpha() and self.rng.random() < drop else i
            for i, w in zip(ids, words, strict=True)
        ]

    def word(self, kind: Kind, x: str = "", y: str = "") -> str:
        """Word a question: as the bench does, or freely, a share `free` of them."""
        return phrase(self.rng, kind, x, y) if self.rng.random() < self.free else wording(self.rng, kind, x, y)

    def ask(self, told: list[tuple[Scene, int, int]]) -> tuple[Kind, str, str]:
        """Ask one question that the context answers (or, now and then, does not)."""
        rng = self.rng
        events = [entry for entry in told if entry[0].kind not in ("busy", "empty")]
        used = {actor.sprite for scene, _, _ in told for actor in scene.actors}
        pick = rng.random()
        if pick < 0.14 or not events:
            return "present", self.word("present"), things_of(told[-1][0])
        if pick < 0.20 or pick > 0.96:
            absent = str(rng.choice([name for name in SPRITES if name not in used]))
            if pick < 0.20:
                return "presence", self.word("presence", absent), "no"
            kind: Kind = ("place", "colour", "neighbour", "motion", "count", "text", "when")[int(rng.integers(7))]
            return kind, self.word(kind, absent), NOT_SEEN
        if pick < 0.42 and len(events) > 1:
            first, second = sorted(rng.choice(len(events), 2, replace=False).tolist())
            if rng.random() < 0.5:  # recall lays what it finds side by side
                first = int(rng.integers(len(events) - 1))
                second = first + 1
            x_first = bool(rng.integers(2))
            x, y = (first, second) if x_first else (second, first)
            name_x, name_y = (str(rng.choice([a.sprite for a in events[n][0].actors])) for n in (x, y))
            text = self.word("order", name_x, name_y)
            return "order", text, order_answer(text, name_x, name_y, x_first)
        scene, began, _ = events[int(rng.integers(len(events)))]
        kinds = kinds_of(scene)
        weights = np.array([0.6, 0.8, 0.9, *[14.0 if scene.kind == "move" else 2.2] * (len(kinds) - 3)])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        actor = int(rng.integers(len(scene.actors)))
        text = self.word(kind, scene.actors[actor].sprite)
        return kind, text, f"at {clock_of(began)}" if kind == "when" else fact(scene, kind, actor)


def collate(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Pad samples to one batch: ids, positions, labels [B, n], mask bool [B, 1, n, n], features [visual, D]."""
    size = max(len(sample.ids) for sample in samples)

    def padded(name: str, fill: int) -> Tensor:
        rows = [np.pad(getattr(s, name), (0, size - len(s.ids)), constant_values=fill) for s in samples]
        return torch.from_numpy(np.stack(rows))

    mask = np.zeros((len(samples), size, size), bool)
    mask[:, np.arange(size), np.arange(size)] = True
    for number, sample in enumerate(samples):
        n = len(sample.ids)
        mask[number, :n, :n] = sample.mask()
    return {
        "ids": padded("ids", 0),
        "positions": padded("positions", 0),
        "labels": padded("labels", IGNORED),
        "part": padded("part", -1),
        "mask": torch.from_numpy(mask)[:, None],
        "features": torch.cat([sample.features for sample in samples]),
    }
