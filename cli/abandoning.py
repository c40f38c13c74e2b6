"""Ctrl-C during a download: leave at once, and leave nothing half written behind."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def abandonable(name: str) -> Iterator[None]:
    """Let Ctrl-C end the program at once while a model is fetched; files that are complete stay in the cache.

    The hub's client would first wait for every file that is under way, gigabytes each, and then throw them away.
    Outside of the main thread signals cannot be taken over, so nothing happens there.
    """
    from ..models.cache import unfinished

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = unfinished(name)  # of another program that fetches the same model, it may be

    def leave(_number: int, _frame: FrameType | None) -> None:
        for path in unfinished(name) - others:
            path.unlink(missing_ok=True)
        sys.stderr.write("\nonlooker: interrupted; files that are complete are kept: run the same command again\n")
        sys.stderr.flush()
        os._exit(130)  # a usual exit would wait for the client's threads

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
