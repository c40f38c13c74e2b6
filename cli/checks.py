"""The checks of `onlooker doctor`: each looks at one thing and says what it found."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..errors import OnlookerError
from ..memory.faiss_build import installed_builds, load_faiss
from ..models.cache import cache_folder, cached_models, free_bytes
from ..models.fit import bytes_text
from ..models.machine import host_room

PACKAGES = (
    ("torch", "torch"),
    ("transformers", "transformers"),
    ("tokenizers", "tokenizers"),
    ("safetensors", "safetensors"),
    ("numpy", "numpy"),
    ("decord", "decord2"),
    ("cv2", "opencv-python-headless"),
)
"""The packages that matter: the module, and the distribution that brings it."""

LEAST_FREE_BYTES = 1 << 30
"""RAM below which not even a short clip should be watched."""


@dataclass(frozen=True, slots=True)
class Check:
    """Hold what one check found.  remedy: the command that mends it; None when all is well."""

    name: str
    found: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Give what --json writes."""
        return {**asdict(self), "ok": self.remedy is None}


def check_python() -> Check:
    """Name Onlooker's and Python's versions."""
    return Check("onlooker", f"{version_of('onlooker') or 'not installed'}, Python {platform.python_version()}")


def version_of(distribution: str) -> str | None:
    """Look up the version of an installed distribution; None when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_packages() -> Check:
    """Import the packages that matter, and name their versions."""
    versions, broken = [], []
    for module, distribution in PACKAGES:
        number = version_of(distribution)
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001 - a damaged package may raise anything when it is imported
            broken.append(distribution)
            fault = f"cannot be imported ({type(error).__name__}: {' '.join(str(error).split())})"
            versions.append(f"{distribution} {'is missing' if number is None else f'{number} {fault}'}")
        else:
            versions.append(f"{distribution} {number or 'of unknown version'}")
    remedy = f"pip install --force-reinstall {' '.join(broken)}" if broken else None
    return Check("packages", ", ".join(versions), remedy)


def check_faiss() -> Check:
    """Say which build of FAISS is installed; exactly one may be."""
    builds = installed_builds()
    try:
        load_faiss()
    except OnlookerError as error:
        return Check("faiss", *split_remedy(error, 'pip install "onlooker[cpu]"'))
    kind = "GPU" if "gpu" in builds[0] or "cuda" in builds[0] else "CPU"
    return Check("faiss", f"{version_of(builds[0])}, {kind} build ({builds[0]})")


def split_remedy(error: OnlookerError, otherwise: str) -> tuple[str, str]:
    """Part an error's message into what is wrong and the command that mends it."""
    what, mark, command = str(error).partition("mend it with: ")
    return what.rstrip(" ;"), command if mark else otherwise


def check_processor() -> Check:
    """Name the processor and how many cores this process may use."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check(
        "cpu",
        f"{processor_name()}, {platform.machine()}, {usable} usable core{'s' if usable != 1 else ''}, "
        f"torch on {torch.get_num_threads()}",
    )


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Find the processor's model name; what the platform says where there is no /proc."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def check_memory() -> Check:
    """Measure the host's memory."""
    room = host_room()
    found = f"{bytes_text(room.free_bytes)} free of {bytes_text(room.total_bytes)}"
    short = room.total_bytes > 0 and room.free_bytes < LEAST_FREE_BYTES
    return Check("ram", found, "close other programs, or watch with --memory-mib 256" if short else None)


def check_gpu() -> Check:
    """Name the GPUs, what is free on them, and whether torch and the driver go together."""
    import torch

    build = torch.version.cuda
    driver = driver_version()
    if not torch.cuda.is_available():
        if driver is None:
            return Check("gpu", f"none ({'torch for the CPU' if build is None else f'torch for CUDA {build}'})")
        if build is None:
            return Check(
                "gpu",
                f"an NVIDIA driver ({driver}) is here, but this torch ({torch.__version__}) is built for the CPU only",
                "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
            )
        return Check(
            "gpu",
            f"torch is built for CUDA {build}, and driver {driver} gives it no GPU",
            "nvidia-smi (it says what is wrong; a newer driver, or CUDA_VISIBLE_DEVICES, usually is the cure)",
        )
    cards = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        cards.append(
            f"{properties.name} ({bytes_text(free)} free of {bytes_text(total)}, "
            f"compute capability {properties.major}.{properties.minor})"
        )
    return Check("gpu", f"{'; '.join(cards)}; torch for CUDA {build}, driver {driver or 'unknown'}")


def driver_version(place: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Read the version of NVIDIA's kernel driver; None where there is none."""
    try:
        words = place.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return None
    return next((word for word in words if word[:1].isdigit() and "." in word), "of unknown version")


def check_cache() -> Check:
    """Say where models are kept, how many, and what room that disk has."""
    folder = cache_folder()
    models = {model.name: model for model in cached_models()}
    free = free_bytes(folder)
    held = ", ".join(sorted(models)) if models else "no model that Onlooker runs"
    found = f"{folder}: {held}; {bytes_text(free)} free on that disk"
    broken = next((model for model in models.values() if not model.complete), None)
    if broken is not None:
        return Check("cache", f"{found}; {broken.name} is not whole", f"onlooker models pull {broken.name}")
    if folder.exists() and not os.access(folder, os.W_OK):
        return Check("cache", f"{found}; it cannot be written", "export HF_HOME=/a/folder/of/yours")
    return Check("cache", found)
