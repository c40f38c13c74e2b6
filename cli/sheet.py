"""Contact sheets: the same frames under one recipe or several, with what each kept of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SettingsError
from ..memory.time_phrases import format_clock
from .lettering import Colour, Lettering, Pen, Picture
from .tile import KEPT_EDGE, MERGED_EDGE, Survivors, draw_tile

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 1800
"""The width in px that a sheet has at most where the columns are not given."""

MOST_SIDE = 32_000
"""The longest side in px: viewers and JPEG end at 32,767 or 65,535."""

GROUND: Colour = (22, 24, 28)
TITLE = Pen(22, (240, 240, 240), bold=True)
NAME = Pen(17, (255, 255, 255), bold=True)
FACT = Pen(14, (190, 194, 200))
TIME = Pen(13, (235, 235, 235))
COUNT = Pen(13, (190, 194, 200))
WHY = Pen(11, (150, 155, 163))

_MARGIN, _GAP, _ROW_GAP = 20, 10, 12
_CAPTION, _HEAD, _BLOCK, _CHART, _AXIS = 36, 88, 34, 36, 22
_LEAST_WIDTH = 720


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Hold one keyframe of a sheet.

    picture: as large as a tile.  why: what the keyframe gate said.  survivors: by recipe.
    """

    time_us: int
    picture: Picture
    why: str
    survivors: "Mapping[str, Survivors]"


@dataclass(frozen=True, slots=True)
class Block:
    """Hold what stands above one recipe's frames.

    fact: a line.  shares: begin of each bin in us, and the share kept in it.  bin_us: how long a bin is.
    """

    name: str
    fact: str
    asked: float
    shares: tuple[tuple[int, float], ...]
    bin_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Hold all that a sheet shows.  span_us: times of the first and the last frame."""

    title: str
    facts: str
    grid: tuple[int, int]
    span_us: tuple[int, int]
    shown: Sequence[Shown]
    blocks: Sequence[Block]

    @property
    def merges(self) -> bool:
        """Whether any recipe merges cells."""
        return any(part.owners is not None for item in self.shown for part in item.survivors.values())


@dataclass(frozen=True, slots=True)
class SheetLayout:
    """Say where things stand.  tile: (height, width) in px.  columns: None for as many as fit well."""

    tile: tuple[int, int]
    columns: int | None = None

    def columns_of(self, frames: int) -> int:
        """Choose the columns for so many frames; rows are filled as evenly as they can be."""
        if self.columns is not None:
            return max(1, min(self.columns, frames))
        most = max(1, (WIDTH - 2 * _MARGIN + _GAP) // (self.tile[1] + _GAP))
        rows = max(1, -(-frames // most))
        return max(1, -(-frames // rows))

    def rows_of(self, frames: int) -> int:
        """Count the rows of one recipe."""
        return -(-frames // self.columns_of(frames))

    def block_height(self, frames: int) -> int:
        """Height of one recipe's part, px."""
        row = self.tile[0] + _CAPTION + _ROW_GAP
        return _BLOCK + _CHART + _AXIS + self.rows_of(frames) * row

    def size(self, frames: int, blocks: int) -> tuple[int, int]:
        """Say how large a sheet becomes, (height, width) in px.  Raises SettingsError where that is too large."""
        across = self.columns_of(frames)
        width = max(2 * _MARGIN + across * (self.tile[1] + _GAP) - _GAP, _LEAST_WIDTH)
        height = _HEAD + blocks * self.block_height(frames) + _MARGIN // 2
        if max(height, width) > MOST_SIDE:
            raise SettingsError(
                f"the sheet would be {width} x {height} pixels, and {MOST_SIDE:,} is the longest side; "
                "show fewer frames (--frames) or recipes, or change --columns"
            )
        return height, width

    def most(self, frames: int, blocks: int) -> int:
        """Say how many of so many frames make no sheet too large.  Raises SettingsError where not even one does."""
        for fewer in range(frames, 1, -1):
            try:
                self.size(fewer, blocks)
            except SettingsError:
                continue
            return fewer
        self.size(1, blocks)
        return 1


def draw_sheet(sheet: Sheet, layout: SheetLayout) -> Picture:
    """Draw a sheet, uint8 RGB [height, width, 3].  Raises SettingsError where it would be too large."""
    height, width = layout.size(len(sheet.shown), len(sheet.blocks))
    page = np.full((height, width, 3), GROUND, dtype=np.uint8)
    letters = Lettering()
    inner = width - 2 * _MARGIN
    letters.write(page, sheet.title, TITLE, _MARGIN, 32, inner)
    letters.write(page, sheet.facts, FACT, _MARGIN, 54, inner)
    _draw_legend(page, letters, 74, sheet.merges)
    top = _HEAD
    for block in sheet.blocks:
        behind = letters.write(page, block.name, NAME, _MARGIN, top + 22, inner)
        letters.write(page, block.fact, FACT, behind + 14, top + 22, width - _MARGIN - behind - 14)
        chart = page[top + _BLOCK : top + _BLOCK + _CHART, _MARGIN : width - _MARGIN]
        _draw_chart(chart, block, sheet.span_us, [item.time_us for item in sheet.shown])
        _draw_axis(page, letters, top + _BLOCK + _CHART + 14, sheet.span_us, block.asked)
        _draw_rows(page, letters, top + _BLOCK + _CHART + _AXIS, sheet, block.name, layout)
        top += layout.block_height(len(sheet.shown))
    return page


def encode_sheet(page: Picture, suffix: str) -> bytes:
    """Make a file's bytes of a sheet.  suffix: .png, .jpg or .jpeg."""
    done, data = cv2.imencode(suffix, cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    if not done:
        raise SettingsError(f"a sheet of {page.shape[1]} x {page.shape[0]} pixels cannot be written as {suffix}")
    return bytes(data.tobytes())


def clock(time_us: int) -> str:
    """Write a stream time to a tenth of a second: 3:25.5."""
    tenths = max(time_us, 0) // 100_000
    return f"{format_clock(tenths * 100_000)}.{tenths % 10}"


def _draw_rows(page: Picture, letters: Lettering, top: int, sheet: Sheet, name: str, layout: SheetLayout) -> None:
    tall, wide = layout.tile
    columns = layout.columns_of(len(sheet.shown))
    for number, item in enumerate(sheet.shown):
        y = top + number // columns * (tall + _CAPTION + _ROW_GAP)
        x = _MARGIN + number % columns * (wide + _GAP)
        survivors = item.survivors[name]
        page[y : y + tall, x : x + wide] = draw_tile(item.picture, sheet.grid, survivors)
        letters.write(page, clock(item.time_us), TIME, x, y + tall + 15, wide)
        count = f"{survivors.count}/{len(survivors.kept)}"
        across = letters.width(count, COUNT.size)
        letters.write(page, count, COUNT, max(x, x + wide - across), y + tall + 15, wide)
        letters.write(page, item.why, WHY, x, y + tall + 30, wide)


def _draw_chart(chart: Picture, block: Block, span_us: tuple[int, int], times_us: Sequence[int]) -> None:
    """Draw the kept share over time as bars, what was asked as a dashed line, and marks below the frames shown."""
    height, width = chart.shape[:2]
    chart[:] = (34, 37, 43)
    scale = width / (span_us[1] - span_us[0] + block.bin_us)  # the last bar begins where the span ends
    thick = max(2, round(block.bin_us * scale))
    for time_us, share in block.shares:
        x = round((time_us - span_us[0]) * scale)
        tall = round(share * (height - 4))
        if tall:
            chart[height - 4 - tall : height - 4, max(0, x) : x + thick] = (214, 168, 52)
    y = height - 4 - round(block.asked * (height - 4))
    for x in range(0, width, 10):
        chart[y : y + 1, x : x + 5] = (235, 235, 235)
    for time_us in times_us:
        x = max(0, round((time_us - span_us[0]) * scale))
        chart[height - 3 :, x : x + 2] = (235, 235, 235)


def _draw_axis(page: Picture, letters: Lettering, base: int, span_us: tuple[int, int], asked: float) -> None:
    width = page.shape[1] - 2 * _MARGIN
    begin, end = clock(span_us[0]), clock(span_us[1])
    letters.write(page, begin, WHY, _MARGIN, base, width)
    letters.write(page, end, WHY, _MARGIN + width - letters.width(end, WHY.size), base, width)
    told = f"share kept over time, 0 to 100 %; dashed: the {asked:.0%} asked for; marks: the frames below"
    letters.write(page, told, WHY, _MARGIN + (width - letters.width(told, WHY.size)) // 2, base, width - 160)


def _draw_legend(page: Picture, letters: Lettering, base: int, merges: bool) -> None:
    """Show what the tiles' looks mean."""
    looks: list[tuple[Colour, Colour, str]] = [
        ((150, 110, 90), KEPT_EDGE, "kept"),
        ((44, 44, 44), (44, 44, 44), "dropped"),
    ]
    if merges:
        looks += [((135, 131, 111), MERGED_EDGE, "kept, others merged in"), ((45, 62, 60), (45, 62, 60), "merged away")]
    x = _MARGIN
    for inside, edge, name in looks:
        page[base - 11 : base + 1, x : x + 16] = edge
        page[base - 10 : base, x + 1 : x + 15] = inside
        x = letters.write(page, name, FACT, x + 22, base, 400) + 22
