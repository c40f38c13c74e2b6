"""Keyframes: which frames show something that the last kept frame did not."""

from dataclasses import replace

import cv2
import numpy as np

from ..frame import Frame
from .cuts import content_change, is_jump, is_new_scene
from .difference import MAD_TO_SIGMA, Difference, explained, plain
from .exposure import brightness_step
from .fades import follow_fade
from .gate_settings import GateAction, GateDecision, GateSettings
from .gate_state import GateState, still_camera
from .thumbnails import Picture, cells_of, median_of, thin, view_of

__all__ = ["GateAction", "GateDecision", "GateSettings", "GateState", "KeyframeGate"]

_STIRRED = 1.5  # times the noise: so much change of the whole picture is looked into, though it may be no keyframe
_LEAST_STIR = 1.0
_LEAST_STEP = 2  # grey levels: a smaller step of the whole picture's brightness is noise


class KeyframeGate:
    """Decide for each frame, from the frames before it alone, whether it is worth encoding.

    A frame is shrunk to a small grid of mean colours (all three channels: a change of hue at equal brightness
    counts) and compared, cell by cell, with the last **kept** frame, so that slow change adds up until it is seen.
    What matters is how many cells changed by more than a threshold, not the mean change: a small thing that appears
    in a still scene is a few cells that changed much. The threshold follows the footage's noise, a running estimate
    from the median cell difference of neighbouring frames, which motion in less than half of the picture leaves alone.

    Where that would keep a frame, it is asked what explains the change: the brightness of the whole picture, or a
    camera that moves. What is left must then be enough by itself, or enough must have come into sight. A picture that
    goes over into another one little by little is kept when it has arrived.

    The state is explicit: KeyframeGate(settings, gate.state) goes on where gate stands.
    """

    __slots__ = ("settings", "state")

    def __init__(self, settings: GateSettings | None = None, state: GateState | None = None) -> None:
        self.settings = settings or GateSettings()
        self.state = state

    def decide(self, frame: Frame) -> GateDecision:
        """Decide about the next frame and remember what later decisions need."""
        settings, state = self.settings, self.state
        shape = (frame.image.shape[0], frame.image.shape[1])
        picture = thin(frame.image, settings.grid)
        cells = cells_of(picture, settings.grid)
        if state is None or state.shape != shape:
            self.state = GateState(cells, cells, view_of(picture), frame.time_us, frame.time_us, shape)
            said = "the first frame" if state is None else f"the frame size changed to {shape[1]}x{shape[0]}"
            return GateDecision("cut", 1.0, settings.least_change, said)
        measured = self._stir(state, cells)
        noise, seen = self._learn(state, measured)
        threshold = self._threshold(noise)
        found = plain(state.kept, cells)
        if self._enough(found, threshold) or measured > max(_LEAST_STIR, _STIRRED * state.noise):
            found = explained(found, state, cells, picture, threshold, settings)
        if found.affine is not None and found.calm < measured:
            noise, seen = self._learn(state, found.calm)
            threshold = self._threshold(noise)
        content = content_change(state.last, cells)
        decision = self._judge(state, found, cells, frame.time_us, threshold, content)
        after = replace(
            state,
            last=cells,
            last_us=frame.time_us,
            noise=noise,
            seen=seen,
            affine=still_camera() if found.affine is None else found.affine,
            moved_us=state.moved_us if found.affine is None else frame.time_us,
            trail=np.append(state.trail[1:], np.float32(content)),
        )
        if settings.most_fade_us and (found.affine is None or state.fade_us is not None):
            decision, after = follow_fade(decision, state, after, picture, settings)
        if decision.kept:
            view = view_of(picture)
            after = replace(
                after, kept=cells, view=view, kept_us=frame.time_us, affine=still_camera(), fade_us=None, flat_us=None
            )
        self.state = after
        return decision

    def _threshold(self, noise: float) -> float:
        return max(self.settings.least_change, self.settings.noise_factor * noise)

    def _enough(self, found: Difference, threshold: float) -> bool:
        """Say whether so much changed, or came into sight, that the frame is a keyframe."""
        fresh = found.affine is not None and found.fresh >= self.settings.most_fresh
        return fresh or found.count(threshold) >= min(self.settings.least_cells, found.change.size)

    def _stir(self, state: GateState, cells: Picture) -> float:
        """Measure the noise of a frame against the one before it, less a step of the whole picture's brightness."""
        difference = np.asarray(cv2.absdiff(cells, state.last), dtype=np.uint8)
        if self.settings.most_exposure > 0.0:
            step = brightness_step(state.last, cells)
            if abs(step) >= _LEAST_STEP:
                difference = np.abs(cells.astype(np.int16) - state.last - step).clip(0, 255).astype(np.uint8)
        return MAD_TO_SIGMA * median_of(difference)

    def _learn(self, state: GateState, measured: float) -> tuple[float, int]:
        """Move the noise towards this frame's: at once at the start, then slowly up and quickly down.

        One frame can at most double it (and add 2), so that a cut hardly moves it.
        """
        measured = min(measured, 2.0 * state.noise + 2.0, self.settings.most_noise)
        seen = min(state.seen + 1, 100)
        rate = max(1.0 / seen, 0.05 if measured > state.noise else 0.2)
        return state.noise + rate * (measured - state.noise), seen

    def _judge(
        self, state: GateState, found: Difference, cells: Picture, time_us: int, threshold: float, content: float
    ) -> GateDecision:
        settings = self.settings
        count, size = found.count(threshold), found.change.size
        changed = count / size
        if changed >= settings.cut_fraction and self._is_cut(state, found, cells, content):
            return GateDecision("cut", changed, threshold, f"{changed:.0%} of the picture changed")
        if self._enough(found, threshold):
            return GateDecision("keep", changed, threshold, f"{count} of {size} cells changed{found.why}")
        if time_us - state.kept_us >= settings.heartbeat_us:
            waited = (time_us - state.kept_us) / 1e6
            return GateDecision("heartbeat", changed, threshold, f"{waited:.1f} s without a keyframe")
        return GateDecision("skip", changed, threshold, f"{count} of {size} cells changed{found.why}")

    def _is_cut(self, state: GateState, found: Difference, cells: Picture, content: float) -> bool:
        """Say whether a change of most of the picture is another scene, and came at once."""
        large = float(found.change.mean()) >= self.settings.cut_change
        if not self.settings.most_fade_us:
            return large
        return is_jump(content, state.trail, state.seen) and (large or is_new_scene(state.last, cells))
