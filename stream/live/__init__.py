"""Live sources: cameras, network streams and pushed frames, that come back when they are lost."""
