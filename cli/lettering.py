"""Text in pictures: written with OpenCV's own font, measured, and cut to fit."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

ELLIPSIS = "…"


class Lettering:
    """Write text into RGB pictures; sizes are in pixels.

    The font comes with OpenCV 5 and has Latin, Greek, Cyrillic and some more; other signs become question marks.
    """

    @cached_property
    def _font(self) -> cv2.FontFace:
        return cv2.FontFace("sans")

    def width(self, text: str, size: int, bold: bool = False) -> int:
        """Measure a line, px."""
        if not text:
            return 0
        # A blank at an end has no ink, and would not be measured.
        across = [
            cv2.getTextSize((0, 0), word, (0, 0), self._font, size, _weight(bold))[2] for word in (text + ".", ".")
        ]
        return across[0] - across[1]

    def _ink(self, text: str, size: int, bold: bool) -> int:
        return int(cv2.getTextSize((0, 0), text, (0, 0), self._font, size, _weight(bold))[2])

    def fit(self, text: str, size: int, width: int, bold: bool = False) -> str:
        """Cut a line so that it takes at most `width` px; empty where not even an ellipsis does."""
        line = " ".join(text.split())
        if self.width(line, size, bold) <= width:
            return line
        low, high = 0, len(line)
        while low < high:  # the longest beginning that fits with an ellipsis behind it
            middle = (low + high + 1) // 2
            if self.width(line[:middle].rstrip() + ELLIPSIS, size, bold) <= width:
                low = middle
            else:
                high = middle - 1
        return line[:low].rstrip() + ELLIPSIS if low else ""

    def write(self, picture: Picture, text: str, pen: "Pen", left: int, base: int, width: int) -> int:
        """Write a line, cut to `width` px, with its base line at y = base; give the x behind it."""
        line = self.fit(text, pen.size, width, pen.bold)
        if not line:
            return left
        cv2.putText(picture, line, (left, base), pen.colour, self._font, pen.size, _weight(pen.bold))
        return left + self.width(line, pen.size, pen.bold)


@dataclass(frozen=True, slots=True)
class Pen:
    """Hold how text looks.  size: px.  colour: RGB."""

    size: int
    colour: Colour
    bold: bool = False


def _weight(bold: bool) -> int:
    return 650 if bold else 400
