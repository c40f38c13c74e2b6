"""Drawing ahead in a background thread."""

import itertools
import threading

from training.vision import ahead


def test_what_is_drawn_ahead_comes_in_order_and_the_thread_ends_with_it() -> None:
    before = threading.active_count()
    drawn = ahead(itertools.count(), depth=2)
    assert list(itertools.islice(drawn, 50)) == list(range(50))
    assert threading.active_count() == before + 1
    drawn.close()
    assert threading.active_count() == before
