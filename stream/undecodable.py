"""What the decoders share: how they are loaded, and how they say that a file is not for them."""

import importlib
from typing import Any

from ..errors import InstallationError

LONGEST_S = 10 * 366 * 24 * 3600.0
"""A file that claims to be longer than ten years has no sound stamps."""


class Undecodable(Exception):  # noqa: N818 - not an error yet: another decoder is tried
    """A decoder cannot read this file, or not reliably; the message says why."""


def load(module: str, distribution: str) -> Any:
    """Import a decoder's module; raises InstallationError naming the distribution to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InstallationError(
            f"reading video files needs {module}, which does not load ({error}); "
            f"install it with: pip install {distribution}"
        ) from error


def first_line(error: BaseException) -> str:
    """Cut decord's message to what it says: the time and the source line before it mean nothing to a user."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rsplit("] ", 1)[-1][:200]
