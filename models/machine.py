"""The machine: how much memory it has, and how much of that is free."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Room:
    """Hold the memory of a device, in bytes; 0 where it cannot be found out."""

    free_bytes: int
    total_bytes: int


def device_room(device: "torch.device") -> Room:
    """Measure the memory of a device: of the GPU, or of the host for the CPU."""
    if device.type != "cuda":
        return host_room()
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return Room(free, total)


def host_room(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> Room:
    """Measure the host's memory; inside a container, what the container may still take."""
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        total, free = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        total, free = _from_sysconf()
    limit = _number(cgroup / "memory.max")
    if limit is not None and 0 < limit < total:
        used = _number(cgroup / "memory.current") or 0
        return Room(max(min(free, limit - used), 0), limit)
    return Room(free, total)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _from_sysconf() -> tuple[int, int]:
    """Total and free bytes where there is no /proc: macOS knows the total only, which then counts as free."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0, 0
    try:
        return total, page * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        return total, total
