"""The doorstep: sockets that were accepted and not let in, of which there is never more than a few."""

from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection as Socket

if TYPE_CHECKING:
    import asyncio

MOST_WAITING = 32
"""Sockets that are shaking hands, asking over plain HTTP, or being told why they may not in."""


class Doorstep:
    """Hold the sockets that are not let in, in the order they came; the oldest is cut off for one too many.

    The newest stays, so that connections that do nothing keep nobody out.  For the event loop's thread.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[Socket, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def arrive(self, socket: Socket) -> None:
        """Note a socket that was accepted."""
        self._waiting[socket] = None
        if len(self._waiting) > self._most:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()

    def leave(self, socket: Socket) -> None:
        """Note that a socket was let in, or is gone."""
        self._waiting.pop(socket, None)

    def sockets(self) -> type[Socket]:
        """Give the class of sockets that come by this doorstep, for websockets' serve()."""
        doorstep = self

        class Arriving(Socket):
            def connection_made(self, transport: "asyncio.BaseTransport") -> None:
                super().connection_made(transport)
                doorstep.arrive(self)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                doorstep.leave(self)

        return Arriving
