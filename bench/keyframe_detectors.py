"""Detectors for the keyframe benchmark: ours, a clock, and PySceneDetect's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2

from ..errors import InstallationError, SettingsError
from ..frame import Frame
from ..stream.keyframes import GateSettings, KeyframeGate

if TYPE_CHECKING:
    from scenedetect import SceneDetector

_NEVER_US = 1 << 60


@dataclass(frozen=True, slots=True)
class Found:
    """Name a frame: a keyframe, and whether it is said to begin a new scene."""

    number: int
    cut: bool


class Detector(Protocol):
    """Take a clip's frames one after the other."""

    def see(self, frame: Frame) -> list[Found]:
        """Take the next frame; give what was found, which may be earlier ones."""
        ...


class Gate:
    """Our keyframe gate, without heartbeats: what it keeps for a change alone."""

    __slots__ = ("_gate",)

    def __init__(self, settings: GateSettings) -> None:
        self._gate = KeyframeGate(settings)

    def see(self, frame: Frame) -> list[Found]:
        """Decide about the frame."""
        decision = self._gate.decide(frame)
        return [Found(frame.seq, decision.action == "cut")] if decision.kept else []


class Clock:
    """One frame a second, whatever it shows."""

    __slots__ = ("_next_us",)

    def __init__(self) -> None:
        self._next_us = 0

    def see(self, frame: Frame) -> list[Found]:
        """Keep the first frame of every second."""
        if frame.time_us < self._next_us:
            return []
        self._next_us += 1_000_000
        return [Found(frame.seq, False)]


class Scenes:
    """A detector of PySceneDetect with its defaults: the first frame, and the first one of every scene it finds.

    Frames are scaled down as its SceneManager does by default.
    """

    __slots__ = ("_detector", "_factor", "_fps")

    def __init__(self, detector: "SceneDetector", fps: float) -> None:
        self._detector, self._fps = detector, fps
        self._factor = 0.0

    def see(self, frame: Frame) -> list[Found]:
        """Hand the frame to the detector."""
        from scenedetect import FrameTimecode
        from scenedetect.scene_manager import compute_downscale_factor

        first = not self._factor
        height, width = frame.image.shape[:2]
        if first:
            self._factor = compute_downscale_factor(max(width, height))
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        if self._factor > 1.0:
            size = (max(1, round(width / self._factor)), max(1, round(height / self._factor)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        cuts = self._detector.process_frame(FrameTimecode(frame.seq, float(self._fps)), picture)
        return [*([Found(frame.seq, True)] if first else []), *(Found(cut.frame_num, True) for cut in cuts)]


def detectors_of(fps: float, names: Sequence[str] | None = None) -> dict[str, Callable[[], Detector]]:
    """List what makes a fresh detector, by name; None for all.

    Raises SettingsError for a name that is not there, InstallationError where PySceneDetect is asked for and missing.
    """
    ours = GateSettings(heartbeat_us=_NEVER_US)
    bare = GateSettings(heartbeat_us=_NEVER_US, most_exposure=0.0, most_fresh=0.0, most_fade_us=0)
    listed: dict[str, Callable[[], Detector]] = {
        "ours": lambda: Gate(ours),
        "bare": lambda: Gate(bare),
        "clock": Clock,
    }
    rivals = ("content", "adaptive", "histogram", "hash")
    wanted = [*listed, *rivals] if names is None else list(names)
    for name in wanted:
        if name not in listed and name not in rivals:
            raise SettingsError(f"there is no detector {name!r}; choose from {', '.join([*listed, *rivals])}")
    if any(name in rivals for name in wanted):
        listed |= _rivals(fps)
    return {name: listed[name] for name in wanted}


def _rivals(fps: float) -> dict[str, Callable[[], Detector]]:
    try:
        from scenedetect import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector
    except ImportError as error:
        raise InstallationError(
            "comparing with PySceneDetect needs scenedetect-headless; install it with: pip install 'onlooker[bench]', "
            "or name detectors without it: --detectors ours,clock"
        ) from error
    return {
        "content": lambda: Scenes(ContentDetector(), fps),
        "adaptive": lambda: Scenes(AdaptiveDetector(), fps),
        "histogram": lambda: Scenes(HistogramDetector(), fps),
        "hash": lambda: Scenes(HashDetector(), fps),
    }
