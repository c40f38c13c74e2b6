"""The codecs of one memory: all that its groups may be coded by."""

from collections.abc import Mapping

from .block import KVLayout
from .codecs.choice import CODECS, codec_of
from .codecs.codec import Codec
from .codecs.tables import CodecTables
from .consolidation import Ladder
from .store import Store

TABLES = "codec tables"
"""The note that keeps what `auto` reads: a memory stays readable when its model is calibrated anew."""

COARSE, GIST = "int2", "int4"
"""How old groups are coded once room is short, where `auto` cannot be, and how gist is."""


def codecs_of(layout: KVLayout, store: Store | None = None, tables: CodecTables | None = None) -> Mapping[str, Codec]:
    """Make every codec that a memory can use, by name; `auto` only where there are tables for it.

    tables: the model's; those that the store has already come first.  Raises RecallError where those are damaged.
    """
    kept = None if store is None else store.noted(TABLES)
    if kept is not None:
        tables = CodecTables.from_bytes(kept)
    return {name: codec_of(name, layout, tables) for name in CODECS if name != "auto" or tables is not None}


def keep_tables(store: Store, tables: CodecTables | None) -> None:
    """Keep a model's tables with a memory that has none yet, or whose own are damaged and so of no use."""
    if tables is not None and store.noted(TABLES) is None:
        store.note(TABLES, tables.to_bytes())


def ladder_of(codecs: Mapping[str, Codec]) -> Ladder:
    """Choose what consolidation codes old groups by."""
    return Ladder(codecs, "auto" if "auto" in codecs else COARSE, GIST)
