from pathlib import Path

import pytest
import torch

from onlooker.models.fitting import WORKING_BYTES, candidates, judge
from onlooker.models.machine import Room, device_room, host_room

MEMINFO = "MemTotal:       2000 kB\nMemFree:         100 kB\nMemAvailable:   1500 kB\nHugePages_Total:       0\n"


def test_the_host_s_memory_is_read(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    assert host_room(tmp_path / "meminfo", tmp_path) == Room(1500 * 1024, 2000 * 1024)


@pytest.mark.parametrize(
    ("limit", "used", "room"),
    [
        ("1024000", "204800", Room(819_200, 1_024_000)),
        ("1024000", "1034000", Room(0, 1_024_000)),
        ("max", "204800", Room(1500 * 1024, 2000 * 1024)),
        ("9223372036854771712", "1", Room(1500 * 1024, 2000 * 1024)),
    ],
)
def test_a_container_s_limit_counts(limit: str, used: str, room: Room, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    assert host_room(tmp_path / "meminfo", tmp_path) == room


@pytest.mark.parametrize("content", [None, "nonsense", "MemTotal: many kB\nMemAvailable: 1 kB\n"])
def test_without_proc_the_system_is_asked(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    room = host_room(tmp_path / "meminfo", tmp_path)
    assert 0 < room.free_bytes <= room.total_bytes


def test_a_device_has_the_memory_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (3, 5))
    assert device_room(torch.device("cuda:1")) == Room(3, 5)
    assert asked == [torch.device("cuda:1")]
    assert device_room(torch.device("cpu")).total_bytes == host_room().total_bytes


@pytest.mark.parametrize(
    ("free", "total", "verdict"),
    [(40, 40, "yes"), (39, 40, "as bf16"), (20, 40, "as bf16"), (19, 40, "if memory is freed"), (19, 19, "no")],
)
def test_what_fits(free: int, total: int, verdict: str) -> None:
    room = Room(free * 10**9 + WORKING_BYTES, total * 10**9 + WORKING_BYTES)
    assert judge(20 * 10**9, 40 * 10**9, room) == verdict


def test_candidates_come_smallest_first() -> None:
    models, device = candidates()
    sizes = [model.bf16_bytes for model in models]
    assert sizes == sorted(sizes)
    assert {"still_h", "busy_h", "verdict", "licence"} <= set(models[0].to_dict())
    assert device.label.startswith(f"{device.name}, ")
