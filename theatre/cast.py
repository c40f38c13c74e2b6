"""The cast of the sprite theatre: named sprites, colours, textures, places and sign words."""

from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

# Rendered from Noto Color Emoji (SIL Open Font License 1.1; see NOTICE), 10 to a row, 64 px each, in this order.
SPRITES: tuple[str, ...] = tuple(
    """
    dog cat fox bear panda lion tiger cow pig frog
    monkey chicken penguin owl duck unicorn bee snail turtle octopus
    crab whale shark elephant giraffe apple banana lemon pear watermelon
    pineapple carrot pizza burger cake egg mushroom donut avocado car
    bus train rocket boat tractor helicopter house castle tent tree
    cactus flower rose sun moon star cloud umbrella snowman balloon
    gift guitar drum trumpet camera phone book clock lamp key
    anchor crown hat robot ball pumpkin heart diamond pencil bell
    """.split()
)
SPRITE_PX = 64
SHEET_COLUMNS = 10

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 45, 45),
    "orange": (240, 140, 35),
    "yellow": (238, 220, 70),
    "green": (60, 160, 75),
    "blue": (50, 95, 210),
    "purple": (130, 60, 180),
    "pink": (246, 155, 195),
    "grey": (128, 128, 128),
}
TEXTURES: tuple[str, ...] = ("plain", "stripes", "dots", "checks", "gradient")
PLACES: dict[str, tuple[float, float]] = {
    "top left": (0.2, 0.2),
    "top": (0.5, 0.2),
    "top right": (0.8, 0.2),
    "left": (0.2, 0.5),
    "middle": (0.5, 0.5),
    "right": (0.8, 0.5),
    "bottom left": (0.2, 0.8),
    "bottom": (0.5, 0.8),
    "bottom right": (0.8, 0.8),
}
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
WORDS: tuple[str, ...] = tuple(
    """
    open exit stop cafe taxi bank help sale park zoo bar gym
    shop menu lost wait push pull free hotel north south lunch music
    """.split()
)


def plural(name: str) -> str:
    """Write the plural of a sprite's name."""
    return name + ("es" if name.endswith(("x", "s", "sh", "ch")) else "s")


def load_sheet() -> NDArray[np.uint8]:
    """Read the sprites as uint8 [80, 64, 64, 4] RGBA."""
    data = files(__package__).joinpath("sprites.png").read_bytes()
    sheet = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if sheet is None:
        raise RuntimeError("theatre/sprites.png cannot be decoded; reinstall onlooker")
    sheet = cv2.cvtColor(sheet, cv2.COLOR_BGRA2RGBA)
    rows = sheet.shape[0] // SPRITE_PX
    cells = sheet.reshape(rows, SPRITE_PX, SHEET_COLUMNS, SPRITE_PX, 4).swapaxes(1, 2)
    return np.ascontiguousarray(cells.reshape(-1, SPRITE_PX, SPRITE_PX, 4)[: len(SPRITES)], dtype=np.uint8)
