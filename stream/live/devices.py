"""The cameras of this machine."""

import os
import re
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ..undecodable import load

_QUERY_CAPABILITIES = 0x80685600  # VIDIOC_QUERYCAP of linux/videodev2.h
_CAPABILITIES = struct.Struct("=16s32s32sIII12x")  # struct v4l2_capability
_HAS_OWN = 0x80000000  # V4L2_CAP_DEVICE_CAPS: the last field counts for this device alone
_CAPTURES = 0x00000001 | 0x00001000  # V4L2_CAP_VIDEO_CAPTURE, and the same with several planes

_MOST_INDEXES = 4


@dataclass(frozen=True, slots=True)
class Device:
    """Name a camera of this machine.  source: the word that opens it.  problem: why it cannot be used, or nothing."""

    source: str
    name: str
    problem: str = ""

    def to_dict(self) -> dict[str, str]:
        """Give it as JSON knows it."""
        return asdict(self)


def list_devices(
    devices: Path = Path("/dev"), names: Path = Path("/sys/class/video4linux"), platform: str = sys.platform
) -> list[Device]:
    """List the cameras: on Linux by their files, without opening more than these; elsewhere by trying numbers.

    On Linux a camera has a second device for its metadata, which shows no pictures and is left out.
    """
    if not platform.startswith("linux"):
        return _by_index()
    found = []
    for path in sorted(devices.glob("video*"), key=_number):
        number = _number(path)
        if number < 0 or not captures(path):
            continue
        try:
            name = (names / path.name / "name").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            name = "camera"
        problem = ""
        if not os.access(path, os.R_OK | os.W_OK):
            problem = f"this user may not open {path}; run: sudo usermod -aG video $USER, and log in again"
        found.append(Device(f"camera:{number}", name, problem))
    return found


def _number(path: Path) -> int:
    match = re.fullmatch(r"video(\d+)", path.name)
    return int(match[1]) if match else -1


def captures(path: Path) -> bool:
    """Say whether a V4L2 device gives pictures; yes where it cannot be asked."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        told = fcntl.ioctl(handle, _QUERY_CAPABILITIES, bytes(_CAPABILITIES.size))
    except OSError:
        return True
    finally:
        os.close(handle)
    *_, every, own = _CAPABILITIES.unpack(told)
    return bool((own if every & _HAS_OWN else every) & _CAPTURES)


def _by_index() -> list[Device]:
    """Try the first few numbers; a camera's light may go on for a moment."""
    cv2 = load("cv2", "opencv-python-headless")
    backend = cv2.CAP_AVFOUNDATION if sys.platform == "darwin" else cv2.CAP_ANY
    found = []
    for index in range(_MOST_INDEXES):
        capture = cv2.VideoCapture(index, backend)
        if capture.isOpened():
            found.append(Device(f"camera:{index}", "camera"))
        capture.release()
    return found
