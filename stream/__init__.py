"""Sources, keyframes, ingest and sessions."""
