"""What is answered over plain HTTP beside the websocket, and who is let through to either.

Every path stands in a table that is made when the server starts: no request can name a file.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Literal

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from . import exposition
from .auth import Guard, Offer, Verdict
from .origins import OriginPolicy

REALTIME = "/v1/realtime"
SUBPROTOCOL = "onlooker.v1"

Access = Literal["open", "token", "socket"]
"""open: for everyone who passes the checks of Host and Origin.  token: with the bearer token.  socket: the websocket,
with the token as bearer or as subprotocol, and with an Origin unless it is the bearer."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

SECURITY_HEADERS = (
    ("Content-Security-Policy", CONTENT_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(self), microphone=(), geolocation=()"),
)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
_PAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z]+)")
_IMAGE = re.compile(r"/v1/sessions/(?P<session>[A-Za-z0-9_-]{1,64})/images/(?P<name>[A-Za-z0-9_-]{1,64}\.jpg)")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold what a route answers."""

    body: bytes
    type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """Bind a path to who may ask for it and to what it answers; example: a path of the kind, for tests and docs."""

    example: str
    access: Access
    answer: Callable[[str], Reply | None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Say who asks: the address of the other side, and the own address that the connection came in on."""

    address: str
    local_address: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Hold what the routes need to know; every one is called on the event loop and must return at once.

    ready: whether questions can be answered.  models: what /v1/models lists.  metrics: the page of Prometheus, None to
    have none.  image: a session's evidence by session id and name.  room: why a websocket cannot be had now, or None.
    """

    ready: Callable[[], bool]
    models: Callable[[], list[dict[str, object]]]
    metrics: Callable[[], bytes] | None
    image: Callable[[str, str], bytes | None]
    room: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Admission:
    """Let a websocket through.  verdict: "passed", or why its first event is to be an error and the end."""

    verdict: Verdict
    retry_s: int = 0


def page_files() -> dict[str, Reply]:
    """Read the page from the package: by path, "/" for index.html."""
    found: dict[str, Reply] = {}
    for entry in files(__package__).joinpath("page").iterdir():
        match = _PAGE_NAME.fullmatch(entry.name)
        if match is None or match[1] not in _TYPES or not entry.is_file():
            continue
        path = "/" if entry.name == "index.html" else f"/{entry.name}"
        found[path] = Reply(entry.read_bytes(), _TYPES[match[1]])
    return found


class Routes:
    """Answer requests, or let them through to the websocket."""

    def __init__(self, guard: Guard, policy: OriginPolicy, answers: Answers, page: Mapping[str, Reply]) -> None:
        self._guard, self._policy, self._answers = guard, policy, answers
        table = [Route(path, "open", lambda _path, reply=reply: reply) for path, reply in page.items()]  # type: ignore[misc]
        table += [
            Route("/health/live", "open", lambda _path: Reply(b"live\n")),
            Route("/health/ready", "open", self._ready),
            Route("/v1/models", "token", self._models),
            Route(REALTIME, "socket", lambda _path: None),
        ]
        if answers.metrics is not None:
            metrics = answers.metrics
            table.append(Route("/metrics", "token", lambda _path: Reply(metrics(), exposition.CONTENT_TYPE)))
        self._table = {route.example: route for route in table}
        self._images = Route("/v1/sessions/ID/images/NAME.jpg", "token", self._image)

    @property
    def table(self) -> tuple[Route, ...]:
        """Every route there is."""
        return (*self._table.values(), self._images)

    def serve(self, request: Request, caller: Caller) -> Response | Admission:
        """Answer a request, or admit it to the websocket."""
        answer = self._decide(request, caller)
        if isinstance(answer, Admission):
            return answer
        if answer.status >= HTTPStatus.BAD_REQUEST:
            _logger.info("%s: %d for %s", caller.address, answer.status, request.path.partition("?")[0])
        return _response(answer, bodiless=request.method == "HEAD")

    def _decide(self, request: Request, caller: Caller) -> Reply | Admission:
        headers, path = request.headers, request.path.partition("?")[0]
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        if not self._policy.host_passes(hosts, caller.local_address):
            return _refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server is not known by that name; open it by its address, or start it with --allow-host NAME",
            )
        offer = Offer.of(headers.get_all("Authorization"), _subprotocols(headers))
        if not self._policy.origin_passes(origins, hosts[0], may_lack=True):
            return _refusal(
                HTTPStatus.FORBIDDEN, "that page may not connect here; start the server with --allow-origin ORIGIN"
            )
        route = self._images if _IMAGE.fullmatch(path) else self._table.get(path)
        shut = route is None and path.startswith("/v1/")  # says nothing of what there is
        if request.method == "OPTIONS" and origins and route is not None:
            return _preflight(origins[0])
        if request.method not in ("GET", "HEAD"):
            return Reply(
                b"only GET and HEAD are answered\n",
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                more=(("Allow", "GET, HEAD"),),
            )
        if route is not None and route.access == "socket":
            return self._admit(offer, caller, bool(origins))
        if shut or (route is not None and route.access == "token"):
            verdict = self._guard.check(offer if offer.bearer else Offer(), caller.address)
            if verdict != "passed":
                return self._turned_away(verdict, caller)
        reply = None if route is None else route.answer(path)
        if reply is None:
            return _refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        if origins:
            return Reply(reply.body, reply.type, reply.status, (*reply.more, *_cross_origin(origins[0])))
        return reply

    def _admit(self, offer: Offer, caller: Caller, from_page: bool) -> Reply | Admission:
        """Let a websocket through, or not; a page learns of a wrong token by an event, as it sees no status."""
        if not from_page and not offer.bearer:
            self._guard.refused += 1
            return _refusal(
                HTTPStatus.UNAUTHORIZED,
                "programs send the token in a header, Authorization: Bearer TOKEN; pages send their Origin",
                _CHALLENGE,
            )
        verdict = self._guard.check(offer, caller.address)
        if verdict != "passed":
            if from_page:
                return Admission(verdict, self._guard.retry_s(caller.address))
            return self._turned_away(verdict, caller)
        crowded = self._answers.room(caller.address)
        if crowded is not None:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, crowded, (("Retry-After", "10"),))
        return Admission("passed")

    def _turned_away(self, verdict: Verdict, caller: Caller) -> Reply:
        if verdict == "locked":
            wait_s = self._guard.retry_s(caller.address)
            return _refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many wrong tokens from {caller.address}; try again in {wait_s} s",
                (("Retry-After", str(wait_s)),),
            )
        return _refusal(HTTPStatus.UNAUTHORIZED, "send the token: Authorization: Bearer TOKEN", _CHALLENGE)

    def _ready(self, _path: str) -> Reply:
        if self._answers.ready():
            return Reply(b"ready\n")
        return Reply(b"not ready\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    def _models(self, _path: str) -> Reply:
        told = {"object": "list", "data": self._answers.models()}
        return Reply(json.dumps(told).encode(), "application/json")

    def _image(self, path: str) -> Reply | None:
        match = _IMAGE.fullmatch(path)
        jpeg = None if match is None else self._answers.image(match["session"], match["name"])
        return None if jpeg is None else Reply(jpeg, "image/jpeg")


_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="onlooker"'),)


def secure(response: Response) -> None:
    """Give a response the security headers that it has not."""
    for name, value in SECURITY_HEADERS:
        if name not in response.headers:
            response.headers[name] = value


def _response(reply: Reply, *, bodiless: bool) -> Response:
    headers = Headers([("Content-Type", reply.type), ("Content-Length", str(len(reply.body))), ("Connection", "close")])
    for name, value in reply.more:
        headers[name] = value
    answer = Response(reply.status.value, reply.status.phrase, headers, b"" if bodiless else reply.body)
    secure(answer)
    return answer


def _refusal(status: HTTPStatus, words: str, more: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(f"{words}\n".encode(), status=status, more=more)


def _subprotocols(headers: Headers) -> list[str]:
    return [word.strip() for line in headers.get_all("Sec-WebSocket-Protocol") for word in line.split(",")]


def _cross_origin(origin: str) -> tuple[tuple[str, str], ...]:
    """Let a page that may connect read what it asked for, with the token in a header; there are no cookies."""
    return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))


def _preflight(origin: str) -> Reply:
    allowed = (("Access-Control-Allow-Methods", "GET, HEAD"), ("Access-Control-Allow-Headers", "Authorization"))
    return Reply(b"", status=HTTPStatus.NO_CONTENT, more=(*_cross_origin(origin), *allowed))
