"""The examples run: with a tiny model and a short clip for their mechanics, with `pocket` for their answers.

What only a robot has (ROS 2, the Rerun SDK) is played by small stand-ins.
"""

import importlib.util
import json
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onlooker
from onlooker.bench.video import VideoSettings, write_video
from onlooker.stream.engine.events import WatchFired
from onlooker.theatre.show import Show

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, Show(3, 24.0, 64).frames(4.0), VideoSettings(preset="ultrafast"))
    return path


def test_ask_file(tiny_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("ask_file").main(str(tiny_folder), clip)
    lines = capsys.readouterr().out.splitlines()
    times = [float(line.split(" s:")[0]) for line in lines if re.match(r" *\d+\.\d s: ", line)]
    assert times
    assert times == sorted(times)
    assert times[-1] == 23.5


def test_own_recipe(tiny_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("own_recipe").main(str(tiny_folder), clip)
    kept, cells = re.match(r"(\d+) of (\d+) tokens kept\n", capsys.readouterr().out).groups()  # type: ignore[union-attr]
    assert 0 < int(kept) <= int(cells) / 2 + 1


def test_robot_loop(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("robot_loop").main(str(tiny_folder), seconds=24.0)
    assert re.search(r"^\d+ moments remembered in \d+\.\d MB$", capsys.readouterr().out, re.M)


@pytest.mark.slow
def test_the_bundled_model_answers_about_the_bundled_clip() -> None:
    """The first two minutes: most questions of each kind that is asked of one event are answered right."""
    asked = json.loads((EXAMPLES / "theatre.json").read_text(encoding="utf-8"))
    early = [item for item in asked if item["kind"] != "present" and (item["end_s"] or 999) < 120]
    right = 0
    with onlooker.load("pocket").session() as session:
        for frame in onlooker.open_source(str(EXAMPLES / "theatre.mp4"), fps=2, end_us=120_000_000):
            session.see(frame)
        for item in early:
            text = session.ask(item["question"]).text
            right += text == item["answer"] or (item["kind"] == "when" and told_in_time(text, item))
    assert right >= 0.75 * len(early) > 6


def told_in_time(text: str, item: dict[str, float]) -> bool:
    match = re.fullmatch(r"at (\d+):(\d\d)", text)
    return match is not None and item["start_s"] - 2 <= int(match[1]) * 60 + int(match[2]) <= item["end_s"]


# The robots' examples


def test_opencv_loop_runs_without_a_screen(tiny_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("opencv_loop").main(str(clip), str(tiny_folder), seconds=2.5)
    last = capsys.readouterr().out.splitlines()[-1]
    match = re.fullmatch(r"75 ticks; the longest see\(\) took \d+\.\d ms; (\d+) frames looked at", last)
    assert match is not None
    assert 0 < int(match[1]) <= 75


def test_opencv_loop_gives_rgb(clip: Path) -> None:
    shown = np.stack(list(load("opencv_loop").camera(str(clip)))).astype(int)
    drawn = np.stack([frame.image for frame in Show(3, 24.0, 64).frames(4.0)]).astype(int)
    assert 2.0 * np.abs(shown - drawn).mean() < np.abs(shown[..., ::-1] - drawn).mean()
    with pytest.raises(SystemExit, match="cannot open no-such"):
        next(load("opencv_loop").camera("no-such.mp4"))


def test_connect_program_asks_about_what_it_pushed(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine's session stands for the server's, whose methods are the same."""
    example = load("connect_program")
    with onlooker.Engine(onlooker.load(str(tiny_folder), device="cpu")) as engine:
        session, asked = engine.session(), []
        monkeypatch.setattr("onlooker.client.connect", lambda url: asked.append(url) or session)
        example.main("http://127.0.0.1:1/#token=x", seconds=1.0)
    assert asked == ["http://127.0.0.1:1/#token=x"]
    assert session.stats.received == 3
    assert re.search(r"\[\(\d", capsys.readouterr().out)


class FakeRerun(ModuleType):
    """The part of rerun-sdk 0.41 that the example uses: it keeps what is logged."""

    class TextLogLevel:
        WARN = "WARN"

    def __init__(self) -> None:
        super().__init__("rerun")
        self.logged: list[tuple[str, float, str, dict[str, Any]]] = []
        self.saved: list[str] = []
        self.flushed = 0
        outer = self

        class RecordingStream:
            def __init__(self, application_id: str) -> None:
                self._now: dict[int, float] = {}  # the SDK keeps a time for each thread

            def save(self, path: str) -> None:
                outer.saved.append(path)

            def set_time(self, timeline: str, *, duration: float) -> None:
                assert timeline == "stream"
                self._now[threading.get_ident()] = duration

            def log(self, path: str, entity: tuple[str, dict[str, Any]]) -> None:
                outer.logged.append((path, self._now[threading.get_ident()], *entity))

            def flush(self) -> None:
                outer.flushed += 1

        self.RecordingStream = RecordingStream

    def EncodedImage(self, *, contents: bytes, media_type: str) -> tuple[str, dict[str, Any]]:  # noqa: N802
        assert contents.startswith(b"\xff\xd8")
        assert media_type == "image/jpeg"
        return "EncodedImage", {"contents": contents}

    def TextLog(self, text: str, *, level: str = "INFO") -> tuple[str, dict[str, Any]]:  # noqa: N802
        return "TextLog", {"text": text, "level": level}

    def Scalars(self, scalars: float) -> tuple[str, dict[str, Any]]:  # noqa: N802
        return "Scalars", {"value": scalars}


def test_rerun_log_puts_all_on_the_time_line_of_the_stream(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rerun = FakeRerun()
    monkeypatch.setitem(sys.modules, "rerun", rerun)
    example = load("rerun_log")
    monkeypatch.setattr(example, "EVERY_US", 1_000_000)
    example.main("theatre:3", "drive.rrd", str(tiny_folder), seconds=3.0)
    assert (rerun.saved, rerun.flushed) == (["drive.rrd"], 1)
    times: dict[str, list[float]] = {}
    for path, time_s, _, _ in rerun.logged:
        times.setdefault(path, []).append(time_s)
    camera = times["camera"]
    assert camera == sorted(set(camera))
    assert 0.0 <= camera[0] <= camera[-1] < 3.0
    assert set(times["keyframes"]) <= set(camera)
    assert times["memory/bytes"] == times["memory/keyframes"] == camera
    kept = [told["value"] for path, _, _, told in rerun.logged if path == "memory/keyframes"]
    assert kept[-1] == len(times["keyframes"]) > 0
    answers = [told["text"] for path, _, _, told in rerun.logged if path == "answers"]
    assert answers and all(text.startswith("What is on the screen now? ") for text in answers)
    assert "answers/seen/0" in times


@pytest.mark.parametrize(("name", "package"), [("rerun_log", "rerun-sdk"), ("ros2_node", "ROS 2")])
def test_an_example_says_what_it_lacks(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rerun", "rclpy"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=f"{name}.py needs .*{package}"):
        load(name)


# ROS 2, with a small stand-in for rclpy


@dataclass
class Stamp:
    sec: int = 0
    nanosec: int = 0


@dataclass
class Header:
    stamp: Stamp = field(default_factory=Stamp)
    frame_id: str = ""


@dataclass
class Image:
    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = ""
    step: int = 0
    data: bytes = b""


@dataclass
class CompressedImage:
    header: Header = field(default_factory=Header)
    format: str = ""
    data: bytes = b""


@dataclass
class String:
    data: str = ""


class FakeNode:
    """What the example uses of rclpy's Node; topics keep what is published."""

    given: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.name, self.warnings = name, []
        self.topics: dict[str, queue.Queue[String]] = {}
        self.subscriptions: dict[str, tuple[type, Callable[[Any], None], Any]] = {}

    def declare_parameter(self, name: str, default: Any) -> SimpleNamespace:
        return SimpleNamespace(value=self.given.get(name, default))

    def create_publisher(self, kind: type, topic: str, depth: int) -> SimpleNamespace:
        assert kind is String
        self.topics[topic] = queue.Queue()
        return SimpleNamespace(publish=self.topics[topic].put)

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], None], qos: Any) -> None:
        self.subscriptions[topic] = (kind, callback, qos)

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(warning=lambda text, **throttle: self.warnings.append(text))


def ros_modules() -> dict[str, ModuleType]:
    made = {
        name: ModuleType(name)
        for name in (
            *("rclpy", "rclpy.executors", "rclpy.node", "rclpy.qos"),
            *("sensor_msgs", "sensor_msgs.msg", "std_msgs", "std_msgs.msg"),
        )
    }
    made["rclpy"].ok = lambda: True  # type: ignore[attr-defined]
    made["rclpy.executors"].ExternalShutdownException = type("ExternalShutdownException", (Exception,), {})  # type: ignore[attr-defined]
    made["rclpy.node"].Node = FakeNode  # type: ignore[attr-defined]
    made["rclpy.qos"].QoSProfile = SimpleNamespace  # type: ignore[attr-defined]
    made["rclpy.qos"].HistoryPolicy = SimpleNamespace(KEEP_LAST="keep_last")  # type: ignore[attr-defined]
    made["rclpy.qos"].ReliabilityPolicy = SimpleNamespace(BEST_EFFORT="best_effort")  # type: ignore[attr-defined]
    made["sensor_msgs.msg"].Image = Image  # type: ignore[attr-defined]
    made["sensor_msgs.msg"].CompressedImage = CompressedImage  # type: ignore[attr-defined]
    made["std_msgs.msg"].String = String  # type: ignore[attr-defined]
    return made


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, module in ros_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return load("ros2_node")


@pytest.fixture
def make_node(ros: ModuleType, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(**parameters: Any) -> Any:
        monkeypatch.setattr(FakeNode, "given", {"model": str(tiny_folder), **parameters})
        made.append(ros.OnlookerNode())
        return made[-1]

    yield make
    for node in made:
        node.engine.close()


CHANNELS = {"rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGBA", "bgra8": "BGRA", "mono8": "L"}


@given(
    encoding=st.sampled_from(sorted(CHANNELS)),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    padding=st.integers(0, 7),
    seed=st.integers(0, 99),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ros_images_are_read_in_every_encoding_and_step(
    ros: ModuleType, encoding: str, width: int, height: int, padding: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if encoding == "mono8":
        shown = np.repeat(shown[:, :, :1], 3, axis=2)
    alpha = rng.integers(0, 256, (height, width, 1), dtype=np.uint8)
    planes = {"R": shown[:, :, 0:1], "G": shown[:, :, 1:2], "B": shown[:, :, 2:3], "A": alpha, "L": shown[:, :, 0:1]}
    rows = np.concatenate([planes[letter] for letter in CHANNELS[encoding]], axis=2).reshape(height, -1)
    step = rows.shape[1] + padding
    data = np.concatenate([rows, rng.integers(0, 256, (height, padding), dtype=np.uint8)], axis=1).tobytes()
    message = Image(height=height, width=width, encoding=encoding, step=step, data=data)
    read = ros.picture_of(message)
    assert read.dtype == np.uint8 and read.flags.c_contiguous
    assert np.array_equal(read, shown)
    message.data = data[:-1]
    with pytest.raises(ValueError, match="are no picture of"):
        ros.picture_of(message)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [({"encoding": "16UC1"}, "cannot read encoding '16UC1'"), ({"step": 5}, "rows of 5"), ({"height": 0}, "x 0")],
)
def test_a_ros_image_that_is_none_is_refused(ros: ModuleType, change: dict[str, Any], wanted: str) -> None:
    message = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=wanted):
        ros.picture_of(message)


def test_ros_compressed_images_are_rgb(ros: ModuleType) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 2] = 255  # BGR, as OpenCV has it
    data = cv2.imencode(".png", red)[1].tobytes()
    assert ros.picture_of(CompressedImage(format="png", data=data))[0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="cannot decode 3 bytes of 'jpeg'"):
        ros.picture_of(CompressedImage(format="jpeg", data=b"abc"))


def stamped(number: int, begin_us: int) -> Image:
    """Give a picture of a camera that began at a time of its clock: two a second, with odd nanoseconds."""
    sec, rest_us = divmod(begin_us + number * 500_000, 1_000_000)
    image = np.full((16, 16, 3), number * 30 % 256, np.uint8)
    header = Header(Stamp(sec, rest_us * 1000 + 123), "camera_optical")
    return Image(header, 16, 16, "bgr8", 48, image.tobytes())


@pytest.mark.parametrize("boot", [False, True])
def test_the_ros_node_answers_with_the_stamp_and_the_frame_of_the_camera(
    boot: bool, make_node: Callable[..., Any]
) -> None:
    """Also where the camera's clock counts since boot, as a simulation's does."""
    node = make_node()
    kind, see, qos = node.subscriptions["image"]
    assert kind is Image
    assert (qos.reliability, qos.history, qos.depth) == ("best_effort", "keep_last", 1)
    begin_us = 42_000_000 if boot else time.time_ns() // 1000
    for number in range(8):
        see(stamped(number, begin_us))
        while node.session.stats.waiting:
            time.sleep(0.005)
    assert node.session.stats.taken == 8
    node.subscriptions["question"][1](String("what is there now?"))
    told = json.loads(node.topics["answer"].get(timeout=120).data)
    assert (told["question"], told["frame_id"], told["error"]) == ("what is there now?", "camera_optical", None)
    stamps = [
        (one.header.stamp.sec, one.header.stamp.nanosec - 123) for one in (stamped(n, begin_us) for n in range(8))
    ]
    assert (told["stamp"]["sec"], told["stamp"]["nanosec"]) in stamps
    assert told["seen"] and all((start["sec"], start["nanosec"]) in stamps for start, _ in told["seen"])


def test_the_ros_node_waits_for_nothing_and_says_what_is_wrong(make_node: Callable[..., Any]) -> None:
    node = make_node(compressed=True)
    kind, see, _ = node.subscriptions["image/compressed"]
    assert kind is CompressedImage
    see(CompressedImage(Header(Stamp(5, 0), "camera"), "jpeg", b"no picture"))
    node.subscriptions["question"][1](String("  "))
    assert [warning.split(";")[0] for warning in node.warnings] == [
        "cannot decode 10 bytes of 'jpeg'",
        "the question is empty",
    ]


def test_the_ros_node_publishes_alerts_with_their_stamp(make_node: Callable[..., Any]) -> None:
    node = make_node(watch=["", "is there a dog?"])
    assert node.session.stats.watches == 1
    node.subscriptions["image"][1](stamped(0, time.time_ns() // 1000))
    node.tell(WatchFired("w", "is there a dog?", 2_500_000, 10.0, "yes"))
    told = json.loads(node.topics["alert"].get(timeout=120).data)
    assert (told["condition"], told["text"], told["frame_id"]) == ("is there a dog?", "yes", "camera_optical")
    assert (
        told["stamp"]["sec"] * 1_000_000 + told["stamp"]["nanosec"] // 1000 == node.session.origin_unix_us + 2_500_000
    )
