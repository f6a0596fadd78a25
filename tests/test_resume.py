"""A run that dies at any moment goes on to the result of one that was left alone, bit for bit."""

import multiprocessing
import os
import random
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ctsl_check.repeat import outcome
from ctsl_lib.data.specs import Digits
from ctsl_lib.experiments.grid import process_pool, run_grid
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.training.checkpoint import Checkpoint, Note, read_state
from ctsl_lib.training.recipe import Recipe

SPEC = Spec(
    data=Digits(n_train=60), objective=METHODS["ctsl_mkt"], recipe=Recipe(epochs=12, batch_size=30, mirror=True)
)


IN_BF16 = SPEC.model_copy(update={"recipe": SPEC.recipe.model_copy(update={"precision": "bf16"})})


def work(folder: str) -> None:
    """One attempt, in a process of its own; the state is saved after every epoch."""
    torch.set_num_threads(1)
    os.environ |= {"CTSL_CHECKPOINT": "0", "CTSL_PROGRESS": "0"}
    run(SPEC, Store(folder), keep_weights=True, progress=False)


def work_in_a_pool(folder: str) -> None:
    """Both precisions side by side in workers of a pool; this process leads a group that can be killed whole."""
    os.setsid()
    os.environ |= {"CTSL_CHECKPOINT": "0", "CTSL_PROGRESS": "0"}
    with process_pool(2) as executor:
        run_grid([SPEC, IN_BF16], Store(folder), executor=executor, keep_weights=True)


def work_with_a_full_disk(folder: str) -> None:
    """The same, but no file may be longer than 100 kB, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    work(folder)


PRELOAD = ["ctsl_lib.experiments.run", "ctsl_lib.data.digits", "torch._dynamo"]
"""What a run imports at the latest in its first step: a moment to kill it shall not fall into imports."""


def start(target, folder: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=target, args=(str(folder),))
    process.start()
    return process


def assert_same(found: Store, reference: Store, spec: Spec = SPEC) -> None:
    (record, weights), (expected, expected_weights) = outcome(spec, found), outcome(spec, reference)
    assert record
    assert record == expected
    assert all(torch.equal(a, b) for a, b in zip(weights, expected_weights, strict=True))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    start(work, folder / "warm-up").join()  # the server loads the library once
    begun = time.monotonic()
    start(work, folder / "records").join()
    return Store(folder / "records"), time.monotonic() - begun


@pytest.mark.slow
def test_kill_9_at_20_random_moments(undisturbed: tuple[Store, float], tmp_path: Path) -> None:
    reference, seconds = undisturbed
    moments, kills, finished, resumed = random.Random(0), 0, 0, 0
    store = Store(tmp_path / "0")
    while kills < 20:
        resumed += store.checkpoint(SPEC).path.exists() or store.checkpoint(SPEC.stage1()).path.exists()
        process = start(work, store.root)
        process.join(moments.uniform(0, 0.7 * seconds))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        if store.load(SPEC) is not None:
            assert_same(store, reference)
            finished += 1
            store = Store(tmp_path / str(finished))
    process = start(work, store.root)
    process.join()
    assert process.exitcode == 0 and resumed >= 5  # else the moments were not spread over the run
    assert_same(store, reference)
    leftovers = [path.name for path in store.root.rglob("*") if path.suffix in (".ckpt", ".running")]
    assert leftovers == []


def leads_a_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


@pytest.mark.slow
def test_a_killed_pool_goes_on_in_both_precisions(undisturbed: tuple[Store, float], tmp_path: Path) -> None:
    reference, _ = undisturbed
    run(IN_BF16, reference, keep_weights=True, progress=False)
    store, killed = Store(tmp_path / "records"), 0
    for spec in (SPEC.stage1(), IN_BF16, SPEC):  # kill everything once this spec has saved its state
        process = start(work_in_a_pool, store.root)
        path = store.checkpoint(spec).path
        # The state may be there from the attempt before, so wait for the group to exist as well.
        while process.is_alive() and not (path.exists() and leads_a_group(process.pid)):
            process.join(0.01)
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
    start(work_in_a_pool, store.root).join()
    assert killed >= 2
    for spec in (SPEC, IN_BF16):
        assert_same(store, reference, spec)


@pytest.mark.slow
def test_full_disk_loses_no_finished_work(undisturbed: tuple[Store, float], tmp_path: Path) -> None:
    reference, _ = undisturbed
    store = Store(tmp_path / "records")
    process = start(work_with_a_full_disk, store.root)
    process.join()
    assert process.exitcode != 0 and store.load(SPEC) is None
    assert not list(store.root.rglob("*.tmp"))
    start(work, store.root).join()
    assert_same(store, reference)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_left_out(
    undisturbed: tuple[Store, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = undisturbed
    monkeypatch.setenv("CTSL_CHECKPOINT", "0")
    store = Store(tmp_path / "records")
    checkpoint = store.checkpoint(SPEC)
    checkpoint.note(3, 12)
    checkpoint.path.write_bytes(b"not a checkpoint")
    with pytest.warns(UserWarning, match=r"\.ckpt is not used, and the run starts again: it is damaged"):
        run(SPEC, store, keep_weights=True)
    assert_same(store, reference)


def test_checkpoint_counts_the_seconds_of_all_parts(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path / "run.ckpt", every=0)
    others = {"optimizer": {}, "scheduler": {}, "history": {}}
    first.end_of_epoch({"epoch": 1, "peers": [{"w": torch.ones(2)}]} | others, 1, 3)
    again = Checkpoint(tmp_path / "run.ckpt", every=0)
    state = again.load()
    assert state is not None and state["epoch"] == 1 and torch.equal(state["peers"][0]["w"], torch.ones(2))
    assert again.seconds >= state["seconds"] > 0
    again.clear()
    assert list(tmp_path.iterdir()) == [] and again.load() is None


class FlushesWithEachNote(Checkpoint):
    """As if a signal came right after the note of an epoch."""

    def write_note(self, note: Note) -> None:
        super().write_note(note)
        self.flush()


def test_a_signal_after_the_last_epoch_loses_that_epoch_only(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", every=1000, key="run")
    for epoch in (1, 2, 3):
        checkpoint.end_of_epoch({"epoch": epoch}, epoch, 3)
    checkpoint.flush()  # the networks are being evaluated, and there is no record yet
    assert read_state(checkpoint.path, "epoch")["epoch"] == 2
    note = checkpoint.read_note()
    assert note is not None and note.epoch == 2


def test_a_note_counts_no_epoch_that_a_signal_would_lose(tmp_path: Path) -> None:
    checkpoint = FlushesWithEachNote(tmp_path / "run.ckpt", every=1000, key="run")
    for epoch in (1, 2):
        checkpoint.end_of_epoch({"epoch": epoch}, epoch, 9)
        assert read_state(checkpoint.path, "epoch")["epoch"] == epoch
