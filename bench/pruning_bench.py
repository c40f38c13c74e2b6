"""The pruning benchmark: which recipe keeps answers right at which share of the visual tokens.

Streams that are hard to prune are encoded once; every recipe then takes in just the same tokens, and the same
questions are asked of what it left.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from ..frame import Frame
from ..models.backbone import Backbone, HeadId, Sampling
from ..models.tokens import TOWER_PLANES, VisualTokens
from ..pruning import RECIPES, State, build_recipe
from ..pruning.evict import Buffer, Keeper
from ..settings import Settings
from ..stream.ingest import Ingest
from ..stream.reading import Reader
from ..theatre.stress import Strain, Strained, StressShow
from .fixed_memory import FIXED_MEMORIES, FeatureMemory, stored_blocks, survivors_of, thinned
from .precoded import Precoded, precode

FULL = "none"
RATES = (0.05, 0.10, 0.15, 0.25, 0.50)
MINUTES = (1, 60)
COST_RATE = 0.25
SEEDS_PER_RUN = 1000
ANSWER_TOKENS = 16

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """Say what is measured.

    recipes: by name, of RECIPES and FIXED_MEMORIES.  rates: shares of the tokens that each may keep.  seed, seeds,
    streams: `seeds` runs of `streams` streams each; other seeds share none.  fps: frames a second, every one of which
    is encoded.
    Raises SettingsError for a value outside its limits or a recipe that is not there.
    """

    recipes: tuple[str, ...] = ()
    rates: tuple[float, ...] = RATES
    seed: int = 0
    seeds: int = 3
    streams: int = 1
    fps: float = 2.0

    def __post_init__(self) -> None:
        for name in self.recipes:
            if name not in RECIPES and name not in FIXED_MEMORIES:
                known = ", ".join([*sorted(RECIPES), *sorted(FIXED_MEMORIES)])
                raise SettingsError(f"there is no recipe {name!r}; choose from {known}")
        if not self.rates or not all(0.01 <= rate < 1.0 for rate in self.rates):
            raise SettingsError(f"rates are {self.rates}; give shares from 0.01 to under 1, such as 0.1,0.25")
        if self.seed < 0 or min(self.seeds, self.streams) < 1 or self.seeds * self.streams > SEEDS_PER_RUN:
            raise SettingsError(f"give a seed of 0 or more and 1 to {SEEDS_PER_RUN} streams in all, not {self}")
        if not 0.2 <= self.fps <= 30:
            raise SettingsError(f"fps is {self.fps}; give 0.2 to 30 frames a second")

    @property
    def names(self) -> tuple[str, ...]:
        """The recipes that are run, the whole stream first."""
        every = self.recipes or (*RECIPES, *FIXED_MEMORIES)
        return (FULL, *(name for name in every if name != FULL))

    def shows(self) -> Iterator[tuple[int, StressShow]]:
        """List the streams, each with the number of its run."""
        for run in range(self.seeds):
            for number in range(self.streams):
                yield run, StressShow(self.seed * SEEDS_PER_RUN + run * self.streams + number)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold one recipe's answers about one stream.

    rate: share asked for.  kept: share of the tokens that were kept.  run: which of the plan's seeds.  right: by
    strain, one for each question.  prune_ms, prefill_ms: milliseconds a frame; None for fixed memories, which were
    prefilled whole, and whose choosing reads the stored blocks.  first_token_ms: median over the questions, from
    their words to the first word of the answer.  context_tokens: mean of what an answer read.
    """

    recipe: str
    rate: float
    run: int
    kept: float
    right: tuple[tuple[Strain, bool], ...]
    prune_ms: float
    prefill_ms: float | None
    first_token_ms: float
    context_tokens: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Hold what a recipe costs beside answers.

    needs: planes of the vision tower that it reads.  tower_ms: the vision tower's milliseconds a frame with those.
    state_bytes: what pruning remembers after each of MINUTES of stream.
    """

    recipe: str
    needs: tuple[str, ...]
    tower_ms: float
    state_bytes: tuple[int, ...]


def run_pruning(
    backbone: Backbone, plan: PruningPlan, heads: tuple[HeadId, ...], told: Told = lambda _: None
) -> tuple[list[Outcome], list[Cost]]:
    """Run every recipe at every rate over every stream."""
    outcomes: list[Outcome] = []
    costs: list[Cost] = []
    began, total = time.monotonic(), plan.seeds * plan.streams * (1 + (len(plan.names) - 1) * len(plan.rates))
    for run, show in plan.shows():
        frames = list(show.frames(plan.fps))
        told(f"encoding {len(frames)} frames of stream {show.seed}")
        needs = {_needs_of(name, backbone, frames) for name in plan.names}
        stream = precode(backbone, frames, {frozenset[str](), *needs})
        if not costs:
            for name in plan.names:
                told(f"an hour of stream through {name}, for its state")
                costs.append(cost_of(name, stream, frames, plan.fps))
        questions = show.questions()
        whole = taken_in(stream, frames, heads, FULL, 1.0)
        for name in plan.names:
            for rate in (1.0,) if name == FULL else plan.rates:
                outcomes.append(outcome_of(stream, frames, heads, name, rate, run, questions, whole))
                left_s = (time.monotonic() - began) / len(outcomes) * (total - len(outcomes))
                told(f"{len(outcomes)} of {total}: {name} at {rate:.0%}, about {left_s / 60:.0f} min to go")
    return outcomes, costs


def _needs_of(name: str, backbone: Backbone, frames: Sequence[Frame]) -> frozenset[str]:
    """Name the planes of the vision tower that a recipe reads."""
    if name in FIXED_MEMORIES:
        return frozenset()
    return build_recipe(name, grid=backbone.grid_of(*frames[0].image.shape[:2]), rate=COST_RATE).planes & TOWER_PLANES


def settings_of(recipe: str, rate: float) -> Settings:
    """Take every frame in as it is, so that nothing but the recipe differs."""
    return Settings(keyframes="all", codec="raw", thumbnail_px=0, recipe=recipe, prune_rate=rate)


def taken_in(stream: Precoded, frames: Sequence[Frame], heads: tuple[HeadId, ...], recipe: str, rate: float) -> Ingest:
    """Take a stream in under a recipe."""
    ingest = Ingest(stream, settings_of(recipe, rate), heads)
    for frame in frames:
        ingest.see(frame)
    return ingest


def outcome_of(
    stream: Precoded,
    frames: Sequence[Frame],
    heads: tuple[HeadId, ...],
    name: str,
    rate: float,
    run: int,
    questions: Sequence[Strained],
    whole: Ingest,
) -> Outcome:
    """Take the stream in under one recipe, and ask.  whole: the stream without any pruning."""
    stream.watch.seconds.clear()
    prefill_ms: float | None = None
    if name in FIXED_MEMORIES:
        # Prefilled whole and thinned later: what prefilling costs is what the whole stream costs.
        ingest, kept, prune_s = evicted(stream, whole, name, rate)
    else:
        ingest = taken_in(stream, frames, heads, name, rate)
        prefill_ms = stream.watch.seconds.get("prefill", 0.0) * 1e3 / len(frames)
        kept = ingest.report.tokens / max(1, ingest.report.cells)
        prune_s = prune_seconds(stream, frames, name, rate)
    right, first_ms, tokens = answers(ingest, heads, questions)
    return Outcome(
        recipe=name,
        rate=rate,
        run=run,
        kept=kept,
        right=tuple((asked.strain, good) for asked, good in zip(questions, right, strict=True)),
        prune_ms=prune_s * 1e3 / len(frames),
        prefill_ms=prefill_ms,
        first_token_ms=statistics.median(first_ms),
        context_tokens=statistics.mean(tokens),
    )


def answers(
    ingest: Ingest, heads: tuple[HeadId, ...], questions: Sequence[Strained]
) -> tuple[list[bool], list[float], list[int]]:
    """Ask every question: whether it was answered rightly, milliseconds to the first token, tokens that were read."""
    reader, sampling = Reader(ingest, heads), Sampling(max_tokens=ANSWER_TOKENS)
    right, first_ms, tokens = [], [], []
    for asked in questions:
        began = time.perf_counter()
        reading = reader.read(asked.question.text)
        pieces = ingest.backbone.generate(reading.features, reading.positions, reading.context, sampling)
        text = next(pieces, "")
        first_ms.append((time.perf_counter() - began) * 1e3)
        text += "".join(pieces)
        right.append(asked.question.accepts(text.strip()))
        tokens.append(len(reading.context))
    return right, first_ms, tokens


def evicted(stream: Precoded, whole: Ingest, name: str, rate: float) -> tuple[Ingest, float, float]:
    """Give what a fixed memory has left of a stream, the share of its tokens, and the seconds that choosing took."""
    features = {
        block_id: stream.tokens_of([whole.archive.span_of(block_id)[0]], frozenset()).features
        for block_id in whole.archive.block_ids
    }
    cap = max(1, round(rate * whole.report.cells))
    began = stream.watch.now()
    left = survivors_of(name, stored_blocks(whole), features, cap)
    seconds = stream.watch.now() - began
    count = sum(len(rows) for rows in left.rows.values())
    return thinned(whole, left.rows, features), count / max(1, whole.report.cells), seconds


def prune_seconds(stream: Precoded, frames: Sequence[Frame], name: str, rate: float) -> float:
    """Time pruning alone, in chunks as ingest does it."""
    recipe, state = build_recipe(name, grid=stream.grid, rate=rate), State()
    spent = 0.0
    for tokens in chunks(stream, frames, recipe.planes):
        began = stream.watch.now()
        _, state = recipe.step(tokens, state)
        spent += stream.watch.now() - began
    return spent


def chunks(stream: Precoded, frames: Sequence[Frame], planes: frozenset[str]) -> Iterator[VisualTokens]:
    """Give the tokens of a stream, a few frames at a time."""
    step = Settings().chunk_frames
    for start in range(0, len(frames), step):
        yield stream.tokens_of([frame.time_us for frame in frames[start : start + step]], planes)


def cost_of(name: str, stream: Precoded, frames: Sequence[Frame], fps: float) -> Cost:
    """Measure what a recipe costs at a quarter of the tokens, over an hour that repeats the stream."""
    needs: frozenset[str] = frozenset()
    if name in FIXED_MEMORIES:
        sizes = _memory_bytes(name, stream, frames, fps)
    else:
        recipe, state = build_recipe(name, grid=stream.grid, rate=COST_RATE), State()
        needs, seen, sizes = recipe.planes & TOWER_PLANES, 0, []
        for tokens in _hour(stream, frames, needs, fps):
            _, state = recipe.step(tokens, state)
            seen += len(tokens.times_us)
            if seen in _marks(fps):
                sizes.append(state.nbytes)
    tower_ms = stream.tower_s[needs] * 1e3 / len(frames)
    return Cost(name, tuple(sorted(needs)), tower_ms, tuple(sizes))


def _memory_bytes(name: str, stream: Precoded, frames: Sequence[Frame], fps: float) -> list[int]:
    memory = FIXED_MEMORIES[name]()
    if not isinstance(memory, FeatureMemory):
        return [0] * len(MINUTES)  # nothing but the blocks
    keeper, buffer = Keeper(memory.stage, max(1, round(COST_RATE * len(frames) * math.prod(stream.grid)))), Buffer()
    seen, sizes = 0, []
    for tokens in _hour(stream, frames, frozenset(), fps):
        buffer, _ = keeper.push([tokens.frame(t).features for t in range(len(tokens.times_us))], buffer)
        seen += len(tokens.times_us)
        if seen in _marks(fps):
            sizes.append(buffer.nbytes)
    return sizes


def _marks(fps: float) -> list[int]:
    """Give the frames after which a state is weighed, whole chunks."""
    step = Settings().chunk_frames
    return [max(1, round(minutes * 60 * fps / step)) * step for minutes in MINUTES]


def _hour(stream: Precoded, frames: Sequence[Frame], planes: frozenset[str], fps: float) -> Iterator[VisualTokens]:
    """Repeat a stream's whole chunks up to the last mark."""
    step = Settings().chunk_frames
    whole = list(chunks(stream, frames[: max(step, len(frames) // step * step)], planes))
    yield from itertools.islice(itertools.cycle(whole), _marks(fps)[-1] // step)
