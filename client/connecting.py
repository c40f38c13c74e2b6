"""Connecting to a server."""

import ssl as tls
from collections.abc import Mapping
from dataclasses import fields

from ..errors import ProtocolError, SettingsError
from ..settings import Settings
from ..stream.protocol.client_connection import ClientConnection
from ..stream.protocol.client_events import SessionSettings, SessionUpdate, from_settings
from ..stream.protocol.errors import EventError
from .address import read_address
from .failures import failure_of
from .images import fetch_image
from .link import Link
from .remote_session import RemoteSession
from .switchboard import Switchboard


def connect(
    url: str,
    *,
    token: str | None = None,
    source: str = "frames",
    settings: Settings | SessionSettings | Mapping[str, object] | None = None,
    fps: float | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    thumbnails: bool = True,
    ssl: tls.SSLContext | None = None,
    open_timeout_s: float = 10.0,
    wait_s: float = 0.0,
) -> RemoteSession:
    """Open a session on a server and wait until it is there.

    url: as the server printed it, http://HOST:PORT/#token=TOKEN; ws, wss and https too.  token: instead of the one in
    the address or in the environment's ONLOOKER_TOKEN.  source: "frames" to push frames with see(), or the name of a
    camera that the server's operator declared.  settings: how the stream is kept (keyframes, heartbeat_s, prune_rate,
    memory_tokens, gate).  fps: frames a second that are sent at most.  max_tokens, temperature: of answers.
    thumbnails: whether answers' evidence brings its pictures.  ssl: for a certificate that the system does not know.
    wait_s: how long a server that is not up yet is waited for.

    Raises SettingsError for settings or an address that cannot be, BusyError for a server that is full, SourceError
    for a source that is not there, ProtocolError for one that cannot be reached or refuses the token.
    """
    address = read_address(url, token)
    try:
        hello = SessionUpdate(
            source=source,
            settings=_settings(settings),
            fps=fps,
            max_tokens=max_tokens,
            temperature=temperature,
            stats=True,
        )
        core = ClientConnection(hello)
        core.connect()  # says at once what no server would take
    except EventError as error:
        raise failure_of(error) from None

    board = Switchboard()
    link = Link(
        address,
        core,
        on_event=board.on_event,
        on_change=board.on_change,
        on_over=board.on_over,
        context=ssl,
        open_timeout_s=open_timeout_s,
        wait_s=wait_s,
    )
    link.start()
    try:
        board.settled.wait()
        if board.created is None:
            raise link.over or ProtocolError("the session was not opened; try again")
    except BaseException:
        link.stop()
        raise
    return RemoteSession(link, board, lambda path: fetch_image(address, path, ssl), thumbnails=thumbnails)


def _settings(settings: Settings | SessionSettings | Mapping[str, object] | None) -> SessionSettings | None:
    """Give what of settings can be sent.  Raises SettingsError for others that are not as they are by default."""
    if settings is None or isinstance(settings, SessionSettings):
        return settings
    if isinstance(settings, Mapping):
        return from_settings(settings)
    names, usual = {field.name for field in fields(SessionSettings)}, Settings()
    for field in fields(Settings):
        value = getattr(settings, field.name)
        if field.name not in names and value != getattr(usual, field.name):
            raise SettingsError(f"{field.name} is the server's to choose; leave it as it is, or set it there")
    return from_settings({name: value for name in sorted(names) if (value := getattr(settings, name)) is not None})
