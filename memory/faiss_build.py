"""Which build of FAISS is installed.

Several distributions install the same module, `faiss`, over each other's files.  pip does not notice; what is
imported then is a mixture that crashes or computes on the wrong device.  So exactly one may be installed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType

from ..errors import InstallationError

# Onlooker's extras bring the first two; the others also install the module (cuVS, older CUDA, conda or from source).
DISTRIBUTIONS = (
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cuvs",
    "faiss-gpu-cu11",
    "faiss-gpu-cu12",
    "faiss-gpu-cu12-cuvs",
    "faiss-gpu-cu13-cuvs",
    "faiss-cuda",
    "faiss",
)


def load_faiss() -> ModuleType:
    """Import FAISS.

    Raises InstallationError, with the command that mends it, when no build or more than one is installed, or when the
    one that is installed cannot be imported.
    """
    builds = installed_builds()
    if not builds:
        raise InstallationError(
            'no FAISS is installed; install one build: pip install "onlooker[cpu]", '
            'or on a machine with an NVIDIA GPU: pip install "onlooker[gpu]"'
        )
    if len(builds) > 1:
        keep = "faiss-gpu" if "faiss-gpu" in builds else builds[0]
        raise InstallationError(
            f"{len(builds)} builds of FAISS are installed over each other ({', '.join(builds)}), only one may be; "
            f"mend it with: pip uninstall -y {' '.join(builds)} && pip install {keep}"
        )
    try:
        return import_module("faiss")
    except ImportError as error:
        raise InstallationError(
            f"{builds[0]} is installed but cannot be imported ({error}); "
            f"mend it with: pip install --force-reinstall --no-deps {builds[0]}"
        ) from error


@contextmanager
def one_thread(faiss: ModuleType) -> Iterator[None]:
    """Keep FAISS to one thread inside, and give the calling thread its number back.

    Its OpenMP threads would fight torch's for the same cores, and the calls here are short.  The number belongs to
    the calling thread and, where both use one OpenMP, to torch too: left at one it would slow the model down.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def installed_builds() -> tuple[str, ...]:
    """List the installed distributions that bring the module `faiss`."""
    return tuple(name for name in DISTRIBUTIONS if is_installed(name))


def is_installed(name: str) -> bool:
    """Look a distribution up by name in the installation's metadata."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
