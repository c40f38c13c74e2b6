"""Keyframes as they are kept for a while with all their visual tokens."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..models.tokens import VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Hold a keyframe's whole visual tokens, for reading it again when it is recent.

    block_id: its block's number, whether that is stored yet or not.  place: where its block starts (KVBlock.place);
    for one not stored yet, where the first of those starts.  end_us: time of the next keyframe; None while there is
    none.
    """

    block_id: int
    tokens: VisualTokens
    thumbnail: bytes
    place: int
    end_us: int | None = None

    @property
    def time_us(self) -> int:
        """Time of the keyframe."""
        return self.tokens.times_us[0]

    @property
    def features(self) -> Tensor:
        """Its visual features [cells, D]."""
        return self.tokens.features


def within(start_us: int, end_us: int, since_us: int | None, until_us: int | None) -> bool:
    """Say whether a keyframe that was the newest one in [start_us, end_us) was so at some time in [since, until)."""
    return (since_us is None or end_us > since_us) and (until_us is None or start_us < until_us)


def alone(tokens: VisualTokens, number: int) -> VisualTokens:
    """Cut a frame out of several, sharing no memory with them: a view would keep all of them alive."""
    one = tokens.frame(number)
    return replace(one, features=one.features.clone(), extras={name: p.clone() for name, p in one.extras.items()})


def thumbnail(image: NDArray[np.uint8], longer_px: int) -> bytes:
    """Shrink a picture to JPEG bytes; longer_px 0 gives none."""
    if longer_px == 0:
        return b""
    height, width = image.shape[:2]
    scale = min(1.0, longer_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if size != (width, height) else image
    done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(data.tobytes()) if done else b""
