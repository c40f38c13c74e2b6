"""`onlooker serve`: a page and a websocket for people and programs that look along."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .ask import read_time
from .model_options import DEVICE, DTYPE, MODEL, OFFLINE, REVISION, ModelChoice

HELP = """Serve a page and a websocket: push frames or watch declared cameras, ask while they run.

Prints an address with a token; open it in a browser of this machine. Programs send the token in a header and speak the
protocol of docs/protocol.md to /v1/realtime. Ctrl-C ends in good order; a second one leaves at once.

\b
Try it without a camera, with the bundled model:
  onlooker serve --source stage=theatre:7

\b
Watch a camera all the time, and keep what was seen over restarts:
  onlooker serve --source hall=rtsp://user:password@192.168.1.20/stream1 --memory memories/ \\
    --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf

\b
Reach it from another machine, through a tunnel (nothing else listens):
  ssh -L 8765:localhost:8765 this-machine

\b
Reach it over the network, with a certificate and a token of your own:
  openssl rand -hex 32 > token
  onlooker serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --token-file token

\b
Behind a reverse proxy that speaks TLS (docs/server.md has nginx, Caddy and a systemd unit):
  onlooker serve --allow-host cam.example.com --allow-origin https://cam.example.com
"""

SOURCE = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=SPEC", help="Watch this all the time; may be repeated: theatre:7, camera:0, rtsp://…"),
]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 lets the system choose.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(envvar="ONLOOKER_TOKEN", help="The token [default: a new one].", show_default=False),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Read the token from a file.")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A page elsewhere that may connect; may be repeated.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name the server is reached by; may be repeated.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate and its chain (PEM).")] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, when it is not in there (PEM).")
    ] = None,
    insecure_plain_http: Annotated[
        bool, typer.Option("--insecure-plain-http", help="Let others connect without TLS: they can be read along.")
    ] = False,
    source: SOURCE = None,
    fps: Annotated[float, typer.Option(min=0.01, max=60.0, help="Frames a second looked at, of each --source.")] = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    memory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep what was seen in this folder, over restarts.")
    ] = None,
    memory_ttl: Annotated[
        int, typer.Option(parser=read_time, metavar="TIME", help="Delete a client's memory when unused for so long.")
    ] = "24h",  # type: ignore[assignment]  # typer parses defaults too
    max_memories: Annotated[int, typer.Option(min=1, help="Most memories of clients kept in --memory.")] = 64,
    codec: Annotated[
        Literal["raw", "raw16", "int8", "int4", "int2", "auto"],
        typer.Option(help="How keys and values are kept; auto takes the fewest bits, once calibrated."),
    ] = "int4",
    memory_mib: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most MiB of RAM for the past of all sessions, in equal shares [default: half of the machine's].",
            show_default=False,
        ),
    ] = None,
    disk_mib: Annotated[int, typer.Option(min=64, help="Most MiB that a session's memory may take on disk.")] = 8192,
    keep: Annotated[
        int | None, typer.Option(parser=read_time, metavar="TIME", help="Forget what is older [default: what fits].")
    ] = None,
    max_sessions: Annotated[int, typer.Option(min=1, max=4000, help="Most sessions of clients that push frames.")] = 16,
    max_clients: Annotated[int, typer.Option(min=1, help="Most connections at once.")] = 128,
    idle_timeout: Annotated[
        int, typer.Option(parser=read_time, metavar="TIME", help="Close a session in which nothing happens.")
    ] = "10m",  # type: ignore[assignment]
    resume_ttl: Annotated[
        int, typer.Option(parser=read_time, metavar="TIME", help="Keep a session for a client that dropped.")
    ] = "2m",  # type: ignore[assignment]
    max_frame_mib: Annotated[float, typer.Option(min=0.01, max=64.0, help="Most MiB of one coded picture.")] = 4.0,
    metrics: Annotated[bool, typer.Option(help="Answer /metrics (Prometheus; behind the token).")] = True,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Log more; -vv tracebacks.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors, and the address.")] = False,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log one JSON object a line.")] = False,
) -> None:
    """Serve until a signal comes; the text of --help is HELP."""
    from .serving import Request, run

    run(
        Request(
            host=host,
            port=port,
            token=token,
            token_file=token_file,
            allow_origins=tuple(allow_origin or ()),
            allow_hosts=tuple(allow_host or ()),
            tls_cert=tls_cert,
            tls_key=tls_key,
            insecure_plain_http=insecure_plain_http,
            sources=tuple(source or ()),
            fps=fps,
            model=ModelChoice(model, device, dtype, revision, offline),
            memory=memory,
            memory_ttl_s=memory_ttl / 1e6,
            max_memories=max_memories,
            codec=codec,
            memory_mib=memory_mib,
            disk_mib=disk_mib,
            keep_s=None if keep is None else keep / 1e6,
            max_sessions=max_sessions,
            max_clients=max_clients,
            idle_s=idle_timeout / 1e6,
            resume_s=resume_ttl / 1e6,
            max_frame_bytes=round(max_frame_mib * (1 << 20)),
            metrics=metrics,
            verbose=verbose,
            quiet=quiet,
            json_logs=json_logs,
        )
    )
