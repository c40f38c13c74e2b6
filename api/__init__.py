"""Onlooker: watch a video stream for hours and answer questions about any moment of it, from bounded memory.

    import onlooker

    session = onlooker.load("pocket").session()
    for frame in frames:
        session.see(frame)
    print(session.ask("What was next to the boat?").text)

Importing this imports neither torch nor numpy: each public name is fetched when it is first used.
"""

from typing import TYPE_CHECKING

from .errors import (
    BusyError,
    InstallationError,
    IntegrityError,
    ModelError,
    OnlookerError,
    ProtocolError,
    RecallError,
    SettingsError,
    SourceError,
    StorageError,
)

if TYPE_CHECKING:
    from .answer import Answer, Evidence
    from .frame import Frame
    from .model import Model, load
    from .models.backbone import Sampling
    from .settings import Settings
    from .stream.engine.engine import Engine
    from .stream.engine.live_session import LiveSession
    from .stream.engine.settings import EngineSettings
    from .stream.live.live_source import LiveSource
    from .stream.live.opening import open_live
    from .stream.session import Session
    from .stream.source import open_source

    __version__: str

__all__ = [
    "Answer",
    "BusyError",
    "Engine",
    "EngineSettings",
    "Evidence",
    "Frame",
    "InstallationError",
    "IntegrityError",
    "LiveSession",
    "LiveSource",
    "Model",
    "ModelError",
    "OnlookerError",
    "ProtocolError",
    "RecallError",
    "Sampling",
    "Session",
    "Settings",
    "SettingsError",
    "SourceError",
    "StorageError",
    "__version__",
    "load",
    "open_live",
    "open_source",
]

_HOMES = {
    "Answer": ".answer",
    "Engine": ".stream.engine.engine",
    "EngineSettings": ".stream.engine.settings",
    "EngineSettings": ".stream.engine.settings",
    "Evidence": ".answer",
    "Frame": ".frame",
    "LiveSession": ".stream.engine.live_session",
    "LiveSource": ".stream.live.live_source",
    "Model": ".model",
    "Sampling": ".models.backbone",
    "Session": ".stream.session",
    "Settings": ".settings",
    "load": ".model",
    "open_live": ".stream.live.opening",
    "open_source": ".stream.source",
}


def __getattr__(name: str) -> object:
    """Fetch a public name from its module at its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("onlooker")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
