"""A memory looked after without its model: forget for good, verify, copy."""

import threading
from pathlib import Path

import pytest
import torch

from onlooker.errors import StorageError
from onlooker.memory.archive import Archive
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.codec_set import codecs_of, ladder_of
from onlooker.memory.folder import Owner, open_store
from onlooker.memory.keeping import forget_for_good, import_memory, open_kept, verify
from onlooker.memory.log.errors import DamagedError
from onlooker.memory.log_store import CHECKPOINT
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId
from onlooker.settings import MIB

LAYOUT = KVLayout(2, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "f00d")
OWNER = Owner("tiny", LAYOUT, 6)
CODECS = codecs_of(LAYOUT)


def picture(block_id: int) -> bytes:
    return b"picture of block %d;" % block_id * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 blocks of 10 us in groups of 4."""
    with open_store(tmp_path / "memory", OWNER, 64 * MIB) as store:
        memory = Archive(MIB, Traces(LAYOUT, (HeadId(0, 0),), 6), CODECS["int4"], ladder=ladder_of(CODECS), store=store)
        for first in range(0, 24, 4):
            ids = range(first, first + 4)
            memory.extend([block(one) for one in ids], [torch.ones(5, 6)] * 4, [picture(one) for one in ids])
        store.note(CHECKPOINT, b"where a session goes on from")
        store.note("source", b"{}")
    return tmp_path / "memory"


def block(block_id: int) -> KVBlock:
    keys, values = torch.randn(2, 2, 2, 5, 8, generator=torch.Generator().manual_seed(block_id))
    span = (block_id * 10, block_id * 10 + 10)
    return KVBlock(block_id, keys, values, torch.arange(5)[:, None], 5, torch.zeros(5, 3).int(), span, block_id * 5)


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def held(folder: Path) -> dict[int, bytes]:
    with open_kept(folder) as kept:
        ids = kept.archive.block_ids
        return {i: kept.archive.get(i).keys.numpy().tobytes() + kept.archive.thumbnail(i) for i in ids}


@pytest.mark.parametrize(
    ("since", "until", "gone"),
    [(None, None, range(24)), (55, 95, range(5, 10)), (0, 10, range(1)), (230, None, range(23, 24)), (900, None, ())],
)
def test_what_is_forgotten_for_good_is_in_no_file(
    folder: Path, since: int | None, until: int | None, gone: range | tuple[int, ...]
) -> None:
    before = held(folder)
    with open_kept(folder, write=True) as kept:
        size = kept.store.disk_bytes
        count, freed = forget_for_good(kept, since, until)
        assert count == len(gone)
        assert kept.store.disk_bytes == size - freed == sum(path.stat().st_size for path in folder.iterdir())
        assert freed > 0 or not gone
        left = bytes_in(folder)
        assert {one for one in range(24) if picture(one) not in left} == set(gone)
        assert b"where a session goes on from" not in left
        assert kept.store.noted("source") == b"{}"
    assert held(folder) == {one: data for one, data in before.items() if one not in gone}
    with open_kept(folder) as kept:
        assert sum(one.count for one in kept.archive.forgotten) == len(gone)
        found = verify(kept)
        assert found.damage == () and found.whole == found.groups


def test_a_memory_that_is_whole_is_found_to_be(folder: Path) -> None:
    with open_kept(folder) as kept:
        found = verify(kept)
        assert (found.whole, found.groups, found.damage) == (6, 6, ())
        assert kept.owner == OWNER


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_every_flipped_bit_is_found(folder: Path, place: float) -> None:
    [path] = folder.glob("*.seg")
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 16
    path.write_bytes(data)
    with open_kept(folder) as kept:
        found = verify(kept)
        assert found.damage and found.whole >= 4
        assert f"{path.name} at byte" in found.damage[0]


def test_a_memory_that_is_written_is_not_opened_to_be_changed(folder: Path) -> None:
    with open_kept(folder, write=True):
        with pytest.raises(StorageError, match="another process is writing"), open_kept(folder, write=True):
            pass
        with open_kept(folder) as beside:
            assert len(beside.archive) == 24
    assert threading.active_count() == 1 or all("onlooker" not in one.name for one in threading.enumerate())


def test_an_export_is_the_memory_again(folder: Path, tmp_path: Path) -> None:
    with open_kept(folder) as kept:
        done = kept.store.export(tmp_path / "copy.onlooker")
        assert done.damaged == 0 and done.bytes == (tmp_path / "copy.onlooker").stat().st_size
    assert import_memory(tmp_path / "copy.onlooker", tmp_path / "again") == OWNER
    assert held(tmp_path / "again") == held(folder)
    with open_kept(tmp_path / "again") as kept:
        assert kept.store.noted(CHECKPOINT, newest=True) == b"where a session goes on from"
        assert verify(kept).damage == ()


def test_what_was_forgotten_is_in_no_export(folder: Path, tmp_path: Path) -> None:
    with open_kept(folder, write=True) as kept:
        kept.archive.forget(50, 60)
        kept.store.export(tmp_path / "copy.onlooker")
    data = (tmp_path / "copy.onlooker").read_bytes()
    assert picture(5) not in data and picture(6) in data


def test_a_damaged_export_makes_nothing(folder: Path, tmp_path: Path) -> None:
    with open_kept(folder) as kept:
        kept.store.export(tmp_path / "copy.onlooker")
    data = bytearray((tmp_path / "copy.onlooker").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "copy.onlooker").write_bytes(data)
    with pytest.raises(DamagedError, match="nothing was imported"):
        import_memory(tmp_path / "copy.onlooker", tmp_path / "again")
    with pytest.raises(StorageError):
        import_memory(tmp_path / "memory" / "about", tmp_path / "again")
    with pytest.raises(StorageError):
        import_memory(tmp_path / "none", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_where_there_is_no_memory_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no memory"), open_kept(tmp_path):
        pass
