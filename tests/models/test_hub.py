import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from onlooker.errors import ModelError
from onlooker.models import hub
from onlooker.models.hub import Access, Download, fetch_settings, fetch_weights, plan

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MB = 10**6


class Api:
    """Stand in for huggingface_hub.HfApi."""

    def __init__(self, card: dict[str, str] | None = None) -> None:
        self.card, self.asked = card, []  # type: tuple[Any, list[object]]

    def model_info(self, name: str, revision: str, files_metadata: bool) -> Any:
        self.asked.append((name, revision, files_metadata))
        sizes = {
            "config.json": 2 * MB,
            "a.safetensors": 600 * MB,
            "b.safetensors": 400 * MB,
            "README.md": 50 * MB,
            "pytorch_model.bin": 1000 * MB,
            "chat.jinja": None,
        }
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
        return SimpleNamespace(siblings=siblings, card_data=self.card)


def download(**fields: Any) -> Download:
    values = {"total_bytes": 1002 * MB, "weights_bytes": 1000 * MB, "missing_bytes": 1002 * MB, "free_bytes": 10**12}
    return Download("owner/model", COMMIT, "mit", cache=Path("/cache"), **{**values, **fields})


def test_a_plan_counts_what_is_read_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / COMMIT, tmp_path / "not" / "yet"
    folder.mkdir()
    (folder / "a.safetensors").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    api: Any = Api({"license": "other", "license_name": "qwen-research"})
    found = plan("owner/model", folder, api)
    assert api.asked == [("owner/model", COMMIT, True)]
    assert (found.total_bytes, found.weights_bytes, found.missing_bytes) == (1002 * MB, 1000 * MB, 402 * MB)
    assert (found.licence, found.commit, found.cache) == ("qwen-research", COMMIT, cache)
    assert found.free_bytes > 0
    assert found.text().startswith(f"fetching owner/model: 402.0 MB of 1.0 GB, licence qwen-research, into {cache} (")


@pytest.mark.parametrize(("card", "licence"), [({"license": "mit"}, "mit"), ({}, "not stated"), (None, "not stated")])
def test_the_licence_is_said(card: dict[str, str] | None, licence: str, tmp_path: Path) -> None:
    api: Any = Api(card)
    assert f"1.0 GB, licence {licence}, into " in plan("owner/model", tmp_path, api).text()


def test_a_disk_with_too_little_room_is_refused_before_a_byte_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[dict[str, Any]] = []
    monkeypatch.setattr(hub, "snapshot_download", lambda _, **options: fetched.append(options) or "/cache/x")
    told: list[str] = []
    need = 1002 * MB + hub.SPARE_BYTES
    with pytest.raises(ModelError, match=r"takes 1.0 GB.* only 270.4 MB free; free 1.0 GB more, or set HF_HOME"):
        fetch_weights(download(free_bytes=hub.SPARE_BYTES + 2 * MB), Access(told=told.append))
    with pytest.raises(ModelError, match="no weights were fetched"):
        fetch_weights(download(free_bytes=need - 1), Access(told=told.append))
    assert (fetched, told) == ([], [])
    assert fetch_weights(download(free_bytes=need), Access(told=told.append)) == Path("/cache/x")
    assert len(told) == len(fetched) == 1


def test_the_message_comes_first_and_the_checked_commit_is_what_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    def fetch(name: str, revision: str, allow_patterns: list[str], tqdm_class: type) -> str:
        happened.append(f"{name} {revision} {tqdm_class.__name__} {'*.safetensors' in allow_patterns}")
        return f"/cache/{revision}"

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    access = Access("main", told=happened.append)
    assert fetch_settings("owner/model", access) == Path("/cache/main")
    fetch_weights(download(), access)
    fetch_weights(download(), Access(told=happened.append, bars=False))
    said = "fetching owner/model: 1.0 GB, licence mit, into /cache (1.0 TB free)"
    assert happened == [
        "owner/model main _NoBar False",
        said,
        f"owner/model {COMMIT} _OneBar True",
        said,
        f"owner/model {COMMIT} _NoBar True",
    ]


def made(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)  # these errors are made from a response, which matters not here


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("offline"), "cannot be reached"),
        (OfflineModeIsEnabled("offline"), "cannot be reached"),
        (ConnectionError("reset\nby peer"), "cannot fetch owner/model: reset by peer"),
        (PermissionError(), "cannot fetch owner/model: PermissionError"),
        (made(GatedRepoError), "asks for a licence"),
        (made(RepositoryNotFoundError), "spelling"),
        (made(RevisionNotFoundError), "no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses_is_said_plainly(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=message):
        fetch_settings("owner/model", Access("v9"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bar(name: str, out: io.StringIO, **options: Any) -> Any:
    return hub._OneBar(name=name, total=8 * 10**9, unit="B", unit_scale=True, disable=None, file=out, **options)


def test_one_bar_is_shown_for_all_bytes() -> None:
    out = Terminal()
    shown = bar("huggingface_hub.snapshot_download", out, desc="Reconstructing", bar_format="{desc}")
    hidden = bar("huggingface_hub.snapshot_download.transfer", out)
    counting = hub._OneBar(["file"], desc="Fetching 1 files", disable=None, file=out)
    assert [hidden.disable, counting.disable] == [True, True]
    shown.update(3 * 10**9)
    shown.refresh()
    assert out.getvalue().rpartition("\r")[2].startswith("onlooker: fetched 3.00GB of 8.00GB |")
    shown.start_t -= 1.0  # as if it had begun a second ago: what never showed is not cleared
    shown.close()
    assert out.getvalue().rpartition("\r")[2] == ""  # it leaves a clean line
    assert "Reconstructing" not in out.getvalue()


def test_no_bar_is_shown_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    bar("huggingface_hub.snapshot_download", out).close()
    assert out.getvalue() == ""


# Without HF_HUB_OFFLINE and with a network that answers nothing: every attempt to reach it is counted.
BLOCKED = """
import socket
attempts = []
def refuse(*words, **more):
    attempts.append(words)
    raise OSError("the network is cut off")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = socket.socket.connect_ex = refuse
import onlooker
for offline, revision in [(True, None), (True, "main"), (True, "COMMIT"), (True, "v9"), (False, None)]:
    try:
        model = onlooker.load("owner/model", device="cpu", offline=offline, revision=revision)
        print(len(attempts), model.backbone.hidden_size)
    except onlooker.ModelError as error:
        print(len(attempts), error)
"""


def test_offline_makes_no_network_call_at_all(
    make_tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "hub" / "models--owner--model"
    folder, snapshot = make_tiny_model(tmp_path / "model"), repo / "snapshots" / COMMIT
    for place in (repo / "blobs", repo / "refs", snapshot):
        place.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(repo / "blobs" / f"{number:040}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040}")
    (repo / "refs" / "main").write_text(COMMIT)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    command = [sys.executable, "-c", BLOCKED.replace("COMMIT", COMMIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    *offline, missing, online = done.stdout.splitlines()
    assert offline == ["0 64"] * 3
    assert missing.startswith("0 owner/model at revision v9 is not in the local cache")
    assert missing.endswith("onlooker models pull owner/model --revision v9")
    # Online the hub is asked first, so the counts above mean something; the cache serves when it does not answer.
    attempts, size = online.split()
    assert int(attempts) > 0
    assert size == "64"
