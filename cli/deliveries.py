"""Deliveries: alerts handed to a command or a web hook, beside the stream and never in its way."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from typing import IO, Protocol
from urllib.parse import urlsplit

from ..errors import SettingsError
from .alerts import Alert

MOST_WAITING = 64
COMMANDS_AT_ONCE = 4
RETRY_S = (1.0, 4.0, 15.0)
WEBHOOK_TIMEOUT_S = 10.0
_AGAIN = (408, 425, 429)
_LAST_WORDS = 300


class DeliveryError(Exception):
    """A delivery failed.  again: whether another try may help."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Carrier(Protocol):
    """Hand one alert over, from any thread.  name: for messages; it shows no secrets."""

    name: str

    def carry(self, alert: Alert) -> None:
        """Do it.  Raises DeliveryError."""
        ...


class Command:
    """Run a command for each alert: JSON on its standard input, a few variables, no shell.

    words: as a shell would split them.  timeout_s: after which it is killed, with all that it started.
    Raises SettingsError for a command that is not there.
    """

    def __init__(self, words: str, timeout_s: float = 30.0) -> None:
        try:
            self._words = shlex.split(words)
        except ValueError as error:
            raise SettingsError(f"--exec {words!r} cannot be read ({error}); close its quotes") from error
        if not self._words or shutil.which(self._words[0]) is None:
            raise SettingsError(
                f"--exec {words!r}: there is no command {self._words[0] if self._words else ''!r}; give one of PATH, "
                "or its whole path. It is run without a shell: for pipes, give sh -c '...'"
            )
        self._timeout_s = timeout_s
        self.name = self._words[0]

    def carry(self, alert: Alert) -> None:
        """Run it and wait for it.  Raises DeliveryError when it fails or takes too long."""
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,  # ours is for the alerts
                    stderr=errors,
                    env={**os.environ, **alert.environment()},
                    start_new_session=True,  # Ctrl-C is for us, and what it starts ends with it
                )
            except OSError as error:
                raise DeliveryError(error.strerror or str(error)) from error
            try:
                process.communicate((alert.to_json(with_image=True) + "\n").encode(), self._timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise DeliveryError(f"it took longer than {self._timeout_s:g} s and was ended") from None
            if process.returncode:
                raise DeliveryError(f"it ended with {process.returncode}{_last_words(errors)}")


class Webhook:
    """Post each alert's JSON to an address.  Its path and its credentials are never shown.

    Raises SettingsError for an address that is not http or https.
    """

    def __init__(self, url: str, timeout_s: float = WEBHOOK_TIMEOUT_S) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if not host or parts.scheme not in ("http", "https"):
            raise SettingsError("--webhook takes an http:// or https:// address with a host in it")
        if parts.username is not None or parts.password is not None:
            raise SettingsError("--webhook takes no user and password in the address; put a token into its path")
        self._url, self._timeout_s = url, timeout_s
        self.name = f"{parts.scheme}://{host}{f':{port}' if port else ''}/..."
        # Redirects are not followed: a POST would become a GET, at a place that the operator did not name.
        self._opener = urllib.request.build_opener(_Stay())

    def carry(self, alert: Alert) -> None:
        """Post it.  Raises DeliveryError; what the server may mend by itself is to be tried again."""
        body = alert.to_json(with_image=True).encode()
        head = {"Content-Type": "application/json", "User-Agent": "onlooker"}
        try:
            request = urllib.request.Request(self._url, body, head, method="POST")
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                reply.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code >= 500 or error.code in _AGAIN
            raise DeliveryError(f"it answered {error.code}", again) from None
        except urllib.error.URLError as error:
            raise DeliveryError(f"it cannot be reached ({_without(str(error.reason), self._url)})", True) from None
        except (OSError, ValueError) as error:  # a time-out while it answers; no http at all
            raise DeliveryError(f"it did not answer as a web server does ({type(error).__name__})", True) from None


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it becomes an error with its code."""

    def redirect_request(self, *_args: object, **_more: object) -> None:
        return None


class Deliveries:
    """Hand alerts to a carrier in threads of its own, in order of their coming; put() never waits.

    note: takes a line about what went wrong, from those threads.  most: alerts that may wait; one more is dropped.
    retries: pauses in seconds before each further try.
    """

    def __init__(
        self,
        carrier: Carrier,
        note: Callable[[str], None],
        *,
        threads: int = 1,
        most: int = MOST_WAITING,
        retries: tuple[float, ...] = (),
    ) -> None:
        self.delivered = self.failed = self.dropped = 0
        self._carrier, self._note, self._most, self._retries = carrier, note, most, retries
        self._waiting: deque[Alert] = deque()
        self._busy, self._closing = 0, False
        self._changed = threading.Condition()
        self._stop = threading.Event()
        for number in range(threads):
            threading.Thread(target=self._work, name=f"onlooker-deliver-{number}", daemon=True).start()

    def put(self, alert: Alert) -> bool:
        """Hand an alert over; False when too many wait already, and it was dropped."""
        with self._changed:
            if self._closing or len(self._waiting) >= self._most:
                self.dropped += 1
                return False
            self._waiting.append(alert)
            self._changed.notify_all()
            return True

    def close(self, timeout_s: float = 10.0) -> int:
        """Wait so long for what is under way, then stop; give the number of alerts that did not get there."""
        end = time.monotonic() + timeout_s
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while (self._waiting or self._busy) and time.monotonic() < end:
                self._changed.wait(max(0.0, end - time.monotonic()))
            left = len(self._waiting) + self._busy
            self._waiting.clear()
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        return left + self.failed + self.dropped

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                alert = self._waiting.popleft()
                self._busy += 1
            done = False
            try:
                done = self._deliver(alert)
            finally:
                with self._changed:
                    self._busy -= 1
                    self.delivered += done
                    self.failed += not done
                    self._changed.notify_all()

    def _deliver(self, alert: Alert) -> bool:
        for pause_s in (*self._retries, None):
            try:
                self._carrier.carry(alert)
                return True
            except DeliveryError as error:
                last = pause_s is None or not error.again
                more = "" if last else f"; trying again in {pause_s:g} s"
                self._note(f"{self._carrier.name}: {error}{more}")
                if last or self._stop.wait(pause_s):
                    return False
        return False


def _last_words(errors: IO[bytes]) -> str:
    """Give the last line that a command wrote to stderr."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS))
    lines = errors.read().decode("utf-8", "replace").split("\n")
    words = [" ".join(line.split()) for line in lines if line.strip()]
    return f": {words[-1]}" if words else ""


def _without(reason: str, url: str) -> str:
    """Take an address and its parts out of a reason."""
    parts = urlsplit(url)
    for secret in (url, f"{parts.path}?{parts.query}", parts.path, parts.query):
        if len(secret) > 1:
            reason = reason.replace(secret, "...")
    return reason
