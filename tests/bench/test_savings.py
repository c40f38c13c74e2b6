import pytest

from onlooker.bench import savings
from onlooker.bench.savings import PARTS, Saving, measure_savings, savings_text
from onlooker.models.backbone import Backbone
from onlooker.theatre.stress import StressShow


def test_the_gate_spares_the_tower_and_pruning_does_not(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(savings, "StressShow", lambda seed: StressShow(seed, 64, strains=("bursts",)))
    told: list[str] = []
    found = {one.name: one for one in measure_savings(backbone, (), 0.25, 1.0, 1, told=told.append)}
    assert list(found) == ["everything", "pruning, 25%", "gate", "gate and pruning, 25%"] and len(told) == 4
    whole, pruned, gated, both = found.values()
    assert whole.keyframes == pruned.keyframes == 1.0 > gated.keyframes == both.keyframes
    assert whole.tokens > pruned.tokens > both.tokens
    assert whole.tokens > gated.tokens > both.tokens
    assert all(set(one.ms) == set(PARTS) and min(one.ms.values()) >= 0 for one in found.values())
    assert all(one.ms["tower"] > 0 and one.ms["prefill"] > 0 for one in found.values())


def test_the_table_says_what_is_saved_of_the_first_line() -> None:
    slow = Saving("everything", dict.fromkeys(PARTS, 2.0), 1.0, 1.0)
    quick = Saving("gate", dict.fromkeys(PARTS, 0.5), 0.25, 0.25)
    assert savings_text([slow, quick]).splitlines()[-1].split() == [
        "gate", *["0.50"] * 5, "2.50", "75%", "25%", "25%"
    ]  # fmt: skip
