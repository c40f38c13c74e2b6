"""Memories on disk: one folder per camera and per own session, and beside each session's the way back to it.

    DIR/cameras/NAME          memory of a declared camera; never deleted here
    DIR/sessions/ID           memory of an own session
    DIR/sessions/ID.json      its ticket: sha256 of the resume tokens, settings, when it was last used

A ticket holds no token, so that who reads the disk cannot come back as the client.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SettingsError, StorageError

FORMAT = 1
SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

GRACE_S = 600.0
"""After a start, and after a step of the wall clock, nothing is too old for so long: the clock may be wrong."""

STEP_S = 60.0
"""By how much the wall clock may run off the steady one between two looks before that counts as a step."""

_SESSION_ID = re.compile(r"[0-9a-f]{24}")


def new_session_id() -> str:
    """Make an id of 96 random bits that is also the name of a folder."""
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Say how a client comes back to an own session.

    token_sha256s: of the resume tokens that are good, in hex, the newest first; none when the session was closed for
    good.  settings: what the client chose of how its stream is kept.  used_unix_s: when it was written; a memory was
    used then, or when a file of it was written last, whichever is later.
    """

    token_sha256s: tuple[str, ...]
    used_unix_s: float
    settings: Mapping[str, str | int | float] = field(default_factory=dict)


class MemoryFolders:
    """Give sessions their folders below one, and delete those of own sessions when their time is over.

    Every call may touch the disk.  Raises StorageError where that fails.  clock: seconds since 1970.  steady: seconds
    of a clock that nobody sets.
    """

    def __init__(
        self,
        root: Path,
        ttl_s: float,
        most: int,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root, self._ttl_s, self._most, self._clock, self._steady = root, ttl_s, most, clock, steady
        self._ahead_s, self._trusted_s = clock() - steady(), steady() + GRACE_S

    @property
    def _sessions(self) -> Path:
        return self.root / "sessions"

    def prepare(self) -> None:
        """Make the folders.  Raises SettingsError, with the reason, where nothing can be written."""
        probe = self.root / f".probe-{os.getpid()}"
        try:
            for folder in (self.root, self.root / "cameras", self._sessions):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise SettingsError(
                f"--memory {self.root}: memories cannot be written there ({error.strerror or error}); give a folder "
                "that you may write to"
            ) from None

    def camera(self, name: str) -> Path:
        """Give the folder of a declared camera."""
        if not SOURCE_NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name of a source")
        return self.root / "cameras" / name

    def session(self, session_id: str) -> Path:
        """Give the folder of an own session."""
        if not _SESSION_ID.fullmatch(session_id):
            raise StorageError(f"{session_id!r:.80} is no session's id")
        return self._sessions / session_id

    def ticket(self, session_id: str) -> Ticket | None:
        """Give the ticket of a session whose memory is on disk; None where there is none, or its time is over."""
        if not _SESSION_ID.fullmatch(session_id) or not (self._sessions / session_id).is_dir():
            return None
        ticket = self._read(session_id)
        return None if ticket is None or self._over(self._used(session_id)) else ticket

    def write(self, session_id: str, ticket: Ticket) -> None:
        """Put a ticket in the place of the one before, at one stroke and safe from a power cut."""
        path = self.session(session_id).with_suffix(".json")
        told = {
            "format": FORMAT,
            "token_sha256s": list(ticket.token_sha256s),
            "used_unix_s": ticket.used_unix_s,
            "settings": dict(ticket.settings),
        }
        half = path.with_suffix(".half")
        try:
            with half.open("w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(told, file)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(f"cannot write {path} ({error.strerror or error}); free space on that disk") from error

    def forget(self, session_id: str) -> None:
        """Delete an own session's memory; its ticket goes first, so that nobody comes back to half of it."""
        folder = self.session(session_id)
        try:
            folder.with_suffix(".json").unlink(missing_ok=True)
            folder.with_suffix(".half").unlink(missing_ok=True)
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise StorageError(f"cannot delete {folder} ({error.strerror or error}); delete it by hand") from error

    def sweep(self, living: Collection[str]) -> int:
        """Delete memories of own sessions that are over their time or their number; give how many went.

        living: ids in use or about to be, which stay, and are noted as used now.
        """
        try:
            names = [path.name for path in self._sessions.iterdir() if _SESSION_ID.fullmatch(path.name)]
        except OSError as error:
            raise StorageError(f"cannot look into {self._sessions} ({error.strerror or error})") from error
        for name in living:
            self._touch(name)
        used = {name: self._used(name) for name in names if name not in living}
        over = {name for name, used_s in used.items() if self._over(used_s)}
        left = sorted((name for name in used if name not in over), key=lambda name: used[name])
        surplus = len(living) + len(left) - self._most
        over.update(left[: max(0, surplus)])
        for name in over:
            self.forget(name)
        return len(over)

    def _touch(self, session_id: str) -> None:
        """Note on a ticket that its session is in use: a server that is killed will not write it again."""
        now_s = self._clock()
        with contextlib.suppress(OSError):  # a session that is only being opened, or just forgotten, has none
            os.utime(self._sessions / f"{session_id}.json", (now_s, now_s))

    def _over(self, used_s: float) -> bool:
        """Say whether a memory's time is over; never while the wall clock is not to be trusted."""
        now_s, steady_s = self._clock(), self._steady()
        if abs(now_s - steady_s - self._ahead_s) > STEP_S:
            self._trusted_s = steady_s + GRACE_S
        self._ahead_s = now_s - steady_s
        return steady_s >= self._trusted_s and now_s - used_s > self._ttl_s

    def _used(self, session_id: str) -> float:
        """Give when a memory was used last, by its ticket and by its files; 0.0 where nothing tells."""
        folder = self._sessions / session_id
        ticket = self._read(session_id)
        times = [0.0 if ticket is None else ticket.used_unix_s]
        for path in (folder.with_suffix(".json"), folder, *folder.rglob("*")):
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    def _read(self, session_id: str) -> Ticket | None:
        """Read a ticket; one that is damaged is as good as none."""
        try:
            told = json.loads((self._sessions / f"{session_id}.json").read_text(encoding="utf-8"))
            if told["format"] != FORMAT:
                return None
            tokens, settings = told["token_sha256s"], told["settings"]
            if not isinstance(settings, dict) or not all(isinstance(token, str) for token in tokens):
                return None
            return Ticket(tuple(tokens), float(told["used_unix_s"]), settings)
        except (OSError, ValueError, KeyError, TypeError):
            return None
