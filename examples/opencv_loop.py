"""A control loop of 30 Hz that shows its camera to Onlooker, and never waits for the model.

    python examples/opencv_loop.py                      # the sprite theatre; needs no camera
    python examples/opencv_loop.py 0 MODEL              # cv2.VideoCapture(0)
    python examples/opencv_loop.py drive.mp4 MODEL

see() copies the picture and returns; events and answers come in threads of their own. Nothing is shown on a screen.
"""

import sys
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

import onlooker
from onlooker.stream.engine.events import WatchCleared, WatchFired
from onlooker.theatre.show import Show

RATE = 30.0


def camera(spec: str) -> Iterator[NDArray[np.uint8]]:
    """Give pictures, uint8 [H, W, 3] RGB, as they come."""
    if spec.startswith("theatre:"):
        yield from (frame.image for frame in Show(int(spec.removeprefix("theatre:"))).frames(RATE))
        return
    capture = cv2.VideoCapture(int(spec) if spec.isdigit() else spec)
    if not capture.isOpened():
        raise SystemExit(f"cannot open {spec}; give a camera's number, a video file, or theatre:7")
    try:
        while True:
            there, picture = capture.read()  # where this blocks, give it a thread of its own
            if not there:
                return
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    finally:
        capture.release()


def hear(session: onlooker.LiveSession) -> None:
    for event in session.events():  # ends when the session is closed
        if isinstance(event, WatchFired):
            print(f"{event.time_us / 1e6:6.1f} s: ALERT {event.condition}  ({event.latency_ms:.0f} ms after the frame)")
        elif isinstance(event, WatchCleared):
            print(f"{event.time_us / 1e6:6.1f} s: no more: {event.condition}")


def ask(session: onlooker.LiveSession, over: threading.Event) -> None:
    while not over.wait(2.0):
        answer = session.ask("What is on the screen now?")  # blocks this thread, and no other
        print(f"{answer.asked_at_us / 1e6:6.1f} s: {answer.text}  ({answer.timings['first_token_ms']:.0f} ms)")


def main(spec: str = "theatre:7", model: str = "pocket", seconds: float = 60.0) -> None:
    over, slowest_s, ticks = threading.Event(), 0.0, 0
    with onlooker.Engine(onlooker.load(model)) as engine, engine.session() as session:
        session.watch("is there a donut?")
        threading.Thread(target=hear, args=(session,), daemon=True).start()
        asker = threading.Thread(target=ask, args=(session, over))
        asker.start()
        began = time.monotonic()
        try:
            for ticks, picture in enumerate(camera(spec), 1):
                called = time.perf_counter()
                session.see(picture)  # its time is now; captured_unix_us= gives the camera's own
                slowest_s = max(slowest_s, time.perf_counter() - called)
                # ... read sensors, move motors ...
                time.sleep(max(0.0, began + ticks / RATE - time.monotonic()))
                if ticks >= seconds * RATE:
                    break
        finally:
            over.set()
            asker.join()
        stats = session.stats
    print(f"{ticks} ticks; the longest see() took {slowest_s * 1e3:.1f} ms; {stats.taken} frames looked at")


if __name__ == "__main__":
    main(*sys.argv[1:3])
