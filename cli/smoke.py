"""The trials of `onlooker doctor`: a clip is decoded, and pocket answers a question."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import OnlookerError, SourceError
from ..stream.opencv_decoder import OpenCVDecoder
from ..stream.source import open_source
from ..stream.undecodable import Undecodable, load
from .checks import Check

CLIP_FRAMES, CLIP_SIDE = 8, 64
DECODERS = "pip install --force-reinstall --no-deps opencv-python-headless decord2"

SHOW_SEED, SHOW_S, SHOW_FPS = 7, 25.0, 2.0
QUESTION = "What is on the screen now?"


def check_decoders() -> Check:
    """Decode a tiny clip with both decoders, through the source that `ask` uses."""
    with TemporaryDirectory(prefix="onlooker-doctor-") as folder:
        clip = Path(folder) / "clip.mp4"
        try:
            write_clip(clip)
            with open_source(str(clip)) as source:
                delivered = sum(1 for _ in source)
                used = source.report.decoder
            opencv, decoded = OpenCVDecoder(clip), 0
            while opencv.advance() is not None:
                decoded += opencv.image().shape == (CLIP_SIDE, CLIP_SIDE, 3)
        except (OnlookerError, Undecodable) as error:
            return Check("decoders", str(error), DECODERS)
    if (delivered, decoded) != (CLIP_FRAMES, CLIP_FRAMES):
        counts = f"decord gave {delivered} and OpenCV {decoded} of a test clip's {CLIP_FRAMES} frames"
        return Check("decoders", counts, DECODERS)
    if used != "decord":
        return Check("decoders", "OpenCV reads a test clip, decord does not", DECODERS)
    return Check("decoders", f"decord and OpenCV both read a test clip ({CLIP_FRAMES} frames, MPEG-4)")


def write_clip(path: Path, frames: int = CLIP_FRAMES) -> None:
    """Write a clip of a bright square that moves, so many frames long.  Raises SourceError when OpenCV cannot."""
    cv2: Any = load("cv2", "opencv-python-headless")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 4.0, (CLIP_SIDE, CLIP_SIDE))
    if not writer.isOpened():
        raise SourceError(f"OpenCV cannot write a test clip to {path}")
    for number in range(frames):
        picture = np.zeros((CLIP_SIDE, CLIP_SIDE, 3), np.uint8)
        picture[16:32, 4 * number : 4 * number + 16] = 255
        writer.write(picture)
    writer.release()


def check_pocket() -> Check:
    """Let pocket watch a little of the sprite theatre and answer a question."""
    from ..model import load as load_model
    from ..theatre.show import Show

    begun = time.perf_counter()
    try:
        with load_model("pocket").session() as session:
            for frame in Show(SHOW_SEED, SHOW_S).frames(SHOW_FPS):
                session.see(frame)
            answer = session.ask(QUESTION)
    except OnlookerError as error:
        return Check("pocket", str(error), "pip install --force-reinstall --no-deps onlooker")
    if not answer.text.strip():
        return Check("pocket", f"gave no answer to {QUESTION!r}", "pip install --force-reinstall --no-deps onlooker")
    seconds = time.perf_counter() - begun
    return Check("pocket", f"watched {SHOW_S:.0f} s of theatre; {QUESTION} {answer.text.strip()!r} ({seconds:.1f} s)")
