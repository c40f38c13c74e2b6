"""What holds a stream's past: an archive made to a session's settings, in host memory or in a folder."""

from pathlib import Path

from ..errors import SettingsError
from ..memory.archive import Archive
from ..memory.codec_set import codecs_of, keep_tables, ladder_of
from ..memory.folder import Owner, open_store
from ..memory.log_store import LogStore
from ..memory.store import Store
from ..memory.traces import Traces
from ..models.backbone import Backbone, HeadId
from ..settings import Settings


def archive_of(
    backbone: Backbone, settings: Settings, heads: tuple[HeadId, ...], store: Store | None = None
) -> Archive:
    """Make an empty archive; store: on disk, in host memory when left out.

    Raises SettingsError for codec "auto" where the model has no tables for it.
    """
    layout = backbone.layout
    codecs = codecs_of(layout, store, backbone.codec_tables)
    if settings.codec not in codecs:
        raise SettingsError(
            f"codec {settings.codec!r} spends bits by a measurement that {backbone.name} lacks; make it once with: "
            f"onlooker memory calibrate --model {backbone.name}; or choose {', '.join(codecs)}"
        )
    return Archive(
        settings.archive_bytes,
        Traces(layout, heads, backbone.hidden_size, index_bytes=settings.index_bytes or settings.archive_bytes // 2),
        codecs[settings.codec],
        ladder=ladder_of(codecs),
        store=store,
        disk_cap_bytes=0 if store is None else settings.disk_bytes,
        working_cap_bytes=settings.device_bytes,
        keep_us=None if settings.keep_s is None else round(settings.keep_s * 1e6),
    )


def open_memory(backbone: Backbone, settings: Settings, folder: Path, write: bool = True) -> LogStore:
    """Open the store of a memory in a folder, or make it.  Raises StorageError as open_store does."""
    owner = Owner(backbone.name, backbone.layout, backbone.hidden_size, backbone.revision, backbone.frame_tokens)
    store = open_store(folder, owner, settings.disk_bytes, write=write, sync_s=settings.sync_s)
    try:
        if write:
            keep_tables(store, backbone.codec_tables)
    except BaseException:
        store.close()
        raise
    return store
