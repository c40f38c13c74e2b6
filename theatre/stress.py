"""Streams that are hard to prune: acts of one minute, each of which strains one thing.

A stream is a row of acts of ACT_US.  What is asked about appears once in the whole stream; every question says which
strain its act is of.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from ..frame import Frame
from . import script
from .cast import DIRECTIONS, PLACES, SPRITES, WORDS
from .questions import Kind, Question, fact, wording
from .stage import Actor, Camera, Scene, Sign, Stage

Strain = Literal["drift", "camera", "bursts", "text", "background", "crowd"]
STRAINS: tuple[Strain, ...] = ("drift", "camera", "bursts", "text", "background", "crowd")
ACT_US = 60_000_000
PLANTED = 7  # sprites of an act that appear nowhere else
COMMON, ABSENT = 14, 10
NAMESPACE = 0x57E5

_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Strained:
    """Hold a question and the strain of its act."""

    strain: Strain
    question: Question


@dataclass(frozen=True)
class StressShow:
    """One stream of acts, one of each strain in an order of its own; the seed decides everything.

    strains: the acts, at most one of each.  size: pixels along a side.
    """

    seed: int
    size: int = 224
    strains: tuple[Strain, ...] = STRAINS
    _acts: dict[int, "Act"] = field(default_factory=dict, repr=False, compare=False)

    @property
    def end_us(self) -> int:
        """Stream time of the end."""
        return len(self.strains) * ACT_US

    @cached_property
    def acts(self) -> tuple["Act", ...]:
        """Write all acts."""
        rng = np.random.default_rng([NAMESPACE, self.seed])
        cast = [str(name) for name in rng.permutation(SPRITES)]
        common, planted = cast[:COMMON], cast[COMMON + ABSENT :]
        order = [self.strains[int(n)] for n in rng.permutation(len(self.strains))]
        acts = []
        for number, strain in enumerate(order):
            mine = planted[number * PLANTED : (number + 1) * PLANTED]
            act_rng = np.random.default_rng([NAMESPACE, self.seed, 1, STRAINS.index(strain)])
            acts.append(_WRITERS[strain](act_rng, mine, common, number * ACT_US))
        return tuple(acts)

    @cached_property
    def absent(self) -> tuple[str, ...]:
        """Name the sprites that never appear."""
        rng = np.random.default_rng([NAMESPACE, self.seed])
        return tuple(str(name) for name in rng.permutation(SPRITES)[COMMON : COMMON + ABSENT])

    def scene_at(self, time_us: int) -> Scene:
        """Find the scene that is on at a moment."""
        scenes = self.acts[min(time_us, self.end_us - 1) // ACT_US].scenes
        return next((scene for scene in scenes if time_us < scene.end_us), scenes[-1])

    def frames(self, fps: float) -> Iterator[Frame]:
        """Draw frames at a constant rate."""
        count = int(self.end_us * fps / 1e6)
        yield from self.frames_at(round(n * 1e6 / fps) for n in range(count))

    def frames_at(self, times_us: Iterable[int]) -> Iterator[Frame]:
        """Draw frames at the given moments."""
        stage = Stage(self.size)
        for seq, time_us in enumerate(times_us):
            yield Frame(stage.draw(self.scene_at(time_us), time_us), time_us, seq, f"stress:{self.seed}")

    def questions(self) -> list[Strained]:
        """Ask about every act at the end, and as often about what never came."""
        rng = np.random.default_rng([NAMESPACE, self.seed, 2])
        asked: list[Strained] = []
        for act in self.acts:
            for fact_of in act.facts:
                text = wording(rng, fact_of.kind, fact_of.sprite)
                question = Question(text, fact_of.answer, fact_of.kind, (fact_of.span_us,), self.end_us)
                asked.append(Strained(act.strain, question))
                if fact_of.kind == "presence":
                    missing = self.absent[int(rng.integers(len(self.absent)))]
                    no = Question(wording(rng, "presence", missing), "no", "presence", (), self.end_us)
                    asked.append(Strained(act.strain, no))
        return asked


@dataclass(frozen=True, slots=True)
class Fact:
    """Hold what can be asked of one sprite of an act."""

    sprite: str
    kind: Kind
    answer: str
    span_us: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Act:
    """Hold a minute: its scenes in order, and what can be asked of it afterwards."""

    strain: Strain
    scenes: tuple[Scene, ...]
    facts: tuple[Fact, ...]


def _facts(scene: Scene, actor: int, kinds: Iterable[Kind]) -> list[Fact]:
    thing = scene.actors[actor]
    span = thing.on_us or (scene.start_us, scene.end_us)
    return [Fact(thing.sprite, kind, fact(scene, kind, actor), span) for kind in kinds]


def _still(rng: np.random.Generator, sprite: str, size: float = 0.34) -> Actor:
    place = script.near(rng, str(rng.choice(list(PLACES))))
    return Actor(sprite, place, place, size)


def _drift(rng: np.random.Generator, cast: list[str], common: list[str], start: int) -> Act:
    """Things that appear so slowly that no frame differs from the one before it, and one that creeps."""
    cloth, scenes, facts = script.backdrop(rng), [], []
    for number in range(3):
        begins = start + number * ACT_US // 3
        ends = begins + ACT_US // 3
        if number == 1:
            dx, dy = DIRECTIONS[str(rng.choice(list(DIRECTIONS)))]
            first, last = (0.5 - 0.33 * dx, 0.5 - 0.33 * dy), (0.5 + 0.33 * dx, 0.5 + 0.33 * dy)
            scene = Scene(begins, ends, "move", cloth, (Actor(cast[3], first, last, 0.34),))
            facts += _facts(scene, 0, ("motion", "colour"))
        else:
            actor = replace(_still(rng, cast[number]), fade_us=14 * _SECOND)
            actor = replace(actor, on_us=(begins + _SECOND, ends))
            scene = Scene(begins, ends, "solo", cloth, (actor,))
            # Half shown, it can be made out; before that nobody would say that it was there.
            seen = (begins + 8 * _SECOND, ends)
            facts += [replace(one, span_us=seen) for one in _facts(scene, 0, ("presence", "place", "colour"))]
        scenes.append(scene)
    return Act("drift", tuple(scenes), tuple(facts))


def _camera(rng: np.random.Generator, cast: list[str], common: list[str], start: int) -> Act:
    """Ordinary events before a camera that is held by hand: every cell changes in every frame."""
    camera = Camera(0.06, 0.015, int(rng.integers(100)))
    return _events("camera", rng, cast, start, 4, (6, 8), camera)


def _bursts(rng: np.random.Generator, cast: list[str], common: list[str], start: int) -> Act:
    """Everything happens within a few seconds, before and after which nothing does."""
    quiet = int(rng.integers(15, 30))
    scenes = [script.empty(rng, start, start + quiet * _SECOND)]
    facts: list[Fact] = []
    at = scenes[0].end_us
    for number, kind in enumerate(("solo", "pair", "group", "sign", "solo")):
        sprites = [cast[number], cast[5]]
        scene = script.event(rng, kind, sprites, at, at + 1_500_000)
        scenes.append(scene)
        facts += _facts(scene, 0, ("colour", *_OWN[kind]))
        at = scene.end_us
    scenes.append(script.empty(rng, at, start + ACT_US))
    return Act("bursts", tuple(scenes), tuple(facts))


def _text(rng: np.random.Generator, cast: list[str], common: list[str], start: int) -> Act:
    """Small boards beside things that stay, while something large keeps moving."""
    scenes, facts = [], []
    for number in range(4):
        begins = start + number * ACT_US // 4
        ends = begins + ACT_US // 4
        left = bool(rng.integers(2))
        x = 0.25 if left else 0.75
        thing = Actor(cast[number], (x, 0.25), (x, 0.25), 0.32)
        up, down = (1.0 - x, 0.2), (1.0 - x, 0.8)
        mover = Actor(str(rng.choice(common)), up, down, 0.34)
        board = Sign(str(rng.choice(WORDS)), (x, 0.6), 0.42)
        scene = Scene(begins, ends, "sign", script.backdrop(rng), (thing, mover), board)
        scenes.append(scene)
        facts += _facts(scene, 0, ("text", "colour"))
    return Act("text", tuple(scenes), tuple(facts))


def _background(rng: np.random.Generator, cast: list[str], common: list[str], start: int) -> Act:
    """One thing stands there all the time; others come and go before the same cloth."""
    end, cloth = start + ACT_US, script.backdrop(rng)
    left = bool(rng.integers(2))
    x = 0.27 if left else 0.73
    y = float(rng.choice([0.25, 0.5, 0.75]))
    stays = Actor(cast[0], (x, y), (x, y), 0.34)
    facts = [
        Fact(cast[0], "place", script.place_of((x, y)), (start, end)),
        Fact(cast[0], "colour", cloth.colour, (start, end)),
        Fact(cast[0], "presence", "yes", (start, end)),
    ]
    scenes = [Scene(start, start + 20 * _SECOND, "solo", cloth, (stays,))]
    for number in range(3):
        begins = start + (20 + 13 * number) * _SECOND
        visitor = Actor(cast[1 + number], (1.0 - x, y), (1.0 - x, y), 0.34)
        scene = Scene(begins, begins + 6 * _SECOND, "pair", cloth, (stays, visitor))
        scenes += [scene, Scene(begins + 6 * _SECOND, begins + 13 * _SECOND, "solo", cloth, (stays,))]
        facts += _facts(scene, 1, ("neighbour", "colour"))
    scenes[-1] = replace(scenes[-1], end_us=end)
    return Act("background", tuple(scenes), tuple(facts))


def _crowd(rng: np.random.Generator, cast: list[str], common: list[str], start: int) -> Act:
    """Several things at once, some of which move."""
    scenes, facts = [], []
    for number in range(2):
        begins = start + number * ACT_US // 2
        ends = begins + ACT_US // 2
        across = [float(x) for x in rng.permutation([0.2, 0.5, 0.8])]
        names = [cast[2 * number], cast[2 * number + 1], cast[4 + number]]
        actors = []
        for place, (name, x) in enumerate(zip(names, across, strict=True)):
            y = 0.25 if place != 1 else 0.75
            on = (begins + 5 * place * _SECOND, ends)
            actors.append(Actor(name, (x, y), (x, y), 0.32, on))
        wanders = Actor(str(rng.choice(common)), (0.2, 0.5), (0.8, 0.5), 0.26)
        scene = Scene(begins, ends, "solo", script.backdrop(rng), (*actors, wanders))
        scenes.append(scene)
        for actor in range(3):
            facts += _facts(scene, actor, ("place", "colour") if actor else ("presence", "colour"))
    return Act("crowd", tuple(scenes), tuple(facts))


_OWN: dict[str, tuple[Kind, ...]] = {
    "solo": ("place",),
    "pair": ("neighbour",),
    "move": ("motion",),
    "group": ("count",),
    "sign": ("text",),
}


def _events(
    strain: Strain,
    rng: np.random.Generator,
    cast: list[str],
    start: int,
    count: int,
    lasts_s: tuple[int, int],
    camera: Camera,
) -> Act:
    scenes, facts, at = [], [], start
    for number, kind in enumerate(("solo", "pair", "sign", "move")[:count]):
        begins = start + number * ACT_US // count + 3 * _SECOND
        ends = begins + int(rng.integers(lasts_s[0], lasts_s[1] + 1)) * _SECOND
        scenes.append(replace(script.empty(rng, at, begins), camera=camera))
        scene = replace(script.event(rng, kind, [cast[number], cast[4]], begins, ends), camera=camera)
        scenes.append(scene)
        facts += _facts(scene, 0, ("colour", *_OWN[kind]))
        at = ends
    scenes.append(replace(script.empty(rng, at, start + ACT_US), camera=camera))
    return Act(strain, tuple(scenes), tuple(facts))


_WRITERS = {
    "drift": _drift,
    "camera": _camera,
    "bursts": _bursts,
    "text": _text,
    "background": _background,
    "crowd": _crowd,
}
