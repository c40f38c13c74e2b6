import itertools
from fractions import Fraction

import numpy as np
import pytest

from onlooker.errors import SettingsError, SourceError
from onlooker.stream.live.opening import open_live
from onlooker.stream.live.theatre_source import ACT_US, Playing, Programme, TheatreFeed
from onlooker.stream.sampler import FrameSampler
from onlooker.theatre.show import Show
from onlooker.theatre.stage import Stage


class Time:
    """Stream time that passes only by pauses, and by as much as `each` look costs."""

    def __init__(self, now_us: int = 0) -> None:
        self.now = now_us
        self.pauses = 0

    def now_us(self) -> int:
        return self.now

    def pause(self, seconds: float) -> bool:
        self.pauses += 1
        self.now += max(1, round(seconds * 1e6))
        return False


def play(programme: Programme, fps: float, time: Time, count: int, cost_us: int = 0) -> list[tuple[int, object]]:
    playing = Playing(programme, Fraction(str(fps)), time.now_us, time.pause)
    frames = []
    for _ in range(count):
        arrival = playing.advance()
        assert arrival is not None
        frames.append((arrival.stamp_us, playing.picture()))
        time.now += cost_us
    return frames


def test_it_plays_the_show_at_its_rate() -> None:
    frames = play(Programme(7), 4, Time(), 40)
    shown = Show(7, 600.0).frames(4.0)
    for (time_us, image), frame in zip(frames, shown, strict=False):
        assert time_us == frame.time_us
        np.testing.assert_array_equal(image, frame.image)


@pytest.mark.parametrize("fps", [4, 3, 29.97, 0.4])
def test_slow_drawing_skips_frames_and_never_lags(fps: float) -> None:
    time = Time()
    frames = play(Programme(3, 64), fps, time, 30, cost_us=int(2.3e6 / fps))
    times = [int(str(time_us)) for time_us, _ in frames]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    steps = {round((later - earlier) * fps / 1e6) for earlier, later in itertools.pairwise(times)}
    assert steps <= {2, 3}
    assert time.now - times[-1] <= 2.3e6 / fps + 1e6 / fps + 2


def test_the_next_act_is_another_show_and_time_goes_on() -> None:
    programme = Programme(7)
    frames = play(programme, 2, Time(ACT_US - 1_200_000), 6)
    assert [time_us for time_us, _ in frames] == [ACT_US + n * 500_000 for n in range(-3, 3)]
    show, offset_us = programme.at(ACT_US + 500_000)
    assert (show.seed != 7, offset_us) == (True, 500_000)
    np.testing.assert_array_equal(frames[4][1], Stage(224).draw(show.scene_at(offset_us), offset_us))
    assert programme.at(0)[0].seed == 7
    assert Programme(7).at(5 * ACT_US)[0] == programme.at(5 * ACT_US + 1)[0]
    assert len({programme.act(number).seed for number in range(1000)}) == 1000


def test_a_frame_from_before_the_start_is_left_out() -> None:
    """Going on between two frames' moments, the one that is due is older than what is remembered."""
    time_us = play(Programme(7, 64), 4, Time(30_100_000), 1)[0][0]
    assert time_us == 30_000_000
    assert not FrameSampler(None, 30_100_000).wants(int(str(time_us)))


def test_opened_by_its_word_it_is_live_at_once() -> None:
    with open_live("theatre:11", 20.0) as source:
        frames = list(itertools.islice(source, 4))
        assert source.status.received >= 4
    assert (source.name, source.identity, source.info.kind) == ("theatre:11", "theatre:11", "theatre")
    assert [frame.time_us % 50_000 for frame in frames] == [0, 0, 0, 0]
    for frame in frames:
        show, offset_us = Programme(11).at(frame.time_us)
        np.testing.assert_array_equal(frame.image, Stage(224).draw(show.scene_at(offset_us), offset_us))


@pytest.mark.parametrize("word", ["theatre:", "theatre:x", "theatre:-1", "theatre:1.5", "theatre:99999999999"])
def test_a_seed_is_a_whole_number(word: str) -> None:
    with pytest.raises(SourceError, match="names no theatre; give a whole number"):
        open_live(word)


def test_its_rate_has_limits() -> None:
    with pytest.raises(SettingsError, match="fps is 0"):
        open_live("theatre:1", 0.0)
    assert TheatreFeed(Programme(1)).fps == 4.0
