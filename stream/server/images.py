"""Evidence pictures of one session, by names that nobody can guess, the oldest dropped first."""

import secrets
from collections import OrderedDict


class ImageRing:
    """Keep JPEGs under random names, at most `count` of them and most_bytes in all.  For one thread."""

    def __init__(self, count: int, most_bytes: int) -> None:
        self._count, self._most_bytes = count, most_bytes
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def add(self, jpeg: bytes) -> str | None:
        """Keep one and give its name; None for an empty one, and for one that is over the cap by itself."""
        if not jpeg or len(jpeg) > self._most_bytes:
            return None
        name = f"{secrets.token_urlsafe(12)}.jpg"
        self._images[name] = jpeg
        self.nbytes += len(jpeg)
        while len(self._images) > self._count or self.nbytes > self._most_bytes:
            _, gone = self._images.popitem(last=False)
            self.nbytes -= len(gone)
        return name

    def get(self, name: str) -> bytes | None:
        """Give the JPEG of a name, while it is kept."""
        return self._images.get(name)

    def clear(self) -> None:
        """Drop all."""
        self._images.clear()
        self.nbytes = 0
