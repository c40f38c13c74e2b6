import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.live.mailbox import Mailbox

moves = st.lists(st.sampled_from(["put", "take", "peek", "wait", "remove", "finish", "close"]), max_size=60)


@given(moves)
def test_it_holds_the_newest_and_counts_every_thing(script: list[str]) -> None:
    """A model of one slot: whatever is done, each thing is taken, replaced, waiting, or let go of at the end."""
    box: Mailbox[int] = Mailbox()
    slot: int | None = None
    number = received = replaced = taken = 0
    finished = False
    for move in script:
        match move:
            case "put":
                number += 1
                assert box.put(number) == (None if finished else slot)
                if not finished:
                    received, replaced, slot = received + 1, replaced + (slot is not None), number
            case "take" | "wait":
                got = box.take() if move == "take" else box.wait(0.0)
                assert got == slot
                taken, slot = taken + (slot is not None), None
            case "peek":
                assert box.peek() == slot
            case "remove":
                assert box.remove(number) is (slot == number)
                taken, slot = taken + (slot is not None), None
            case "finish":
                box.finish()
                finished = True
            case "close":
                box.close()
                if slot is not None:
                    taken, slot = taken + 1, None  # let go of
                finished = True
        assert (box.received, box.replaced, box.finished) == (received, replaced, finished)
        assert box.over is (finished and slot is None)
        assert received == replaced + taken + (slot is not None)


def test_an_older_thing_is_not_removed_in_place_of_a_newer() -> None:
    box: Mailbox[str] = Mailbox()
    box.put("old")
    box.put("new")
    assert not box.remove("old")
    assert box.peek() == "new"


def test_each_thing_is_taken_once_by_many_who_wait() -> None:
    box: Mailbox[int] = Mailbox()
    got: list[int] = []

    def take() -> None:
        while (thing := box.wait()) is not None:
            got.append(thing)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 2001):
        box.put(number)
    box.finish()
    for thread in threads:
        thread.join()
    assert len(set(got)) == len(got) == box.received - box.replaced
    assert max(got) == 2000


def test_closing_releases_who_waits_and_lets_go(eventually: Callable[[Callable[[], Any]], None]) -> None:
    box: Mailbox[int] = Mailbox()
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(box.wait(None)))
    thread.start()
    box.close()
    thread.join(60)
    assert got == [None]
    assert box.put(1) is None
    assert box.take() is None


def test_what_waits_may_be_taken_after_the_end() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.finish()
    assert box.wait() == 1
    assert box.wait() is None
