"""The thin client: sessions of a server over its websocket; needs websockets and numpy, and no torch.

import onlooker.client

with onlooker.client.connect("http://127.0.0.1:8765/#token=...") as session:
    session.see(picture)
    print(session.ask("What is on the table?").text)
"""

from ..answer import Answer, Evidence
from ..stream.protocol.server_events import (
    FrameDropped,
    Mark,
    MemoryEvicted,
    SourceStatus,
    Stretch,
    WatchCleared,
    WatchFired,
)
from .connecting import connect
from .inquiry import RemoteInquiry
from .records import ConnectionChanged, MemoryState, RemoteEvent, RemoteStats
from .remote_session import RemoteSession

__all__ = [
    "Answer",
    "ConnectionChanged",
    "Evidence",
    "FrameDropped",
    "Mark",
    "MemoryEvicted",
    "MemoryState",
    "RemoteEvent",
    "RemoteInquiry",
    "RemoteSession",
    "RemoteStats",
    "SourceStatus",
    "Stretch",
    "WatchCleared",
    "WatchFired",
    "connect",
]
