"""The recall benchmark: planted events, questions long after them, many policies over one memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from ..frame import Frame
from ..models.backbone import Backbone, HeadId
from ..settings import Settings
from ..stream.ingest import Ingest
from ..theatre.questions import Question
from ..theatre.show import Show
from .moment import CLEAN_FRAMES, Moment
from .own import Ours
from .policies import Blind, FullCache, Oracle, Policy, RecentFrames, UniformFrames
from .rivals import LiveVLM, ReKV
from .tally import Reply, delay_of

PRESENT_EVERY_US = 60_000_000
SEEDS_PER_RUN = 1000


@dataclass(frozen=True, slots=True)
class RecallPlan:
    """Say what is measured.

    seed: chooses the streams; different seeds share none.  minutes: length of each stream.  fps: frames a second fed.
    per_event: questions about each planted event.  held_out: ask in wordings that no training saw.  answer_tokens:
    the most tokens that an answer may have.
    Raises SettingsError for a value outside its limits.
    """

    seed: int = 0
    streams: int = 3
    minutes: float = 20.0
    fps: float = 2.0
    per_event: int = 2
    held_out: bool = False
    answer_tokens: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.streams <= SEEDS_PER_RUN or self.seed < 0:
            raise SettingsError(f"give a seed of 0 or more and 1 to {SEEDS_PER_RUN} streams, not {self}")
        if not 0.3 <= self.minutes <= 100_000 or not 0.1 <= self.fps <= 60 or not 1 <= self.per_event <= 8:
            raise SettingsError(f"give at least 0.3 minutes, 0.1 to 60 fps and 1 to 8 questions an event, not {self}")

    def shows(self) -> Iterator[Show]:
        """List the streams."""
        for number in range(self.streams):
            yield Show(self.seed * SEEDS_PER_RUN + number, self.minutes * 60.0)


BY_NAME_ONLY = frozenset({"ours-capped", "ours-kept", "ours-gist"})
"""Policies that compare settings which are not the default: docs/positions.md and docs/memory.md have their tables."""


def policies_of(heads: tuple[HeadId, ...], full_tokens: int = 32_768) -> dict[str, Policy]:
    """List all policies by name; those that read retrieval heads only if there are some."""
    listed: list[Policy] = [
        Blind(),
        RecentFrames(),
        UniformFrames(),
        FullCache(full_tokens),
        Oracle(),
        ReKV(),
        LiveVLM(),
        *([Ours("ours-heads", heads, "heads")] if heads else []),
        Ours("ours-embeddings", heads, "embeddings"),
        Ours("ours", heads),
        Ours("ours-always", heads, gate="always"),
        Ours("ours-never", heads, gate="never"),
        Ours("ours-capped", heads, positions="capped"),
        Ours("ours-kept", heads, positions="kept"),
        Ours("ours-gist", heads, gist_tokens=128),
    ]
    return {policy.name: policy for policy in listed}


def choose(policies: dict[str, Policy], names: Iterable[str] | None) -> list[Policy]:
    """Choose policies by name, in the order of the list; None for all but those of BY_NAME_ONLY.

    Raises SettingsError for a name that is not there.
    """
    wanted = [name for name in policies if name not in BY_NAME_ONLY] if names is None else list(names)
    for name in wanted:
        if name not in policies:
            hint = "; the model has no retrieval heads" if name.startswith("ours") else ""
            raise SettingsError(f"there is no policy {name!r}{hint}; choose from {', '.join(policies)}")
    return [policy for name, policy in policies.items() if name in wanted]


def run_recall(
    backbone: Backbone,
    policies: Sequence[Policy],
    plan: RecallPlan,
    heads: tuple[HeadId, ...] = (),
    settings: Settings | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> list[Reply]:
    """Stream every show once and ask every policy the same questions at the same moments.

    heads: whose keys the memory indexes.  told: gets lines of progress.
    """
    replies: list[Reply] = []
    settings = settings or Settings()
    for number, show in enumerate(plan.shows()):
        title = f"stream {number + 1} of {plan.streams}"
        for moment, questions in moments_of(backbone, show, plan, settings, heads, title, told):
            for place, question in enumerate(questions):
                replies += [reply_of(policy, moment, question, plan.answer_tokens) for policy in policies]
                if len(questions) > 1 and (place + 1) % 20 == 0:
                    told(f"{title}: {place + 1} of {len(questions)} questions asked at the end")
    return replies


def moments_of(
    backbone: Backbone,
    show: Show,
    plan: RecallPlan,
    settings: Settings,
    heads: tuple[HeadId, ...],
    title: str = "",
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Moment, list[Question]]]:
    """Stream a show; stop once a minute for a question about the present, and at the end for those about the past."""
    ingest = Ingest(backbone, settings, heads)
    newest: deque[Frame] = deque(maxlen=CLEAN_FRAMES)

    def redraw(times_us: Iterable[int]) -> Iterable[Frame]:
        """Draw the frames that were fed at these times or just before."""
        numbers = sorted({int(time_us * plan.fps / 1e6) for time_us in times_us})
        return show.frames_at(round(number * 1e6 / plan.fps) for number in numbers)

    due_us = PRESENT_EVERY_US // 2
    for frame in show.frames(plan.fps):
        ingest.see(frame)
        newest.append(frame)
        if frame.time_us >= due_us:
            due_us += PRESENT_EVERY_US
            told(f"{title}: {frame.time_us / 60e6:.1f} min seen, {len(ingest.archive)} blocks kept")
            yield Moment(ingest, newest, redraw), [show.present_question(frame.time_us, plan.held_out)]
    yield Moment(ingest, newest, redraw), show.questions(None, plan.per_event, plan.held_out)


def reply_of(policy: Policy, moment: Moment, question: Question, answer_tokens: int = 16) -> Reply:
    """Ask one question under one policy."""
    prompt = policy.read(moment, question)
    delay_s = delay_of(question)
    if prompt is None:
        return Reply(policy.name, question.kind, delay_s, None, None, 0.0, 0)
    return Reply(
        policy=policy.name,
        kind=question.kind,
        delay_s=delay_s,
        right=question.accepts(prompt.answer(moment.backbone, answer_tokens)),
        found=prompt.finds(question) if question.spans_us else None,
        context_tokens=prompt.tokens,
        memory_bytes=policy.memory_bytes(moment),
    )
