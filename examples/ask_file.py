"""Watch the bundled clip in one thread, ask about it from another.

    python examples/ask_file.py

Give a model and a file of your own as two arguments: python examples/ask_file.py MODEL FILE
"""

import sys
import threading
from pathlib import Path

import onlooker

CLIP = Path(__file__).with_name("theatre.mp4")


def watch(session: onlooker.Session, video: Path) -> None:
    """Feed the file to the session, two frames for each second of it."""
    with onlooker.open_source(str(video), fps=2) as source:
        for frame in source:
            session.see(frame)


def main(model: str = "pocket", video: Path = CLIP) -> None:
    with onlooker.load(model).session() as session:
        watcher = threading.Thread(target=watch, args=(session, video))
        watcher.start()

        # A question may come at any time, from any thread. It is about what was seen until then.
        while watcher.is_alive():
            watcher.join(timeout=1.0)
            answer = session.ask("What is on the screen now?")
            print(f"{answer.asked_at_us / 1e6:6.1f} s: {answer.text}")

        # An answer can be read piece by piece while it is decoded.
        stream = session.ask_stream("What was next to the boat?")
        for piece in stream:
            print(piece, end="", flush=True)
        print()
        for evidence in stream.answer.evidence:
            print(f"  seen from {evidence.start_us / 1e6:.1f} s to {evidence.end_us / 1e6:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(Path, sys.argv[2:3]))
