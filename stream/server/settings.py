"""Settings of the server: where it listens, who may connect, and how much anyone may ask of it."""

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SettingsError
from ..protocol.limits import Limits

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Hold the server's settings; every bound is strict.

    host, port: where it listens; port 0 lets the system choose.  allow_origins: pages that may connect besides its own,
    as scheme://host[:port].  allow_hosts: names it may be reached by, besides loopback names and the bound address.
    tls_cert, tls_key: PEM files; with a certificate only TLS is spoken.  insecure_plain_http: listen beyond loopback
    without it.
    memory: folder of memories on disk; without one own sessions live in RAM until they expire.  memory_ttl_s: an own
    session's folder is deleted so long after its last use.  max_memories: most of them kept, the oldest go first.
    limits: of one connection and its session.  max_sessions: own sessions alive at once.  max_sockets,
    max_address_sockets: websockets, in all and from one address.  flight_bytes: pictures that wait to be decoded or
    are being decoded, of all sessions.  decoders: threads that do it.
    slow_reader_s: a client that takes nothing for so long is closed.  outgoing_bytes: what may wait for one client.
    images, image_bytes: evidence kept per session.  ping_s: between pings, and for their answers.  open_s: for TLS and
    the handshake.  shutdown_s: from the first signal to the end.  metrics: whether /metrics answers.
    Raises SettingsError for a value outside its limits.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_plain_http: bool = False
    memory: Path | None = None
    memory_ttl_s: float = 86_400.0
    max_memories: int = 64
    limits: Limits = field(default_factory=Limits)
    max_sessions: int = 16
    max_sockets: int = 128
    max_address_sockets: int = 64
    flight_bytes: int = 64 * MIB
    decoders: int = 2
    slow_reader_s: float = 10.0
    outgoing_bytes: int = 4 * MIB
    images: int = 256
    image_bytes: int = 8 * MIB
    ping_s: float = 20.0
    open_s: float = 10.0
    shutdown_s: float = 30.0
    metrics: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (
            ("port", 0, 65_535),
            ("memory_ttl_s", 1.0, 1e9),
            ("max_memories", 1, 100_000),
            ("max_sessions", 1, 10_000),
            ("max_sockets", 1, 100_000),
            ("max_address_sockets", 1, 100_000),
            ("flight_bytes", 64 * KIB, 1 << 40),
            ("decoders", 1, 64),
            ("slow_reader_s", 0.05, 3600.0),
            ("outgoing_bytes", 16 * KIB, 1 << 30),
            ("images", 1, 100_000),
            ("image_bytes", 16 * KIB, 1 << 30),
            ("ping_s", 0.05, 3600.0),
            ("open_s", 0.05, 3600.0),
            ("shutdown_s", 0.1, 3600.0),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(f"{name} is {value}; give a value from {least} to {most}")
        if not self.host.strip():
            raise SettingsError("host is empty; give an address, such as 127.0.0.1")
        if self.tls_key is not None and self.tls_cert is None:
            raise SettingsError("tls_key is given without tls_cert; give both files")
        if self.flight_bytes < self.limits.max_frame_bytes:
            raise SettingsError(
                f"flight_bytes is {self.flight_bytes}; give at least one picture's, {self.limits.max_frame_bytes}"
            )
        if self.outgoing_bytes < 2 * self.limits.replay_bytes:
            raise SettingsError(
                f"outgoing_bytes is {self.outgoing_bytes}; give at least twice replay_bytes, {self.limits.replay_bytes}"
            )

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls_cert is not None
