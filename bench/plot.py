"""The plot of a recall run: accuracy by the time since the needed moment."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InstallationError, OnlookerError, SettingsError
from .tally import DELAYS_S, Reply, delay_name, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_STYLES = dict.fromkeys(("blind", "recent-4", "uniform-64", "full", "oracle"), "--")
_STYLES |= {"ours-always": ":", "ours-never": ":"}


def canvas(width_in: float, height_in: float) -> tuple["Figure", "Axes"]:
    """Make an empty figure, in inches.  Raises InstallationError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InstallationError("plots need matplotlib; install it with: pip install 'onlooker[bench]'") from error
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def palette() -> "Colormap":
    """Give colours for many lines, from 0 to 1."""
    from matplotlib import colormaps

    return colormaps["turbo"]


def check_plot(path: Path | None) -> None:
    """Refuse a file that could not be drawn in the end, before minutes are spent.

    Raises InstallationError without matplotlib, SettingsError for an ending that it does not know.
    """
    if path is None:
        return
    known = canvas(1, 1)[0].canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in known:
        raise SettingsError(f"{path} cannot be drawn; give a file that ends in one of {', '.join(sorted(known))}")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure; the file's ending says which format.  Raises OnlookerError when the file cannot be written."""
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise OnlookerError(f"cannot write {path}: {error}; check the folder and the file's ending") from error


def plot_delays(replies: Sequence[Reply], path: Path, title: str) -> None:
    """Draw accuracy on past questions by delay, one line a policy; the file's ending says which format.

    Raises InstallationError without matplotlib, OnlookerError when the file cannot be written.
    """
    past = [reply for reply in replies if reply.kind != "present"]
    delays = [delay for delay in DELAYS_S if any(reply.delay_s == delay for reply in past)]
    figure, axes = canvas(9, 5)
    for number, policy in enumerate(dict.fromkeys(reply.policy for reply in past)):
        points = []
        for place, delay in enumerate(delays):
            group = [reply for reply in past if reply.policy == policy and reply.delay_s == delay]
            accuracy = summary(group, policy, "", delay).accuracy
            if accuracy is not None:
                points.append((place, accuracy))
        if not points:
            continue
        ours = policy == "ours"
        axes.plot(
            [place for place, _ in points],
            [accuracy for _, accuracy in points],
            marker="o" if ours else ".",
            linewidth=3 if ours else 1.5,
            linestyle=_STYLES.get(policy, "-"),
            color="black" if ours else f"C{number % 10}",
            label=policy,
        )
    axes.set_xticks(range(len(delays)), [delay_name(delay) for delay in delays])
    axes.set_xlabel("time since the oldest moment that the question needs")
    axes.set_ylabel("share of right answers")
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save(figure, path)
