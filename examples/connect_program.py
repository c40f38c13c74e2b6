"""Connect a program to a server over its websocket. The client needs websockets and numpy, and no torch.

    onlooker serve                                      # prints http://127.0.0.1:8765/#token=...
    python examples/connect_program.py 'http://127.0.0.1:8765/#token=...'

Put your own camera in place of the sprite theatre: pictures are uint8 [H, W, 3] RGB, or the bytes of a JPEG.
"""

import sys
import time

import onlooker.client
from onlooker.theatre.show import Show


def main(url: str, seconds: float = 9.0) -> None:
    with onlooker.client.connect(url) as session:
        for frame in Show(seed=7, length_s=max(16.0, seconds)).frames(fps=2.0):
            session.see(frame.image)  # returns at once; its time is now
            time.sleep(0.5)
            if frame.time_us >= seconds * 1e6:
                break
        answer = session.ask("What is on the screen now?")
        print(answer.text, [(seen.start_us / 1e6, seen.end_us / 1e6) for seen in answer.evidence])


if __name__ == "__main__":
    main(sys.argv[1])
