"""Noise over a real socket: whatever comes, the server stays, and no session is left behind."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed

from onlooker.model import Model
from onlooker.stream.protocol.client_events import CLIENT_EVENTS
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.server.settings import ServerSettings

MESSAGES = 4000
SOCKETS = 4

VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1 << 62,
    "",
    "x",
    "\u0000",
    "what is the ball ?",
    [],
    {},
    [[]],
    {"a": 1},
    "everything",
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "what ?"}]},
    {"session_id": "0" * 24, "token": "x", "last_seq": 0},
    {"prune_rate": 0.5},
)
FIELDS = sorted({name for event in CLIENT_EVENTS.classes.values() for name in event.__dataclass_fields__})


def noise(dice: random.Random, frame: Callable[..., bytes]) -> str | bytes:
    """Make a message: often nearly right, sometimes nothing at all."""
    kind = dice.randrange(8)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        whole = bytearray(frame(dice.randrange(1 << 32)))
        whole[dice.randrange(min(60, len(whole)))] = dice.randrange(256)
        return bytes(whole[: dice.randrange(1, len(whole))])
    if kind == 2:
        return "".join(chr(dice.randrange(32, 0x2FFF)) for _ in range(dice.randrange(50)))
    name = dice.choice((*CLIENT_EVENTS.classes, "unknown"))
    event: dict[str, object] = {"type": name}
    for field in dice.sample(FIELDS, dice.randrange(4)):
        event[field] = dice.choice(VALUES)
    if name == "response.create":
        event["max_tokens"] = 1
    text = json.dumps(event)
    if kind == 3:
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice('{}[]",:0\\u') + text[at + 1 :]
    return text


def test_noise_neither_ends_the_server_nor_leaves_a_session(harness: Any, model: Model) -> None:
    async def run() -> None:
        limits = Limits(resume_s=0.2, message_rate=1e6, message_burst=1_000_000, errors_in_a_row=40, max_fps=1000.0)
        async with harness.serving(model, ServerSettings(port=0, limits=limits)) as served:
            sent = 0

            async def shout(seed: int) -> None:
                nonlocal sent
                dice = random.Random(seed)
                while sent < MESSAGES:
                    async with served.client() as client:
                        reading = asyncio.create_task(client.rest())
                        try:
                            if dice.random() < 0.9:
                                await client.send("session.update", max_tokens=1)
                            for _ in range(dice.randrange(200)):
                                await client.socket.send(noise(dice, harness.frame))
                                sent += 1
                        except ConnectionClosed:
                            pass
                        if dice.random() < 0.5:
                            client.socket.transport.abort()
                        await client.socket.close()
                        events = await reading
                        assert not [event for event in events if event.get("code") == "internal"]

            await asyncio.gather(*(shout(seed) for seed in range(SOCKETS)))
            assert sent >= MESSAGES
            await served.gone()
            assert served.server.metrics.errors["internal"] == 0
            async with served.client() as client:
                await client.hello(frame_reports="each", max_tokens=2)
                await client.see(2)
                assert (await client.ask())["status"] in ("completed", "incomplete")

    asyncio.run(run())
