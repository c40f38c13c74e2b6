import json

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from onlooker.stream.server.auth import Guard
from onlooker.stream.server.origins import OriginPolicy
from onlooker.stream.server.routes import (
    REALTIME,
    SECURITY_HEADERS,
    Admission,
    Answers,
    Caller,
    Reply,
    Routes,
    page_files,
)

TOKEN = "a-token-for-tests-only"
PAGE = {"/": Reply(b"<p>", "text/html"), "/watch.js": Reply(b"1", "text/javascript")}
IMAGE = "/v1/sessions/s1/images/abc.jpg"


def routes(ready: bool = True, room: str | None = None, metrics: bool = True) -> Routes:
    return Routes(
        Guard(TOKEN, burst=3),
        OriginPolicy.of("127.0.0.1", [], ["https://app.example.com"]),
        Answers(
            ready=lambda: ready,
            models=lambda: [{"id": "pocket"}],
            metrics=(lambda: b"up 1\n") if metrics else None,
            image=lambda session, name: b"jpeg" if (session, name) == ("s1", "abc.jpg") else None,
            room=lambda _address: room,
        ),
        PAGE,
    )


def ask(
    asked: Routes, path: str, method: str = "GET", address: str = "10.0.0.1", host: str = "localhost:8765", **more: str
) -> Response | Admission:
    headers = Headers([("Host", host), *((name.replace("_", "-"), value) for name, value in more.items())])
    return asked.serve(Request(path, headers, method), Caller(address, "127.0.0.1"))


def status(answer: Response | Admission) -> int:
    return answer.status_code if isinstance(answer, Response) else 101 if answer.verdict == "passed" else 1008


BEARER = {"Authorization": f"Bearer {TOKEN}"}
OWN_PAGE = {"Origin": "http://localhost:8765"}
WITH_TOKEN = {"Sec_WebSocket_Protocol": f"onlooker.v1, onlooker.token.{TOKEN}"}
EVERY = [(route.example, route.access) for route in routes().table]


def test_every_route_is_in_the_table() -> None:
    assert [path for path, _ in EVERY] == [
        "/",
        "/watch.js",
        "/health/live",
        "/health/ready",
        "/v1/models",
        REALTIME,
        "/metrics",
        "/v1/sessions/ID/images/NAME.jpg",
    ]


@pytest.mark.parametrize(("path", "access"), EVERY)
@pytest.mark.parametrize(
    ("name", "headers", "refused"),
    [
        ("no token", {}, {"token": 401, "socket": 401}),
        ("wrong token", {"Authorization": "Bearer wrong"}, {"token": 401, "socket": 401}),
        ("another scheme", {"Authorization": f"Basic {TOKEN}"}, {"token": 401, "socket": 401}),
        ("token in a subprotocol, no origin", WITH_TOKEN, {"token": 401, "socket": 401}),
        ("own page without a token", OWN_PAGE, {"token": 401, "socket": 1008}),
        (
            "own page with a wrong token",
            {**OWN_PAGE, "Sec_WebSocket_Protocol": "onlooker.v1, onlooker.token.wrong"},
            {"token": 401, "socket": 1008},
        ),
        ("subprotocol token on plain HTTP", {**OWN_PAGE, **WITH_TOKEN}, {"token": 401}),
        ("wrong origin", {**BEARER, "Origin": "http://evil.example"}, dict.fromkeys(("open", "token", "socket"), 403)),
        ("null origin", {**BEARER, "Origin": "null"}, dict.fromkeys(("open", "token", "socket"), 403)),
        ("wrong host", {**BEARER, "host": "evil.example"}, dict.fromkeys(("open", "token", "socket"), 421)),
        (
            "rebound host",
            {**BEARER, "host": "evil.example", "Origin": "http://evil.example"},
            dict.fromkeys(("open", "token", "socket"), 421),
        ),
    ],
)
def test_every_route_refuses_who_may_not_in(
    path: str, access: str, name: str, headers: dict[str, str], refused: dict[str, int]
) -> None:
    answer = ask(routes(), path.replace("ID", "s1").replace("NAME", "abc"), **headers)
    assert status(answer) == refused.get(access, 101 if access == "socket" else 200), name
    if isinstance(answer, Response) and answer.status_code >= 400:
        assert b"jpeg" not in answer.body and b"pocket" not in answer.body and TOKEN.encode() not in answer.body


@pytest.mark.parametrize(("path", "access"), EVERY)
@pytest.mark.parametrize("headers", [BEARER, {**BEARER, **OWN_PAGE}, {**BEARER, "Origin": "https://app.example.com"}])
def test_every_route_lets_the_bearer_in(path: str, access: str, headers: dict[str, str]) -> None:
    answer = ask(routes(), path.replace("ID", "s1").replace("NAME", "abc"), **headers)
    assert status(answer) == (101 if access == "socket" else 200)


def test_a_page_connects_with_its_token_in_a_subprotocol() -> None:
    assert status(ask(routes(), REALTIME, **OWN_PAGE, **WITH_TOKEN)) == 101


def test_guesses_are_limited_over_all_routes_together() -> None:
    asked = routes()
    wrong = {"Authorization": "Bearer wrong"}
    assert [status(ask(asked, path, **wrong)) for path in ("/metrics", REALTIME, IMAGE)] == [401, 401, 401]
    locked = ask(asked, "/v1/models", **BEARER)
    assert status(locked) == 429
    assert isinstance(locked, Response) and int(locked.headers["Retry-After"]) >= 1
    assert status(ask(asked, "/v1/models", address="10.0.0.2", **BEARER)) == 200
    page = ask(asked, REALTIME, **OWN_PAGE, **WITH_TOKEN)
    assert page == Admission("locked", int(locked.headers["Retry-After"]))


@pytest.mark.parametrize("path", ["/", "/health/live", "/metrics", "/v1/models", "/missing", REALTIME])
def test_every_answer_has_the_security_headers(path: str) -> None:
    for headers in ({}, BEARER, {"Origin": "http://evil.example"}):
        answer = ask(routes(), path, **headers)
        if isinstance(answer, Response):
            assert {name: answer.headers[name] for name, _ in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
            assert answer.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize("path", ["/", "/health/ready", "/metrics", IMAGE])
def test_head_gives_the_headers_alone(path: str) -> None:
    whole, head = ask(routes(), path, **BEARER), ask(routes(), path, "HEAD", **BEARER)
    assert isinstance(whole, Response) and isinstance(head, Response)
    assert (head.status_code, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body)) != "0"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "QUERY"])
def test_other_methods_are_not_allowed(method: str) -> None:
    for path in ("/", "/metrics", REALTIME, IMAGE):
        answer = ask(routes(), path, method, **BEARER)
        assert isinstance(answer, Response)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/index.html/",
        "/../pyproject.toml",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/watch.js/",
        "/WATCH.JS",
        "/page/watch.js",
        "/%77atch.js",
        "",
        "*",
        "http://localhost:8765/watch.js",
        "/v1",
        "/health",
        "/health/live/",
    ],
)
def test_only_names_in_the_table_are_found(path: str) -> None:
    assert status(ask(routes(), path, **BEARER)) == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/sessions/s1/images/../../../models",
        "/v1/sessions/s1/images/abc.png",
        "/v1/sessions/s1/images/",
        "/v1/sessions/s2/images/abc.jpg",
        "/v1/sessions/s1/images/abc.jpg/",
        "/v1/sessions//images/abc.jpg",
        f"/v1/sessions/{'s' * 65}/images/abc.jpg",
        "/v1/sessions",
    ],
)
def test_images_are_found_by_whole_names_only_and_what_there_is_stays_secret(path: str) -> None:
    assert status(ask(routes(), path, **BEARER)) == 404
    assert status(ask(routes(), path)) == 401


def test_a_query_is_left_out() -> None:
    assert status(ask(routes(), "/?source=hall")) == 200
    assert status(ask(routes(), "/metrics?x=1")) == 401


def test_readiness_is_told_without_detail() -> None:
    waiting = ask(routes(ready=False), "/health/ready")
    assert isinstance(waiting, Response)
    assert (waiting.status_code, waiting.body) == (503, b"not ready\n")
    assert status(ask(routes(ready=False), "/health/live")) == 200


def test_without_metrics_there_is_no_such_route() -> None:
    assert status(ask(routes(metrics=False), "/metrics", **BEARER)) == 404


def test_a_full_server_says_so_before_the_handshake() -> None:
    full = ask(routes(room="128 connections are open"), REALTIME, **BEARER)
    assert isinstance(full, Response)
    assert full.status_code == 503 and b"128 connections" in full.body
    assert status(ask(routes(room="full"), REALTIME)) == 401


def test_models_are_listed_as_other_servers_do() -> None:
    answer = ask(routes(), "/v1/models", **BEARER)
    assert isinstance(answer, Response)
    assert json.loads(answer.body) == {"object": "list", "data": [{"id": "pocket"}]}


def test_a_page_elsewhere_that_may_connect_may_read_too() -> None:
    elsewhere = {"Origin": "https://app.example.com"}
    asked = ask(routes(), IMAGE, "OPTIONS", **elsewhere)
    assert isinstance(asked, Response) and asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert asked.headers["Access-Control-Allow-Headers"] == "Authorization"
    image = ask(routes(), IMAGE, **BEARER, **elsewhere)
    assert isinstance(image, Response) and image.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    evil = ask(routes(), IMAGE, "OPTIONS", Origin="http://evil.example")
    assert isinstance(evil, Response) and "Access-Control-Allow-Origin" not in evil.headers


def test_two_of_a_header_that_decides_are_refused() -> None:
    def doubled(name: str, value: str) -> int:
        headers = Headers([("Host", "localhost"), *BEARER.items(), (name, value)])
        return status(routes().serve(Request("/v1/models", headers), Caller("10.0.0.1", "127.0.0.1")))

    assert doubled("Accept", "*/*") == 200
    assert doubled("Host", "localhost") == 421
    assert doubled("Authorization", f"Bearer {TOKEN}") == 401


def test_the_page_of_the_package_holds_files_of_known_kinds() -> None:
    found = page_files()
    assert all(reply.body and "/" not in path[1:] for path, reply in found.items())
    assert {reply.type.partition(";")[0] for reply in found.values()} <= {
        "text/html",
        "text/javascript",
        "text/css",
        "image/svg+xml",
        "image/png",
        "image/x-icon",
        "application/manifest+json",
    }
