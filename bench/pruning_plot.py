"""The plot of a pruning run: accuracy against the share of tokens that was kept."""

from collections.abc import Sequence
from pathlib import Path

from .plot import canvas, palette, save
from .pruning_bench import FULL
from .pruning_table import Line

MARKERS = "svD^<>Pp*h"
PLAIN = ("random", "uniform", "pool", "last-n")  # the baselines, in grey


def plot_lines(lines: Sequence[Line], path: Path, title: str, ours: str) -> None:
    """Draw a line for each recipe, the default one in black; the file's ending says which format.

    Raises InstallationError without matplotlib, OnlookerError when the file cannot be written.
    """
    figure, axes = canvas(10, 6)
    full = next(line for line in lines if line.recipe == FULL)
    axes.axhline(full.accuracy, color="black", linestyle=":", linewidth=1, label="every token")
    colours = palette()
    names = [name for name in dict.fromkeys(line.recipe for line in lines) if name != FULL]
    for number, name in enumerate(names):
        mine = sorted((line for line in lines if line.recipe == name), key=lambda line: line.kept)
        plain = name in PLAIN
        hue = colours(number / len(names))
        axes.plot(
            [line.kept * 100 for line in mine],
            [line.accuracy for line in mine],
            marker="o" if name == ours else MARKERS[number % len(MARKERS)],
            markersize=8 if name == ours else 4,
            linewidth=3 if name == ours else 1.2,
            linestyle="--" if plain else "-",
            color="black" if name == ours else "grey" if plain else hue,
            zorder=3 if name == ours else 2,
            label=name,
        )
    axes.set_xscale("log")
    ticks = sorted({round(line.rate * 100) for line in lines if line.recipe != FULL})
    axes.set_xticks(ticks, [f"{tick} %" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("visual tokens kept")
    axes.set_ylabel("share of right answers")
    axes.grid(alpha=0.3)
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save(figure, path)
