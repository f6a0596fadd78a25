"""The state of a run between two epochs, on disk, so that a run that was stopped can go on from there."""

import json
import os
import pickle
import socket
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ctsl_lib.environment import write_atomically
from ctsl_lib.errors import StateError

STALE = 3600.0
"""A run on another machine counts as stopped if it has written nothing for this many seconds."""


class Checkpoint:
    """Saves the state of a run, and beside it a note for `ctsl status`: which process works on it, and how far it is.

    All random numbers of an epoch follow from the seed and the number of the epoch (see `ctsl_lib.randomness`). So
    the networks and the optimiser are all that must be saved, and a run that goes on from a checkpoint ends bit for
    bit like one that was never stopped.
    """

    def __init__(self, path: Path, every: float = 30.0) -> None:
        """Keep the state at `path`; save it at the end of an epoch if `every` seconds have passed since last time."""
        self.path, self.every = path, every
        self.data_digest = ""
        """The digest of the images that the run trains on."""
        self.note_path = path.with_suffix(".running")
        self._seconds_before = 0.0
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken so far, those before it was stopped included."""
        return self._seconds_before + time.monotonic() - self._started

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None if there is none. One that cannot be used causes a warning and is ignored."""
        try:
            state = read_state(self.path, "epoch", "peers", "optimizer", "scheduler", "history", "seconds")
            if state["data_digest"] != self.data_digest:
                raise StateError("it was made from other images than those at hand")
        except FileNotFoundError:
            return None
        except StateError as error:
            warnings.warn(f"{self.path} is not used, and the run starts again: {error}", stacklevel=2)
            return None
        self._seconds_before = float(state["seconds"])
        return state

    def end_of_epoch(self, state: dict[str, Any], done: int, epochs: int) -> None:
        """Write the note, and save the state if enough time has passed since the last save.

        Args:
            state: what the run needs to go on: states of networks, optimiser and scheduler, and the history.
            done: the number of epochs that are finished.
            epochs: the number of epochs of the whole run.
        """
        self.note(done, epochs)
        if time.monotonic() - self._saved >= self.every and done < epochs:
            import torch

            state = _on_cpu(state) | {"seconds": self.seconds, "data_digest": self.data_digest}
            write_atomically(self.path, lambda temporary: torch.save(state, temporary))
            self._saved = time.monotonic()

    def note(self, done: int, epochs: int) -> None:
        """Write which process works on the run and how far it is.

        Args:
            done: the number of epochs that are finished.
            epochs: the number of epochs of the whole run.
        """
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "epoch": done, "epochs": epochs}
        write_atomically(self.note_path, lambda temporary: temporary.write_text(json.dumps(facts)))

    def state(self) -> str:
        """How a run without a record stands, in words: running, with its epoch; stopped, with its epoch; missing."""
        try:
            note = json.loads(self.note_path.read_text(encoding="utf-8"))
            progress = f"{note['epoch']} of {note['epochs']}"
            here = note["host"] == socket.gethostname()
            running = _alive(int(note["pid"])) if here else time.time() - self.note_path.stat().st_mtime < STALE
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return "stopped" if self.path.exists() else "missing"
        return f"running: epoch {progress}" if running else f"stopped after epoch {progress}"

    def clear(self) -> None:
        """Remove state and note, which nobody needs once the run has a record."""
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)


def read_state(path: Path, *names: str) -> dict[str, Any]:
    """Read a file with the state of a run or with trained weights.

    Args:
        path: the file.
        names: the entries that it must have, beside `data_digest`.

    Returns: name -> entry, with all tensors on the CPU.
    Raises: FileNotFoundError if there is no file, StateError if it is damaged or lacks an entry.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError):
        raise StateError("it is damaged, or not a file of this kind") from None
    missing = [name for name in ("data_digest", *names) if not isinstance(state, dict) or name not in state]
    if missing:
        raise StateError(f"it has no {', '.join(missing)}")
    return dict(state)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _on_cpu(value: Any) -> Any:
    if hasattr(value, "cpu"):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
