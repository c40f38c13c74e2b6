"""What calibration watches: sprite theatre streams, or a user's own labelled clips."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsError
from ..frame import Frame
from ..models.backbone import Backbone
from ..settings import Settings
from ..stream.ingest import Ingest
from ..stream.source import open_source
from ..theatre.questions import Question
from ..theatre.show import Show
from .clips import read_clip
from .moment import CLEAN_FRAMES, Moment
from .recall_bench import RecallPlan, moments_of

# Streams of calibration share no seed with those of training or of evaluation.
CALIBRATION = 0xCA11


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Hold a stream that was watched to its end.

    shown, absent: questions about what was there and about what never was.  reworded: both once more in wordings that
    no training saw; None where there are none.
    """

    moment: Moment
    shown: Sequence[Question]
    absent: Sequence[Question]
    reworded: tuple[Sequence[Question], Sequence[Question]] | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Name what is watched, one stream after the other.  title: in words.  count: how many streams."""

    title: str
    count: int
    watch: Callable[[Backbone, Settings, Callable[[str], None]], Iterator[Watched]]


def theatre_material(plan: RecallPlan) -> Material:
    """Watch sprite theatre streams.  plan: its held_out is not used."""

    def watch(backbone: Backbone, settings: Settings, told: Callable[[str], None]) -> Iterator[Watched]:
        for number in range(plan.streams):
            title = f"stream {number + 1} of {plan.streams}"
            show = Show(plan.seed * 1000 + number, plan.minutes * 60.0, namespace=CALIBRATION)
            told(f"{title}: watching")
            *_, (moment, questions) = moments_of(backbone, show, plan, settings, (), title, told)
            other = show.questions(None, plan.per_event, held_out=True)
            yield Watched(moment, questions, show.absent_questions(), (other, show.absent_questions(held_out=True)))

    title = f"{plan.streams} streams of {plan.minutes:g} min at {plan.fps:g} frames/s, seed {plan.seed}"
    return Material(title, plan.streams, watch)


def clip_material(paths: Sequence[Path], fps: float) -> Material:
    """Watch labelled clips, all of which are checked now.

    Raises SettingsError as read_clip does, and for a clip that is given twice: it would judge what it picked.
    """
    clips = [read_clip(path) for path in paths]
    for number, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:number]}:
            raise SettingsError(f"{path} is given twice; half of the clips judge what the others pick, so give others")

    def watch(backbone: Backbone, settings: Settings, told: Callable[[str], None]) -> Iterator[Watched]:
        for number, clip in enumerate(clips, 1):
            ingest, newest = Ingest(backbone, settings, ()), deque[Frame](maxlen=CLEAN_FRAMES)
            with closing(open_source(str(clip.path), fps)) as source:
                for frame in source:
                    if frame.seq % 100 == 0:
                        told(f"clip {number} of {len(clips)}: {frame.time_us / 60e6:.1f} min seen")
                    ingest.see(frame)
                    newest.append(frame)
            if not newest:
                raise SettingsError(f"{clip.path} has no frames; leave it out")
            yield Watched(Moment(ingest, newest, _no_redraw), clip.shown, clip.absent)

    return Material(
        f"{len(clips)} clips at {fps:g} frames/s: {', '.join(clip.path.name for clip in clips)}", len(clips), watch
    )


def _no_redraw(times_us: Iterable[int]) -> Iterable[Frame]:
    """Show no frame of the past again: calibration asks for none."""
    raise NotImplementedError
