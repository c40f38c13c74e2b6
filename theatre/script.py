"""The scripts of the sprite theatre: how each kind of scene is put together from random numbers."""

from collections.abc import Sequence

import numpy as np

from .cast import COLOURS, DIRECTIONS, PLACES, SPRITES, TEXTURES, WORDS
from .stage import Actor, Backdrop, Scene, Sign

EVENT_KINDS: tuple[str, ...] = ("solo", "pair", "move", "group", "sign")
MOST_COPIES = 5


def backdrop(rng: np.random.Generator) -> Backdrop:
    """Choose a colour and a texture."""
    return Backdrop(
        str(rng.choice(list(COLOURS))),
        str(rng.choice(list(TEXTURES))),
        float(rng.integers(16)) * 0.4,
        float(rng.integers(-2, 3)) * 0.05,
    )


def near(rng: np.random.Generator, place: str) -> tuple[float, float]:
    """Choose a point near a place's centre."""
    x, y = PLACES[place]
    return x + float(rng.uniform(-0.04, 0.04)), y + float(rng.uniform(-0.04, 0.04))


def event(rng: np.random.Generator, kind: str, sprites: Sequence[str], start_us: int, end_us: int) -> Scene:
    """Write an event: `solo`, `move`, `group` and `sign` take one sprite, `pair` two (left, right)."""
    cloth = backdrop(rng)
    size = float(rng.uniform(0.30, 0.38))
    if kind == "pair":
        place = str(rng.choice(["top", "middle", "bottom"]))
        x, y = near(rng, place)
        left, right = (x - 0.19, y), (x + 0.19, y)
        both = (Actor(sprites[0], left, left, size), Actor(sprites[1], right, right, size))
        return Scene(start_us, end_us, kind, cloth, both)
    if kind == "move":
        dx, dy = DIRECTIONS[str(rng.choice(list(DIRECTIONS)))]
        across = float(rng.choice([0.25, 0.5, 0.75])) + float(rng.uniform(-0.05, 0.05))
        first = (0.5 - 0.33 * dx, across) if dx else (across, 0.5 - 0.33 * dy)
        last = (0.5 + 0.33 * dx, across) if dx else (across, 0.5 + 0.33 * dy)
        return Scene(start_us, end_us, kind, cloth, (Actor(sprites[0], first, last, size),))
    if kind == "group":
        copies = int(rng.integers(2, MOST_COPIES + 1))
        places = [str(p) for p in rng.choice(list(PLACES), copies, replace=False)]
        points = [near(rng, place) for place in places]
        group = tuple(Actor(sprites[0], point, point, min(size, 0.31)) for point in points)
        return Scene(start_us, end_us, kind, cloth, group)
    place = str(rng.choice(list(PLACES)))
    point = near(rng, place)
    actors = (Actor(sprites[0], point, point, size),)
    if kind == "sign":
        across = 0.5 if place in ("top", "middle", "bottom") else point[0] * 0.6 + 0.2
        below = point[1] + 0.3 if point[1] < 0.6 else point[1] - 0.3
        board = Sign(str(rng.choice(WORDS)), (across, below), float(rng.uniform(0.44, 0.54)))
        return Scene(start_us, end_us, kind, cloth, actors, board)
    return Scene(start_us, end_us, kind, cloth, actors)


def busy(rng: np.random.Generator, sprites: Sequence[str], start_us: int, end_us: int) -> Scene:
    """Write a busy stretch: two or three sprites that wander about."""
    cloth = backdrop(rng)
    chosen = rng.choice(list(sprites), int(rng.integers(2, 4)), replace=False)
    actors = []
    for number, sprite in enumerate(chosen):
        row = 0.2 + 0.3 * number
        start, end = rng.uniform(0.2, 0.8, 2)
        actors.append(Actor(str(sprite), (float(start), row), (float(end), row), float(rng.uniform(0.26, 0.34))))
    return Scene(start_us, end_us, "busy", cloth, tuple(actors))


def empty(rng: np.random.Generator, start_us: int, end_us: int) -> Scene:
    """Write an empty stretch: a backdrop alone."""
    return Scene(start_us, end_us, "empty", backdrop(rng))


def place_of(point: tuple[float, float]) -> str:
    """Name the place nearest to a point."""
    return min(PLACES, key=lambda name: (PLACES[name][0] - point[0]) ** 2 + (PLACES[name][1] - point[1]) ** 2)


def any_scene(rng: np.random.Generator, start_us: int, end_us: int) -> Scene:
    """Write a scene of any kind with sprites from the whole cast."""
    kind = str(rng.choice([*EVENT_KINDS, "busy", "empty"], p=[0.2, 0.2, 0.14, 0.14, 0.18, 0.1, 0.04]))
    if kind == "empty":
        return empty(rng, start_us, end_us)
    if kind == "busy":
        return busy(rng, SPRITES, start_us, end_us)
    return event(rng, kind, [str(s) for s in rng.choice(SPRITES, 2, replace=False)], start_us, end_us)
