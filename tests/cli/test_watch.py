"""`onlooker watch`: alerts on stdout, in commands and in web hooks."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onlooker.bench.video import VideoSettings, write_video
from onlooker.cli import main
from onlooker.cli.alerts import Alert
from onlooker.cli.deliveries import Command, Deliveries, DeliveryError, Webhook
from onlooker.theatre.show import Show

SHOW = Show(7, 64.0)
THING = next(sprites[0] for _, (_, sprites) in sorted(SHOW.planted.items()))
SCENE = next(SHOW.slot(number)[1] for number in sorted(SHOW.planted))
NEVER = SHOW.roles[1][0]
ALERT = Alert("fired", 1, "a dog's \0 day", 61_500_000, 1_700_000_000_123_000, "yes", 0.98765, 12.34, None, b"\xff\xd8")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 32 s of a show."""
    path = tmp_path_factory.mktemp("watch") / "clip.mp4"
    write_video(path, SHOW.frames(4.0, 0, 32_000_000), VideoSettings(preset="ultrafast", keyframe_frames=8))
    return path


@pytest.fixture
def watch(clip: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `onlooker watch` with pocket; give exit code, stdout and stderr."""

    def run(*words: str, source: str | None = None) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["watch", source or str(clip), *words, "--device", "cpu"])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run


def test_people_get_a_line_for_each_alert_and_a_summary(watch: Callable[..., Any]) -> None:
    code, out, err = watch(f"is there a {THING}?", NEVER)
    assert code == 0
    first, second = out.splitlines()
    assert re.fullmatch(rf"0:\d\d  true  is there a {THING}\?  \(yes\)", first)
    assert re.fullmatch(rf"0:\d\d  over  is there a {THING}\?", second)
    assert f"onlooker: is there a {THING}?: once" in err and f"onlooker: {NEVER}: never" in err
    assert re.search(r"watched up to 0:31: 64 frames, \d+ looks", err) and "pocket knows only" in err


def test_programs_get_json_lines_and_pictures(watch: Callable[..., Any], tmp_path: Path) -> None:
    code, out, err = watch(THING, "--json", "--evidence", str(tmp_path / "seen"), "-q")
    assert (code, err) == (0, "")
    fired, cleared = map(json.loads, out.splitlines())
    assert SCENE.start_us / 1e6 <= fired["time_s"] < SCENE.start_us / 1e6 + 1.0 <= cleared["time_s"]
    assert (fired["event"], fired["watch"], fired["condition"], fired["text"]) == ("fired", 1, THING, "yes")
    assert fired["at"] is None and 0.5 < fired["score"] <= 1.0 and fired["latency_ms"] > 0
    assert Path(fired["picture"]).read_bytes().startswith(b"\xff\xd8") and "image" not in fired
    assert list(cleared) == ["event", "watch", "condition", "time_s", "at"]


def test_it_ends_at_the_first_alert(watch: Callable[..., Any]) -> None:
    code, out, err = watch(THING, "--until-first")
    assert code == 0 and len(out.splitlines()) == 1
    frames = re.search(r"(\d+) frames", err)
    assert frames is not None and int(frames[1]) < 64
    assert watch(NEVER, "--until-first", "--stop-after", "6")[0] == 1


def test_it_ends_after_so_much_of_the_stream(watch: Callable[..., Any]) -> None:
    assert "12 frames" in watch(NEVER, "--stop-after", "6")[2]


def test_what_is_asked_is_told_when_wanted(watch: Callable[..., Any]) -> None:
    _, _, err = watch("a snowman", "is there a cat", "--stop-after", "1", "-v")
    assert "a snowman: the model is asked 'have you seen a snowman?'" in err
    assert "is there a cat: the model is asked 'is there a cat?'" in err


def test_a_memory_can_be_asked_and_gone_on_with(
    watch: Callable[..., Any], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "kept")
    assert THING in watch(THING, "--memory", folder, "--stop-after", "16")[1]
    code, out, err = watch(THING, "--memory", folder)
    assert code == 0 and "true" not in out and "going on from there" in err
    with pytest.raises(SystemExit) as caught:
        main.run(["ask", "--memory", folder, f"did you see a {THING}?", "--device", "cpu", "-q"])
    assert caught.value.code == 0 and capsys.readouterr().out.startswith("yes")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["  "], "no words"),
        (["dog", "--exec", "no-such-command-anywhere --now"], "no command 'no-such-command-anywhere'"),
        (["dog", "--exec", "'"], "close its quotes"),
        (["dog", "--webhook", "ftp://example.org/x"], "http:// or https://"),
        (["dog", "--webhook", "http://name:secret@example.org/x"], "no user and password"),
        (["dog", "--webhook", "http://[/"], "http:// or https://"),
        (["dog", "--cleared"], "--cleared is about"),
        (["dog"] * 17, "the limit is 16"),
        (["dog", "--cooldown", "30h"], "cool-down is 108000 s"),
        (["dog", "--look", "2h"], "a look of 7200 s"),
    ],
)
def test_what_cannot_work_is_refused(watch: Callable[..., Any], words: list[str], message: str) -> None:
    code, out, err = watch(*words)
    assert (code, out) == (2, "") and message in err and "secret" not in err


def test_a_missing_source_or_an_unusable_folder_is_an_error(watch: Callable[..., Any], tmp_path: Path) -> None:
    assert watch("dog", source="no-such-file.mp4")[0] == 3
    (tmp_path / "file").write_text("")
    code, _, err = watch("dog", "--evidence", str(tmp_path / "file"))
    assert code == 2 and "cannot write evidence" in err


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_a_command_gets_the_alert(watch: Callable[..., Any], tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    code = (
        "import json, os, sys; print('not for stdout');"
        f"event = json.load(sys.stdin); event['env'] = os.environ['ONLOOKER_CONDITION'] + os.environ['ONLOOKER_EVENT'];"
        f"open({str(kept)!r}, 'a').write(json.dumps(event) + '\\n')"
    )
    _, out, _ = watch(THING, "--json", "--exec", python(code), "--cleared")
    told = {event["event"]: event for event in map(json.loads, kept.read_text().splitlines())}
    printed = {event["event"]: event for event in map(json.loads, out.splitlines())}
    assert told["fired"].pop("image").startswith("data:image/jpeg;base64,/9j/")
    assert [told[name].pop("env") for name in ("fired", "cleared")] == [f"{THING}fired", f"{THING}cleared"]
    assert told == printed


def test_a_command_that_fails_is_reported_and_costs_nothing(watch: Callable[..., Any]) -> None:
    words = python("import sys; sys.stderr.write('first\\nno printer\\n'); sys.exit(4)")
    code, out, err = watch(THING, "--exec", words)
    assert code == 0 and len(out.splitlines()) == 2
    assert "it ended with 4: no printer" in err and "1 alerts could not be handed over" in err


def test_a_command_gets_its_variables_without_null_bytes(tmp_path: Path) -> None:
    kept = tmp_path / "env"
    code = (
        "import os;"
        f"open({str(kept)!r}, 'w').write('|'.join(os.environ['ONLOOKER_' + n] for n in "
        "('EVENT', 'WATCH', 'CONDITION', 'TIME_S', 'AT', 'TEXT', 'PICTURE')))"
    )
    Command(python(code)).carry(ALERT)
    assert kept.read_text() == "fired|1|a dog's  day|61.500|2023-11-14T22:13:20.123Z|yes|"


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); child.wait()"
    )
    with pytest.raises(DeliveryError, match="longer than 3 s"):
        Command(python(code), timeout_s=3.0).carry(ALERT)
    child = int(pid.read_text())
    for _ in range(600):
        try:
            os.kill(child, 0)
            state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.1)
    pytest.fail("what the command started still runs")


class Hook(ThreadingHTTPServer):
    """A web server on 127.0.0.1 that answers with the given codes, the last of them for ever, and keeps what came."""

    daemon_threads = True

    def __init__(self, *codes: int) -> None:
        self.codes, self.bodies = list(codes), list[Any]()
        self.methods: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.methods.append(f"{self.command} {self.path}")
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                code = hook.codes.pop(0) if len(hook.codes) > 1 else hook.codes[0]
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/t0ken?key=s3cret"
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def hook() -> Iterator[Callable[..., Hook]]:
    made: list[Hook] = []

    def make(*codes: int) -> Hook:
        made.append(Hook(*codes))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_web_hook_gets_the_alert(watch: Callable[..., Any], hook: Callable[..., Hook]) -> None:
    server = hook(204)
    code, out, err = watch(THING, "--webhook", server.url, "--json")
    [body] = server.bodies
    assert body.pop("image").startswith("data:image/jpeg;base64,/9j/")
    assert code == 0 and body == json.loads(out.splitlines()[0])
    assert "handed over" not in err


def test_a_web_hook_is_tried_again_while_that_may_help(hook: Callable[..., Hook]) -> None:
    server, notes = hook(503, 429, 200), list[str]()
    deliveries = Deliveries(Webhook(server.url), notes.append, retries=(0.01, 0.01, 0.01))
    assert deliveries.put(ALERT)
    assert deliveries.close(60.0) == 0 and len(server.bodies) == 3
    assert [re.search(r"it answered (\d+); trying again", note)[1] for note in notes] == ["503", "429"]  # type: ignore[index]
    assert not any("t0ken" in note or "s3cret" in note for note in notes)


@pytest.mark.parametrize("code", [404, 302])
def test_a_web_hook_that_refuses_is_left_alone(hook: Callable[..., Hook], code: int) -> None:
    server, notes = hook(code), list[str]()
    deliveries = Deliveries(Webhook(server.url), notes.append, retries=(0.01, 0.01))
    deliveries.put(ALERT)
    assert deliveries.close(60.0) == 1 and deliveries.failed == 1
    assert len(server.bodies) == 1 and notes == [f"http://127.0.0.1:{server.server_address[1]}/...: it answered {code}"]


def test_an_address_that_nobody_listens_at_shows_no_secret(hook: Callable[..., Hook]) -> None:
    server = hook(200)
    url = server.url.replace(f":{server.server_address[1]}", ":1")
    with pytest.raises(DeliveryError, match="cannot be reached") as caught:
        Webhook(url).carry(ALERT)
    assert caught.value.again and "t0ken" not in str(caught.value) and "s3cret" not in str(caught.value)


class Slow:
    """A carrier that waits until it is let go."""

    name = "slow"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.carried: list[int] = []
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def carry(self, alert: Alert) -> None:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.go.wait(60.0)
        with self._lock:
            self.carried.append(alert.time_us)
            self.at_once -= 1


def test_alerts_that_nobody_takes_are_dropped_and_counted() -> None:
    slow = Slow()
    deliveries = Deliveries(slow, lambda _: None, threads=2, most=3)
    taken = [deliveries.put(Alert("fired", 1, "dog", number)) for number in range(100)]
    assert 3 <= sum(taken) <= 5 and deliveries.dropped == 100 - sum(taken)
    slow.go.set()
    assert deliveries.close(60.0) == deliveries.dropped
    assert len(slow.carried) == deliveries.delivered == sum(taken) and slow.most <= 2
    assert not deliveries.put(ALERT)


def test_closing_waits_no_longer_than_told() -> None:
    slow = Slow()
    deliveries = Deliveries(slow, lambda _: None)
    deliveries.put(ALERT)
    deliveries.put(ALERT)
    assert deliveries.close(0.05) == 2
    slow.go.set()


def test_ctrl_c_ends_a_live_source_with_a_summary(tmp_path: Path) -> None:
    """Time of its own, alerts by the wall clock, a memory that is saved."""
    words = [sys.executable, "-m", "onlooker", "watch", "theatre:7", "owl", NEVER, "--json", "--device", "cpu"]
    memory = tmp_path / "kept"
    process = subprocess.Popen(
        [*words, "--memory", str(memory), "-v"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    late = threading.Timer(240.0, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    finally:
        late.cancel()
    assert process.returncode == 0, err
    assert (first["event"], first["condition"]) == ("fired", "owl") and re.fullmatch(r"20.*Z", first["at"])
    assert re.search(r"watched up to \d+:\d\d: \d+ frames", err) and "Traceback" not in err
    assert "owl: once" in err and f"{NEVER}: never" in err
    assert memory.is_dir()


def test_help_says_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["watch", "--help"])
    out = capsys.readouterr().out
    assert 'onlooker watch theatre:7 "is there an owl?"' in out and "What works:" in out and "--cooldown" in out
