"""The connection to a server: one thread that reads and comes back by itself, and one that sends."""

import contextlib
import logging
import socket as sockets
import ssl
import struct
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import websockets.exceptions as broken
from websockets.sync.client import ClientConnection as Socket
from websockets.sync.client import connect as open_socket
from websockets.typing import Subprotocol

from ..errors import BusyError, OnlookerError, ProtocolError, SourceError
from ..frame import Frame
from ..stream.protocol.client_connection import ClientConnection
from ..stream.protocol.client_events import ClientEvent
from ..stream.protocol.errors import EventError
from ..stream.protocol.frame_header import FrameHeader
from ..stream.protocol.server_events import BOUNDS, Error, ServerEvent, SessionCreated, SessionUpdated
from .address import Address
from .backoff import Backoff
from .encoding import Encoder
from .failures import failure_of
from .outbox import Outbox, WaitingFrame

SUBPROTOCOL = Subprotocol("onlooker.v1")
CLOSE_S = 2.0
SEND_S = 15
"""A server that takes nothing for so long is taken to be gone."""
UNSENT_BYTES = 128 << 10
"""Most that waits inside the system: an old frame there could not be replaced by a newer one."""
MOST_RETRY_AFTER_S = 60

_FINAL_STATUS = (400, 401, 403, 404, 405, 421, 426)

_logger = logging.getLogger(__name__)


class Link:
    """Keep a connection to a server: open it, say what comes, resume the session when it breaks.

    on_event: called with each event, on_change with (connected, reason), on_over with the error that ends it for good;
    all from the link's own thread.  wait_s: how long a server that is not there yet is waited for at first.
    """

    def __init__(
        self,
        address: Address,
        core: ClientConnection,
        *,
        on_event: Callable[[ServerEvent], None],
        on_change: Callable[[bool, str], None],
        on_over: Callable[[OnlookerError], None],
        context: ssl.SSLContext | None = None,
        open_timeout_s: float = 10.0,
        wait_s: float = 0.0,
        encoder: Encoder | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.outbox = Outbox()
        self.sent = self.unsent = self.reconnects = 0
        self._address, self._core, self._context = address, core, context
        self._on_event, self._on_change, self._on_over = on_event, on_change, on_over
        self._open_timeout_s, self._patient_until = open_timeout_s, time.monotonic() + wait_s
        self._encoder, self._backoff = encoder or Encoder(), backoff or Backoff()
        self._lock = threading.Lock()
        self._socket: Socket | None = None
        self._attached = False
        self._fresh = False
        self._over: OnlookerError | None = None
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, name="onlooker-link", daemon=True)
        self._writer = threading.Thread(target=self._write, name="onlooker-sender", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the session is open over a connection now."""
        return self._attached

    @property
    def gaps(self) -> int:
        """How often events were lost."""
        return self._core.gaps

    @property
    def over(self) -> OnlookerError | None:
        """Why nothing comes any more; None while it goes on."""
        return self._over

    @property
    def is_current(self) -> bool:
        """Whether this is the thread that reads."""
        return threading.current_thread() is self._reader

    def start(self) -> None:
        """Begin to connect."""
        self._reader.start()
        self._writer.start()

    def send(self, event: ClientEvent) -> None:
        """Send an event, now or when the connection is back.

        One without event_id is let go of while there is none.  Raises as failure_of() says for what no server takes,
        and what ended the session where it is over.
        """
        with self._lock:
            if self._over is not None:
                raise self._over
            try:
                text = self._core.send(event)
            except EventError as error:
                raise failure_of(error) from None
            if self._attached and not self._core.replaying:
                self.outbox.put_text(text)

    def forget(self, event_id: str) -> None:
        """Do not send a request again that nobody waits for any more."""
        with self._lock:
            self._core.forget(event_id)

    def stop(self) -> None:
        """Close the connection and end both threads."""
        self._stopping.set()
        self.outbox.close()
        with self._lock:
            socket = self._socket
        if self._writer.ident is not None:
            self._writer.join(CLOSE_S)
        if socket is not None:
            if self._writer.is_alive():
                with contextlib.suppress(OSError):  # it is gone already
                    socket.socket.shutdown(sockets.SHUT_RDWR)  # a send that hangs would hold up close() too
            socket.close()
        for thread in (self._reader, self._writer):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(2.0 * CLOSE_S)

    def _read(self) -> None:
        failure: OnlookerError | None = None
        try:
            while failure is None and not self._stopping.is_set():
                failure, retry_s = self._once()
                if failure is None:
                    self._stopping.wait(max(retry_s, self._backoff.next_s()))
        except Exception as error:
            _logger.exception("the connection to %s failed", self._address.netloc)
            failure = ProtocolError(f"the client failed: {error}; open a new session")
        with self._lock:
            self._over = failure or ProtocolError(
                "the session is closed; open a new one with onlooker.client.connect()"
            )
        self.outbox.close()
        self._on_over(self._over)

    def _once(self) -> tuple[OnlookerError | None, float]:
        """Connect once and read until that ends; give why it is no use to try again, and how long to wait before."""
        code: int | None = None
        reason = "closed"
        try:
            with open_socket(
                self._address.socket_url,
                ssl=self._context if self._address.secure else None,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                additional_headers={"Authorization": f"Bearer {self._address.token}"} if self._address.token else None,
                open_timeout=self._open_timeout_s,
                close_timeout=CLOSE_S,
                max_size=BOUNDS.bytes,
            ) as socket:
                _tune(socket.socket)
                with self._lock:
                    self._socket = socket
                    hello = self._core.connect()
                if not self._stopping.is_set():
                    socket.send(hello)
                    while True:
                        message = socket.recv()
                        if isinstance(message, str):
                            self._take(message)
        except broken.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else None
            reason = f"the server closed the connection ({code})" if code else "the connection broke"
        except broken.InvalidStatus as refused:
            return self._refused(refused)
        except EventError as error:
            return failure_of(error), 0.0
        except (OSError, TimeoutError, broken.InvalidHandshake, broken.InvalidURI, broken.InvalidProxy) as error:
            reason = f"no connection: {error}"
        finally:
            self._detach()
        return self._broken(code, reason)

    def _broken(self, code: int | None, reason: str) -> tuple[OnlookerError | None, float]:
        with self._lock:
            again, ended = self._core.disconnected(code), self._core.ended
            opened, error = self._core.created is not None, self._core.error
        if not again and ended is not None:
            return failure_of(ended), 0.0
        if not opened and time.monotonic() >= self._patient_until:
            if error is not None:
                return failure_of(error), 0.0
            return ProtocolError(f"{self._address.netloc}: {reason}; is the server running there?"), 0.0
        retry_ms = error.retry_after_ms if error is not None else None
        self._tell(False, error.message if error is not None else reason)
        return None, (retry_ms or 0) / 1e3

    def _refused(self, refused: broken.InvalidStatus) -> tuple[OnlookerError | None, float]:
        response = refused.response
        words = (response.body or b"")[:300].decode("utf-8", "replace").strip()
        status = response.status_code
        reason = f"{self._address.netloc} refuses the connection ({status}): {words or HTTPStatus(status).phrase}"
        if status in _FINAL_STATUS:
            remedy = "; give the token that the server printed, as token= or ONLOOKER_TOKEN" if status == 401 else ""
            return ProtocolError(reason + remedy), 0.0
        with self._lock:
            opened = self._core.created is not None
        if not opened and time.monotonic() >= self._patient_until:
            return BusyError(f"{reason}; try later"), 0.0
        self._tell(False, reason)
        after = response.headers.get("Retry-After", "")
        return None, float(min(int(after), MOST_RETRY_AFTER_S)) if after.isdecimal() else 0.0

    def _take(self, message: str) -> None:
        try:
            with self._lock:
                heard = self._core.receive(message)
        except EventError as error:
            _logger.warning("%s sent what is no event: %s", self._address.netloc, error)
            return
        event = heard.event
        if isinstance(event, SessionCreated):
            self._attach(event)
        elif isinstance(event, SessionUpdated):
            self.outbox.pace(event.config.fps)
        for text in heard.resend:
            self.outbox.put_text(text)
        if event is not None:
            self._on_event(event)
        if isinstance(event, Error) and not self._attached and not event.fatal:
            raise EventError(event.code, event.message, remedy=event.remedy)  # the first event was not taken

    def _attach(self, created: SessionCreated) -> None:
        self._backoff.reset()
        self.outbox.pace(created.config.fps)
        with self._lock:
            self._fresh = created.resumed
            self._attached = True
            self.outbox.open()
        self.reconnects += created.resumed
        self._tell(True, "")

    def _detach(self) -> None:
        with self._lock:
            self._attached, self._socket = False, None
            self.outbox.shut()

    def _tell(self, connected: bool, reason: str) -> None:
        if not self._stopping.is_set():
            self._on_change(connected, reason)

    def _write(self) -> None:
        while (item := self.outbox.take()) is not None:
            try:
                data = item if isinstance(item, str) else self._coded(item)
                with self._lock:
                    socket = self._socket
                if socket is None:
                    raise broken.WebSocketException("not connected")
                socket.send(data)
            except (SourceError, EventError) as error:
                self.unsent += 1
                _logger.warning("a frame is not sent: %s", error)
            except (OSError, broken.WebSocketException):
                self.unsent += not isinstance(item, str)  # a text is sent again when the session is resumed
            else:
                self.sent += not isinstance(item, str)

    def _coded(self, frame: WaitingFrame) -> bytes:
        """Give a frame's message.  Raises SourceError, EventError for what cannot be sent."""
        created = self._core.created
        assert created is not None  # the outbox is opened by it
        if isinstance(frame.image, bytes):
            data = frame.image
        else:
            try:
                data = self._encoder.encode(Frame.from_array(frame.image, 0).image, created.limits.max_frame_bytes)
            finally:
                self.outbox.give_back(frame)
        with self._lock:
            fresh, self._fresh = self._fresh, False
        return FrameHeader(frame.sequence, frame.captured_unix_us, discontinuity=fresh).pack() + data


def _tune(socket: sockets.socket) -> None:
    """Bound how long a send may hang, and how much waits in the system's buffers."""
    socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDTIMEO, struct.pack("@ll", SEND_S, 0))
    if hasattr(sockets, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):  # where it is no TCP socket
            socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
