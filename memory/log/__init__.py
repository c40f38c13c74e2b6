"""The segment log: one append-only, checksummed log per stream, which survives a crash at any moment."""
