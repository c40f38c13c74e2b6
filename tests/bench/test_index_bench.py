import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onlooker.bench.index_bench import IndexPlan, report_text, run_index_bench, write_index_rows
from onlooker.bench.index_keys import IndexKeys, read_keys, watch_keys
from onlooker.bench.index_rivals import by_block
from onlooker.bench.recall_bench import RecallPlan
from onlooker.errors import OnlookerError, SettingsError


def made(rows: int = 3000, dim: int = 16) -> IndexKeys:
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((rows, dim)).astype(np.float32) * np.linspace(0.1, 3.0, dim, dtype=np.float32)
    return IndexKeys(keys, np.full(rows // 5, 5), rng.standard_normal((4, 3, dim)).astype(np.float32))


def test_every_way_is_measured_at_every_size(tmp_path: Path) -> None:
    held, plan = made(), IndexPlan(sizes=(2000, 4500), rows=3, questions=3, top_tokens=64)
    rows = list(run_index_bench(held, plan))
    assert [row.keys for row in rows] == [2000] * 10 + [4500] * 10
    assert {row.rounds for row in rows[:10]} == {1} and {row.rounds for row in rows[10:]} == {2}
    by_name = {row.name: row for row in rows[:10]}
    assert by_name["fp16, all read"].near == 1.0 and by_name["fp16, all read"].recall > 0.95
    assert all(0.0 <= row.recall <= row.near <= 1.0 and row.ms > 0 and row.bytes_a_key > 8 for row in rows)
    text = report_text(rows, held, plan)
    assert text.count("(default)") == 2 and "block bounds" in text
    write_index_rows(tmp_path / "rows.json", rows)
    assert json.loads((tmp_path / "rows.json").read_text())[0]["name"] == "fp16, all read"


def test_rivals_can_be_left_out() -> None:
    plan = IndexPlan(sizes=(1000,), rows=3, questions=1, rivals=False)
    assert len(list(run_index_bench(made(), plan))) == 7


def test_larger_sizes_repeat_the_keys_with_noise() -> None:
    held = made()
    small, large = held.of_size(1003, 0.1), held.of_size(7001, 0.1)
    assert (len(small.keys), small.rounds, len(large.keys), large.rounds) == (1000, 1, 7000, 3)
    assert np.array_equal(large.keys[:3000], held.keys) and len(large.counts) == 1400
    moved = (large.keys[3000:6000] - held.keys).std(axis=0) / held.keys.std(axis=0)
    assert moved == pytest.approx(np.full(16, 0.1), rel=0.1)


def test_keys_are_kept_and_read(tmp_path: Path) -> None:
    held, path = made(), tmp_path / "keys.npz"
    held.write(path)
    again = read_keys(path)
    assert np.array_equal(again.keys, held.keys) and np.array_equal(again.queries, held.queries)
    path.write_bytes(b"nothing")
    with pytest.raises(OnlookerError, match="holds no keys"):
        read_keys(path)
    with pytest.raises(OnlookerError, match="cannot write"):
        held.write(tmp_path / "missing" / "keys.npz")


def test_real_keys_and_queries_come_from_streams(backbone: Any) -> None:
    plan = RecallPlan(seed=3, streams=1, minutes=1.5)
    held = watch_keys(backbone, plan, 4)
    assert held.keys.shape == (int(held.counts.sum()), backbone.layout.head_dim) and len(held.counts) > 2
    assert held.queries.shape[1:] == (4, backbone.layout.head_dim) and len(held.queries) > 1
    with pytest.raises(SettingsError, match="no question has 1000 rows"):
        watch_keys(backbone, plan, 1000)
    with pytest.raises(SettingsError, match="make them longer"):
        watch_keys(backbone, RecallPlan(seed=3, streams=1, minutes=0.3), 4)


def test_the_best_row_of_a_block_counts() -> None:
    found = np.array([[3.0, 2.0, 1.0], [5.0, 4.0, 0.0]], np.float32)
    ids, scores = by_block(found, np.array([[0, 1, 2], [2, 3, -1]]), np.array([7, 7, 8, 8]))
    assert ids.tolist() == [7, 8]
    assert scores.tolist() == [[3.0, 1.0], [-np.inf, 5.0]]


@pytest.mark.parametrize("wrong", [{"sizes": ()}, {"sizes": (10,)}, {"rows": 0}, {"noise": 2.0}, {"questions": 0}])
def test_plans_outside_their_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        IndexPlan(**wrong)
