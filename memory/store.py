"""Where the groups of a memory are kept: in host memory alone, or on disk."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..errors import RecallError

_GROUP_BYTES = 260
"""Bytes of Python objects that a group costs in host memory besides its body (CPython 3.11: measured 245)."""


class Store(Protocol):
    """Keep each group's head and body, by the group's id.  Raises StorageError where a disk fails.

    A later put() of the same id takes the earlier one's place.
    """

    @property
    def writable(self) -> bool:
        """Whether groups may be put and dropped here."""
        ...

    @property
    def host_bytes(self) -> int:
        """Bytes of host memory held."""
        ...

    @property
    def disk_bytes(self) -> int:
        """Bytes of disk held, dead ones included."""
        ...

    @property
    def dead_bytes(self) -> int:
        """Bytes of disk that reclaim() would free."""
        ...

    @property
    def reserve_bytes(self) -> int:
        """Bytes of disk that must stay free below a cap, for what is rewritten."""
        ...

    @property
    def noted_bytes(self) -> int:
        """Bytes of disk that notes take."""
        ...

    def put(self, group_id: int, head: bytes, body: bytes) -> None:
        """Keep a group."""
        ...

    def reclaim(self) -> int:
        """Free the disk of what was dropped or replaced; give the bytes freed."""
        ...

    def limit(self, host_bytes: int) -> None:
        """Set how much host memory may be used, as far as that can be chosen."""
        ...

    def drop(self, group_ids: Sequence[int]) -> None:
        """Let groups go."""
        ...

    def note(self, key: str, words: bytes) -> None:
        """Keep a few words for whoever opens the store again, in place of earlier ones under the same key."""
        ...

    def noted(self, key: str, newest: bool = False) -> bytes | None:
        """Read the words under a key; None where there are none.  newest: also where a group was changed since."""
        ...

    def head(self, group_id: int) -> bytes | None:
        """Read a group's head; None where heads are not kept."""
        ...

    def body(self, group_id: int) -> bytes:
        """Read a group's body.  Raises RecallError for a group that is not here, DamagedError for a damaged one."""
        ...

    def body_bytes(self, group_id: int) -> int:
        """Give the size of a group's body.  Raises RecallError for a group that is not here."""
        ...

    def fetch(self, group_ids: Sequence[int]) -> None:
        """Bring bodies that will be read next nearer."""
        ...

    def heads(self) -> Iterator[bytes]:
        """Read the head of every group, in rising order of id."""
        ...


class RamStore:
    """Keep bodies in host memory; heads are not needed again, since nothing is opened a second time."""

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}
        self._bytes = 0

    @property
    def writable(self) -> bool:
        """It is."""
        return True

    @property
    def host_bytes(self) -> int:
        """True bytes held."""
        return self._bytes + _GROUP_BYTES * len(self._bodies)

    @property
    def disk_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    @property
    def dead_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    @property
    def reserve_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    @property
    def noted_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    def reclaim(self) -> int:
        """Free nothing: what was dropped is gone already."""
        return 0

    def limit(self, host_bytes: int) -> None:
        """Do nothing: bodies are nowhere else."""

    def put(self, group_id: int, head: bytes, body: bytes) -> None:
        """Keep a body."""
        self.drop([group_id])
        self._bodies[group_id] = body
        self._bytes += len(body)

    def drop(self, group_ids: Sequence[int]) -> None:
        """Let bodies go; one that is not here is no error."""
        for group_id in group_ids:
            self._bytes -= len(self._bodies.pop(group_id, b""))

    def note(self, key: str, words: bytes) -> None:
        """Do nothing: nobody opens this store again."""

    def noted(self, key: str, newest: bool = False) -> bytes | None:
        """Give nothing."""
        return None

    def head(self, group_id: int) -> bytes | None:
        """Give nothing."""
        return None

    def body(self, group_id: int) -> bytes:
        """Give a body.  Raises RecallError for a group that is not here."""
        body = self._bodies.get(group_id)
        if body is None:
            raise RecallError(f"group {group_id} is not remembered")
        return body

    def body_bytes(self, group_id: int) -> int:
        """Give the size of a body.  Raises RecallError for a group that is not here."""
        return len(self.body(group_id))

    def fetch(self, group_ids: Sequence[int]) -> None:
        """Do nothing: all of it is here."""

    def heads(self) -> Iterator[bytes]:
        """Give none."""
        return iter(())
