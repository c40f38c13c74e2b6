"""Recordings of the sprite theatre: a video file and, beside it, questions with their right answers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SettingsError
from ..theatre.questions import Question
from ..theatre.show import SLOT_US, Show
from .output import write_output
from .video import VideoSettings, WrittenVideo, write_video

FPS = 8.0
CLIP_SETTINGS = VideoSettings(crf=13, preset="veryslow", keyframe_frames=64)
"""How clips are encoded: clean to the eye, ten minutes in under 4 MB, a key frame at least every 8 s of 8 frames/s."""
PRESENT_QUESTIONS = 12
_VARIABLE = 6  # beside 1 to 5 of Show: the stream of random numbers that a variable frame rate is drawn from


@dataclass(frozen=True, slots=True)
class Recording:
    """Name what was written: the video, the path of its questions, and how many they are."""

    video: WrittenVideo
    questions_path: Path
    questions: int


def record(
    show: Show, path: str | Path, fps: float = FPS, variable: bool = False, settings: VideoSettings = CLIP_SETTINGS
) -> Recording:
    """Write a show as a video file, and its questions as JSON beside it (clip.mp4, clip.json).

    fps: frames a second, on average when variable, 0.1 to 60.  variable: uneven stamps instead of even ones.
    Raises SettingsError for a frame rate outside its limits or a path that ends in .json, and what write_video raises.
    """
    path = Path(path)
    if not 0.1 <= fps <= 60.0:
        raise SettingsError(f"fps is {fps:g}; give 0.1 to 60")
    if path.suffix == ".json":
        raise SettingsError(f"{path} is to be a video; give a name that ends in .mp4 (its questions go to .json)")
    frames = show.frames_at(variable_times(show, fps)) if variable else show.frames(fps)
    video = write_video(path, frames, settings)
    asked = questions_of(show)
    beside = path.with_suffix(".json")
    lines = ",\n".join(json.dumps(entry(question)) for question in asked)
    write_output(beside, f"[\n{lines}\n]\n")
    return Recording(video, beside, len(asked))


def variable_times(show: Show, fps: float) -> Iterator[int]:
    """Draw uneven frame times in microseconds from 0 on: steps of a quarter to seven quarters of 1 / fps."""
    rng = np.random.default_rng([show.namespace, show.seed, _VARIABLE])
    now = 0.0
    while now < show.end_us:
        yield round(now)
        now += float(rng.uniform(0.25, 1.75)) * 1e6 / fps


def questions_of(show: Show) -> list[Question]:
    """Ask about the past of the whole show, and about the present at even distances, each wording and answer once.

    The spans of a present question are those of the whole scene that it is asked in: it may be asked at any time in it.
    """
    found: dict[tuple[str, str], Question] = {}
    for question in show.questions():
        found.setdefault((question.text, question.answer), question)
    slots = range(show.end_us // SLOT_US)
    step = max(1, len(slots) // PRESENT_QUESTIONS)
    present = []
    for number in list(slots)[::step][:PRESENT_QUESTIONS]:
        scene = show.slot(number)[1]
        asked = show.present_question((scene.start_us + scene.end_us) // 2)
        present.append(
            Question(asked.text, asked.answer, asked.kind, ((scene.start_us, scene.end_us),), asked.asked_us)
        )
    return [*found.values(), *present]


def entry(question: Question) -> dict[str, str | float | None]:
    """Write a question as its entry of the JSON list: times in seconds, null for what never happened.

    An order question spans from the first event's start to the last one's end.
    """
    spans = question.spans_us
    return {
        "question": question.text,
        "answer": question.answer,
        "kind": question.kind,
        "start_s": spans[0][0] / 1e6 if spans else None,
        "end_s": spans[-1][1] / 1e6 if spans else None,
    }
