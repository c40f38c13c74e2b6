import random
import threading

import numpy as np
import pytest

from onlooker.client.backoff import Backoff
from onlooker.client.outbox import Outbox, WaitingFrame


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def frame(number: int) -> WaitingFrame:
    return WaitingFrame(np.zeros((1, 1, 3), np.uint8), number, number)


def opened(clock: Clock | None = None) -> Outbox:
    outbox = Outbox(clock or Clock())
    outbox.open()
    return outbox


def test_texts_go_in_order_and_before_frames() -> None:
    outbox = opened()
    waiting = frame(0)
    outbox.put_frame(waiting)
    outbox.put_text("a")
    outbox.put_text("b")
    assert [outbox.take(), outbox.take(), outbox.take()] == ["a", "b", waiting]


def test_only_the_newest_frame_waits() -> None:
    outbox, frames = opened(), [frame(number) for number in range(5)]
    for one in frames:
        assert outbox.put_frame(one)
    assert outbox.take() is frames[-1]
    assert outbox.replaced == 4


def test_a_shut_box_forgets_texts_and_keeps_the_newest_frame() -> None:
    outbox = opened()
    outbox.put_text("old")
    outbox.put_frame(frame(1))
    outbox.shut()
    outbox.put_text("lost")
    newest = frame(2)
    outbox.put_frame(newest)
    outbox.open()
    assert outbox.take() is newest


def test_frames_keep_their_distance_and_texts_do_not_wait() -> None:
    clock = Clock()
    outbox = opened(clock)
    outbox.pace(2.0)
    outbox.put_frame(frame(0))
    assert isinstance(outbox.take(), WaitingFrame)
    later = frame(1)
    outbox.put_frame(later)
    outbox.put_text("a")
    assert outbox.take() == "a"
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(outbox.take()))
    thread.start()
    thread.join(0.05)
    assert taken == []
    clock.now += 0.5
    outbox.put_text("b")  # wakes whoever waits
    thread.join(20.0)
    assert taken == ["b"]
    assert outbox.take() is later


def test_a_closed_box_gives_nothing_and_takes_nothing() -> None:
    outbox = opened()
    outbox.put_text("a")
    outbox.put_frame(frame(0))
    outbox.close()
    assert outbox.take() is None
    assert not outbox.put_frame(frame(1))


def test_waits_double_up_to_a_limit_and_begin_anew() -> None:
    backoff = Backoff(0.25, 10.0, random.Random(1))
    waits = [backoff.next_s() for _ in range(40)]
    for number, wait_s in enumerate(waits):
        whole = min(10.0, 0.25 * 2**number)
        assert whole / 2 <= wait_s <= whole
    assert len({round(wait_s, 6) for wait_s in waits[10:]}) > 20  # not all clients at once
    backoff.reset()
    assert backoff.next_s() <= 0.25


@pytest.mark.parametrize("tries", [100, 5000])
def test_waits_never_overflow(tries: int) -> None:
    backoff = Backoff()
    assert all(backoff.next_s() <= 10.0 for _ in range(tries))
