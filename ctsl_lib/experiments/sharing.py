"""One process for one run: a claim on it, which expires when its process is gone, and what a run leaves behind.

The claim is the note of the run's checkpoint, which names host and process. A process on another host is not seen;
it is believed to work as long as its note was touched a short time ago.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctsl_lib.environment import alive, read_whole, write_atomically
from ctsl_lib.errors import RunClaimedError, plain
from ctsl_lib.experiments.provenance import current_commit
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.training.checkpoint import Checkpoint

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEAT, LEASE = 30.0, 300.0
"""Seconds between two touches of a note, and after which a note of another host has expired."""
NOBODY = 2**31 - 1
"""A number that no process has: the note of a run that its process gave up."""
_mine: set[Path] = set()


@contextmanager
def claimed(checkpoint: Checkpoint, epochs: int) -> Iterator[None]:
    """Inside the block the run belongs to this thread; no other process and no other thread takes it.

    Args:
        checkpoint: of the run.
        epochs: that it will have.

    Raises: RunClaimedError if a living process, or another thread of this one, works on it.
    """
    path = checkpoint.note_path.resolve()
    with _locked(path.parent):
        if is_claimed(checkpoint):
            raise RunClaimedError(f"another process works on {path.stem}")
        _mine.add(path)
        checkpoint.note(epochs_done(checkpoint) if checkpoint.path.exists() else 0, epochs)
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, over), daemon=True)
    beating.start()
    try:
        yield
    except BaseException:
        _give_up(checkpoint)
        raise
    finally:
        over.set()
        _mine.discard(path)


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(FileNotFoundError):
            os.utime(path)


def _give_up(checkpoint: Checkpoint) -> None:
    """Say in the note that nobody works on the run any more; without a saved state no note is needed."""
    note = _read(checkpoint.note_path)
    if not note or not checkpoint.path.exists():
        checkpoint.note_path.unlink(missing_ok=True)
        return
    text = json.dumps(note | {"pid": NOBODY})
    write_atomically(checkpoint.note_path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock is on the folder itself, so that no file is left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_claimed(checkpoint: Checkpoint) -> bool:
    """Whether a living process, or a thread of this one, works on the run."""
    path = checkpoint.note_path
    note = _read(path)
    try:
        if note["host"] != socket.gethostname():
            return time.time() - path.stat().st_mtime < LEASE
        pid = int(note["pid"])
        if pid == os.getpid():
            return path.resolve() in _mine  # else an earlier process had the same number
        return _alive(pid, path.stat().st_mtime)
    except (FileNotFoundError, KeyError, TypeError, ValueError, OverflowError):
        return False


def epochs_done(checkpoint: Checkpoint) -> int:
    """How many epochs the note says are finished; 0 without a note."""
    epoch = _read(checkpoint.note_path).get("epoch", 0)
    return epoch if isinstance(epoch, int) else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(read_whole(path, 2**20))
    except (OSError, ValueError, RecursionError):  # there is none, or what has its name is none
        return {}
    return note if isinstance(note, dict) else {}


def _alive(pid: int, moment: float) -> bool:
    """Whether the process that had this number at `moment` still works: no zombie, and no younger process."""
    if not alive(pid):
        return False
    try:  # on Linux; elsewhere nothing more is known
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        system = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        boot = next(int(line.split()[1]) for line in system if line.startswith("btime"))
        return stat[0] not in "ZX" and boot + int(stat[19]) / os.sysconf("SC_CLK_TCK") < moment + 5
    except (OSError, ValueError, IndexError, StopIteration):
        return True


def failure_path(store: Store, spec: Spec) -> Path:
    """The file that says why a run failed, whether it exists or not.

    Args:
        store: where its record would be.
        spec: the run.
    """
    return store.path(spec).with_suffix(".failed")


def write_failure(store: Store, spec: Spec, reason: str, epoch: int) -> None:
    """Leave a note that a run failed and would fail again, so that it is not tried again unless asked for.

    Args:
        store: where its record would be.
        spec: the run.
        reason: why it failed.
        epoch: in which epoch, counted from 1.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"spec": spec.key, "reason": reason, "epoch": epoch, "commit": current_commit(), "when": when}
    text = json.dumps(facts, indent=1) + "\n"
    write_atomically(failure_path(store, spec), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def failure(store: Store, spec: Spec) -> str | None:
    """Why a run failed in an earlier attempt; None if it did not.

    Args:
        store: where its record would be.
        spec: the run.
    """
    facts = _read(failure_path(store, spec))
    return plain(str(facts["reason"])) if "reason" in facts else None


def tidy(store: Store, spec: Spec) -> None:
    """Remove what a finished run no longer needs: its state, its notes, files that were never completed.

    Args:
        store: where its record is.
        spec: the run.
    """
    store.checkpoint(spec).clear()
    failure_path(store, spec).unlink(missing_ok=True)
    for half in store.path(spec).parent.glob(f".{spec.key}.*.tmp"):
        half.unlink(missing_ok=True)
