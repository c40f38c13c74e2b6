"""Clips with planted changes, for the keyframe benchmark: sprites on textured stages, seen by cameras of every kind."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..frame import Frame
from ..theatre.cast import COLOURS, SPRITES
from ..theatre.stage import Actor, Backdrop, Scene, Stage

Picture = NDArray[np.uint8]

FPS = 12
WIDTH, HEIGHT = 640, 480
_SET = 1.25  # side of the painted set over the picture's width: a hand-held camera sees a part of it
_GRAIN = 5.0  # grey levels, at each of five scales
_SMALL = 0.085  # side of a small thing, of the picture's width
_TEXTURES = ("stripes", "dots", "checks", "gradient")


@dataclass(frozen=True, slots=True)
class Change:
    """Plant one change.

    shown_us: it is there, or three quarters of it where it comes slowly.  until_us: the next change begins.  cut_us:
    for the first frame of another scene, when the old one began to go; None for changes within a scene.
    """

    kind: str
    shown_us: int
    until_us: int
    cut_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Hold a clip: frames are drawn when they are asked for, the same every time."""

    name: str
    changes: tuple[Change, ...]
    length_us: int
    draw: Callable[[], Iterator[Picture]] = field(repr=False)

    def frames(self) -> Iterator[Frame]:
        """Draw the frames, uint8 [480, 640, 3] at 12 a second."""
        for number, picture in enumerate(self.draw()):
            yield Frame(picture, time_of(number), number)


def time_of(number: int) -> int:
    """Give the time of a frame."""
    return round(number * 1e6 / FPS)


def clip_of(name: str, seed: int, seconds: float = 30.0) -> Clip:
    """Make a clip by name.  Raises SettingsError for a name that is not there."""
    if name not in CLIPS:
        raise SettingsError(f"there is no clip {name!r}; choose from {', '.join(CLIPS)}")
    rng = np.random.default_rng([0xC11B, seed, sorted(CLIPS).index(name)])
    return CLIPS[name](name, rng, max(8.0, seconds))


def _paint(rng: np.random.Generator, colour: str, things: int = 14) -> Picture:
    """Paint a set: a textured backdrop with things on it, uint8 [800, 800, 3]."""
    side = round(WIDTH * _SET)
    spots = [((x + 0.5) / 4.0, (y + 0.5) / 4.0) for x in range(4) for y in range(4)]
    actors = []
    for place in rng.permutation(len(spots))[:things]:
        x, y = spots[int(place)]
        at = (x + float(rng.uniform(-0.06, 0.06)), y + float(rng.uniform(-0.06, 0.06)))
        actors.append(Actor(str(rng.choice(SPRITES)), at, at, float(rng.uniform(0.08, 0.16))))
    cloth = Backdrop(colour, str(rng.choice(_TEXTURES)), float(rng.uniform(0.0, 6.0)), float(rng.uniform(-0.1, 0.1)))
    drawn = Stage(side).draw(Scene(0, 1, "set", cloth, tuple(actors)), 0)
    # Walls and floors have a grain at every scale: without it, there is nothing between the things to see move.
    grain = np.zeros((side, side), np.float32)
    for cells in (12, 25, 50, 100, 200):
        rough = rng.normal(0.0, _GRAIN, (cells, cells)).astype(np.float32)
        grain += cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC)
    painted: Picture = np.clip(drawn + grain[..., None] + 0.5, 0, 255).astype(np.uint8)
    return painted


def _colours(rng: np.random.Generator, count: int) -> list[str]:
    """Choose colours, none twice in a row."""
    names = list(COLOURS)
    chosen = [str(rng.choice(names))]
    while len(chosen) < count:
        chosen.append(str(rng.choice([name for name in names if name != chosen[-1]])))
    return chosen


def _with_thing(rng: np.random.Generator, picture: Picture, share: float = 1.0, sprite: str | None = None) -> Picture:
    """Put a small thing near the middle of a set; share: how far it has faded in."""
    side = picture.shape[0]
    at = (float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.35, 0.65)))
    actor = Actor(sprite or str(rng.choice(SPRITES)), at, at, _SMALL / _SET)
    # The stage draws upon its own backdrops only, so the thing is drawn on two of them, which gives its veil.
    over = [Stage(side).draw(Scene(0, 1, "", Backdrop(c, "plain"), (actor,)), 0) for c in ("red", "blue")]
    ground = [np.asarray(COLOURS[colour], np.float32) for colour in ("red", "blue")]
    veil = (over[0].astype(np.float32) - over[1])[..., 2:] / (ground[0] - ground[1])[2]
    solid = picture * veil + (over[0] - ground[0] * veil)
    mixed: Picture = np.clip(picture + share * (solid - picture) + 0.5, 0, 255).astype(np.uint8)
    return mixed


def _middle(picture: Picture) -> Picture:
    """Show the middle of a set."""
    side = picture.shape[0]
    top, left = (side - HEIGHT) // 2, (side - WIDTH) // 2
    return np.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])


def _look(picture: Picture, x: float, y: float, turn: float = 0.0, zoom: float = 1.0) -> Picture:
    """Show a set through a camera whose middle is off by (x, y) pixels, turned (radians) and zoomed."""
    height, width = picture.shape[:2]
    c, s = np.cos(turn) / zoom, np.sin(turn) / zoom
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0]])
    matrix[:, 2] = np.array([width / 2 + x, height / 2 + y]) - matrix[:, :2] @ [WIDTH / 2, HEIGHT / 2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, dtype=np.uint8)


def _shake(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Draw a hand's motion: [frames, 4] of x, y in pixels, radians, zoom; slow sway and a tremble around a place."""
    t = np.arange(frames) / FPS
    tracks = []
    for amount in (11.0, 8.0, 0.010, 0.006):
        waves = sum(
            weight * np.sin(2 * np.pi * rng.uniform(low, high) * t + rng.uniform(0, 6.28))
            for weight, low, high in ((0.6, 0.2, 0.5), (0.3, 0.8, 1.6), (0.15, 2.5, 5.0))
        )
        tracks.append(amount * np.asarray(waves))
    return np.stack(tracks, axis=1)


def _noisy(rng: np.random.Generator, pictures: Iterator[Picture], sigma: float) -> Iterator[Picture]:
    """Add a sensor's noise."""
    grain = rng.normal(0.0, sigma, (HEIGHT + 64, WIDTH + 64, 3)).astype(np.float32)
    for picture in pictures:
        top, left = (int(n) for n in rng.integers(0, 64, 2))
        shifted = picture + grain[top : top + HEIGHT, left : left + WIDTH]
        yield np.clip(shifted + 0.5, 0, 255).astype(np.uint8)


def _scenes(name: str, rng: np.random.Generator, seconds: float, overlap_s: float, by_black_s: float) -> Clip:
    """Cut between scenes: hard, by dissolves of overlap_s, or by fades to black, held by_black_s, and back."""
    begins = [0.0]
    while begins[-1] + 6.5 < seconds:
        begins.append(begins[-1] + float(rng.uniform(2.5, 4.5)))
    pictures = [_middle(_paint(rng, colour)) for colour in _colours(rng, len(begins))]
    takes = 2 * overlap_s + by_black_s if by_black_s else overlap_s
    starts = [round(begin * FPS) for begin in begins] + [round(seconds * FPS)]
    last = max(0, round(takes * FPS))
    changes = [
        Change(name, time_of(start + (last if n else 0)), time_of(starts[n + 1]), time_of(start))
        for n, start in enumerate(starts[:-1])
    ]
    seeds = int(rng.integers(1 << 30))

    def draw() -> Iterator[Picture]:
        for n, picture in enumerate(pictures):
            for step in range(starts[n + 1] - starts[n]):
                passed = (step + 1) / (last + 1)
                if not n or passed >= 1.0:
                    yield picture
                elif not by_black_s:
                    yield cv2.addWeighted(picture, passed, pictures[n - 1], 1.0 - passed, 0.0).astype(np.uint8)
                else:
                    out, back = passed * takes / overlap_s, (passed * takes - overlap_s - by_black_s) / overlap_s
                    shown, share = (pictures[n - 1], 1.0 - out) if out < 1.0 else (picture, max(0.0, back))
                    yield np.asarray(shown * max(0.0, share) + 0.5).astype(np.uint8)

    def drawn() -> Iterator[Picture]:
        return _noisy(np.random.default_rng(seeds), draw(), 1.5)

    return Clip(name, tuple(changes), time_of(starts[-1]), drawn)


Light = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _watched(
    name: str,
    rng: np.random.Generator,
    seconds: float,
    things: int,
    *,
    sigma: float = 1.5,
    slow_s: float = 0.0,
    gain: Light | None = None,
    dark_from: float = 1.0,
    hand: bool = False,
    far_px: float = 0.0,
) -> Clip:
    """Watch one set, on which small things appear one after the other.

    slow_s: seconds that each takes to fade in.  gain: brightness at each frame, as a factor.  dark_from: share of the
    clip after which the light is off.  hand: the camera is held by hand.  far_px: it pans so far and back.
    """
    frames = round(seconds * FPS)
    sets = [_paint(rng, str(rng.choice(list(COLOURS))))]
    if far_px:
        wide = [_paint(rng, colour) for colour in _colours(rng, 2)]
        sets = [np.concatenate([wide[0], wide[1]], axis=1)]
    lit = frames if dark_from >= 1.0 else round(frames * dark_from)
    starts = [round((n + 0.7 + 0.3 * float(rng.random())) / (things + 1) * lit) for n in range(things)]
    sprites = [str(sprite) for sprite in rng.choice(SPRITES, things, replace=False)]
    place_seeds = [int(rng.integers(1 << 30)) for _ in range(things)]
    track = _shake(rng, frames) if hand else np.zeros((frames, 4))
    pans = far_px * (np.arange(frames) / frames - 0.5) if far_px else np.zeros(frames)
    bright = np.ones(frames) if gain is None else gain(np.arange(frames) / FPS)
    bright[lit:] *= 0.35
    seeds, slow = int(rng.integers(1 << 30)), round(slow_s * FPS)
    borders = sorted({0, *starts, *([lit] if lit < frames else [])})
    news = [Change("first", 0, 0)] + [Change("thing", start + round(0.75 * slow), start) for start in starts]
    news += [Change("dark", lit, lit)] if lit < frames else []
    if far_px:
        # Every third of a picture's width that comes into sight is news.
        every = round(frames * WIDTH / 3.0 / far_px)
        news = [Change("first" if not n else "view", n * every, n * every) for n in range(frames // every)]
        borders = [change.shown_us for change in news]
    changes = []
    for change, begin in zip(news, borders, strict=True):
        later = [border for border in borders if border > begin]
        cut = 0 if change.kind == "first" else None
        changes.append(Change(change.kind, time_of(change.shown_us), time_of(later[0] if later else frames), cut))

    def put(picture: Picture, thing: int, share: float) -> Picture:
        return _with_thing(np.random.default_rng(place_seeds[thing]), picture, share, sprites[thing])

    def draw() -> Iterator[Picture]:
        settled, done = sets[0], 0
        for number in range(frames):
            while done < things and number >= starts[done] + slow:
                settled, done = put(settled, done, 1.0), done + 1
            shown = settled
            if slow and done < things and number >= starts[done]:
                shown = put(settled, done, (number - starts[done] + 1) / (slow + 1))
            x, y, turn, zoom = (float(value) for value in track[number])
            seen = _look(shown, x + float(pans[number]), y, turn, 1.0 + zoom) if hand or far_px else _middle(shown)
            if bright[number] != 1.0:
                seen = cv2.convertScaleAbs(seen, alpha=float(bright[number])).astype(np.uint8)
            yield seen

    def drawn() -> Iterator[Picture]:
        return _noisy(np.random.default_rng(seeds), draw(), sigma)

    return Clip(name, tuple(changes), time_of(frames), drawn)


def _flicker(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 + 0.03 * np.sin(2 * np.pi * 4.3 * t) + 0.015 * np.sin(2 * np.pi * 1.9 * t)


def _drift(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 + 0.05 * np.sin(2 * np.pi * t / 17.0)


Make = Callable[[str, np.random.Generator, float], Clip]

CLIPS: Mapping[str, Make] = MappingProxyType(
    {
        "cuts": lambda name, rng, s: _scenes(name, rng, s, 0.0, 0.0),
        "dissolves": lambda name, rng, s: _scenes(name, rng, s, 1.0, 0.0),
        "fades": lambda name, rng, s: _scenes(name, rng, s, 0.6, 0.2),
        "appears": lambda name, rng, s: _watched(name, rng, s, 5),
        "slow": lambda name, rng, s: _watched(name, rng, s, 2, slow_s=s / 6.0),
        "noise": lambda name, rng, s: _watched(name, rng, s, 4, sigma=14.0),
        "flicker": lambda name, rng, s: _watched(name, rng, s, 4, gain=_flicker),
        "exposure": lambda name, rng, s: _watched(name, rng, s, 4, gain=_drift, dark_from=0.85),
        "hand": lambda name, rng, s: _watched(name, rng, s, 0, hand=True),
        "hand-events": lambda name, rng, s: _watched(name, rng, s, 5, hand=True),
        "pan": lambda name, rng, s: _watched(name, rng, s, 0, hand=True, far_px=900.0),
    }
)
"""The clips by name, each made from (name, rng, seconds)."""
