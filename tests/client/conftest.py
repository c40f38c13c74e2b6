"""A scripted server on the loopback: it speaks the protocol through the real core, and breaks where it is told to."""

import dataclasses
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.sync.server import Server, ServerConnection, serve

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.connection import Close, FrameReceived, Received, Send
from onlooker.stream.protocol.connection import ServerConnection as Core
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.protocol.replay import Replay

TOKEN = "secret-1"
JPEG = b"\xff\xd8\xff picture"
ORIGIN_US = 1_795_000_000_000_000
PATIENCE_S = 30.0

Script = Callable[["ScriptedServer", asked.ClientEvent], bool]


class ScriptedServer:
    """One session that outlives its connections.

    frames: what came.  asked: requests that came.  script: called with each request before the usual answer; it gives
    True when there is none.  refuse: a status for every handshake.
    """

    def __init__(self) -> None:
        self.limits = Limits(max_fps=1000.0, message_rate=1e5)
        self.frames: list[FrameReceived] = []
        self.asked: list[asked.ClientEvent] = []
        self.hellos: list[asked.SessionUpdate] = []
        self.script: Script = lambda server, event: False
        self.refuse: HTTPStatus | None = None
        self.source_lists: tuple[str, ...] = ("door",)
        self.tokens = 0
        self.connections = 0
        self.replay = Replay(1000, 1 << 20)
        self.reading = threading.Event()
        self.reading.set()
        self._numbers = itertools.count(1)
        self._core: Core | None = None
        self._socket: ServerConnection | None = None
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/#token={TOKEN}"

    def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port), backlog=16)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # a slow reader is felt soon
        self.port = listening.getsockname()[1]
        self._server = serve(
            self._serve, sock=listening, process_request=self._admit, compression=None, close_timeout=0.5,
            max_size=None, subprotocols=["onlooker.v1"],
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.serve_forever, name="scripted-server")
        self._thread.start()

    def stop(self) -> None:
        self.reading.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self.drop()
            self._thread.join()
            self._server = None

    def restart(self) -> None:
        """Come back as another process that kept the memory and nothing else."""
        self.stop()
        self.replay = Replay(1000, 1 << 20)
        self.start()

    def drop(self) -> None:
        """Cut the connection without a word."""
        with self._lock:
            held = self._socket
            if held is not None:
                try:
                    held.socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def tell(self, event: told.Sequenced) -> None:
        """Say something, or keep it for when the client is back."""
        with self._lock:
            self._put(self.replay.add(event))

    def tell_as_is(self, event: told.ServerEvent) -> None:
        with self._lock:
            self._put(told.write(event))

    def fail(self, code: str) -> None:
        with self._lock:
            assert self._core is not None
            self._carry_out(self._core.fail(code))

    def answer(self, event: asked.ResponseCreate, text: str = "the dog", **changes: Any) -> None:
        """Answer a question in two pieces, with one piece of evidence."""
        response_id = f"r{next(self._numbers)}"
        self.tell(
            told.ResponseCreated(
                event_id=event.event_id, response_id=response_id, question=event.question or "", asked_at_us=5
            )
        )
        self.tell(told.ResponseOutputTextDelta(response_id=response_id, delta=text[:3]))
        self.tell(told.ResponseOutputTextDelta(response_id=response_id, delta=text[3:]))
        piece = told.EvidencePiece(
            index=0, start_us=1, end_us=2, score=3.5, source="recalled", image="/v1/sessions/s_1/images/1.jpg"
        )
        self.tell(told.ResponseEvidence(response_id=response_id, evidence=(piece,)))
        done = told.ResponseDone(response_id=response_id, status="completed", text=text, asked_at_us=5, refers_to_us=1)
        self.tell(dataclasses.replace(done, **changes))

    def until(self, ready: Callable[[], bool]) -> None:
        wait_until(ready)

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if self.refuse is not None:
            return connection.respond(self.refuse, "go away\n")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "send the token\n")
        if request.path == "/v1/sessions/s_1/images/1.jpg":
            return Response(200, "OK", Headers({"Content-Type": "image/jpeg", "Content-Length": str(len(JPEG))}), JPEG)
        return None if request.path == "/v1/realtime" else connection.respond(HTTPStatus.NOT_FOUND, "nothing\n")

    def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        core = Core(self.limits, time.monotonic())
        try:
            while True:
                self.reading.wait(PATIENCE_S)
                message = connection.recv()
                now = time.monotonic()
                with self._lock:
                    results = (
                        core.receive_text(message, now)
                        if isinstance(message, str)
                        else core.receive_bytes(message, now)
                    )
                    for result in results:
                        if isinstance(result, Received) and result.first:
                            self._socket, self._core = connection, core
                            self._open(result.event)
                        elif isinstance(result, Received):
                            self.asked.append(result.event)
                            if not self.script(self, result.event):
                                self._reply(result.event)
                        elif isinstance(result, FrameReceived):
                            self.frames.append(dataclasses.replace(result, image=memoryview(bytes(result.image))))
                        else:
                            self._socket, self._core = connection, core
                            self._carry_out([result])
        except ConnectionClosed:
            core.disconnected()
        finally:
            with self._lock:
                if self._socket is connection:
                    self._socket = None

    def _open(self, hello: asked.ClientEvent) -> None:
        assert isinstance(hello, asked.SessionUpdate) and self._core is not None
        self.hellos.append(hello)
        if hello.resume is not None and hello.resume.token != f"rt_{self.tokens}":
            self._carry_out(self._core.fail("resume_refused"))
            return
        if hello.source not in (None, "frames", *self.source_lists):
            self._carry_out(self._core.fail("unknown_source", f"there is no source {hello.source!r}", fatal=True))
            return
        self.tokens += 1
        missed = self.replay.missed(hello.resume.last_seq if hello.resume else self.replay.last_seq)
        self._core.opened(self.replay)
        self._put(
            told.write(
                told.SessionCreated(
                    session_id="s_1",
                    resume_token=f"rt_{self.tokens}",
                    resumed=hello.resume is not None,
                    gap=missed.gap,
                    source=hello.source or "frames",
                    model=told.ModelInfo(name="pocket", calibrated=True),
                    config=told.Config(
                        settings=told.KeptSettings(
                            keyframes="gate", heartbeat_s=10.0, prune_rate=0.5, memory_tokens=None, gate="auto"
                        ),
                        fps=hello.fps or self.limits.max_fps,
                        max_tokens=64,
                        temperature=0.0,
                        frame_reports="summary",
                        stats=True,
                    ),
                    limits=told.SessionLimits.of(self.limits),
                    origin_unix_us=ORIGIN_US,
                    server_unix_us=ORIGIN_US,
                    last_seq=self.replay.last_seq,
                    received=self.replay.received if hello.resume else (),
                )
            )
        )
        if hello.resume is not None:
            for text in missed.messages:
                self._put(text)

    def _reply(self, event: asked.ClientEvent) -> None:
        name = event.event_id
        match event:
            case asked.ResponseCreate():
                self.answer(event, f"to {event.question}")
            case asked.WatchCreate():
                self.tell(told.WatchCreated(event_id=name, watch_id=f"w_{name}", condition=event.condition))
            case asked.WatchDelete():
                self.tell(told.WatchDeleted(event_id=name, watch_id=event.watch_id))
            case asked.WatchList():
                self.tell(told.WatchListed(event_id=name, watches=()))
            case asked.SourceList():
                self.tell(told.SourceListed(event_id=name, sources=(told.ListedSource(name="door", state="live"),)))
            case asked.MemoryGet():
                self.tell(
                    told.MemoryState(
                        event_id=name,
                        keyframes=3,
                        tokens=96,
                        used_bytes=1,
                        cap_bytes=2,
                        disk_bytes=3,
                        disk_cap_bytes=4,
                        span_us=(0, 9),
                        timeline=(told.Stretch(start_us=0, end_us=9, kind="kept"),),
                        marks=(told.Mark(label="a", time_us=4),),
                    )
                )
            case asked.MemoryMark():
                self.tell(told.MemoryMarked(event_id=name, label=event.label, time_us=event.time_us or 7))
            case asked.MemoryClear():
                self.tell(told.MemoryCleared(event_id=name, keyframes=3))
            case asked.SessionClose():
                self.tell(told.SessionClosed(event_id=name, reason="closed"))
                assert self._core is not None
                self._carry_out(self._core.close())
            case _:
                pass

    def _carry_out(self, results: Any) -> None:
        for result in results:
            if isinstance(result, Send):
                self._put(told.write(result.event))
            elif isinstance(result, Close) and self._socket is not None:
                self._socket.close(result.code, result.reason)

    def _put(self, text: str) -> None:
        if self._socket is not None:
            try:
                self._socket.send(text)
            except ConnectionClosed:
                pass


def wait_until(ready: Callable[[], bool]) -> None:
    """Wait for something that another thread does; far longer than it takes."""
    end = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Give a server that is up; no proxy of this machine's stands between."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "ONLOOKER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    made = ScriptedServer()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Give wait_until."""
    return wait_until
