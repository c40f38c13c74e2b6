"""Servers that refuse in every way, played by a script on a socket."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from onlooker.stream.live.address import Address, parse_address
from onlooker.stream.live.probe import probe

SDP = b"v=0\r\nm=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n"


def reply(status: str, *headers: str, body: bytes = b"", version: str = "RTSP/1.0") -> bytes:
    lines = [f"{version} {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """Answer the n-th request with the n-th reply; b'' closes the connection, None leaves the client waiting."""

    def __init__(self, replies: tuple[bytes | None, ...]) -> None:
        self.replies, self.requests = list(replies), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self.serve(client)

    def serve(self, client: socket.socket) -> None:
        while not self.over.is_set():
            request = b""
            while b"\r\n\r\n" not in request:
                piece = client.recv(4096)
                if not piece:
                    return
                request += piece
            self.requests.append(request.decode())
            told = self.replies.pop(0) if self.replies else b""
            if told is None:
                self.over.wait(60)
                return
            if not told:
                return
            client.sendall(told)
            if b"Connection: close" in told:
                return

    def close(self) -> None:
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(60)


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*replies: bytes | None) -> Server:
        started.append(Server(replies))
        return started[-1]

    yield start
    for one in started:
        one.close()


def at(server: Server, scheme: str = "rtsp", user: str = "", path: str = "/live?x=1") -> Address:
    return parse_address(f"{scheme}://{user}127.0.0.1:{server.port}{path}")


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        ("401 Unauthorized", "auth_failed", "wants a user name and a password"),
        ("403 Forbidden", "auth_failed", "may not watch it"),
        ("404 Not Found", "not_found", "nothing under this path"),
        ("453 Not Enough Bandwidth", "busy", "no more viewers"),
        ("503 Service Unavailable", "busy", "restreamer"),
    ],
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_refusals_have_codes_and_remedies(
    status: str, code: str, told: str, scheme: str, server: Callable[..., Server]
) -> None:
    failure = probe(at(server(reply(status)), scheme), 30.0).failure
    assert failure is not None
    assert failure.code == code
    assert told in failure.reason
    assert "; " in failure.reason


@pytest.mark.parametrize("status", ["200 OK", "301 Moved", "454 Session Not Found", "400 Bad Request"])
def test_what_is_no_clear_refusal_is_left_to_the_player(status: str, server: Callable[..., Server]) -> None:
    assert probe(at(server(reply(status))), 30.0).failure is None


@pytest.mark.parametrize("challenge", ['Digest realm="cam", nonce="n1"', 'Basic realm="cam"'])
@pytest.mark.parametrize("closing", [False, True])
def test_a_password_is_given_when_it_is_asked_for(challenge: str, closing: bool, server: Callable[..., Server]) -> None:
    more = ["Connection: close"] if closing else []
    camera = server(reply("401 Unauthorized", f"WWW-Authenticate: {challenge}", *more), reply("200 OK", body=SDP))
    found = probe(at(camera, user="bob:s3%40cret@"), 30.0)
    assert (found.failure, found.offers) == (None, "H265")
    first, second = camera.requests
    assert "Authorization" not in first
    assert f"Authorization: {challenge.split()[0]} " in second
    assert first.startswith(f"DESCRIBE rtsp://127.0.0.1:{camera.port}/live?x=1 RTSP/1.0\r\n")
    assert "s3" not in first + second.partition("Authorization")[0]


def test_a_wrong_password_is_told_once(server: Callable[..., Server]) -> None:
    """Two requests, of which one carried a password: no more, or the camera locks the account."""
    refusal = reply("401 Unauthorized", 'WWW-Authenticate: Digest realm="x", nonce="y"')
    camera = server(refusal, refusal)
    failure = probe(at(camera, user="bob:wrong@"), 30.0).failure
    assert failure is not None
    assert failure.code == "auth_failed"
    assert "user name or the password is wrong" in failure.reason
    assert "bob:***@127.0.0.1" in failure.reason
    assert "wrong@" not in failure.reason
    assert len(camera.requests) == 2


def test_an_unknown_way_to_log_in_is_left_to_the_player(server: Callable[..., Server]) -> None:
    camera = server(reply("401 Unauthorized", "WWW-Authenticate: Negotiate"))
    assert probe(at(camera, user="bob:x@"), 30.0).failure is None


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failure = probe(parse_address(f"rtsp://127.0.0.1:{port}/x"), 30.0).failure
    assert failure is not None
    assert failure.code == "refused"
    assert f"127.0.0.1:{port}" in failure.reason


def test_no_answer_is_a_timeout(server: Callable[..., Server]) -> None:
    failure = probe(at(server(None)), 0.2).failure
    assert failure is not None
    assert (failure.code, "within 0.2 s" in failure.reason) == ("timeout", True)


def test_a_server_that_dribbles_does_not_hold_it_up(server: Callable[..., Server]) -> None:
    """The deadline is for all of it, not for each byte."""
    failure = probe(at(server(b"RTSP/1.0 200 OK\r\nX: ", b"y")), 0.2).failure
    assert failure is not None
    assert failure.code == "timeout"


def test_plain_text_where_tls_was_expected(server: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"RTSP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        failure = probe(parse_address(f"rtsps://127.0.0.1:{listener.getsockname()[1]}/x"), 30.0).failure
        thread.join(60)
    assert failure is not None
    assert failure.code == "tls"


@pytest.mark.parametrize(("told", "code"), [(b"", "lost"), (b"SSH-2.0-OpenSSH_9\r\n\r\n", "unknown")])
def test_other_programs_at_the_port(told: bytes, code: str, server: Callable[..., Server]) -> None:
    failure = probe(at(server(told)), 30.0).failure
    assert failure is not None
    assert failure.code == code


def test_a_stream_without_video(server: Callable[..., Server]) -> None:
    failure = probe(at(server(reply("200 OK", body=b"v=0\r\nm=audio 0 RTP/AVP 0\r\n"))), 30.0).failure
    assert failure is not None
    assert (failure.code, "offers no video" in failure.reason) == ("codec", True)


def test_a_web_page_is_no_video(server: Callable[..., Server]) -> None:
    page = reply("200 OK", "Content-Type: text/html; charset=utf-8", version="HTTP/1.1")
    failure = probe(at(server(page), "http"), 30.0).failure
    assert failure is not None
    assert "text/html" in failure.reason


def test_http_logs_in_on_a_second_connection(server: Callable[..., Server]) -> None:
    camera = server(
        reply("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"', "Connection: close", version="HTTP/1.1"),
        reply("200 OK", "Content-Type: multipart/x-mixed-replace", "Connection: close", version="HTTP/1.1"),
    )
    found = probe(at(camera, "http", "bob:pw@"), 30.0)
    assert (found.failure, found.offers) == (None, "multipart/x-mixed-replace")
    assert camera.requests[1].startswith("GET /live?x=1 HTTP/1.1\r\n")


def test_a_name_that_nobody_knows() -> None:
    failure = probe(parse_address("rtsp://no-such-host.invalid/x"), 30.0).failure
    assert failure is not None
    assert failure.code in ("not_found", "timeout")
    assert "no-such-host.invalid" in failure.reason
