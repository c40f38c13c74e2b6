"""Push numpy pictures into a session from a control loop, and ask from another thread.

    python examples/robot_loop.py

The camera here is the sprite theatre; put your own in place of `camera`. Pictures are uint8 [H, W, 3], RGB.
Session.see() waits for the model, so every picture is looked at; a loop that may not wait has opencv_loop.py.
"""

import sys
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import onlooker
from onlooker.theatre.show import Show


def camera(seconds: float) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Give pictures and their capture times in microseconds."""
    for frame in Show(seed=3, length_s=seconds).frames(fps=4):
        yield frame.image, frame.time_us


def main(model: str = "pocket", seconds: float = 64.0) -> None:
    session = onlooker.load(model).session()
    done = threading.Event()

    def ask() -> None:
        while not done.wait(timeout=0.5):
            answer = session.ask("What is on the screen now?")
            print(f"{answer.asked_at_us / 1e6:6.1f} s: {answer.text}  ({answer.timings['total_ms']:.0f} ms)")

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for picture, time_us in camera(seconds):
            session.see(picture, time_us)
            # ... the rest of the control loop ...
    finally:
        done.set()
        asker.join()
    print(session.ask("What is on the screen now?").text)
    print(f"{session.memory.blocks} moments remembered in {session.memory.used_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:2])
