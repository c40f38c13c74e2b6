"""Codecs: how the keys and values of a group of blocks become bytes."""
