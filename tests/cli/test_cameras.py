import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onlooker.cli import main
from onlooker.stream.live import devices
from onlooker.stream.live.devices import Device

Cameras = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cameras(capsys: pytest.CaptureFixture[str]) -> Cameras:
    """Run `onlooker cameras WORDS`; give exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["cameras", *words])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def nobody() -> int:
    """Give a port of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_devices_are_listed(cameras: Cameras, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Device("camera:0", "Front Camera"), Device("camera:2", "Grabber", "this user may not open /dev/video2")]
    monkeypatch.setattr(devices, "list_devices", lambda: found)
    code, out, err = cameras()
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in out.splitlines()[2:]] == ["camera:0", "camera:2"]
    assert "may not open /dev/video2" in out
    assert json.loads(cameras("--json")[1]) == {
        "cameras": [
            {"source": "camera:0", "name": "Front Camera", "problem": ""},
            {"source": "camera:2", "name": "Grabber", "problem": "this user may not open /dev/video2"},
        ]
    }


def test_a_machine_without_cameras_is_told_what_else_there_is(
    cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "list_devices", list)
    code, out, err = cameras()
    assert (code, out) == (0, "")
    assert "no camera was found" in err
    assert "theatre:7" in err


def test_a_source_that_works_says_what_it_gives(cameras: Cameras) -> None:
    code, out, err = cameras("--probe", "theatre:7")
    assert (code, err) == (0, "")
    assert out.startswith("theatre:7: works\n")
    assert "224 x 224" in out
    told = json.loads(cameras("--probe", "theatre:7", "--json")[1])
    assert (told["source"], told["kind"], told["state"], told["code"]) == ("theatre:7", "theatre", "live", None)
    assert (told["width"], told["height"], told["decoder"]) == (224, 224, "theatre")
    assert told["frames"] > 1
    assert told["fps"] > 0


def test_a_file_shorter_than_the_trial_works_too(cameras: Cameras, tmp_path: Path) -> None:
    from onlooker.bench.video import VideoSettings, write_video
    from onlooker.theatre.show import Show

    clip = tmp_path / "clip.mp4"
    write_video(clip, Show(7, 16.0, 64).frames(8.0, 0, 500_000), VideoSettings(preset="ultrafast"))
    code, out, err = cameras("--probe", str(clip))
    assert (code, err) == (0, "")
    assert "64 x 64" in out
    assert "but then" not in out


def test_a_source_that_fails_says_why_and_shows_no_password(cameras: Cameras, nobody: int) -> None:
    spec = f"rtsp://bob:s3cret@127.0.0.1:{nobody}/1"
    code, out, err = cameras("--probe", spec)
    assert (code, out) == (3, "")
    assert f"rtsp://bob:***@127.0.0.1:{nobody}/1: nothing listens at 127.0.0.1:{nobody}" in err
    assert "check the port" in err
    code, out, err = cameras("--probe", spec, "--json")
    told = json.loads(out)
    assert (code, told["code"], told["first_frame_s"], told["width"]) == (3, "refused", None, 0)
    assert "s3cret" not in out + err


def test_a_camera_that_says_nothing_is_waited_for_no_longer_than_asked(cameras: Cameras) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, _, err = cameras("--probe", f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1", "--timeout", "0.3")
    assert code == 3
    assert "no frame came within 0.3 s" in err


@pytest.mark.parametrize(
    ("spec", "told"), [("theatre:x", "names no theatre"), ("camera:front", "names no camera"), ("gone.mp4", "no file")]
)
def test_a_word_that_names_nothing(cameras: Cameras, spec: str, told: str) -> None:
    code, out, err = cameras("--probe", spec)
    assert (code, out) == (3, "")
    assert told in err


def test_the_help_teaches_and_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom onlooker.cli.main import run\n"
        "try:\n    run(['cameras', '--help'])\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    names = {name.partition(".")[0] for name in done.stderr.split()}
    assert not names & {"torch", "numpy", "transformers", "cv2", "decord", "faiss", "rich", "PIL"}
    assert done.stdout.count("  onlooker cameras") == 4
    assert max(map(len, done.stdout.splitlines())) <= 80
