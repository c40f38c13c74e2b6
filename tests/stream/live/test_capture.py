"""Captures through OpenCV: with a stand-in for its camera, and over real HTTP on this machine."""

import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from onlooker.bench.video import VideoSettings, write_video
from onlooker.stream.live import capture
from onlooker.stream.live.address import parse_address
from onlooker.stream.live.capture import CameraFeed, NetworkFeed
from onlooker.stream.live.failure import FeedError
from onlooker.stream.live.limits import LiveLimits
from onlooker.stream.live.opening import open_live
from onlooker.stream.live.probe import Finding
from onlooker.theatre.show import Show

Eventually = Callable[[Callable[[], Any]], None]


class Camera:
    """Stand in for cv2.VideoCapture.  frames: (milliseconds by its stamps, seconds that grabbing takes, picture)."""

    def __init__(self, frames: Sequence[tuple[float, float, Any]], size: tuple[int, int] = (6, 4), opens: bool = True):
        self.frames, self.size, self.opens = list(frames), size, opens
        self.now, self.stamp_ms, self.image, self.released = 0.0, 0.0, None, False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opens

    def get(self, key: int) -> float:
        known = {cv2.CAP_PROP_FRAME_WIDTH: self.size[0], cv2.CAP_PROP_FRAME_HEIGHT: self.size[1]}
        return float(known.get(key, self.stamp_ms if key == cv2.CAP_PROP_POS_MSEC else 0.0))

    def grab(self) -> bool:
        if not self.frames:
            return False
        self.stamp_ms, seconds, self.image = self.frames.pop(0)
        self.now += seconds
        return self.image is not None

    def retrieve(self) -> tuple[bool, Any]:
        return self.image is not None, self.image

    def release(self) -> None:
        self.released = True


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Connect an RTSP feed to a stand-in, on the stand-in's own clock."""

    def make(camera: Camera, **options: Any) -> Any:
        monkeypatch.setattr(capture, "load", lambda *_: cv2)
        monkeypatch.setattr(capture, "probe", lambda *_: Finding(offers="H265"))
        monkeypatch.setattr(capture, "time", SimpleNamespace(monotonic=lambda: camera.now))
        monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
        feed = NetworkFeed(parse_address("rtsp://bob:secret@cam/1"), "rtsp", **options)
        return feed.connect(lambda: 0, lambda seconds: False)

    return make


def picture(*shape: int) -> Any:
    return np.zeros(shape, np.uint8)


def test_what_was_received_before_the_connection_was_ready_is_stepped_over(connect: Callable[..., Any]) -> None:
    """GStreamer's server sends from a clip's start while FFmpeg looks at it: seconds of old frames come at once."""
    backlog = [(float(stamp), 0.0001, picture(4, 6, 3)) for stamp in (0, -750, -625, -500, -375)]
    live = [(float(-250 + 125 * n), 0.120, picture(4, 6, 3)) for n in range(5)]
    connection = connect(Camera([*backlog, *live]))
    assert [connection.advance().stamp_us for _ in range(5)] == [-250_000, -125_000, 0, 125_000, 250_000]


def test_a_connection_that_ends_has_a_reason(connect: Callable[..., Any]) -> None:
    camera = Camera([(0.0, 0.1, picture(4, 6, 3)), (100.0, 0.1, picture(4, 6, 3))])
    connection = connect(camera)
    connection.advance()
    with pytest.raises(FeedError) as caught:
        connection.advance()
    assert caught.value.failure.code == "lost"
    camera.frames = [(0.0, 10.0, None)]
    with pytest.raises(FeedError) as caught:
        connection.advance()
    assert caught.value.failure.code == "timeout"
    assert "no frame came for 10 s" in caught.value.failure.reason
    assert "secret" not in caught.value.failure.reason
    connection.close()
    assert camera.released


@pytest.mark.parametrize("size", [(9000, 100), (100, 8193)])
def test_pictures_above_the_limit_are_refused_before_one_is_converted(
    connect: Callable[..., Any], size: tuple[int, int]
) -> None:
    camera = Camera([], size)
    with pytest.raises(FeedError) as caught:
        connect(camera)
    assert caught.value.failure.code == "codec"
    assert f"{size[0]} x {size[1]}; the limit is 8192 x 8192" in caught.value.failure.reason
    assert camera.released


def test_a_stream_that_grows_above_the_limit_is_refused_too(connect: Callable[..., Any]) -> None:
    connection = connect(Camera([(0.0, 0.1, picture(4, 200, 3))]), limits=LiveLimits(most_px=100))
    connection.advance()
    with pytest.raises(FeedError, match="200 x 4; the limit is 100 x 100"):
        connection.picture()


def test_colours_are_put_in_order(connect: Callable[..., Any]) -> None:
    bgr = picture(2, 2, 3)
    bgr[..., 0] = 255
    grey = picture(2, 2)
    bgra = np.dstack([bgr, np.full((2, 2), 9, np.uint8)])
    connection = connect(Camera([(0.0, 0.1, image) for image in (bgr, bgra, grey)]))
    connection._fresh = True  # every frame counts here
    shown = [(connection.advance(), connection.picture())[1] for _ in range(3)]
    assert [image[0, 0].tolist() for image in shown] == [[0, 0, 255], [0, 0, 255], 0]


def test_what_answers_but_cannot_be_decoded_says_what_it_offers(connect: Callable[..., Any]) -> None:
    with pytest.raises(FeedError, match=r"no video of it can be decoded \(it offers H265\); choose H\.264"):
        connect(Camera([], opens=False))


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FeedError) as caught:
        CameraFeed(str(tmp_path / "video7")).connect(lambda: 0, lambda seconds: False)
    assert caught.value.failure.code == "not_found"
    assert "onlooker cameras" in caught.value.failure.reason


class Handler(BaseHTTPRequestHandler):
    """Serve a camera's pages: /mjpeg, /grey, /clip.mp4, /page, and /locked, which nobody may see."""

    clip = b""
    over = threading.Event()

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        match self.path:
            case "/mjpeg" | "/grey":
                self.stream(self.path == "/grey")
            case "/clip.mp4":
                self.send(200, "video/mp4", self.clip)
            case "/page":
                self.send(200, "text/html", b"<html>")
            case "/locked":
                self.send(401, "text/html", b"no")
            case _:
                self.send(404, "text/html", b"no")

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="cam"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, grey: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(1, 2000):
            image = np.full((48, 64) if grey else (48, 64, 3), number % 200, np.uint8)
            if not grey:
                image[..., 2] = 250  # red, in OpenCV's order
            _, jpeg = cv2.imencode(".jpg", image)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            except OSError:
                return
            if self.over.wait(0.05):
                return


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "clip.mp4"
    write_video(path, Show(7, 16.0, 64).frames(8.0, 0, 1_000_000), VideoSettings(preset="ultrafast"))
    handler = type("Once", (Handler,), {"clip": path.read_bytes(), "over": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    handler.over.set()
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.mark.parametrize("page", ["mjpeg", "grey"])
def test_mjpeg_over_http_is_live(web: str, page: str) -> None:
    with open_live(f"{web}/{page}") as source:
        first, second = source.next(60.0), source.read(60.0)
        assert source.info.kind == "http"
    assert first.image.shape == (48, 64, 3)
    red, green, blue = first.image.mean(axis=(0, 1))
    if page == "mjpeg":
        assert red > 230
        assert abs(green - blue) < 20
    else:
        assert max(red, green, blue) - min(red, green, blue) < 3
    assert second.time_us > first.time_us


def test_a_recording_over_http_is_played_in_real_time_and_ends(web: str) -> None:
    with open_live(f"{web}/clip.mp4") as source:
        times = [frame.time_us for frame in source]
        assert source.status.state == "ended"
        assert source.report.decoded == 8
    assert 6 <= len(times) <= 8  # a slow machine may have dropped some
    assert times[-1] - times[0] >= 625_000  # 7 steps of 125 ms, less what was dropped in front


@pytest.mark.parametrize(
    ("page", "state", "code", "told"),
    [
        ("page", "failed", "codec", "text/html, not with video"),
        ("locked", "failed", "auth_failed", "the user name or the password is wrong"),
        ("nothing", "reconnecting", "not_found", "404"),
    ],
)
def test_pages_that_are_no_video_say_what_they_are(
    web: str, eventually: Eventually, page: str, state: str, code: str, told: str
) -> None:
    with open_live(f"{web.replace('//', '//bob:secret@')}/{page}") as source:
        eventually(lambda: source.status.code)
        status = source.status
    assert (status.state, status.code) == (state, code)
    assert told in status.reason
    assert "secret" not in status.reason
