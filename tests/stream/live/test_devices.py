import os
from pathlib import Path

import pytest

from onlooker.stream.live import devices
from onlooker.stream.live.devices import Device, captures, list_devices


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Four device files, of which video1 gives metadata only; two have names."""
    files, names = tmp_path / "dev", tmp_path / "names"
    files.mkdir()
    for number in (0, 1, 2, 10):
        (files / f"video{number}").write_bytes(b"")
    (files / "video-loop").write_bytes(b"")
    for number, name in ((0, "Front: Camera"), (10, "Usb\xfcCam")):
        (names / f"video{number}").mkdir(parents=True)
        (names / f"video{number}" / "name").write_bytes(name.encode("latin-1") + b"\n")
    monkeypatch.setattr(devices, "captures", lambda path: path.name != "video1")
    return files, names


def test_cameras_are_listed_in_order_with_their_names(machine: tuple[Path, Path]) -> None:
    assert list_devices(*machine, platform="linux") == [
        Device("camera:0", "Front: Camera"),
        Device("camera:2", "camera"),
        Device("camera:10", "Usb\ufffdCam"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_one_that_may_not_be_opened_says_how_to_mend_it(machine: tuple[Path, Path]) -> None:
    (machine[0] / "video2").chmod(0)
    assert "usermod -aG video" in list_devices(*machine, platform="linux")[1].problem


def test_what_cannot_be_asked_counts_as_a_camera(tmp_path: Path) -> None:
    """A plain file knows no ioctl of V4L2, and one that is not there cannot be opened."""
    (tmp_path / "video0").write_bytes(b"")
    assert captures(tmp_path / "video0")
    assert captures(tmp_path / "video1")


@pytest.mark.parametrize(
    ("every", "own", "gives"),
    [(0x85200001, 0x04200001, True), (0x84A00001, 0x04A00000, False), (0x1, 0, True), (0x2, 0, False)],
)
def test_a_device_tells_what_it_can(
    every: int, own: int, gives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pair is a webcam's picture device, the second its metadata device; old drivers tell the first only."""
    import fcntl

    (tmp_path / "video0").write_bytes(b"")
    told = b"uvcvideo".ljust(16, b"\0") + b"Cam".ljust(32, b"\0") + b"usb".ljust(32, b"\0")
    told += (1).to_bytes(4, "little") + every.to_bytes(4, "little") + own.to_bytes(4, "little") + bytes(12)
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: told)
    assert len(told) == 104
    assert captures(tmp_path / "video0") is gives
