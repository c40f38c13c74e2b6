"""What the server says is wrong, as the errors that the same call raises where there is no server between."""

from ..errors import (
    BusyError,
    ModelError,
    OnlookerError,
    ProtocolError,
    SettingsError,
    SourceError,
    StorageError,
)
from ..stream.protocol.errors import EventError
from ..stream.protocol.server_events import Error, Fault, SessionClosed

_KINDS: dict[str, type[OnlookerError]] = {
    "busy": BusyError,
    "rate_limited": BusyError,
    "too_many_sessions": BusyError,
    "invalid_event": SettingsError,
    "unknown_field": SettingsError,
    "settings_locked": SettingsError,
    "empty_question": SettingsError,
    "bad_question": SettingsError,
    "unknown_response": SettingsError,
    "unknown_watch": SettingsError,
    "unknown_source": SourceError,
    "source_read_only": SourceError,
    "bad_image": SourceError,
    "frame_too_big": SourceError,
    "storage_error": StorageError,
    "model_error": ModelError,
    "out_of_memory": ModelError,
}


def failure_of(error: Error | Fault | EventError | SessionClosed) -> OnlookerError:
    """Make an exception; a code that is not known here is a ProtocolError."""
    if isinstance(error, SessionClosed):
        return ProtocolError(f"the session is closed ({error.reason}); open a new one with onlooker.client.connect()")
    words = f"{error.message}; {error.remedy}" if error.remedy else error.message
    return _KINDS.get(error.code, ProtocolError)(f"{words} ({error.code})")
