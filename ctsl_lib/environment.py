"""The machine around the kit: whole files, the allocator, cores, progress bars."""

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from ctsl_lib import ROOT


def load_lazily(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A `__getattr__` for a package that imports a module when one of its names is first asked for.

    Args:
        package: its name.
        homes: module of the package -> names that it gives.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return get


def data_root() -> Path:
    """The folder that data sets are looked for in: what CTSL_DATA says, else data/ in the kit."""
    return Path(os.environ.get("CTSL_DATA", ROOT / "data"))


def cache_root() -> Path:
    """Where decoded data sets are kept: what CTSL_CACHE says, else data/cache in the kit."""
    return Path(os.environ.get("CTSL_CACHE", ROOT / "data" / "cache"))


def records_root() -> Path:
    """Where records are kept: what CTSL_RECORDS says, else data/records in the kit."""
    return Path(os.environ.get("CTSL_RECORDS", ROOT / "data" / "records"))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Words that name the known name which is nearest, or none where nothing is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have `write` fill a temporary file beside `path`, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        write(temporary)
        os.fsync(handle)
        temporary.replace(path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
"""What glibc reads when a process starts; other C libraries ignore it."""
_OPTIONS = {"MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1}  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h


def keep_memory() -> bool:
    """Let glibc keep what tensors have freed, for this process and those that it starts.

    By default it hands big blocks back to the system at every step and gets them again page by page. Numbers do
    not change; the process holds its peak of memory. Linux with glibc only; CTSL_MALLOC=0 switches it off.

    Returns: whether it is so.
    """
    if os.environ.get("CTSL_MALLOC", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    os.environ.update(KEEP)
    return all(library.mallopt(option, int(KEEP[name])) == 1 for name, option in _OPTIONS.items())


def allocator() -> str:
    """How this process's allocator is set, for records."""
    kept = all(os.environ.get(name) == value for name, value in KEEP.items())
    return "glibc, memory kept" if kept else "default"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def show(progress: bool | None) -> bool:
    """Whether to draw progress bars: as asked, else unless CTSL_PROGRESS is 0 (runners of notebooks set it)."""
    return os.environ.get("CTSL_PROGRESS", "1") != "0" if progress is None else progress
