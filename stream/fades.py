"""Fades: a picture that goes over into another one is kept when it has arrived, not on the way."""

from dataclasses import replace

from .cuts import blend_of, is_flat, is_jump, is_new_scene
from .gate_settings import GateDecision, GateSettings
from .gate_state import GateState
from .thumbnails import Picture, view_of

_PACE = 4.0  # grey levels a second of the mean cell; what goes slower is no fade
_LONGEST_GAP_US = 250_000  # frames further apart do not show a fade: one step of it looks like a cut
_LEARNED = 8  # frames that the noise must have been learned from: before, it may look like anything
_FLAT_US = 500_000  # one colour all over that stays so long is worth a keyframe
_SHORTEST_US = 150_000  # a change that takes less is not called a fade into a new scene


def follow_fade(
    decision: GateDecision, before: GateState, after: GateState, picture: Picture, settings: GateSettings
) -> tuple[GateDecision, GateState]:
    """Put a keyframe off while a fade goes on, and keep the picture that it settles on.

    before, after: the gate's state before this frame and with it as `last`.  picture: the thinned frame.
    A fade to one colour and out of it again is one: the flat picture takes the kept one's place in the state, so that
    what comes out of it is compared with that, and becomes a keyframe only if it stays.
    """
    cells, time_us = after.last, after.last_us
    quiet = decision.action in ("skip", "heartbeat")
    if before.flat_us is not None and quiet:
        if decision.kept or time_us - before.flat_us < _FLAT_US:
            return decision, after
        return replace(decision, action="keep", reason="a fade ended in one colour"), after
    if quiet:
        return decision, replace(after, fade_us=None)
    blend = blend_of(before.kept, before.last, cells, after.noise)
    gap_us = time_us - before.last_us
    going = (
        before.seen >= _LEARNED
        and blend.gentle(gap_us)
        and 0 < gap_us <= _LONGEST_GAP_US
        and blend.along * 1e6 >= _PACE * gap_us
    )
    began_us = before.last_us if before.fade_us is None or before.flat_us is not None else before.fade_us
    lasted_us = time_us - began_us
    if going and lasted_us < settings.most_fade_us:
        # A fade changes every cell and is no noise.
        after = replace(after, fade_us=began_us, flat_us=None, noise=min(before.noise, after.noise))
        if is_flat(cells):
            after = replace(after, kept=cells, view=view_of(picture), flat_us=time_us)
        return replace(decision, action="skip", reason=f"a fade goes on for {lasted_us / 1e6:.1f} s"), after
    if going or before.fade_us is None or before.flat_us is not None:
        return decision, after
    if is_flat(cells):
        after = replace(after, kept=cells, view=view_of(picture), flat_us=time_us)
        return replace(decision, action="skip", reason="a fade came to one colour"), after
    # What was taken for a fade's first step may have been a cut between pictures that are much alike.
    cut = is_jump(float(before.trail[-1]), before.trail[:-1], before.seen - 1)
    arrived = (lasted_us >= _SHORTEST_US or cut) and decision.changed >= settings.cut_fraction
    if arrived and is_new_scene(before.kept, cells):
        return replace(decision, action="cut", reason=f"a fade of {lasted_us / 1e6:.1f} s ended"), after
    return decision, after
