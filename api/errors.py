"""The exceptions that Onlooker raises on purpose."""


class OnlookerError(Exception):
    """Root of every error that Onlooker raises: the message says what is wrong, the limit, and the remedy."""


class SourceError(OnlookerError):
    """A video source cannot be opened or read."""


class ModelError(OnlookerError):
    """A model cannot be found, loaded or used."""


class RecallError(OnlookerError):
    """A memory cannot be written, read or assembled."""


class StorageError(OnlookerError):
    """A memory's folder cannot be opened, read or written, or is another model's."""


class SettingsError(OnlookerError):
    """A setting is outside its limits or contradicts another."""


class InstallationError(OnlookerError):
    """A package that is needed is missing, or two that exclude each other are installed."""


class BusyError(OnlookerError):
    """A bound on work in progress is reached; the same may be done later."""


class IntegrityError(OnlookerError):
    """The engine's books do not balance, or something closed left memory behind: a defect of Onlooker."""


class ProtocolError(OnlookerError):
    """A message of the websocket protocol cannot be read, or the other side refused one."""
