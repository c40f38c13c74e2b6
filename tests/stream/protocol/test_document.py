"""docs/protocol.md says what the code does."""

import dataclasses
import re
import socket
import struct
import threading
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection as Socket
from websockets.sync.server import serve

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.client_connection import ClientConnection
from onlooker.stream.protocol.connection import FrameReceived, Received, Send, ServerConnection
from onlooker.stream.protocol.errors import ERRORS
from onlooker.stream.protocol.frame_header import HEADER_BYTES
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.protocol.replay import Replay
from onlooker.stream.protocol.tables import fill_in

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PNG = bytes.fromhex(
    "89504e470d0a1a0a 0000000d49484452000000080000000608020000000000 0000"
    "000000014944415400 00000000 0000000049454e44ae426082"
)


def blocks(after: str) -> list[str]:
    return re.findall(r"```\w*\n(.*?)```", TEXT[TEXT.index(after) :], re.DOTALL)


def test_the_tables_are_those_of_the_code() -> None:
    command = "python -m onlooker.stream.protocol.tables docs/protocol.md"
    assert fill_in(TEXT) == TEXT, f"the document is behind the code; bring it up to date with: {command}"


def test_every_event_field_and_code_is_in_the_document() -> None:
    for table in (asked.CLIENT_EVENTS, told.SERVER_EVENTS):
        for kind, cls in table.classes.items():
            section = TEXT[TEXT.index(f"#### `{kind}`") :].partition("\n#### ")[0]
            for field in dataclasses.fields(cls):
                assert field.name in ("seq", "event_id") or f"| `{field.name}`" in section
    assert all(f"| `{code}` |" in TEXT for code in ERRORS)


def test_the_worked_exchange_is_what_reader_and_writer_make_of_it() -> None:
    server, client, replay = ServerConnection(Limits(), 0.0), ClientConnection(), Replay(100, 100_000)
    expected: told.Error | None = None
    lines = [line for line in blocks("## A worked exchange")[0].splitlines() if line]
    assert len(lines) > 12
    for line in lines:
        side, text = line[0], line[2:]
        if text.startswith("binary "):
            header = bytes.fromhex(text.removeprefix("binary ").partition(",")[0])
            assert len(header) == HEADER_BYTES
            (frame,) = server.receive_bytes(header + PNG, 0.0)
            assert isinstance(frame, FrameReceived) and frame.header.captured_unix_us == 1_795_000_001_000_000
        elif side == "→":
            (result,) = server.receive_text(text, 0.0)
            if isinstance(result, Received) and result.first:
                server.opened(replay)
            if isinstance(result, Send):
                assert isinstance(result.event, told.Error)
                expected = result.event
        else:
            event = told.SERVER_EVENTS.read(text, told.BOUNDS)
            assert told.write(event) == text
            if isinstance(event, told.Error):
                assert event == expected
            elif isinstance(event, told.Sequenced):
                assert replay.add(event) == text  # the numbers are right
            assert client.receive(text).event == event
    assert replay.received == ("q1", "w1", "bye")
    assert isinstance(client.ended, told.SessionClosed)


def test_the_resume_in_the_document_is_taken() -> None:
    (line,) = blocks("## Resume")[0].splitlines()
    (result,) = ServerConnection(Limits(), 0.0).receive_text(line.removeprefix("→ "), 0.0)
    assert isinstance(result, Received) and isinstance(result.event, asked.SessionUpdate)
    assert result.event.resume == asked.Resume(session_id="s_7Qm2", token="rt_x1", last_seq=5)


def test_the_limits_in_the_document_are_the_usual_ones() -> None:
    limits = Limits()
    table = TEXT[TEXT.index("## Limits") :].partition("## What stays")[0]
    for words in (
        f"within {limits.hello_s:g} s",
        f"{limits.message_bytes >> 10} KiB, {limits.json_depth} levels deep, {limits.json_values} values",
        f"{limits.message_rate:g} a second, {limits.message_burst} at once",
        f"{limits.max_frame_bytes >> 20} MiB, 2²⁴ pixels",
        f"{limits.max_fps:g} a second; more are dropped",
        f"{limits.question_chars} characters; a condition {asked.MOST_CONDITION}, a label {asked.MOST_LABEL}",
        f"| questions waiting | {limits.questions_queued};",
        f"| standing questions | {limits.watches} |",
        f"{limits.idle_s:g} s, then `idle`",
        f"{limits.resume_s:g} s to resume",
    ):
        assert words in table
    assert limits.max_pixels == 2**24
    assert f"after {limits.errors_in_a_row} messages in a row" in TEXT


def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They are run as they stand, but for the port, against a server that answers through the core."""
    code = blocks("## Ten lines")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 14
    frames: list[FrameReceived] = []

    def talk(connection: Socket) -> None:
        core, replay = ServerConnection(Limits(), 0.0), Replay(100, 100_000)
        for message in connection:
            results = core.receive_text(message, 0.0) if isinstance(message, str) else core.receive_bytes(message, 0.0)
            for result in results:
                if isinstance(result, FrameReceived):
                    frames.append(result)
                elif isinstance(result, Received) and result.first:
                    core.opened(replay)
                    exchange = blocks("## A worked exchange")[0]
                    connection.send(next(line[2:] for line in exchange.splitlines() if "session.created" in line))
                elif isinstance(result, Received):
                    assert isinstance(result.event, asked.ResponseCreate)
                    connection.send(replay.add(told.ResponseOutputTextDelta(response_id="r", delta="a cup")))
                    connection.send(
                        replay.add(told.ResponseDone(response_id="r", status="completed", text="a cup", asked_at_us=0))
                    )

    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frame.jpg").write_bytes(PNG)
    listening = socket.create_server(("127.0.0.1", 0))
    with serve(talk, sock=listening, compression=None, subprotocols=["onlooker.v1"]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            exec(compile(code.replace(":8765", f":{listening.getsockname()[1]}"), "document", "exec"), {})
        finally:
            server.shutdown()
            thread.join()
    assert capsys.readouterr().out.endswith("a cup")
    assert len(frames) == 1


def test_the_python_client_in_the_document_has_these_names() -> None:
    code = blocks("## From Python")[0]
    names = set(re.findall(r"(?:session|answer|onlooker\.client)\.(\w+)", code))
    from onlooker.answer import Answer
    from onlooker.client import RemoteSession, connect

    assert connect.__name__ in names
    known = {*dir(RemoteSession), *(field.name for field in dataclasses.fields(Answer)), "connect"}
    assert names <= known
    compile(code, "document", "exec")


def test_the_headers_layout_in_the_document_is_structs() -> None:
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| ", TEXT[TEXT.index("## Frames") :].partition("## A worked")[0], re.MULTILINE
    )
    ends = [(int(offset), int(offset) + int(size)) for offset, size in rows]
    assert [end for _, end in ends] == [start for start, _ in ends[1:]] + [struct.calcsize("<BBHIqII")]
