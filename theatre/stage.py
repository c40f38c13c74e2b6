"""The stage of the sprite theatre: draws a scene at a moment."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from .cast import COLOURS, SPRITES, load_sheet

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Actor:
    """Place one sprite: centre (x, y) at the scene's start and end, and size, as shares of the picture's side.

    on_us: when it is there, and between which times it moves; None for all of the scene.  fade_us: how long it takes to
    appear.
    """

    sprite: str
    start: tuple[float, float]
    end: tuple[float, float]
    size: float
    on_us: tuple[int, int] | None = None
    fade_us: int = 0

    def centre(self, progress: float) -> tuple[float, float]:
        """Give the centre when `progress` (0..1) of the scene has passed."""
        (x0, y0), (x1, y1) = self.start, self.end
        return x0 + (x1 - x0) * progress, y0 + (y1 - y0) * progress


@dataclass(frozen=True, slots=True)
class Sign:
    """Place a board with a word on it: centre and width as shares of the picture's side."""

    word: str
    centre: tuple[float, float]
    width: float


@dataclass(frozen=True, slots=True)
class Backdrop:
    """Name a scene's colour and texture; phase moves the texture, shade (around 0) lightens it."""

    colour: str
    texture: str
    phase: float = 0.0
    shade: float = 0.0


@dataclass(frozen=True, slots=True)
class Camera:
    """Move the whole picture: a slow wander and a fast tremble, as shares of its side; seed says which way."""

    wander: float
    tremble: float
    seed: int = 0

    def offset(self, time_us: int) -> tuple[float, float]:
        """Give how far the picture stands to the right and down at a moment."""
        t, phase = time_us / 1e6, 1.7 * self.seed
        x = self.wander * math.sin(t * 0.71 + phase) + self.tremble * math.sin(t * 9.3 + 3 * phase)
        y = self.wander * math.sin(t * 0.53 + 2 * phase) + self.tremble * math.sin(t * 7.9 + phase)
        return x, y


@dataclass(frozen=True, slots=True)
class Scene:
    """Describe what is on the stage from start_us to end_us, and how the camera moves, None for not at all."""

    start_us: int
    end_us: int
    kind: str
    backdrop: Backdrop
    actors: tuple[Actor, ...] = ()
    sign: Sign | None = None
    camera: Camera | None = None


@dataclass(slots=True)
class Stage:
    """Draw scenes as uint8 [size, size, 3] RGB; keeps scaled sprites and backdrops that it drew before (bounded)."""

    size: int = 224
    backdrops_kept: int = 64
    _sheet: Image = field(default_factory=load_sheet)
    _sprites: dict[tuple[str, int], tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    _backdrops: dict[Backdrop, Image] = field(default_factory=dict)

    def draw(self, scene: Scene, time_us: int) -> Image:
        """Draw the scene as it looks at time_us."""
        picture = self._backdrop(scene.backdrop).copy()
        for actor in scene.actors:
            start_us, end_us = actor.on_us or (scene.start_us, scene.end_us)
            if actor.on_us is not None and not start_us <= time_us < end_us:
                continue
            shown = min(1.0, (time_us - start_us) / actor.fade_us) if actor.fade_us else 1.0
            progress = (time_us - start_us) / max(1, end_us - start_us)
            self._paste(picture, actor, min(1.0, max(0.0, progress)), shown)
        if scene.sign is not None:
            self._board(picture, scene.sign)
        return picture if scene.camera is None else self._moved(picture, scene.camera, time_us)

    def _moved(self, picture: Image, camera: Camera, time_us: int) -> Image:
        x, y = camera.offset(time_us)
        shift = np.array([[1, 0, x * self.size], [0, 1, y * self.size]], np.float32)
        moved = cv2.warpAffine(picture, shift, (self.size, self.size), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(moved, np.uint8)

    def _backdrop(self, backdrop: Backdrop) -> Image:
        if backdrop not in self._backdrops:
            if len(self._backdrops) >= self.backdrops_kept:
                self._backdrops.clear()
            self._backdrops[backdrop] = paint_backdrop(backdrop, self.size)
        return self._backdrops[backdrop]

    def _scaled(self, sprite: str, px: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        key = (sprite, px)
        if key not in self._sprites:
            if len(self._sprites) >= 2048:
                self._sprites.clear()
            rgba = self._sheet[SPRITES.index(sprite)].astype(np.float32)
            alpha = rgba[:, :, 3:] / 255.0
            mode = cv2.INTER_AREA if px < rgba.shape[0] else cv2.INTER_LINEAR
            colour = cv2.resize(rgba[:, :, :3] * alpha, (px, px), interpolation=mode)
            veil = 1.0 - cv2.resize(alpha, (px, px), interpolation=mode)
            self._sprites[key] = (colour.astype(np.float32), veil.astype(np.float32)[:, :, None])
        return self._sprites[key]

    def _paste(self, picture: Image, actor: Actor, progress: float, shown: float) -> None:
        px = max(1, round(actor.size * self.size))
        colour, veil = self._scaled(actor.sprite, px)
        x, y = actor.centre(progress)
        left, top = round(x * self.size - px / 2), round(y * self.size - px / 2)
        x0, y0, x1, y1 = max(0, left), max(0, top), min(self.size, left + px), min(self.size, top + px)
        if x0 >= x1 or y0 >= y1:
            return
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        under = picture[y0:y1, x0:x1].astype(np.float32)
        over = under * veil[part] + colour[part]
        if shown < 1.0:
            over = under + shown * (over - under)
        picture[y0:y1, x0:x1] = (over + 0.5).clip(0, 255).astype(np.uint8)

    def _board(self, picture: Image, sign: Sign) -> None:
        # The board is drawn on a fixed large canvas and scaled down, so that letters look alike at every stage size.
        board = np.full((88, 192, 3), (250, 246, 225), np.uint8)
        cv2.rectangle(board, (2, 2), (189, 85), (60, 40, 25), 5)
        word = sign.word.upper()
        (wide, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 4)
        scale = min(2.0, 168 / wide)
        (wide, tall), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, 4)
        origin = ((192 - wide) // 2, (88 + tall) // 2)
        cv2.putText(board, word, origin, cv2.FONT_HERSHEY_DUPLEX, scale, (20, 20, 30), 4, cv2.LINE_AA)
        width = max(2, round(sign.width * self.size))
        height = max(1, round(width * 88 / 192))
        small = cv2.resize(board, (width, height), interpolation=cv2.INTER_AREA)
        left, top = round(sign.centre[0] * self.size - width / 2), round(sign.centre[1] * self.size - height / 2)
        x0, y0, x1, y1 = max(0, left), max(0, top), min(self.size, left + width), min(self.size, top + height)
        picture[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]


def paint_backdrop(backdrop: Backdrop, size: int) -> Image:
    """Paint a colour with a texture that changes its lightness by at most an eighth, uint8 [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    phase = backdrop.phase
    if backdrop.texture == "stripes":
        wave = np.sign(np.sin((x * np.cos(phase) + y * np.sin(phase)) * 38 + phase))
    elif backdrop.texture == "dots":
        wave = np.where((((x + phase) * 6) % 1 - 0.5) ** 2 + ((y * 6) % 1 - 0.5) ** 2 < 0.07, 1.0, -0.3)
    elif backdrop.texture == "checks":
        wave = np.sign(np.sin((x + phase) * 19)) * np.sign(np.sin((y + phase) * 19))
    elif backdrop.texture == "gradient":
        wave = 2 * (x * np.cos(phase) ** 2 + y * np.sin(phase) ** 2) - 1
    else:
        wave = np.zeros_like(x)
    light = 1.0 + backdrop.shade + 0.11 * wave
    rgb = np.asarray(COLOURS[backdrop.colour], np.float32)
    painted: Image = (rgb * light[:, :, None] + 0.5).clip(0, 255).astype(np.uint8)
    return painted
