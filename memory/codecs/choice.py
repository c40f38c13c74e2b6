"""The choice of a codec by name."""

from ...errors import SettingsError
from ..block import KVLayout
from .codec import Codec
from .plain import PlainCodec, half_type
from .tables import CodecTables
from .transform import TransformCodec
from .uniform import UniformCodec

CODECS = ("raw", "raw16", "int8", "int4", "int2", "auto")
"""All codecs by name, the most exact first."""

_LEVELS = {"int8": 256, "int4": 16, "int2": 4}


def codec_of(name: str, layout: KVLayout, tables: CodecTables | None = None) -> Codec:
    """Make the codec of this name for a model's cache.

    tables: what calibration measured on the model; only `auto` reads them.  Raises SettingsError for a name that is
    not there, for `auto` without tables and for tables of another model.
    """
    if name == "raw":
        return PlainCodec(name, layout, layout.dtype)
    if name == "raw16":
        return PlainCodec(name, layout, half_type(layout.dtype))
    if name in _LEVELS:
        return UniformCodec(name, layout, _LEVELS[name])
    if name != "auto":
        raise SettingsError(f"there is no codec {name!r}; choose one of {', '.join(CODECS)}")
    if tables is None:
        raise SettingsError(
            "codec auto spends its bits by what calibration measured, and this model has no such tables; run "
            f"`onlooker memory calibrate`, or choose one of {', '.join(CODECS[:-1])}"
        )
    return TransformCodec(layout, tables)
