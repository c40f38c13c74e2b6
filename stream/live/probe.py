"""Asking a server why it gives no video: OpenCV says only that it could not open it."""

import re
from dataclasses import dataclass

from .address import Address
from .challenge import answer
from .failure import Failure, of_socket, of_status
from .wire import Reply, Wire

AGENT = "Onlooker"

_OPENS = {"rtsp": "RTSP/1.0", "rtsps": "RTSP/1.0", "http": "HTTP/1.1", "https": "HTTP/1.1"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Say what a server told.

    failure: what is wrong for sure, or None.  offers: codecs of the video that it announces, or its content type;
    empty where it told nothing.
    """

    failure: Failure | None = None
    offers: str = ""


def probe(address: Address, timeout_s: float) -> Finding:
    """Ask a server for what is at an address, as a player would, and understand its refusal.

    RTSP: one DESCRIBE; it opens no stream, so it takes no viewer's place.  HTTP: one GET, closed behind its head.
    Others: only whether something listens.  At most two requests, the second with the password that was asked for.
    """
    secure = address.scheme in ("rtsps", "https", "rtmps")
    try:
        with Wire(address, secure, timeout_s) as wire:
            if address.scheme not in _OPENS:
                return Finding()
            describes = address.scheme.startswith("rtsp")  # a reply with a body that ends
            reply = wire.exchange(_request(address, 1), body=describes)
            if reply is None or reply.status != 401 or not address.knows_password:
                return _understand(address, reply)
            told = answer(reply.all("www-authenticate"), address.user, address.password, *_wording(address))
            if told is None:
                return Finding()  # a way to log in that is not known here; whatever decodes may know it
            if not describes or reply.first("connection").lower() == "close":
                wire.close()
                with Wire(address, secure, timeout_s) as second:
                    return _understand(address, second.exchange(_request(address, 2, told), body=describes))
            return _understand(address, wire.exchange(_request(address, 2, told), body=True))
    except OSError as error:
        return Finding(of_socket(error, address.shown, address.place, timeout_s))


def _wording(address: Address) -> tuple[str, str]:
    """Give the method and the target of the request."""
    if address.scheme.startswith("rtsp"):
        return "DESCRIBE", address.target
    rest = address.target.partition("://")[2]
    slash = re.search(r"[/?]", rest)
    path = "" if slash is None else rest[slash.start() :]
    return "GET", path if path.startswith("/") else f"/{path}"


def _request(address: Address, number: int, authorization: str = "") -> str:
    method, target = _wording(address)
    lines = [f"{method} {target} {_OPENS[address.scheme]}"]
    if method == "DESCRIBE":
        lines += [f"CSeq: {number}", "Accept: application/sdp"]
    else:
        lines += [f"Host: {address.place}", "Accept: */*", "Connection: close"]
    lines.append(f"User-Agent: {AGENT}")
    if authorization:
        lines.append(f"Authorization: {authorization}")
    return "\r\n".join([*lines, "", ""])


def _understand(address: Address, reply: Reply | None) -> Finding:
    if reply is None:
        what = f"{address.shown}: what listens at {address.place} does not speak {_OPENS[address.scheme][:4]}"
        return Finding(Failure.of("unknown", what, "check the port and how the address begins"))
    failure = of_status(reply.status, reply.words, address.shown, address.knows_password)
    if failure is not None or reply.status != 200:
        return Finding(failure)
    if address.scheme.startswith("http"):
        return _of_type(address, reply.first("content-type").partition(";")[0].strip().lower())
    described = reply.body.decode("utf-8", "replace")
    if described and not re.search(r"^m=video\b", described, re.MULTILINE):
        return Finding(Failure.of("codec", f"{address.shown}: it answers, but offers no video"))
    names = re.findall(r"^m=video.*?(?:^a=rtpmap:\d+\s+([\w.-]+)|(?=^m=)|\Z)", described, re.MULTILINE | re.DOTALL)
    return Finding(offers=", ".join(dict.fromkeys(name for name in names if name)))


def _of_type(address: Address, kind: str) -> Finding:
    if kind in ("text/html", "application/json", "text/plain"):
        return Finding(
            Failure.of(
                "codec",
                f"{address.shown}: it answers with {kind}, not with video",
                "give the address of the video itself (MJPEG, MP4 or HLS), not that of a page about it",
            )
        )
    return Finding(offers=kind)
