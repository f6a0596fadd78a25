"""One process for one run: a claim on it, which expires when its process is gone, and what a run leaves behind.

The claim is the note of the run's checkpoint, which names host and process. A process on another host is not seen;
it is believed to work as long as its note was touched a short time ago.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

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
POLL = 0.5
"""Seconds between two looks at a run that another process works on."""
NOBODY = 2**31 - 1
"""A number that no process has: the note of a run that its process gave up."""
_mine: dict[Path, Checkpoint] = {}
"""The runs that this process works on, by the place of their notes."""


@contextmanager
def claimed(checkpoint: Checkpoint, epochs: int) -> Iterator[None]:
    """Inside the block the run belongs to this thread; no other process and no other thread takes it.

    Args:
        checkpoint: of the run.
        epochs: that it will have.

    Raises: RunClaimedError if a living process, or another thread of this one, works on it.
    """
    path = _place(checkpoint)
    with _locked(path.parent):
        if is_claimed(checkpoint):
            raise RunClaimedError(f"another process works on {path.stem}")
        _mine[path] = checkpoint
        checkpoint.note(epochs_done(checkpoint) if has_state(checkpoint) else 0, epochs)
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
        _mine.pop(path, None)


def _place(checkpoint: Checkpoint) -> Path:
    """The one path of a note; what lies there may itself be a link."""
    return Path(os.path.realpath(checkpoint.note_path.parent)) / checkpoint.note_path.name


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(OSError):  # the note is gone, or may not be touched: then the claim expires
            os.utime(path)


def _give_up(checkpoint: Checkpoint) -> None:
    """Save the last state; say in the note that nobody works on the run any more. Without a state none is needed."""
    with suppress(OSError, MemoryError):  # the run then goes on from an earlier state
        checkpoint.flush()
    note = checkpoint.read_note()
    if note is None or not has_state(checkpoint):
        with suppress(OSError):  # what cannot be removed expires
            checkpoint.note_path.unlink()
    else:
        checkpoint.write_note(note.model_copy(update={"pid": NOBODY}))


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


def has_runs() -> bool:
    """Whether this process works on a run."""
    return bool(_mine)


def stop_runs() -> None:
    """Save the states of all runs of this process and end each run after its present epoch; any thread may call it."""
    for checkpoint in list(_mine.values()):
        with suppress(OSError):
            checkpoint.stop()


def is_claimed(checkpoint: Checkpoint) -> bool:
    """Whether a living process, or a thread of this one, works on the run."""
    path, note = checkpoint.note_path, checkpoint.read_note()
    try:
        touched = path.stat().st_mtime
    except OSError:
        return False
    if note is None or note.pid == NOBODY:
        return False
    here = note.host == socket.gethostname()
    if here and note.pid == os.getpid():
        return _place(checkpoint) in _mine  # else an earlier process had the same number
    if here and sys.platform != "win32":
        return alive(note.pid, touched)
    return time.time() - touched < LEASE  # a process that cannot be seen from here


def progress(checkpoint: Checkpoint) -> str:
    """How a run without a record stands, in words: running, with its epoch; stopped, with its epoch; missing."""
    note = checkpoint.read_note()
    if note is None:
        return "stopped" if has_state(checkpoint) else "missing"
    state = "running:" if is_claimed(checkpoint) else "stopped after"
    return f"{state} epoch {note.epoch} of {note.epochs}"


def has_state(checkpoint: Checkpoint) -> bool:
    """Whether something lies at the place of the run's state; whether it can be used, a run finds out."""
    return os.path.lexists(checkpoint.path)


def epochs_done(checkpoint: Checkpoint) -> int:
    """How many epochs the note says are finished; 0 without a note."""
    note = checkpoint.read_note()
    return note.epoch if note is not None else 0


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
    facts["data_digest"] = store.data_digest(spec.data)
    text = json.dumps(facts, indent=1) + "\n"
    write_atomically(failure_path(store, spec), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def failure(store: Store, spec: Spec) -> str | None:
    """Why a run failed in an earlier attempt on the images at hand; None if it did not.

    Args:
        store: where its record would be.
        spec: the run.
    """
    try:
        facts = json.loads(read_whole(failure_path(store, spec), 2**20))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or "reason" not in facts:
        return None
    now = store.data_digest(spec.data)
    other_images = now is not None and facts.get("data_digest", now) not in (now, None)
    return None if other_images else plain(str(facts["reason"]))


def tidy(store: Store, spec: Spec) -> None:
    """Remove what a finished run no longer needs: its state, its notes, files that were never completed.

    Args:
        store: where its record is.
        spec: the run.
    """
    store.checkpoint(spec).clear()
    halves = store.path(spec).parent.glob(f".{spec.key}.*.tmp")
    for path in (failure_path(store, spec), *halves):
        with suppress(OSError):  # what cannot be removed does no harm: the record counts
            path.unlink()
