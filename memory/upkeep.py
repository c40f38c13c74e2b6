"""The upkeep of stored groups: taking in, forgetting, consolidating, so that store, indexes and tables stay at one."""

import copy
from collections.abc import Mapping, Sequence

from ..errors import RecallError, StorageError
from .change import Change, stretches_with
from .codecs.codec import Codec
from .coding import index_group, with_keys
from .consolidation import GIST, Ladder, consolidate, next_group
from .forgotten import Stretches
from .forgotten_note import FORGOTTEN, ForgottenNote, Last
from .group import Body, Head
from .holdings import Holdings
from .log.errors import DamagedError
from .store import Store
from .traces import KeyHead, Traces
from .working_set import WorkingSet


class Upkeep:
    """Change what is remembered, one group at a time.

    A change is carried out in steps that may be done twice, so one that was interrupted is finished later; where the
    disk fails nothing has changed.  codecs: of all bodies, by name.  ladder: what old groups become before they are
    forgotten; None where they are forgotten at once.
    """

    def __init__(
        self, store: Store, traces: Traces, working: WorkingSet, codecs: Mapping[str, Codec], ladder: Ladder | None
    ) -> None:
        self.store, self.traces, self.working = store, traces, working
        self.codecs, self.ladder = dict(codecs), ladder
        self.holdings = Holdings()
        self.forgotten = Stretches()
        self.last: Last | None = None  # the newest block that was taken in, remembered or not
        self._change: Change | None = None  # begun and not carried out yet

    def over(self, store: Store, working: WorkingSet) -> "Upkeep":
        """Give the same groups with their bodies in another store, to be read only."""
        other = copy.copy(self)
        other.store, other.working = store, working
        return other

    def codec_of(self, body: Body) -> Codec:
        """Give the codec of a body.  Raises RecallError for one that is not known here."""
        codec = self.codecs.get(body.codec)
        if codec is None:
            raise RecallError(f"a group was coded by {body.codec!r}, which is not known here; its tables are missing")
        return codec

    def load(self) -> None:
        """Take in what the store has.

        Keys of heads that were calibrated since are read from the bodies.  A group whose body is damaged then is
        forgotten.  Raises StorageError where the disk fails.
        """
        told = self.store.noted(FORGOTTEN)
        if told is not None:
            note = ForgottenNote.from_bytes(told)
            self.forgotten, self.last = Stretches(note.stretches), note.last
        newest = self.last
        for data in self.store.heads():
            head = Head.from_bytes(data)
            missing = [place for place in self.traces.keys if place not in head.keys]
            try:
                size = self.store.body_bytes(head.group_id)
                self.take(self._with_keys(head, missing) if missing else head, size)
            except (DamagedError, RecallError):
                forgotten = stretches_with(self.forgotten, head.table)
                note = ForgottenNote(forgotten.all, self.last or Last.of(head.table[-1]))
                self.store.note(FORGOTTEN, note.to_bytes())
                self.store.drop([head.group_id])
                self.forgotten = forgotten
        if newest is not None and (self.last is None or self.last.block_id < newest.block_id):
            self.last = newest  # it was forgotten since: its id and time are not given again

    def take(self, head: Head, body_bytes: int) -> None:
        """Put a stored group into the indexes, then into the tables; what an interrupted call did is not done again."""
        index_group(self.traces, head)
        self.holdings.take(head, body_bytes)
        self.last = Last.of(head.table[-1])
        self.traces.maintain(0.0)

    def forget(self, group_id: int) -> tuple[int, ...]:
        """Forget a group whole; give the ids of its blocks."""
        table = self.holdings.inside(group_id)
        self.carry_out(Change.away(group_id, table, self.forgotten))
        return tuple(table["id"].tolist())

    def forget_blocks(self, gone: tuple[int, ...]) -> tuple[int, ...]:
        """Forget remembered blocks; give their ids.  A group whose body cannot be read goes whole."""
        for group_id in sorted({self.holdings.group_of(block_id) for block_id in gone}):
            inside = self.holdings.inside(group_id)
            ids: set[int] = set(inside["id"].tolist())
            going = ids.intersection(gone)
            body = None if going == ids else self._body(group_id)
            if body is None:
                self.forget(group_id)
            else:
                rest = body.without(self.codec_of(body), inside, going)
                self.carry_out(Change.anew(group_id, self.store.head(group_id), rest, inside, going, self.forgotten))
        return gone

    def step(self) -> tuple[int, ...]:
        """Consolidate one group by one step; give the ids that were forgotten for it."""
        groups = self.holdings.groups.rows
        place = next_group(groups)
        group_id, level = int(groups["id"][place]), int(groups["level"][place])
        if self.ladder is None or level >= GIST:
            return self.forget(group_id)
        body = self._body(group_id)
        if body is None:
            return self.forget(group_id)
        body, table = consolidate(body, self.holdings.inside(group_id), self.ladder)
        self.carry_out(Change.anew(group_id, self.store.head(group_id), body, table, set(), self.forgotten))
        return ()

    def make_room(self, need: int, cap: int) -> list[int]:
        """Free disk until need bytes more stay within a cap, 0 for none; give the ids that were forgotten for it.

        Raises StorageError where that cannot be.
        """
        store, groups = self.store, self.holdings.groups
        dropped: list[int] = []
        while cap and store.disk_bytes + need + store.reserve_bytes > cap:
            hopeless = need + store.noted_bytes + store.reserve_bytes > cap  # then nothing is given up for it
            wanted = max(need, cap // 32)
            # Steps write too: they may take a third of the reserve, rewriting needs the rest.
            while (
                not hopeless
                and len(groups)
                and store.dead_bytes < wanted
                and store.disk_bytes + need + store.reserve_bytes * 2 // 3 <= cap
            ):
                dropped += self.step()
            if store.reclaim() > 0:
                continue
            if hopeless or not len(groups):
                raise StorageError(
                    f"{need} bytes do not fit into the {cap} that the memory may take on disk, "
                    f"{store.reserve_bytes} of them for rewriting; raise the cap"
                )
            dropped += self.step()
        return dropped

    def carry_out(self, change: Change | None = None) -> None:
        """Carry a change out, or what is left of one that was interrupted; each step may be done twice.

        Raises StorageError where the disk fails; nothing has changed here then.
        """
        self._change = change = change or self._change
        if change is None:
            return
        try:
            self._apply(change)
        except StorageError:
            self._change = None
            raise
        except BaseException:
            self._apply(change)  # a signal must not leave the tables at odds with the store
            self._change = None
            raise
        self._change = None

    def _apply(self, change: Change) -> None:
        """Bring the store, then indexes and tables to what a change says."""
        change.write(self.store, self.last)
        self.forgotten = change.stretches
        change.follow(self.holdings, self.traces, self.working)

    def _body(self, group_id: int) -> Body | None:
        """Read a body, None where it is damaged.  Raises StorageError where the disk fails: it may be back later."""
        try:
            return Body.from_bytes(self.store.body(group_id))
        except (DamagedError, RecallError):
            return None

    def _with_keys(self, head: Head, missing: Sequence[KeyHead]) -> Head:
        body = Body.from_bytes(self.store.body(head.group_id))
        keys, _ = self.codec_of(body).decode(body.codes)
        return with_keys(head, keys, missing)
