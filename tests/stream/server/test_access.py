"""The matrix of who may not in, over real sockets: every route there is, and the websocket."""

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from onlooker.errors import SettingsError
from onlooker.model import Model
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.server.routes import SECURITY_HEADERS
from onlooker.stream.server.server import Server
from onlooker.stream.server.settings import ServerSettings

WRONG = {"Authorization": "Bearer another-token-than-that"}


def strangers(harness: Any, port: int) -> dict[str, tuple[dict[str, str], dict[str, int]]]:
    """Name who may not in: their headers, and the status by a route's access (what is not named may be seen)."""
    everywhere = dict.fromkeys(("open", "token", "socket"), 403)
    elsewhere = dict.fromkeys(("open", "token", "socket"), 421)
    in_subprotocol = {"Sec-WebSocket-Protocol": f"onlooker.v1, onlooker.token.{harness.TOKEN}"}
    return {
        "no token": ({}, {"token": 401, "socket": 401}),
        "wrong token": (WRONG, {"token": 401, "socket": 401}),
        "another scheme": ({"Authorization": f"Basic {harness.TOKEN}"}, {"token": 401, "socket": 401}),
        "no origin and no bearer": (in_subprotocol, {"token": 401, "socket": 401}),
        "token in the query": ({}, {"token": 401, "socket": 401}),
        "wrong origin": ({**harness.BEARER, "Origin": "http://evil.example"}, everywhere),
        "other port's origin": ({**harness.BEARER, "Origin": f"http://localhost:{port + 1}"}, everywhere),
        "null origin": ({**harness.BEARER, "Origin": "null"}, everywhere),
        "wrong host": ({**harness.BEARER, "Host": "evil.example"}, elsewhere),
        "rebound host": ({**harness.BEARER, "Host": "evil.example", "Origin": "http://evil.example"}, elsewhere),
        "no host": ({**harness.BEARER, "Host": ""}, elsewhere),
    }


def test_strangers_are_refused_on_every_route_and_on_the_socket(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as owner:
            await owner.hello(frame_reports="each")
            await owner.see(3)
            seat = served.server.registry.seats[owner.created["session_id"]]
            image = f"/v1/sessions/{seat.id}/images/{seat.images.add(b'what was seen')}"
            assert (await served.get(image))[2] == b"what was seen"
            for name, (headers, refused) in strangers(harness, served.server.port).items():
                query = f"?token={harness.TOKEN}" if name == "token in the query" else ""
                for route in served.server.routes.table:
                    path = (image if "ID" in route.example else route.example) + query
                    served.server._guard._guesses.clear()  # else the limit on guesses answers from here on
                    status, _, body = await served.get(path, headers=headers)
                    assert status == refused.get(route.access, 200), (name, path)
                    if status >= 400:
                        assert len(body) < 200 and b"what was seen" not in body and harness.TOKEN.encode() not in body
                served.server._guard._guesses.clear()
                assert await shake_hands(served.server.port, headers, query) == refused["socket"], name
            assert await shake_hands(served.server.port, {"Host": "localhost", **harness.BEARER}) == 101
            assert (await owner.ask())["status"] in ("completed", "incomplete")  # who was in stays in

    asyncio.run(run())


async def shake_hands(port: int, headers: dict[str, str], query: str = "") -> int:
    """Send a handshake as no client library would; give the status of the answer."""
    told = {"Host": f"localhost:{port}", "Sec-WebSocket-Protocol": "onlooker.v1", **headers}
    lines = [f"GET /v1/realtime{query} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join(lines).encode())
    status = int((await reader.readline()).split()[1])
    writer.transport.abort()
    return status


@pytest.mark.parametrize(
    ("offered", "code"), [([], "missing"), (["onlooker.token.wrong-wrong-wrong-wrong"], "wrong")], ids=["none", "wrong"]
)
def test_a_page_is_told_by_an_event_that_its_token_does_not_fit(
    harness: Any, model: Model, offered: list[str], code: str
) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            origin = Origin(f"http://127.0.0.1:{served.server.port}")
            subprotocols = [Subprotocol(name) for name in ("onlooker.v1", *offered)]
            async with served.client(headers={}, origin=origin, subprotocols=subprotocols) as page:
                assert page.socket.subprotocol == "onlooker.v1"
                [error] = await page.rest()
                assert (error["code"], error["fatal"], page.ended) == ("not_authorized", True, 1008)
            assert not served.server.registry.seats

    asyncio.run(run())


def test_a_page_with_the_token_is_let_in_and_the_token_is_not_echoed(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            origin = Origin(f"http://127.0.0.1:{served.server.port}")
            offered = [Subprotocol("onlooker.v1"), Subprotocol(f"onlooker.token.{harness.TOKEN}")]
            async with served.client(headers={}, origin=origin, subprotocols=offered) as page:
                assert (await page.hello())["source"] == "frames"
                assert page.socket.response is not None
                assert harness.TOKEN not in str(page.socket.response.headers)

    asyncio.run(run())


def test_wrong_tokens_lock_their_address_out_for_a_while_and_nobody_who_is_in(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as owner:
            await owner.hello()
            statuses = [(await served.get("/v1/models", headers=WRONG))[0] for _ in range(12)]
            assert statuses[:10] == [401] * 10 and statuses[-1] == 429
            status, headers, _ = await served.get("/v1/models")
            assert status == 429 and int(headers["retry-after"]) >= 1
            await owner.send("ping", event_id="p")
            assert (await owner.get("pong"))["event_id"] == "p"

    asyncio.run(run())


def test_someone_elses_session_is_neither_resumed_nor_seen(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as owner, served.client() as other:
            await owner.hello()
            await other.hello()
            theirs = owner.created["session_id"]
            for resume in (
                {**other.way_back(), "session_id": theirs},
                {**owner.way_back(), "token": "guessed"},
                {**owner.way_back(), "session_id": "0" * 24},
                {**owner.way_back(), "session_id": "../../etc/passwd"},
            ):
                async with served.client() as thief:
                    await thief.send("session.update", resume=resume)
                    [error] = await thief.rest()
                    assert (error["code"], error["fatal"], thief.ended) == ("resume_refused", True, 4003)
            status, _, _ = await served.get(f"/v1/sessions/{theirs}/images/AAAAAAAAAAAAAAAA.jpg")
            assert status == 404
            await owner.send("ping")
            await owner.get("pong")

    asyncio.run(run())


def test_a_session_that_nobody_came_back_to_is_refused_and_leaves_nothing(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(resume_s=0.2))
        async with harness.serving(model, settings) as served:
            async with served.client() as client:
                await client.hello(frame_reports="each")
                await client.see(2)
                resume = client.way_back()
            await served.gone()
            async with served.client() as late:
                await late.send("session.update", resume=resume)
                [error] = await late.rest()
                assert (error["code"], late.ended) == ("session_expired", 4003)
            async with served.client() as thief:
                await thief.send("session.update", resume={**resume, "token": "guessed"})
                assert [event["code"] for event in await thief.rest()] == ["resume_refused"]

    asyncio.run(run())


def test_answers_over_http_carry_the_security_headers_and_no_version(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            for path in ("/", "/health/live", "/metrics", "/missing", "/v1/realtime"):
                for method in ("GET", "HEAD"):
                    _, headers, body = await served.get(path, method)
                    assert {name: headers.get(name.lower()) for name, _ in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
                    assert "server" not in headers
                    assert method == "GET" or body == b""
            assert (await served.get("/metrics", "POST"))[0] == 405

    asyncio.run(run())


def test_other_subprotocols_are_refused(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            for offered in (None, [Subprotocol("chat")]):
                with pytest.raises(InvalidStatus) as caught:
                    async with served.client(subprotocols=offered):
                        pass
                assert caught.value.response.status_code == 400

    asyncio.run(run())


def test_plain_http_beyond_this_machine_is_refused_before_anything_is_bound(model: Model) -> None:
    with pytest.raises(SettingsError, match="--insecure-plain-http"):
        Server(None, ServerSettings(host="0.0.0.0", port=0), "a-token-for-tests-only")  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_with_a_certificate_only_tls_is_spoken(harness: Any, model: Model, tmp_path: Path) -> None:
    import subprocess

    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-days",
                "1",
                "-nodes",
            ),
            *(
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                str(key),
                "-out",
                str(cert),
            ),
        ],
        check=True,
        capture_output=True,
    )
    trusting = ssl.create_default_context(cafile=cert)

    async def run() -> None:
        settings = ServerSettings(port=0, tls_cert=cert, tls_key=key)
        async with harness.serving(model, settings) as served:
            async with served.client(ssl=trusting) as client:
                await client.hello()
            with pytest.raises((ConnectionError, EOFError, OSError)):
                await served.get("/health/live")

    asyncio.run(run())
