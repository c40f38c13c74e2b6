"""The websocket server and its page."""
