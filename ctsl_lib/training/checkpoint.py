"""The state of a run between two epochs, on disk, so that a run that was stopped can go on from there."""

import hashlib
import io
import math
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ctsl_lib.environment import open_file, read_whole, write_atomically
from ctsl_lib.errors import RunStoppedError, StateError, explained, shown

if TYPE_CHECKING:
    from torch.nn import Module


class Note(BaseModel, frozen=True):
    """Which process works, or worked, on a run, and how far it is."""

    host: str
    pid: int
    epoch: int
    """The number of epochs that are finished."""
    epochs: int
    """Of the whole run."""


class Checkpoint:
    """Saves the state of a run, and beside it a note for `ctsl status`: which process works on it, and how far it is.

    All random numbers of an epoch follow from the seed and the number of the epoch (see `ctsl_lib.randomness`). So
    the networks and the optimiser are all that must be saved, and a run that goes on from a checkpoint ends bit for
    bit like one that was never stopped.
    """

    def __init__(self, path: Path, every: float = 30.0, key: str = "") -> None:
        """Keep the state at `path`; save it at the end of an epoch if `every` seconds have passed since last time.

        Args:
            path: the file.
            every: seconds.
            key: of the spec that is run; a state of another spec is not used.
        """
        self.path, self.every, self.key = path, every, key
        self.data_digest = ""
        """The digest of the images that the run trains on."""
        self.note_path = path.with_suffix(".running")
        self._seconds_before = 0.0
        self._started = self._saved = time.monotonic()
        self._unsaved: dict[str, Any] | None = None
        self._stopping, self._writing = False, threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken so far, those before it was stopped included."""
        return self._seconds_before + time.monotonic() - self._started

    def load(self, check: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any] | None:
        """The saved state, or None if there is none. One that cannot be used causes a warning and is ignored.

        `check` raises an error if the content of a state, which has been read whole, cannot be used by the run.
        """
        try:
            state = read_state(self.path, "epoch", "peers", "optimizer", "scheduler", "history", "seconds")
            check_key(state, self.key)
            if state["data_digest"] != self.data_digest:
                raise StateError("it was made from other images than those at hand")
            if not isinstance(state["seconds"], float) or not 0 <= state["seconds"] < math.inf:
                raise StateError(f"seconds must be finite and at least 0, got {shown(state['seconds'])}")
            if check is not None:
                check(state)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a file may hold that this library has not written
            warnings.warn(f"{self.path} is not used, and the run starts again: {explained(error)}", stacklevel=2)
            return None
        self._seconds_before = state["seconds"]
        return state

    def end_of_epoch(self, state: dict[str, Any], done: int, epochs: int) -> None:
        """Save the state if enough time has passed since the last save, else keep it for `flush`; write the note.

        Args:
            state: what the run needs to go on: states of networks, optimiser and scheduler, and the history.
            done: the number of epochs that are finished.
            epochs: the number of epochs of the whole run.

        Raises: RunStoppedError after `stop`, with the state saved.
        """
        if done == epochs:
            return  # the record comes next; until it is there, the state of the epoch before is kept
        about = {"key": self.key, "seconds": self.seconds, "data_digest": self.data_digest}
        due = self._stopping or time.monotonic() - self._saved >= self.every
        # Training goes on and changes the tensors, so what is saved later must be a copy.
        self._unsaved = state | about if due else _copied(state | about)
        self.note(done, epochs)  # only now: what the note counts as finished can be saved
        if due or self._stopping:  # it may have been told to stop while the state was copied
            self.flush()
        if self._stopping:
            raise RunStoppedError(f"{self.path.stem} was told to stop after epoch {done}")

    def flush(self) -> None:
        """Save the state of the last epoch that has ended, if that has not been done yet; any thread may call it."""
        with self._writing:
            state = self._unsaved
            if state is not None:
                write_state(self.path, state)
                self._saved = time.monotonic()
                if self._unsaved is state:  # else the next epoch has ended meanwhile
                    self._unsaved = None

    def stop(self) -> None:
        """Save the state and let the run end after its present epoch; any thread may call it."""
        self._stopping = True
        self.flush()

    def note(self, done: int, epochs: int) -> None:
        """Write which process works on the run and how far it is.

        Args:
            done: the number of epochs that are finished.
            epochs: the number of epochs of the whole run.
        """
        self.write_note(Note(host=socket.gethostname(), pid=os.getpid(), epoch=done, epochs=epochs))

    def write_note(self, note: Note) -> None:
        """Write a note in place of the one that is there; see `note`."""
        text = note.model_dump_json()
        write_atomically(self.note_path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def read_note(self) -> Note | None:
        """The note; None if there is none, or something else in its place."""
        try:
            return Note.model_validate_json(read_whole(self.note_path, 2**20))
        except (OSError, ValueError):
            return None

    def clear(self) -> None:
        """Remove state and note, which nobody needs once the run has a record."""
        with self._writing:
            self._unsaved = None
            for path in (self.path, self.note_path):
                with suppress(OSError):  # what cannot be removed does no harm: the record counts
                    path.unlink()


def _copied(values: Any) -> Any:
    """A copy of a state, with all tensors on the CPU: a GPU would have to hold each network several times."""
    if isinstance(values, dict):
        return {name: _copied(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(map(_copied, values))
    # A tensor, asked for in this way because torch takes seconds to import, and most users of this module need none.
    if hasattr(values, "detach"):
        return values.detach().to("cpu", copy=True)
    return deepcopy(values)


HEADER = b"ctsl-state 1 %s\n"
"""The first line of a file of states, with the SHA-256 of all that follows: what torch.save writes."""


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a file with the state of a run or with trained weights.

    Args:
        path: the file.
        state: name -> entry; see `read_state` for what must be there.

    Raises: OSError that names the file and says why it cannot be written.
    """
    import torch

    content = io.BytesIO()
    torch.save(state, content)
    header = HEADER % hashlib.sha256(content.getbuffer()).hexdigest().encode()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(header)
            file.write(content.getbuffer())

    write_atomically(path, write)


def read_state(path: Path, *names: str) -> dict[str, Any]:
    """Read a file that `write_state` has written; a single bit that has changed since is noticed.

    Args:
        path: the file.
        names: the entries that it must have, beside `key` (of the spec) and `data_digest`.

    Returns: name -> entry, with all tensors on the CPU.
    Raises: FileNotFoundError if there is no file, StateError if it is damaged or lacks an entry.
    """
    import torch

    try:
        with open_file(path) as file:
            header = file.read(len(HEADER % bytes(64)))
            start, end = HEADER.split(b"%s")
            if not (header.startswith(start) and header.endswith(end)):
                raise StateError("it is damaged, or not a file of this kind")
            if header != HEADER % hashlib.file_digest(file, "sha256").hexdigest().encode():
                raise StateError("it is damaged: its content does not have the SHA-256 of its first line")
            file.seek(len(header))
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, StateError):
        raise
    except OSError as error:
        raise StateError(f"it cannot be read: {error.strerror or error}") from None
    except Exception:  # what torch.load may raise is written nowhere
        raise StateError("it does not hold a state that PyTorch can read") from None
    missing = [
        name for name in ("key", "data_digest", *names) if not isinstance(state, dict) or name not in state
    ]
    if missing:
        raise StateError(f"it has no {', '.join(missing)}")
    return dict(state)


def check_key(state: dict[str, Any], key: str) -> None:
    """Raise a StateError unless a state is that of the spec with this key.

    Args:
        state: as `read_state` returns it.
        key: of the spec.
    """
    if state["key"] != key:
        raise StateError(f"it is of another run: key must be {key!r}, got {shown(state['key'])}")


def check_weights(peers: "Sequence[Module]", states: Any) -> None:
    """Raise a StateError unless the weights fit the peers: the same names, shapes and types of numbers.

    Args:
        peers: the networks.
        states: what may be loaded into each of them.
    """
    if not isinstance(states, list) or len(states) != len(peers):
        count = len(states) if isinstance(states, list) else shown(states)
        raise StateError(f"it must have the weights of {len(peers)} peers, got {count}")
    for k, (peer, state) in enumerate(zip(peers, states, strict=True)):
        own, found = kinds(peer.state_dict()), kinds(state)
        for name in [*own, *found]:
            if own.get(name) != found.get(name):
                should, has = own.get(name, "missing"), found.get(name, "missing")
                raise StateError(
                    f"the weights are of another network: {name} of peer {k} must be {should}, got {has}"
                )


def kinds(state: Mapping[Any, Any]) -> dict[Any, str]:
    """For each tensor of a state its shape and type, for anything else its type, in words."""
    return {
        name: f"{tuple(value.shape)} {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
        for name, value in state.items()
    }
