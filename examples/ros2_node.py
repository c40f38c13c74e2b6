"""A ROS 2 node: it sees an image topic, answers questions of a topic, and publishes alerts. Plain rclpy.

    source /opt/ros/jazzy/setup.bash
    python examples/ros2_node.py --ros-args -r image:=/camera/image_raw -p 'watch:=["is there a donut?"]'
    ros2 topic pub --once /question std_msgs/msg/String '{data: "What was on the table?"}'

Parameters: model, memory (a folder), compressed (see image/compressed), watch (conditions). Answers and alerts are JSON
in std_msgs/String, with the stamp that they refer to and the camera's frame_id.
"""

import json
import time

import cv2
import numpy as np
from numpy.typing import NDArray

import onlooker
from onlooker.stream.engine.events import AnswerEnded, SessionEvent, WatchFired

try:
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.node import Node
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import String
except ImportError as error:
    raise SystemExit("ros2_node.py needs ROS 2: source its setup.bash first, and use the Python it is for") from error

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
HOUR_US = 3_600_000_000


def picture_of(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Read a message as uint8 [H, W, 3] RGB. Raises ValueError."""
    data = np.frombuffer(message.data, np.uint8)
    if isinstance(message, CompressedImage):
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError(f"cannot decode {len(data)} bytes of {message.format!r}")
        return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    channels, width, height, step = CHANNELS.get(message.encoding, 0), message.width, message.height, message.step
    if not channels:
        raise ValueError(f"cannot read encoding {message.encoding!r}; there are {', '.join(CHANNELS)}")
    if not 0 < width * channels <= step or not 0 < height * step <= len(data):
        raise ValueError(f"{len(data)} bytes in rows of {step} are no picture of {width} x {height} {message.encoding}")
    rows = data[: height * step].reshape(height, step)[:, : width * channels]  # a row may be padded to `step` bytes
    picture = rows.reshape(height, width, channels)
    order = [0, 0, 0] if channels == 1 else [2, 1, 0] if message.encoding.startswith("bgr") else [0, 1, 2]
    return np.ascontiguousarray(picture[:, :, order])


class OnlookerNode(Node):  # type: ignore[misc]  # rclpy has no types
    """See `image`, answer `question` on `answer`, publish `alert`. No callback waits for the model."""

    def __init__(self) -> None:
        super().__init__("onlooker")
        self.engine = onlooker.Engine(onlooker.load(self.declare_parameter("model", "pocket").value))
        self.session = self.engine.session(memory=self.declare_parameter("memory", "").value or None)
        self.frame_id, self.shift_us = "", None
        self.answers = self.create_publisher(String, "answer", 10)
        self.alerts = self.create_publisher(String, "alert", 10)
        newest = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=1)
        if self.declare_parameter("compressed", False).value:
            self.create_subscription(CompressedImage, "image/compressed", self.see, newest)
        else:
            self.create_subscription(Image, "image", self.see, newest)
        self.create_subscription(String, "question", self.ask, 10)
        for condition in filter(None, self.declare_parameter("watch", [""]).value):
            self.session.watch(condition, listener=self.tell)

    def see(self, message: Image | CompressedImage) -> None:
        stamp_us = message.header.stamp.sec * 1_000_000 + message.header.stamp.nanosec // 1000
        if self.shift_us is None:  # a simulation's clock, or one since boot, is laid onto the wall clock
            away_us = time.time_ns() // 1000 - stamp_us
            self.shift_us = away_us if abs(away_us) > HOUR_US else 0
        self.frame_id = message.header.frame_id
        try:
            self.session.see(picture_of(message), captured_unix_us=stamp_us + self.shift_us, copy=False)
        except (ValueError, onlooker.SourceError) as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)

    def ask(self, message: String) -> None:
        try:
            self.session.submit(message.data, listener=self.tell)  # returns at once
        except onlooker.OnlookerError as error:
            self.get_logger().warning(str(error))

    def tell(self, event: SessionEvent) -> None:
        """Publish an event; the engine's thread calls this, and publishing is thread-safe in ROS 2."""
        if not rclpy.ok():
            return
        if isinstance(event, AnswerEnded):
            answer = event.answer
            seen = [[self.stamp(one.start_us), self.stamp(one.end_us)] for one in answer.evidence]
            about_us = answer.asked_at_us if answer.refers_to_us is None else answer.refers_to_us
            told = {"question": answer.question, "text": answer.text, "ending": event.ending, "seen": seen}
            self.publish(self.answers, told | {"error": event.message or None}, about_us)
        elif isinstance(event, WatchFired):
            self.publish(self.alerts, {"condition": event.condition, "text": event.text}, event.time_us)

    def publish(self, topic, told: dict[str, object], time_us: int) -> None:  # type: ignore[no-untyped-def]
        topic.publish(String(data=json.dumps(told | {"stamp": self.stamp(time_us), "frame_id": self.frame_id})))

    def stamp(self, time_us: int) -> dict[str, int]:
        """Write a stream time as the camera's clock has it."""
        sec, rest_us = divmod(self.session.origin_unix_us + time_us - (self.shift_us or 0), 1_000_000)
        return {"sec": sec, "nanosec": rest_us * 1000}


def main() -> None:
    rclpy.init()
    node = OnlookerNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.engine.close()  # saves the memory
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
