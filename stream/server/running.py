"""Running a server until it is told to end: by the first signal in good order, by the second at once."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from .server import Server

LEFT_AT_ONCE = 130
LEFT_HUNG = 1

_logger = logging.getLogger(__name__)


def run(server: Server, started: Callable[[], None], leave: Callable[[int], object] = os._exit) -> None:
    """Serve until SIGINT or SIGTERM comes.  started: called when the server is ready.

    leave: ends the process at once; called where a thread hangs that the interpreter would wait for, for ever.
    Raises ModelError where the model does not answer its first question.
    """
    asyncio.run(_run(server, started, leave))


async def _run(server: Server, started: Callable[[], None], leave: Callable[[int], object]) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    trouble: BaseException | None = None

    def hear() -> None:
        if told.is_set():
            leave(LEFT_AT_ONCE)  # threads may hang in a driver, and what is stored is stored
        _logger.info("ending: answers come to an end and memories are saved; a second signal leaves at once")
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
    except BaseException as error:
        trouble = error
        raise
    finally:
        await server.stop()
        if not server.hung and trouble is None:
            _logger.info("ended in good order")
        if server.hung:
            if trouble is not None:
                _logger.error("%s", trouble)  # nobody else will hear of it
            leave(LEFT_HUNG)
