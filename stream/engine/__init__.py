"""The engine: one model, many sessions, one thread that owns the device."""
