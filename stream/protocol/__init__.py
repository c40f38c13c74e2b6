"""The websocket protocol, without any input or output of its own."""
