"""The thin client: sessions of a server over its websocket; needs websockets and numpy, and no torch."""
