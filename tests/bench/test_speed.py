from pathlib import Path
from typing import Any

import torch

from onlooker.bench.speed import (
    SpeedReport,
    Stopwatch,
    TimedArchive,
    TimedBackbone,
    measure_answers,
    measure_ingest,
    reencode_first_token,
    report_text,
    resident_bytes,
    write_clip,
)
from onlooker.settings import Settings
from onlooker.stream.ingest import Ingest
from onlooker.theatre.show import Show


def test_timing_changes_nothing_that_is_stored(backbone: Any) -> None:
    watch = Stopwatch(backbone.device)
    plain = Ingest(backbone, Settings(), backbone.card.retrieval_heads)
    timed = Ingest(TimedBackbone(backbone, watch), Settings(), backbone.card.retrieval_heads)
    timed.archive = TimedArchive(timed.archive, watch)
    for frame in Show(1, 64.0, size=64).frames(2.0):
        assert plain.see(frame) == timed.see(frame)
    assert plain.report == timed.report and plain.archive.stats() == timed.archive.stats()
    assert len(plain.archive) > 0
    for block_id in plain.archive.block_ids:
        assert torch.equal(plain.archive.get(block_id).keys, timed.archive.get(block_id).keys)
    assert set(watch.seconds) == {"encode", "prefill", "store"}


def test_a_speed_run_counts_every_frame_and_splits_all_of_the_time(backbone: Any, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 20.0, 4.0)
    heads = backbone.card.retrieval_heads
    ingest = measure_ingest(backbone, tmp_path / "clip.mp4", Settings(), heads)
    assert ingest.frames == 80 and 8 < ingest.keyframes <= 80
    assert list(ingest.split_s) == ["decode", "gate", "encode", "prune and prefill", "store"]
    assert all(seconds > 0 for seconds in ingest.split_s.values())
    answers = tuple(measure_answers(backbone, (0.3, 1.0), Settings(), heads, questions=2))
    assert [item.minutes for item in answers] == [0.3, 1.0]
    assert 0 < answers[0].archive_bytes < answers[1].archive_bytes
    assert all(0 < item.first_token_ms <= item.first_token_worst_ms for item in answers)
    report = SpeedReport("tiny", "cpu", 1, ingest, answers, resident_bytes(), resident_bytes())
    text = report_text(report)
    assert "prune and prefill" in text and "uniform-64" in text and "1 min / 0.3 min" in text
    assert report.to_dict()["resident_before_bytes"] == report.resident_before_bytes > 10_000_000


def test_reencoding_answers_over_whole_frames(backbone: Any) -> None:
    frames = list(Show(1, 16.0, size=64).frames(0.5))
    assert reencode_first_token(backbone, frames, "what is there now?") > 0
