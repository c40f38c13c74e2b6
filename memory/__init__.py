"""Memory: KV blocks, the window and the archive that hold them, and recall that reads them."""
