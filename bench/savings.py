"""What each saving brings: wall clock of ingest with and without pruning, with and without the keyframe gate.

Pruning behind the vision tower spares the language model alone; a frame that the gate drops spares the tower too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..frame import Frame
from ..models.backbone import Backbone, HeadId
from ..settings import Settings
from ..stream.holding import archive_of
from ..stream.ingest import Ingest
from ..theatre.stress import StressShow
from .tally import aligned
from .timing import Stopwatch, TimedArchive, TimedBackbone

PARTS = ("gate", "tower", "prune and the rest", "prefill", "store")


@dataclass(frozen=True, slots=True)
class Saving:
    """Hold what one setting cost: milliseconds a frame of the stream, by part, and the shares that were kept."""

    name: str
    ms: dict[str, float]
    keyframes: float
    tokens: float

    @property
    def total_ms(self) -> float:
        """Milliseconds a frame in all."""
        return sum(self.ms.values())


def measure_savings(
    backbone: Backbone,
    heads: tuple[HeadId, ...],
    rate: float = 0.25,
    fps: float = 4.0,
    rounds: int = 3,
    seed: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> list[Saving]:
    """Take one stream in under four settings, several rounds in turn; of each setting the quickest round counts."""
    base = replace(Settings(), keyframes="all", recipe="none")
    pruned = replace(base, recipe=Settings().recipe, prune_rate=rate)
    trials = {
        "everything": base,
        f"pruning, {rate:.0%}": pruned,
        "gate": replace(base, keyframes="gate"),
        f"gate and pruning, {rate:.0%}": replace(pruned, keyframes="gate"),
    }
    frames = list(StressShow(seed).frames(fps))
    best: dict[str, Saving] = {}
    _timed("", backbone, heads, base, frames[:64])  # kernels and caches are warm for whichever comes first
    for number in range(rounds):
        for name, settings in trials.items():
            told(f"round {number + 1} of {rounds}: {name}")
            saving = _timed(name, backbone, heads, settings, frames)
            if name not in best or saving.total_ms < best[name].total_ms:
                best[name] = saving
    return list(best.values())


def _timed(
    name: str, backbone: Backbone, heads: tuple[HeadId, ...], settings: Settings, frames: Sequence[Frame]
) -> Saving:
    watch = Stopwatch(backbone.device)
    archive = TimedArchive(archive_of(backbone, settings, heads), watch)
    ingest = Ingest(TimedBackbone(backbone, watch), settings, heads, archive)
    watch.seconds.clear()
    gate_s, see_s, quiet = 0.0, 0.0, 0
    for frame in frames:
        encoded = watch.seconds.get("encode", 0.0)
        began = watch.now()
        ingest.see(frame)
        passed = watch.now() - began
        see_s += passed
        if watch.seconds.get("encode", 0.0) == encoded:
            gate_s, quiet = gate_s + passed, quiet + 1
    # Frames that completed a chunk passed the gate too: it cost them what it cost the others on average.
    gate_s *= len(frames) / max(1, quiet)
    spent = {"gate": gate_s, **{part: watch.seconds.get(part, 0.0) for part in ("encode", "prefill", "store")}}
    rest_s = max(0.0, see_s - sum(spent.values()))
    seconds = (spent["gate"], spent["encode"], rest_s, spent["prefill"], spent["store"])
    report = ingest.report
    return Saving(
        name,
        {part: part_s * 1e3 / len(frames) for part, part_s in zip(PARTS, seconds, strict=True)},
        report.keyframes / report.frames,
        report.tokens / (report.frames * max(1, ingest.cells)),
    )


def savings_text(savings: Sequence[Saving]) -> str:
    """Write milliseconds a frame by part, and what each setting saves of the first one."""
    table = [["ms a frame", *PARTS, "in all", "saved", "frames", "tokens"]]
    first = savings[0]
    for one in savings:
        table.append(
            [
                one.name,
                *(f"{one.ms[part]:.2f}" for part in PARTS),
                f"{one.total_ms:.2f}",
                f"{1 - one.total_ms / first.total_ms:.0%}",
                f"{one.keyframes:.0%}",
                f"{one.tokens:.0%}",
            ]
        )
    return aligned(table)
