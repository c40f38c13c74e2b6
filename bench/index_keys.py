"""Real keys and real queries of a model's retrieval head, for measuring the index that holds them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import OnlookerError, SettingsError
from ..memory.context import assemble
from ..memory.positions import text_positions
from ..models.backbone import Backbone
from ..settings import Settings
from .recall_bench import RecallPlan, moments_of

_ROOM_BYTES = 16 << 30  # nothing is forgotten


@dataclass(frozen=True, slots=True, eq=False)
class IndexKeys:
    """Hold what an index is filled with and asked.

    keys: float32 [n, dim], of blocks in time order.  counts: int64 [blocks], keys of each.  queries: float32 [q, m,
    dim], m rows of each question.  rounds: how often the keys of the streams repeat, with noise from the second on.
    """

    keys: NDArray[np.float32]
    counts: NDArray[np.int64]
    queries: NDArray[np.float32]
    rounds: int = 1

    def of_size(self, rows: int, noise: float, seed: int = 0) -> "IndexKeys":
        """Give about so many keys: the first ones, or all of them again and again, moved by noise.

        noise: standard deviation of what is added to a channel, as a share of the channel's own.
        """
        rounds = -(-rows // len(self.keys))
        rng = np.random.default_rng(seed)
        scale = np.asarray(noise * self.keys.std(axis=0), dtype=np.float32)
        keys = np.empty((rounds * len(self.keys), self.keys.shape[1]), dtype=np.float32)
        for number in range(rounds):
            part = keys[number * len(self.keys) : (number + 1) * len(self.keys)]
            part[:] = self.keys
            if number:
                part += rng.standard_normal(part.shape, dtype=np.float32) * scale
        counts = np.tile(self.counts, rounds)
        blocks = int(np.searchsorted(np.cumsum(counts), rows, side="right"))
        return IndexKeys(keys[: int(counts[:blocks].sum())], counts[:blocks], self.queries, rounds)

    def write(self, path: Path) -> None:
        """Keep them in a file.  Raises OnlookerError where the disk refuses."""
        try:
            with path.open("wb") as file:
                np.savez(file, keys=self.keys, counts=self.counts, queries=self.queries)
        except OSError as error:
            raise OnlookerError(f"cannot write {path}: {error}; give a path that can be written") from error


def read_keys(path: Path) -> IndexKeys:
    """Read what `write` kept.  Raises OnlookerError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return IndexKeys(held["keys"], held["counts"], held["queries"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise OnlookerError(f"{path} holds no keys ({error}); leave it out to make them anew") from error


def watch_keys(
    backbone: Backbone, plan: RecallPlan, rows: int, told: Callable[[str], None] = lambda _: None
) -> IndexKeys:
    """Stream theatre shows, and keep the keys of the model's first retrieval head and the queries of all questions.

    rows: of each question, its own words first, then the words around them; shorter questions are left out.  Queries
    are those of the question behind the sink alone.  Raises SettingsError for a model without retrieval heads, and
    where no question is as long or
    streams are too short to leave a block.
    """
    heads = backbone.card.retrieval_heads[:1]
    if not heads:
        raise SettingsError(f"{backbone.name} has no retrieval heads; onlooker memory calibrate chooses them")
    settings = Settings(archive_bytes=_ROOM_BYTES, thumbnail_px=0)
    keys, counts, queries = [], [], []
    for number, show in enumerate(plan.shows()):
        title = f"stream {number + 1} of {plan.streams}"
        *_, (moment, questions) = moments_of(backbone, show, plan, settings, heads, title, told)
        archive = moment.ingest.archive
        place = archive.traces.key_head(heads[0])
        blocks = [archive.get(block_id).keys[place].float().cpu().numpy() for block_id in archive.block_ids]
        keys += blocks
        counts += [len(block) for block in blocks]
        probe = assemble(backbone.layout, [moment.ingest.sink], device=backbone.device)
        for question in questions:
            features, words = backbone.question(question.text)
            if len(features) < rows:
                continue
            positions = text_positions(len(features), probe.next_position, backbone.layout.rotary.axes)
            raw = backbone.prefill(features, positions, probe, heads=heads).queries[heads[0]].float().cpu().numpy()
            first = np.argsort(~words.cpu().numpy(), kind="stable")[:rows]
            queries.append(raw[np.sort(first)])
    if not queries:
        raise SettingsError(f"no question has {rows} rows; ask for fewer")
    if not keys:
        raise SettingsError(f"streams of {plan.minutes:g} min leave nothing in the archive; make them longer")
    return IndexKeys(np.concatenate(keys), np.asarray(counts, np.int64), np.stack(queries))
