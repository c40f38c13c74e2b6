"""Log what Onlooker sees, keeps and says for the Rerun viewer, on the time line of the stream.

Written for rerun-sdk 0.41 (pip install rerun-sdk); then, with the sprite theatre or a camera:

    python examples/rerun_log.py
    python examples/rerun_log.py rtsp://camera/stream drive.rrd MODEL
    rerun onlooker.rrd
"""

import sys
import time

import cv2

import onlooker
from onlooker.stream.engine.events import WatchFired
from onlooker.stream.live.opening import open_live

try:
    import rerun as rr
except ImportError as error:
    raise SystemExit("rerun_log.py needs the Rerun SDK: pip install rerun-sdk") from error

EVERY_US = 5_000_000  # how often it asks
QUESTION = "What is on the screen now?"


def jpeg(frame: onlooker.Frame) -> "rr.EncodedImage":
    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    assert done
    return rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg")


def main(spec: str = "theatre:7", path: str = "onlooker.rrd", model: str = "pocket", seconds: float = 60.0) -> None:
    log = rr.RecordingStream("onlooker")
    log.save(path)

    def at(time_us: int) -> None:
        log.set_time("stream", duration=time_us / 1e6)  # seconds; for the thread that calls

    def alert(event: object) -> None:
        if isinstance(event, WatchFired):
            at(event.time_us)
            log.log("alerts", rr.TextLog(f"{event.condition}: {event.text}", level=rr.TextLogLevel.WARN))

    with onlooker.Engine(onlooker.load(model)) as engine, engine.session() as session:
        session.watch("is there a donut?", listener=alert)
        asked_us = 0
        with open_live(spec, fps=2.0, end_us=round(seconds * 1e6)) as source:
            for frame in source:
                kept = session.stats.kept
                session.see(frame)
                while session.stats.waiting:  # only because keyframes are logged too: a control loop must not wait
                    time.sleep(0.002)
                at(frame.time_us)
                picture = jpeg(frame)
                log.log("camera", picture)
                stats = session.stats
                if stats.kept > kept:
                    log.log("keyframes", picture)
                log.log("memory/bytes", rr.Scalars(stats.used_bytes))
                log.log("memory/tokens", rr.Scalars(stats.tokens))
                log.log("memory/keyframes", rr.Scalars(stats.kept))
                if frame.time_us - asked_us >= EVERY_US:
                    asked_us = frame.time_us
                    answer = session.ask(QUESTION)
                    log.log("answers", rr.TextLog(f"{answer.question} {answer.text}"))
                    log.log("answers/first_token_ms", rr.Scalars(answer.timings["first_token_ms"]))
                    for number, seen in enumerate(answer.evidence):
                        if seen.thumbnail:
                            image = rr.EncodedImage(contents=seen.thumbnail, media_type="image/jpeg")
                            log.log(f"answers/seen/{number}", image)
    log.flush()
    print(f"wrote {path}; look at it with: rerun {path}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
