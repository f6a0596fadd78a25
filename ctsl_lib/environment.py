"""The machine around the kit: folders, files that are written whole, the allocator, cores, progress bars."""

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
    """A `__getattr__` for a package: it imports a module of the package when one of its names is first used.

    Args:
        package: the name of the package.
        homes: module of the package -> the names that it defines.

    Returns: the function; it raises AttributeError for any other name.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return get


def data_root() -> Path:
    """The folder where data sets are looked for: the variable CTSL_DATA, else data/ in the kit."""
    return Path(os.environ.get("CTSL_DATA", ROOT / "data"))


def cache_root() -> Path:
    """The folder for decoded data sets: the variable CTSL_CACHE, else data/cache in the kit."""
    return Path(os.environ.get("CTSL_CACHE", ROOT / "data" / "cache"))


def records_root() -> Path:
    """The folder for records: the variable CTSL_RECORDS, else data/records in the kit."""
    return Path(os.environ.get("CTSL_RECORDS", ROOT / "data" / "records"))


def load_plugins() -> None:
    """Import a user's own networks, data sets, terms and metrics, so that every process knows them.

    The environment variable CTSL_PLUGINS names them, separated by commas: modules that can be imported, or files
    such as my_terms.py, which are looked for in the kit's folder unless their path is absolute. The command, worker
    processes and `ctsl_lib.experiments.run` call this function; what is imported already is not imported again.

    Raises: ValueError if a module or file does not exist, or if another module has the name of the file.
    """
    for name in filter(None, os.environ.get("CTSL_PLUGINS", "").split(",")):
        path = (ROOT / name).resolve() if name.endswith(".py") else None
        if path is not None and str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        module_name = path.stem if path is not None else name
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise  # the plugin itself imports something that does not exist
            raise ValueError(f"CTSL_PLUGINS names {name}, which does not exist") from None
        if path is not None and module.__file__ != str(path):
            raise ValueError(f"CTSL_PLUGINS names {name}, but {module_name} is another module: rename the file")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message for a misspelt name: "; did you mean ...?", or nothing.

    Args:
        name: what was written.
        known: the names that would have been right.
    """
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that `path` never holds half of it: first a temporary file beside it, then one rename.

    Args:
        path: the file; its folder is created.
        write: writes the content to the path that it is given.
    """
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
"""Environment variables that glibc reads when a process starts; other C libraries ignore them."""
_OPTIONS = {"MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1}  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h


def keep_memory() -> bool:
    """Let glibc keep the memory that tensors have freed, in this process and in those that it starts.

    By default glibc returns large blocks to the system at every step and asks for them again, which takes time.
    Results do not change; the process keeps as much memory as it ever needed. This works on Linux with glibc only,
    and CTSL_MALLOC=0 switches it off.

    Returns: whether glibc now keeps memory.
    """
    if os.environ.get("CTSL_MALLOC", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    os.environ.update(KEEP)
    return all(library.mallopt(option, int(KEEP[name])) == 1 for name, option in _OPTIONS.items())


def allocator() -> str:
    """The allocator's setting in this process, as records name it."""
    kept = all(os.environ.get(name) == value for name, value in KEEP.items())
    return "glibc, memory kept" if kept else "default"


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def shows_progress(progress: bool | None) -> bool:
    """Whether to draw progress bars: `progress` itself, or, if it is None, unless CTSL_PROGRESS is 0."""
    return os.environ.get("CTSL_PROGRESS", "1") != "0" if progress is None else progress
