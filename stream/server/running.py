"""Running a server until it is told to end: by the first signal in good order, by the second at once."""

import asyncio
import os
import signal
from collections.abc import Callable

from .server import Server

LEFT_AT_ONCE = 130


def run(server: Server, started: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM comes.  started: called when the server is ready.

    Raises ModelError where the model does not answer its first question.
    """
    asyncio.run(_run(server, started))


async def _run(server: Server, started: Callable[[], None]) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def hear() -> None:
        if told.is_set():
            os._exit(LEFT_AT_ONCE)  # threads may hang in a driver, and what is stored is stored
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear)
    try:
        starting = asyncio.create_task(server.start())
        ending = asyncio.create_task(told.wait())
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            started()
            await ending
        else:
            starting.cancel()
            await asyncio.wait((starting,))
        ending.cancel()
    finally:
        await server.stop()
