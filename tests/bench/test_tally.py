import json
from pathlib import Path

import pytest

from onlooker.bench.plot import plot_delays
from onlooker.bench.tally import Reply, delay_name, delay_of, rows_of, table, write_rows
from onlooker.errors import OnlookerError
from onlooker.theatre.questions import Question

MINUTE = 60_000_000


def reply(policy: str, kind: str, delay_s: int | None, right: bool | None, found: float | None = 1.0) -> Reply:
    return Reply(policy, kind, delay_s, right, found, 100.0, 5000)  # type: ignore[arg-type]


REPLIES = [
    reply("a", "place", 60, True),
    reply("a", "place", 60, False, 0.5),
    reply("a", "order", 300, True),
    reply("a", "presence", None, True, None),
    reply("a", "present", 0, True),
    reply("b", "place", 60, None, None),
    reply("b", "place", 60, True),
]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [([20], 0), ([19], 60), ([15], 300), ([10.1], 300), ([10], 600), ([0], 1200), ([19, 5], 600), ([], None)],
)
def test_the_delay_counts_from_the_oldest_needed_span(ends: list[float], expected: int | None) -> None:
    spans = tuple((round(end * MINUTE) - 1000, round(end * MINUTE)) for end in ends)
    assert delay_of(Question("x", "y", "place", spans, 20 * MINUTE)) == expected


def test_names_of_delays() -> None:
    names = [delay_name(delay) for delay in (0, 60, 600, 1200, 3600, 86400, None)]
    assert names == ["under 1 min", "1-5 min", "10-20 min", "20 min-1 h", "1-6 h", "over 24 h", "never"]


def test_rows_sum_up_by_policy_kind_and_delay(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.json", rows_of(REPLIES))
    rows = json.loads((tmp_path / "rows.json").read_text())
    keys = {"policy", "kind", "delay_s", "n", "accuracy", "span_recall", "context_tokens", "memory_bytes"}
    assert all(set(row) == keys for row in rows)
    assert [(row["policy"], row["kind"], row["delay_s"], row["n"]) for row in rows] == [
        ("a", "present", 0, 1),
        ("a", "presence", None, 1),
        ("a", "place", 60, 2),
        ("a", "order", 300, 1),
        ("b", "place", 60, 2),
    ]
    place = rows[2]
    assert (place["accuracy"], place["span_recall"]) == (0.5, 0.75)
    assert rows[1]["span_recall"] is None
    # A policy that could not be run on every question has no accuracy: it would not compare.
    assert rows[4]["accuracy"] is None and rows[4]["span_recall"] == 1.0


def test_the_table_tells_past_and_present_apart() -> None:
    lines = {line.split()[0]: line.split() for line in table(REPLIES).split("\n\n")[0].splitlines()}
    assert lines["policy"][:4] == ["policy", "past", "spans", "present"]
    assert lines["a"][1:4] == ["0.75", "0.83", "1.00"]
    assert lines["b"][1:4] == ["-", "1.00", "-"]
    assert lines["questions"][1:4] == ["4", "3", "1"]


def test_the_plot_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_delays(REPLIES, tmp_path / "plot.png", "title")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OnlookerError, match="cannot write"):
        plot_delays(REPLIES, tmp_path / "plot.nothing", "title")
