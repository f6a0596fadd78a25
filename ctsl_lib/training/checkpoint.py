"""The state of a run between two epochs, on disk, so that a killed run goes on where it was."""

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
"""Seconds without a sign of life after which a run on another machine counts as stopped."""


class Checkpoint:
    """Keeps a run's state at `path`, and beside it a note for `ctsl status` of who works on it and how far it is.

    All random numbers of an epoch follow from the seed and the epoch's number (see `seeds`), so the state of the
    networks and the optimiser is everything: a run that goes on from here ends bit for bit like one undisturbed.
    """

    def __init__(self, path: Path, every: float = 30.0) -> None:
        """Save at the first end of an epoch that comes `every` seconds after the last save."""
        self.path, self.every = path, every
        self.data_digest = ""
        """Of the images that the run is made from."""
        self.note_path = path.with_suffix(".running")
        self._seconds_before = 0.0
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of work that went into the run so far, over all its parts."""
        return self._seconds_before + time.monotonic() - self._started

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none; one that cannot be used is named in a warning."""
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
        """Note that `done` of `epochs` are done, and save `state` if it is time to."""
        self.note(done, epochs)
        if time.monotonic() - self._saved >= self.every and done < epochs:
            import torch

            state = _on_cpu(state) | {"seconds": self.seconds, "data_digest": self.data_digest}
            write_atomically(self.path, lambda temporary: torch.save(state, temporary))
            self._saved = time.monotonic()

    def note(self, done: int, epochs: int) -> None:
        """Say that this process works on the run, and how far it is."""
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "epoch": done, "epochs": epochs}
        write_atomically(self.note_path, lambda temporary: temporary.write_text(json.dumps(facts)))

    def state(self) -> str:
        """What a run without a record is: running with its epoch, stopped after an epoch, or missing."""
        try:
            note = json.loads(self.note_path.read_text(encoding="utf-8"))
            progress = f"{note['epoch']} of {note['epochs']}"
            here = note["host"] == socket.gethostname()
            running = _alive(int(note["pid"])) if here else time.time() - self.note_path.stat().st_mtime < STALE
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return "stopped" if self.path.exists() else "missing"
        return f"running: epoch {progress}" if running else f"stopped after epoch {progress}"

    def clear(self) -> None:
        """Remove state and note: the run has its record."""
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)


def read_state(path: Path, *names: str) -> dict[str, Any]:
    """What a file of states holds, by name: `data_digest` and these others.

    Raises: FileNotFoundError where there is none, StateError where it is damaged or something else.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError):
        raise StateError("it is damaged, or no file of states") from None
    missing = [name for name in ("data_digest", *names) if not isinstance(state, dict) or name not in state]
    if missing:
        raise StateError(f"it does not hold {', '.join(missing)}")
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
