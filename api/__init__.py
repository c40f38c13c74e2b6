"""Onlooker: watch a video stream for hours and answer questions about any moment of it, from bounded memory."""
