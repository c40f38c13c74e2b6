"""Whose a folder is: its own model's alone, and never another format's, nor anything else's."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from onlooker.errors import StorageError
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.folder import Owner, is_memory, open_owner, open_store
from onlooker.memory.log.log import SegmentLog
from onlooker.settings import MIB

LAYOUT = KVLayout(2, 4, 2, 8, torch.bfloat16, RotarySpec((1.0, 0.1, 0.3), (1, 1, 2), True, 1.25), "f00d", 2)
OWNER = Owner("owner/model", LAYOUT, 64, "v2", 196)


@pytest.mark.parametrize("owner", [OWNER, replace(OWNER, revision=None, frame_tokens=0, feature_dim=0)])
def test_an_owner_comes_back_from_its_folder(tmp_path: Path, owner: Owner) -> None:
    open_store(tmp_path / "a" / "memory", owner, 64 * MIB).close()
    assert is_memory(tmp_path / "a" / "memory")
    assert open_owner(tmp_path / "a" / "memory") == owner
    open_store(tmp_path / "a" / "memory", owner, 64 * MIB, write=False).close()


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "other",
    [replace(OWNER, model="another/model", layout=replace(LAYOUT, fingerprint="beef")), replace(OWNER, feature_dim=65)],
)
def test_another_models_memory_is_refused_with_both_named(tmp_path: Path, other: Owner, write: bool) -> None:
    open_store(tmp_path, OWNER, 64 * MIB).close()
    with pytest.raises(StorageError) as caught:
        open_store(tmp_path, other, 64 * MIB, write=write)
    said = str(caught.value)
    assert all(word in said for word in (OWNER.model, other.model, "f00d", other.layout.fingerprint, str(tmp_path)))
    open_store(tmp_path, OWNER, 64 * MIB).close()  # and its lock was given back


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda about: {**about, **fields}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(kind="recipes"), "is no memory of Onlooker's"),
        (lambda _: {}, "is no memory of Onlooker's"),
        (changed(format=2), "is of format 2, and this Onlooker reads 1"),
        (changed(layers="two"), "cannot be read"),
        (changed(layers=-1), "cannot be read"),
        (changed(layers=True), "cannot be read"),
        (changed(dtype="float99"), "cannot be read"),
        (changed(rotary=7), "cannot be read"),
        (changed(rotary={"inv_freq": ["x"]}), "cannot be read"),
        (lambda about: {k: v for k, v in about.items() if k != "revision"}, "cannot be read"),
    ],
)
def test_other_descriptions_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    about = change(json.loads(json.dumps(OWNER.to_dict())))
    SegmentLog.create(tmp_path / "log", about).close()
    with pytest.raises(StorageError, match=message):
        open_owner(tmp_path / "log")
    with pytest.raises(StorageError, match=message):
        open_store(tmp_path / "log", OWNER, 64 * MIB)
    SegmentLog.open(tmp_path / "log", write=True).close()


def test_where_there_is_none_it_says_how_to_make_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert not is_memory(folder)
        with pytest.raises(StorageError, match=r"there is no memory in .*; make one with: onlooker ask"):
            open_owner(folder)
        with pytest.raises(StorageError):
            open_store(folder, OWNER, 64 * MIB, write=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("about")
    for path in (tmp_path / "file", tmp_path / "file" / "memory"):
        assert not is_memory(path)
        with pytest.raises(StorageError, match="is, or lies in, a file"):
            open_store(path, OWNER, 64 * MIB)
        with pytest.raises(StorageError, match="there is no memory"):
            open_owner(path)
    assert (tmp_path / "file").read_text() == "about"


def test_a_memory_may_lie_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "about.html").write_text("<p>about us")
    assert not is_memory(tmp_path)
    open_store(tmp_path, OWNER, 64 * MIB).close()
    assert is_memory(tmp_path) and (tmp_path / "about.html").read_text() == "<p>about us"


@pytest.mark.parametrize("fresh", [True, False])
def test_puts_are_durable_after_the_delay_that_was_asked_for(tmp_path: Path, fresh: bool) -> None:
    if not fresh:
        open_store(tmp_path, OWNER, 64 * MIB).close()
    with open_store(tmp_path, OWNER, 64 * MIB, sync_s=0.0) as store:
        store.put(0, b"head", b"body")
        assert store.log.durable == store.log.last == 3


@pytest.mark.parametrize(("cap", "segment"), [(64 * MIB, 2 * MIB), (MIB, MIB), (1 << 50, 16 * MIB)])
def test_segments_are_a_small_part_of_the_cap(tmp_path: Path, cap: int, segment: int) -> None:
    with open_store(tmp_path, OWNER, cap) as store:
        assert store.reserve_bytes == 3 * segment
