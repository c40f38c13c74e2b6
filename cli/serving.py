"""The work of `onlooker serve`: everything that can be wrong is looked at before the model is loaded."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ..errors import OnlookerError, SettingsError
from ..settings import MIB, Settings
from . import server_log
from .ask import POCKET_HINT
from .model_options import ModelChoice, load

if TYPE_CHECKING:
    import socket

    from ..model import Model
    from ..stream.server.server import Server
    from ..stream.server.settings import ServerSettings

LEAST_SHARE_BYTES = 16 * MIB
MOST_SHARE_BYTES = 2048 * MIB
FALLBACK_BYTES = 4096 * MIB
"""What a machine is taken to have where it does not say."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """Hold the options."""

    host: str
    port: int
    token: str | None
    token_file: Path | None
    allow_origins: tuple[str, ...]
    allow_hosts: tuple[str, ...]
    tls_cert: Path | None
    tls_key: Path | None
    insecure_plain_http: bool
    sources: tuple[str, ...]
    fps: float
    model: ModelChoice
    memory: Path | None
    memory_ttl_s: float
    max_memories: int
    codec: Literal["raw", "raw16", "int8", "int4", "int2", "auto"]
    memory_mib: int | None
    disk_mib: int
    keep_s: float | None
    max_sessions: int
    max_clients: int
    idle_s: float
    resume_s: float
    max_frame_bytes: int
    metrics: bool
    verbose: int
    quiet: bool
    json_logs: bool


def choose_token(token: str | None, file: Path | None) -> tuple[str, bool]:
    """Give the token, and whether it was made just now.  Raises SettingsError for one that will not do."""
    from ..stream.server.auth import check_token, new_token, read_token_file

    if token is not None and file is not None:
        raise SettingsError("--token (or ONLOOKER_TOKEN) and --token-file are both given; give one")
    if file is not None:
        return read_token_file(file), False
    if token is not None:
        return check_token(token, "--token (or ONLOOKER_TOKEN)"), False
    return new_token(), True


def share_of(total_mib: int | None, sessions: int) -> int:
    """Give the bytes of RAM that each session's past may take, of all that there may be at once.

    total_mib: None for half of the machine's.  Raises SettingsError where that is too little for one.
    """
    from ..models.machine import host_room

    total = (host_room().total_bytes or FALLBACK_BYTES) // 2 if total_mib is None else total_mib * MIB
    share = min(total // sessions, MOST_SHARE_BYTES)
    if share < LEAST_SHARE_BYTES:
        raise SettingsError(
            f"{total / MIB:.0f} MiB of RAM for {sessions} sessions is {share / MIB:.1f} MiB each; the least is "
            f"{LEAST_SHARE_BYTES // MIB}: lower --max-sessions, or raise --memory-mib"
        )
    return share


def run(request: Request) -> None:
    """Check, load, serve.  Raises SettingsError, SourceError, StorageError or ModelError, with the remedy."""
    from ..stream.protocol.limits import Limits
    from ..stream.server import tls
    from ..stream.server.cameras import read_declaration
    from ..stream.server.folders import MemoryFolders
    from ..stream.server.listening import bind
    from ..stream.server.origins import OriginPolicy
    from ..stream.server.settings import ServerSettings

    token, made = choose_token(request.token, request.token_file)
    settings = ServerSettings(
        host=request.host,
        port=request.port,
        allow_origins=request.allow_origins,
        allow_hosts=request.allow_hosts,
        tls_cert=request.tls_cert,
        tls_key=request.tls_key,
        insecure_plain_http=request.insecure_plain_http,
        memory=request.memory,
        memory_ttl_s=request.memory_ttl_s,
        max_memories=request.max_memories,
        limits=Limits(max_frame_bytes=request.max_frame_bytes, idle_s=request.idle_s, resume_s=request.resume_s),
        max_sessions=request.max_sessions,
        max_sockets=request.max_clients,
        max_address_sockets=request.max_clients,
        flight_bytes=max(64 * MIB, 4 * request.max_frame_bytes),
        metrics=request.metrics,
    )
    share = share_of(request.memory_mib, request.max_sessions + len(request.sources))
    kept = Settings(
        codec=request.codec,
        archive_bytes=share * 3 // 4,
        device_bytes=min(Settings().device_bytes, share // 4),
        disk_bytes=request.disk_mib * MIB,
        keep_s=request.keep_s,
    )
    tls.check_binding(settings.host, settings.port, tls=settings.secure, insecure=settings.insecure_plain_http)
    if settings.tls_cert is not None:
        tls.ssl_context(settings.tls_cert, settings.tls_key)
    OriginPolicy.of(settings.host, settings.allow_hosts, settings.allow_origins, secure=settings.secure)
    sources = [read_declaration(word) for word in request.sources]
    names = [name for name, _ in sources]
    if len(set(names)) < len(names):
        raise SettingsError("two --source have the same name; give each its own")
    if settings.memory is not None:
        MemoryFolders(settings.memory, settings.memory_ttl_s, settings.max_memories).prepare()
    bound = bind(settings)
    handler = server_log.set_up(as_json=request.json_logs, verbose=request.verbose, quiet=request.quiet)
    try:
        from ..model import Model

        _serve(request, settings, kept, sources, Model(load(request.model, request.quiet)), (token, made), bound)
    finally:
        logging.getLogger("onlooker").removeHandler(handler)
        bound.close()


def _serve(
    request: Request,
    settings: "ServerSettings",
    kept: Settings,
    sources: list[tuple[str, str]],
    model: "Model",
    token: tuple[str, bool],
    bound: "socket.socket",
) -> None:
    """Serve until a signal comes.  token: with whether it was made just now."""
    from ..stream.engine.engine import Engine
    from ..stream.engine.settings import EngineSettings
    from ..stream.server.cameras import Camera
    from ..stream.server.folders import MemoryFolders
    from ..stream.server.running import run as run_server
    from ..stream.server.server import Server

    limits = settings.limits
    engine = Engine(
        model,
        EngineSettings(
            max_sessions=min(4096, settings.max_sessions + len(sources) + 1),
            queued_questions=min(1024, max(64, limits.questions_queued)),
            max_watches=min(256, max(64, limits.watches)),
        ),
    )
    cameras: dict[str, Camera] = {}
    try:
        folders = None
        if settings.memory is not None:
            folders = MemoryFolders(settings.memory, settings.memory_ttl_s, settings.max_memories)
        for name, spec in sources:
            place = None if folders is None else folders.camera(name)
            cameras[name] = Camera(name, spec, engine, kept, fps=request.fps, memory=place)
        server = Server(engine, settings, token[0], kept=kept, cameras=cameras, bound=bound)
        run_server(server, lambda: announce(request, server, *token))
    finally:
        for camera in cameras.values():
            camera.source.close()
        try:
            engine.close()
        except (OnlookerError, TimeoutError) as error:
            _logger.error("%s", error)


def announce(request: Request, server: "Server", token: str, made: bool) -> None:
    """Say on stderr where the server is, and what it serves.

    The token is shown where it was made here, or where a terminal reads along.
    """
    from ..stream.server.auth import page_address

    settings = server.settings
    wide = settings.host in ("0.0.0.0", "::", "*")
    shown = made or sys.stderr.isatty()
    address = page_address(
        "https" if settings.secure else "http",
        next(iter(settings.allow_hosts), "localhost") if wide else settings.host.strip("[]"),
        server.port,
        token if shown else None,
    )
    lines = [f"onlooker: ready at {address}"]
    if not request.quiet:
        lines.append(f"  model    {request.model.name}")
        lines.append(f"  memory   {settings.memory or 'in RAM only; --memory DIR keeps it over restarts'}")
        for name, camera in server.cameras.items():
            lines.append(f"  source   {name}: {camera.source.name} ({camera.status.state})")
        if wide:
            lines.append("  reached  from other machines by this one's address or --allow-host name")
        if settings.insecure_plain_http and not settings.secure:
            lines.append("  WARNING  no TLS: whoever is on the network can read the token and the pictures")
        lines.append(f"  end      Ctrl-C, or kill -TERM {os.getpid()}")
        if request.model.name == "pocket":
            lines.append(POCKET_HINT)
    for line in lines:
        typer.echo(line, err=True)
