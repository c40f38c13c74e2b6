"""Clips whose frames say, in a bar code, which frame they are: what was decoded can be read back."""

import gc
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.bench.video import VideoSettings, write_video
from onlooker.frame import Frame
from onlooker.stream.file_source import FileSource

BITS = 10


def _irregular(count: int = 120, seed: int = 1) -> tuple[int, ...]:
    chance, now, times = random.Random(seed), 0, []
    for _ in range(count):
        times.append(now)
        now += chance.choice((1_000, 13_337, 33_333, 40_001, 125_000, 1_700_000))
    return tuple(times)


def draw(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), 60, np.uint8)
    image[:, :, 1] = np.linspace(0, 120, width).astype(np.uint8)
    cell = width // BITS
    for bit in range(BITS):
        image[: height // 2, bit * cell : (bit + 1) * cell] = 255 if (number >> bit) & 1 else 0
    left = (number * 5) % (width - 16)
    image[-20:-4, left : left + 16] = (250, (number * 3) % 255, 30)
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    height, width = image.shape[:2]
    cell = width // BITS
    row = image[: height // 2].mean(axis=(0, 2))
    return sum(int(row[bit * cell + 2 : (bit + 1) * cell - 2].mean() > 128) << bit for bit in range(BITS))


def numbered(times_us: Sequence[int], width: int = 96, height: int = 64) -> Iterator[Frame]:
    for number, time_us in enumerate(times_us):
        yield Frame(draw(number, width, height), time_us, number)


@dataclass(frozen=True)
class Clips:
    """Write numbered clips of 120 frames, read them back."""

    folder: Path
    constant_us: tuple[int, ...] = tuple(index * 125_000 for index in range(120))
    irregular_us: tuple[int, ...] = _irregular()

    def __call__(self, name: str) -> Path:
        """Give the path of constant.* or irregular.*, written when it is first asked for."""
        path = self.folder / name
        if not path.exists():
            times_us = self.constant_us if name.startswith("constant") else self.irregular_us
            write_video(path, numbered(times_us), VideoSettings(crf=20, preset="veryfast", keyframe_frames=25))
        return path

    def read(self, path: Path, **options: Any) -> tuple[list[int], list[int], FileSource]:
        """Read a clip through: the frames' numbers, their times, and the source."""
        source = FileSource(path, **options)
        numbers, times_us = [], []
        for frame in source:
            numbers.append(self.number(frame.image))
            times_us.append(frame.time_us)
        return numbers, times_us, source

    def draw(self, number: int) -> NDArray[np.uint8]:
        return draw(number)

    def number(self, image: NDArray[np.uint8]) -> int:
        return read_number(image)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def decoding_threads() -> Iterator[Callable[[], list[threading.Thread]]]:
    """List the decoding threads that run; none may be left when the test ends."""

    def running() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("onlooker-decode")]

    yield running
    gc.collect()
    for thread in running():
        thread.join(timeout=20)
    assert not running()
