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
    from .stream.engine.events import (
        AnswerBegun,
        AnswerEnded,
        AnswerPiece,
        FramesDropped,
        MemoryForgot,
        SessionEvent,
        SessionFailed,
        SourceChanged,
        WatchCleared,
        WatchFired,
    )
    from .stream.engine.live_session import LiveSession
    from .stream.engine.settings import EngineSettings
    from .stream.live.live_source import LiveSource
    from .stream.live.opening import open_live
    from .stream.session import Session
    from .stream.source import open_source

    __version__: str

__all__ = [
    "Answer",
    "AnswerBegun",
    "AnswerEnded",
    "AnswerPiece",
    "BusyError",
    "Engine",
    "EngineSettings",
    "Evidence",
    "Frame",
    "FramesDropped",
    "InstallationError",
    "IntegrityError",
    "LiveSession",
    "LiveSource",
    "MemoryForgot",
    "Model",
    "ModelError",
    "OnlookerError",
    "ProtocolError",
    "RecallError",
    "Sampling",
    "Session",
    "SessionEvent",
    "SessionFailed",
    "Settings",
    "SettingsError",
    "SourceChanged",
    "SourceError",
    "StorageError",
    "WatchCleared",
    "WatchFired",
    "__version__",
    "load",
    "open_live",
    "open_source",
]

_HOMES = {
    "Answer": ".answer",
    "AnswerBegun": ".stream.engine.events",
    "AnswerEnded": ".stream.engine.events",
    "AnswerPiece": ".stream.engine.events",
    "Engine": ".stream.engine.engine",
    "EngineSettings": ".stream.engine.settings",
    "Evidence": ".answer",
    "Frame": ".frame",
    "FramesDropped": ".stream.engine.events",
    "LiveSession": ".stream.engine.live_session",
    "LiveSource": ".stream.live.live_source",
    "MemoryForgot": ".stream.engine.events",
    "Model": ".model",
    "Sampling": ".models.backbone",
    "Session": ".stream.session",
    "SessionEvent": ".stream.engine.events",
    "SessionFailed": ".stream.engine.events",
    "Settings": ".settings",
    "SourceChanged": ".stream.engine.events",
    "WatchCleared": ".stream.engine.events",
    "WatchFired": ".stream.engine.events",
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
