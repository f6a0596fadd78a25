"""The machine around the kit: folders, files that are written whole, the allocator, cores, progress bars."""

import ctypes
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from io import BufferedReader
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).resolve().parent.parent
ROOT = _CHECKOUT if (_CHECKOUT / "notebooks").is_dir() else Path.cwd()
"""The kit's folder, wherever a kernel was started; the current folder where the library was installed without it."""
ABANDONED = 24 * 3600.0
"""Seconds after which nobody can still be writing a temporary file."""
_TEMPORARY = re.compile(r"\..+~(?P<host>[^~]+)~(?P<pid>[0-9]{1,10})~[0-9a-f]{8}\.tmp")


def load_lazily(
    package: str, homes: Mapping[str, Sequence[str]], rooms: Sequence[str] = ()
) -> Callable[[str], Any]:
    """A `__getattr__` for a package: it imports a module of the package when one of its names is first used.

    Args:
        package: the name of the package.
        homes: module of the package -> the names that it defines.
        rooms: modules of the package that are names themselves.

    Returns: the function; it raises AttributeError for any other name.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name in rooms:
            return import_module(f"{package}.{name}")
        if name in home:
            return getattr(import_module(f"{package}.{home[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def data_root() -> Path:
    """The folder where data sets are looked for: the variable CTSL_DATA, else data/ in the kit."""
    return _folder("CTSL_DATA", ROOT / "data")


def cache_root() -> Path:
    """The folder for decoded data sets: the variable CTSL_CACHE, else data/cache in the kit."""
    return _folder("CTSL_CACHE", ROOT / "data" / "cache")


def records_root() -> Path:
    """The folder for records: the variable CTSL_RECORDS, else data/records in the kit."""
    return _folder("CTSL_RECORDS", ROOT / "data" / "records")


def _folder(variable: str, default: Path) -> Path:
    """What an environment variable names, with ~ for the home; where it is empty or not set, the default."""
    value = os.environ.get(variable, "")
    return expanded(variable, value) if value.strip() else default


def expanded(name: str, path: str | Path) -> Path:
    """A path that a person has written, with the home in place of ~.

    Args:
        name: of the setting, for the message.
        path: what was written.

    Raises: ValueError if it begins with the home of a user who does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name} begins with the home of a user who is not known: {str(path)!r}") from error


def check_place(name: str, path: Path, *, file: bool = False) -> None:
    """Raise a ValueError if nothing could be written to a folder, or to a file, neither of which need exist yet.

    Args:
        name: of the setting, for the message.
        path: of the folder or file.
        file: whether it is a file.
    """
    if file and path.is_dir():
        raise ValueError(f"{name} must name a file, but {path} is a folder")
    rule = f"{name} must name a {'file in a folder' if file else 'folder'}"
    there = next(place for place in (path.parent if file else path, *path.parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"{rule}, but {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{rule}, but {there.absolute()} may not be written to")


def load_plugins() -> None:
    """Import a user's own networks, data sets, terms and metrics, so that every process knows them.

    The environment variable CTSL_PLUGINS names them, separated by commas: modules that can be imported, or files
    such as my_terms.py, which are looked for in the kit's folder unless their path is absolute or begins with ~. The
    command, worker processes and `ctsl_lib.experiments.run` call this function; what is imported already is not
    imported again.

    Raises: ValueError if a module or file does not exist, or if another module has the name of the file.
    """
    for name in filter(None, map(str.strip, os.environ.get("CTSL_PLUGINS", "").split(","))):
        path = (ROOT / expanded("CTSL_PLUGINS", name)).resolve() if name.endswith(".py") else None
        if path is not None and str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        module_name = path.stem if path is not None else name
        if path is not None and not module_name.isidentifier():
            raise ValueError(
                f"CTSL_PLUGINS names {name}, which cannot be imported: its name must be like a variable's"
            )
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
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

    def letters(word: str) -> str:
        return re.sub(r"[\s_-]", "", word.lower())

    names = list(known)
    near = [one for one in names if letters(one) == letters(name)] or get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def temporary_beside(path: Path) -> Path:
    """A hidden name beside `path` that nobody else has, by which `remove_remains` can tell whose it is."""
    token = f"{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}~{token}.tmp")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that `path` never holds half of it: first a temporary file beside it, then one rename.

    The file gets the mode that the umask leaves, so that others who share the folder can read it. Temporary files
    that processes which were killed have left in the folder are removed.

    Args:
        path: the file; its folder is created.
        write: writes the content to the path that it is given.

    Raises: OSError that names the file and says why it cannot be written, such as a full disk; what was there before
        is still there.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(path.parent)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                write(temporary)
                os.fsync(handle)
            finally:
                os.close(handle)  # before the rename, which Windows refuses for an open file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        failure = OSError(f"{path} cannot be written: {error.strerror or error}")
        failure.errno = error.errno
        raise failure from error


def open_file(path: Path) -> BufferedReader:
    """Open a regular file, or one that a link leads to, to read bytes; a pipe is not waited for.

    Raises: OSError if there is none, or something else in its place, or if it may not be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("it is a folder, a pipe or the like, not a file")
    return os.fdopen(handle, "rb")


def read_whole(path: Path, largest: int) -> bytes:
    """The content of a regular file; see `open_file`.

    Args:
        path: the file.
        largest: the number of bytes that it may have.

    Raises: OSError if it cannot be read or is too large.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size <= largest and len(content := file.read(largest + 1)) <= largest:
            return content
    raise OSError(f"it is larger than {largest} bytes")


def alive(pid: int, moment: float) -> bool:
    """Whether the process of this machine that had this number at some moment still works.

    A zombie does not, and a process that is younger has only got the same number. Where this cannot be found out,
    the answer is yes: outside Linux for both, and on Windows for every number.

    Args:
        pid: the number of the process.
        moment: seconds since 1970, such as the time of a file that the process has written.
    """
    if not 0 < pid < 2**31:
        return False
    if sys.platform == "win32":  # os.kill would press Ctrl-C there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and another user's
        pass
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        system = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        boot = next(int(line.split()[1]) for line in system if line.startswith("btime"))
        return stat[0] not in "ZX" and boot + int(stat[19]) / os.sysconf("SC_CLK_TCK") < moment + 5
    except (OSError, ValueError, IndexError, StopIteration):
        return True


def remove_remains(folder: Path) -> None:
    """Remove what `temporary_beside` named and whose process is no more; of other machines, what is a day old."""
    remains = []
    with suppress(OSError), os.scandir(folder) as entries:  # in a folder that may not be listed they stay
        remains = [(entry, found) for entry in entries if (found := _TEMPORARY.fullmatch(entry.name))]
    for entry, found in remains:
        with suppress(OSError):  # another process has removed it, or it is another user's
            written = entry.stat(follow_symlinks=False).st_mtime
            ended = found["host"] == socket.gethostname() and not alive(int(found["pid"]), written)
            if ended or time.time() - written > ABANDONED:
                shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else Path(entry).unlink()


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
