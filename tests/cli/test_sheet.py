import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.cli.lettering import Lettering, Pen
from onlooker.cli.sheet import MOST_SIDE, Block, Sheet, SheetLayout, Shown, clock, draw_sheet, encode_sheet
from onlooker.cli.tile import KEPT_EDGE, MERGED_EDGE, Survivors, draw_tile, shrink, tile_size
from onlooker.errors import SettingsError

RED = (200, 40, 40)


def plain(height: int = 40, width: int = 80, colour: tuple[int, int, int] = RED) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def kept(*cells: int, of: int) -> Survivors:
    return Survivors(np.isin(np.arange(of), cells))


def inside(tile: NDArray[np.uint8], cell: int, grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Give a cell's pixels without its edge."""
    height, width = tile.shape[0] // grid[0], tile.shape[1] // grid[1]
    y, x = cell // grid[1] * height, cell % grid[1] * width
    return tile[y + 1 : y + height - 1, x + 1 : x + width - 1]


def sheet_of(frames: int, names: list[str], layout: SheetLayout, shares: tuple[tuple[int, float], ...] = ()) -> Sheet:
    survivors = {name: kept(0, of=4) for name in names}
    shown = [Shown(number * 500_000, plain(*layout.tile), "gate: 5", survivors) for number in range(frames)]
    blocks = [Block(name, "kept 25.0%", 0.25, shares, 100_000) for name in names]
    return Sheet("film.mp4", "pocket", (2, 2), (0, 500_000 * (frames - 1)), shown, blocks)


def test_kept_cells_are_clear_and_dropped_ones_grey_and_dark() -> None:
    tile = draw_tile(plain(), (2, 4), kept(5, of=8))
    assert (inside(tile, 5, (2, 4)) == RED).all()
    others = np.concatenate([inside(tile, cell, (2, 4)).reshape(-1, 3) for cell in (0, 4, 6)])
    assert (others == others[:, :1]).all() and others.max() < 60


def test_an_edge_runs_around_what_is_kept_and_not_through_it() -> None:
    tile = draw_tile(plain(), (2, 4), kept(1, 2, of=8))
    yellow = (tile == KEPT_EDGE).all(-1)
    assert yellow[0, 20:60].all() and yellow[19, 20:60].all() and yellow[:20, 20].all() and yellow[:20, 59].all()
    assert yellow.sum() == 2 * 40 + 2 * 18


def test_survivors_that_stand_for_others_are_tinted_and_those_gone_into_them_marked() -> None:
    owners = np.array([1, 1, -1, 3])
    tile = draw_tile(plain(), (1, 4), Survivors(np.array([False, True, False, True]), owners))
    away, stands, dropped, alone = (inside(tile, cell, (1, 4)).reshape(-1, 3).mean(0) for cell in range(4))
    assert alone.tolist() == list(RED)
    assert stands[1] > RED[1] and stands[2] > RED[2] and stands[0] < RED[0]
    assert away[1] > away[0] and dropped[0] == dropped[1] == dropped[2]
    assert (tile[20, 20] == MERGED_EDGE).all() and (tile[20, 60] == KEPT_EDGE).all()


def test_a_frame_of_which_nothing_is_kept_is_darker_than_what_is_dropped_of_others() -> None:
    nothing, something = (draw_tile(plain(), (2, 4), kept(*cells, of=8)) for cells in ((), (7,)))
    assert 0 < nothing.max() < inside(something, 0, (2, 4)).min()


def test_cells_too_small_for_an_edge_have_none() -> None:
    tile = draw_tile(plain(30, 40), (10, 10), kept(*range(0, 100, 2), of=100))
    assert not (tile == KEPT_EDGE).all(-1).any() and (tile == RED).all(-1).any()


@given(st.integers(1, 20), st.integers(1, 300), st.data())
@settings(max_examples=30, deadline=None)
def test_any_grid_can_be_drawn_finer_than_pixels_too(rows: int, columns: int, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 5000)), data.draw(st.integers(1, 5000))
    size = tile_size(height, width, (rows, columns))
    assert min(size) >= 70 and max(size) <= 1000
    assert size[1] / size[0] <= 12.5 and size[0] / size[1] <= 12.5
    mask = np.random.default_rng(rows).random(rows * columns) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    tile = draw_tile(plain(*size), (rows, columns), Survivors(mask))
    assert tile.shape == (*size, 3) and tile.dtype == np.uint8


@pytest.mark.parametrize(
    ("frame", "grid", "size"),
    [((224, 224), (4, 4), (195, 195)), ((1080, 1920), (9, 16), (146, 260)), ((10, 8000), (1, 1), (80, 477))],
)
def test_tiles_have_the_shape_of_the_frames_within_reason(
    frame: tuple[int, int], grid: tuple[int, int], size: tuple[int, int]
) -> None:
    assert tile_size(*frame, grid) == size


def test_many_cells_make_larger_tiles_up_to_a_limit() -> None:
    assert tile_size(300, 300, (28, 28)) == (280, 280)
    assert tile_size(300, 300, (200, 200)) == (390, 390)


def test_pictures_of_any_size_become_tiles() -> None:
    for height, width in ((1, 1), (7, 3000), (2000, 31)):
        assert (shrink(plain(height, width), (40, 80)) == RED).all()


@given(st.text(max_size=40), st.integers(0, 300), st.booleans())
@settings(max_examples=60, deadline=None)
def test_text_is_cut_to_its_room(text: str, width: int, bold: bool) -> None:
    letters = Lettering()
    line = letters.fit(text, 13, width, bold)
    assert letters.width(line, 13, bold) <= width
    words = " ".join(text.split())
    assert line in ("", words) or (words.startswith(line[:-1].rstrip()) and line.endswith("…"))


def test_text_stays_within_its_room_and_says_where_it_ends() -> None:
    page, letters = plain(30, 400, (0, 0, 0)), Lettering()
    behind = letters.write(page, "kept 25 % of 1,234 tokens", Pen(13, (255, 255, 255)), 50, 20, 90)
    inked = np.flatnonzero(page.any((0, 2)))
    assert inked.min() >= 50 and inked.max() < behind + 2 <= 142
    assert letters.write(page, "", Pen(13, (255, 255, 255)), 7, 20, 90) == 7


@given(st.integers(1, 14), st.integers(1, 3), st.none() | st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_a_sheet_is_as_large_as_was_said_and_shows_every_frame(frames: int, blocks: int, columns: int | None) -> None:
    layout = SheetLayout((40, 60), columns)
    names = [f"recipe {number}" for number in range(blocks)]
    page = draw_sheet(sheet_of(frames, names, layout), layout)
    assert page.shape == (*layout.size(frames, blocks), 3)
    assert layout.columns_of(frames) * layout.rows_of(frames) >= frames
    clear = (page == RED).all(-1)
    assert clear.sum() == frames * blocks * (20 - 2) * (30 - 2)  # one cell of 2 x 2, without its edge


def test_rows_are_filled_evenly() -> None:
    layout = SheetLayout((195, 195))
    assert [layout.columns_of(frames) for frames in (1, 8, 9, 24, 25)] == [1, 8, 5, 8, 7]
    assert SheetLayout((195, 195), 5).columns_of(3) == 3


def test_a_sheet_that_no_viewer_opens_is_refused() -> None:
    layout = SheetLayout((195, 195), 1)
    with pytest.raises(SettingsError, match=r"--frames.*--columns"):
        layout.size(400, 1)
    assert layout.size(100, 1)[0] <= MOST_SIDE
    most = layout.most(400, 1)
    assert layout.size(most, 1)[0] <= MOST_SIDE
    with pytest.raises(SettingsError):
        layout.size(most + 1, 1)
    assert layout.most(7, 1) == 7
    with pytest.raises(SettingsError):
        layout.most(5, 200)


def test_the_chart_has_a_bar_where_something_was_kept() -> None:
    layout = SheetLayout((40, 60))
    without, one, full = (
        draw_sheet(sheet_of(11, ["novelty"], layout, shares), layout).astype(int)
        for shares in ((), ((2_500_000, 0.5),), ((2_500_000, 1.0),))
    )
    rows, columns = np.nonzero((one != without).any(-1))
    middle = without.shape[1] / 2
    assert abs(columns.mean() - middle) < 10
    assert len(set(rows)) < len(set(np.nonzero((full != without).any(-1))[0]))


def test_marks_show_where_the_frames_are_from() -> None:
    layout = SheetLayout((40, 60))
    few, many = (draw_sheet(sheet_of(frames, ["novelty"], layout), layout) for frames in (2, 9))
    line = 88 + 34 + 36 - 1
    white = [int((page[line, 20:-20] == 235).all(-1).sum()) for page in (few, many)]
    assert white == [4, 18]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_sheet_becomes_a_file_with_the_colours_it_had(suffix: str) -> None:
    read = cv2.imdecode(np.frombuffer(encode_sheet(plain(), suffix), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert read is not None
    assert np.abs(read.astype(int) - RED).max() <= (0 if suffix == ".png" else 6)


def test_times_have_tenths() -> None:
    assert [clock(time_us) for time_us in (-5, 0, 99_999, 12_500_000, 3_661_250_000)] == [
        "0:00.0",
        "0:00.0",
        "0:00.0",
        "0:12.5",
        "1:01:01.2",
    ]
