"""The sprite theatre: deterministic synthetic streams of any length, with questions whose answers are known.

Time is cut into slots of 16 s. Each slot holds one event of 4 to 8 s and, around it, an empty or a busy stretch. A
slot's script depends on the seed and the slot's number alone, so any moment of any stream is drawn without what came
before it. *Planted* events show sprites that appear once in the whole stream; questions about the past are asked of
them. Other events and busy stretches use the seed's common sprites; some sprites never appear, for the questions whose
answer is "no".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..frame import Frame
from . import script
from .cast import SPRITES
from .questions import KINDS, NOT_SEEN, Kind, Question, fact, kinds_of, order_answer, things_of, wording
from .stage import Scene, Stage

SLOT_US = 16_000_000
COMMON, ABSENT = 16, 14
# Seeds of training draw from another namespace (training/), so that no stream seen there comes up here.
EVALUATION = 0xE7A1


@dataclass(frozen=True)
class Show:
    """One stream: seed and length decide everything.

    length_s: at least one slot (16 s).  stages: stretches of stream time that planted events are dealt to in turn;
    anywhere when there are none.
    """

    seed: int
    length_s: float = 600.0
    size: int = 224
    namespace: int = EVALUATION
    stages: tuple[tuple[int, int], ...] = ()
    _slots: dict[int, tuple[Scene, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.length_s * 1e6 < SLOT_US:
            raise ValueError(f"a show must last at least {SLOT_US // 1_000_000} s, not {self.length_s}")

    @property
    def end_us(self) -> int:
        """Stream time of the end."""
        return round(self.length_s * 1e6)

    @cached_property
    def roles(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Deal the sprites into common, absent and planted ones."""
        dealt = [str(s) for s in np.random.default_rng([self.namespace, self.seed, 1]).permutation(SPRITES)]
        return tuple(dealt[:COMMON]), tuple(dealt[COMMON : COMMON + ABSENT]), tuple(dealt[COMMON + ABSENT :])

    @cached_property
    def planted(self) -> dict[int, tuple[str, tuple[str, ...]]]:
        """Say which slots hold planted events: their kind and sprites."""
        rng = np.random.default_rng([self.namespace, self.seed, 2])
        slots = self.end_us // SLOT_US
        stages = [np.arange(-(-start_us // SLOT_US), end_us // SLOT_US) for start_us, end_us in self.stages]
        room = len(stages) * min(map(len, stages)) if stages else slots
        kinds = list(script.EVENT_KINDS)
        waiting = list(self.roles[2])
        cast: list[tuple[str, tuple[str, ...]]] = []
        while waiting and len(cast) < room:
            kind = kinds[len(cast) % len(kinds)]
            count = 2 if kind == "pair" and len(waiting) > 1 else 1
            cast.append((kind if count == 2 or kind != "pair" else "solo", tuple(waiting[:count])))
            del waiting[:count]
        dealt = [
            rng.choice(stage, len(cast[number :: len(stages)]), replace=False) for number, stage in enumerate(stages)
        ]
        chosen = sorted(np.concatenate(dealt or [rng.choice(slots, len(cast), replace=False)]).tolist())
        rng.shuffle(cast)
        return dict(zip(chosen, cast, strict=True))

    def slot(self, number: int) -> tuple[Scene, ...]:
        """Write one slot: stretch, event, stretch."""
        if number not in self._slots:
            if len(self._slots) >= 256:
                self._slots.clear()
            self._slots[number] = self._write(number)
        return self._slots[number]

    def _write(self, number: int) -> tuple[Scene, ...]:
        rng = np.random.default_rng([self.namespace, self.seed, 3, number])
        start, end = number * SLOT_US, (number + 1) * SLOT_US
        lasts = int(rng.integers(4_000, 8_001)) * 1000
        rises = start + int(rng.integers(1_000, (SLOT_US - lasts) // 1000 - 1000)) * 1000
        common = self.roles[0]
        if number in self.planted:
            kind, sprites = self.planted[number]
        else:
            kind = str(rng.choice(script.EVENT_KINDS))
            sprites = tuple(str(s) for s in rng.choice(common, 2, replace=False))
        event = script.event(rng, kind, sprites, rises, rises + lasts)

        def stretch(a: int, b: int) -> Scene:
            return script.busy(rng, common, a, b) if rng.random() < 0.3 else script.empty(rng, a, b)

        return stretch(start, rises), event, stretch(rises + lasts, end)

    def scene_at(self, time_us: int) -> Scene:
        """Find the scene that is on at a moment."""
        scenes = self.slot(min(time_us, self.end_us - 1) // SLOT_US)
        return next((scene for scene in scenes if time_us < scene.end_us), scenes[-1])

    def frames(self, fps: float = 8.0, start_us: int = 0, end_us: int | None = None) -> Iterator[Frame]:
        """Draw frames at a constant rate, one after the other, never all at once."""
        stop = self.end_us if end_us is None else min(end_us, self.end_us)
        moments = range(int(start_us * fps / 1e6), int(stop * fps / 1e6) + 2)
        yield from self.frames_at(t for t in (round(n * 1e6 / fps) for n in moments) if start_us <= t < stop)

    def frames_at(self, times_us: "Iterator[int]") -> Iterator[Frame]:
        """Draw frames at the given moments (variable rate)."""
        stage = Stage(self.size)
        for seq, time_us in enumerate(times_us):
            yield Frame(stage.draw(self.scene_at(time_us), time_us), time_us, seq, f"theatre:{self.seed}")

    def events(self, before_us: int) -> list[Scene]:
        """List the planted events that are over at a moment."""
        scenes = [self.slot(number)[1] for number in self.planted if number * SLOT_US < before_us]
        return [scene for scene in scenes if scene.end_us <= before_us]

    def questions(self, asked_us: int | None = None, per_event: int = 2, held_out: bool = False) -> list[Question]:
        """Ask about the planted events that are over at asked_us (default: the end), kinds as even as can be.

        Each event gets `per_event` questions, its own kind (place, neighbour, motion, count, text) first; as many
        presence questions are answered no as yes; order is asked of pairs of events.
        """
        now = self.end_us if asked_us is None else asked_us
        rng = np.random.default_rng([self.namespace, self.seed, 4, now])
        events = self.events(now)
        absent = list(self.roles[1])
        asked: list[Question] = []
        for number, scene in enumerate(events):
            general, own = kinds_of(scene)[:3], kinds_of(scene)[3:]
            chosen: list[Kind] = [own[number % len(own)]]
            chosen += [general[(number + n) % 3] for n in range(per_event - 1)]
            actor = int(rng.integers(len(scene.actors))) if scene.kind == "pair" else 0
            span = (scene.start_us, scene.end_us)
            for kind in chosen:
                name = scene.actors[actor].sprite
                text = wording(rng, kind, name, held_out=held_out)
                asked.append(Question(text, fact(scene, kind, actor), kind, (span,), now))
                if kind == "presence":
                    text = wording(rng, kind, absent[int(rng.integers(len(absent)))], held_out=held_out)
                    asked.append(Question(text, "no", kind, (), now))
        for _ in range(len(events) // 3 if len(events) > 1 else 0):
            first, last = sorted(rng.choice(len(events), 2, replace=False).tolist())
            asked.append(self._order(rng, events[first], events[last], now, held_out))
        return asked

    def absent_questions(self, held_out: bool = False) -> list[Question]:
        """Ask at the end about every sprite that never appears, once in each kind that is asked of one thing."""
        rng = np.random.default_rng([self.namespace, self.seed, 6])
        kinds = [kind for kind in KINDS if kind not in ("present", "order")]
        asked: list[Question] = []
        for name in self.roles[1]:
            for kind in kinds:
                answer = "no" if kind == "presence" else NOT_SEEN
                asked.append(Question(wording(rng, kind, name, held_out=held_out), answer, kind, (), self.end_us))
        return asked

    def _order(self, rng: np.random.Generator, first: Scene, last: Scene, now: int, held_out: bool) -> Question:
        x_first = bool(rng.integers(2))
        x, y = (first, last) if x_first else (last, first)
        name_x, name_y = x.actors[0].sprite, y.actors[0].sprite
        text = wording(rng, "order", name_x, name_y, held_out=held_out)
        answer = order_answer(text, name_x, name_y, x_first)
        return Question(text, answer, "order", ((first.start_us, first.end_us), (last.start_us, last.end_us)), now)

    def present_question(self, asked_us: int, held_out: bool = False) -> Question:
        """Ask what is on the stage at a moment."""
        rng = np.random.default_rng([self.namespace, self.seed, 5, asked_us])
        scene = self.scene_at(asked_us)
        text = wording(rng, "present", held_out=held_out)
        return Question(text, things_of(scene), "present", ((scene.start_us, min(asked_us, scene.end_us)),), asked_us)
