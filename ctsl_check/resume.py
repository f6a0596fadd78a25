"""Part 4: a run that is killed goes on to the result of one that was left alone, bit for bit."""

import multiprocessing
import os
import random
import tempfile
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

from ctsl_check.repeat import outcome, same, small_spec
from ctsl_check.report import Part, Row
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import end_with_parent

RULE = (
    "A process that saves its state after every epoch is killed (`kill -9`) once it has finished an epoch drawn by "
    "`--seed`; another one goes on from there. Record and weights must be those of a run that was left alone."
)
EPOCHS = 12
PATIENCE = 120.0
"""Seconds that the process may take until it is killed."""


def resume(device: torch.device, seed: int = 0) -> Part:
    """Kill a run and let it go on.

    Args:
        device: where to train.
        seed: of the run, and of the epoch after which it is killed.
    """
    spec = small_spec("fp32", seed, EPOCHS)
    with tempfile.TemporaryDirectory(prefix="ctsl-check-") as folder:
        alone, killed = Store(Path(folder) / "alone"), Store(Path(folder) / "killed")
        run(spec, alone, keep_weights=True, device=device, progress=False)
        epoch = kill_after(spec, killed, random.Random(seed).randrange(1, EPOCHS // 2), device)
        if epoch is None:
            row = Row(what="kill and resume", found="the process ended before it was killed", verdict="note")
            return Part(title="4 kill and resume", rule=RULE, rows=[row])
        run(spec, killed, keep_weights=True, device=device, progress=False)
        good = same(outcome(spec, alone), outcome(spec, killed))
    row = Row(
        what=f"killed after epoch {epoch} of {EPOCHS}",
        found="the same bit for bit" if good else "not the result of the undisturbed run",
        expected="the same",
        verdict="ok" if good else "off",
    )
    return Part(title="4 kill and resume", rule=RULE, rows=[row])


def kill_after(spec: Spec, store: Store, epoch: int, device: torch.device) -> int | None:
    """Start a run in a process of its own and kill it.

    Args:
        spec: of the run.
        store: where it saves its state.
        epoch: kill it once so many epochs are finished and there is a state to go on from.
        device: where to train.

    Returns: the epoch that it had noted when it was killed; None if it had ended by itself.
    Raises: RuntimeError if it neither ends nor gets so far, or if it fails.
    """
    process = multiprocessing.get_context("spawn").Process(target=work, args=(spec, store.root, str(device)))
    process.start()
    checkpoint, latest = store.checkpoint(spec), time.monotonic() + PATIENCE
    while process.is_alive():
        note = checkpoint.read_note()
        if note is not None and note.epoch >= epoch and checkpoint.path.exists():
            process.kill()
            process.join()
            return note.epoch if checkpoint.path.exists() else None
        if time.monotonic() > latest:
            process.kill()
            raise RuntimeError(f"the run that was to be killed did not finish {epoch} epochs in {PATIENCE:g} s")
        time.sleep(0.002)
    if process.exitcode != 0:
        raise RuntimeError(f"the run that was to be killed failed by itself, with exit status {process.exitcode}")
    return None


def work(spec: Spec, root: Path, device: str) -> None:
    """What the process does: the run, with its state saved after every epoch.

    Args:
        spec: of the run.
        root: of the store.
        device: where to train.
    """
    end_with_parent()
    tqdm.set_lock(threading.RLock())  # its own would outlive a process that is killed
    os.environ |= {"CTSL_CHECKPOINT": "0", "CTSL_PROGRESS": "0"}
    run(spec, Store(root), keep_weights=True, device=device, progress=False)
