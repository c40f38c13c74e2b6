"""What went wrong, as a code that programs can rely on."""

import logging

import torch

from ...errors import BusyError, ModelError, RecallError, SettingsError, SourceError, StorageError

_logger = logging.getLogger(__name__)


def code_of(error: BaseException) -> str:
    """Name what kind of failure an exception is."""
    match error:
        case SettingsError():
            return "bad_question"
        case SourceError():
            return "bad_image"
        case StorageError():
            return "storage_error"
        case ModelError() | RecallError():
            return "model_error"
        case BusyError():
            return "busy"
        case MemoryError() | torch.OutOfMemoryError():
            return "out_of_memory"
        case _:
            return "internal"


def message_of(error: BaseException) -> str:
    """Say what went wrong in one line; what nobody foresaw is also logged with its traceback."""
    code = code_of(error)
    if code == "out_of_memory":
        return "the model ran out of memory; ask a shorter question, or give the model fewer sessions"
    if code == "internal":
        _logger.error("a session failed", exc_info=error)
        return f"{type(error).__name__}: {' '.join(str(error).split())}; the server's log has the traceback"
    return " ".join(str(error).split())
