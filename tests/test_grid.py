"""Many runs side by side: signals, deaths, failures, shared work, and plans that are tried before they are run."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ctsl_lib.cli.main import main
from ctsl_lib.cli.notebooks import _transport
from ctsl_lib.cli.status import KEPT, state_of
from ctsl_lib.data.specs import Digits
from ctsl_lib.data.types import RetrievalSplit, Split
from ctsl_lib.environment import alive
from ctsl_lib.errors import DataError, GridError, PlanError, RunClaimedError, WorkerDiedError
from ctsl_lib.evidence.tables import table_name
from ctsl_lib.experiments import run as runs
from ctsl_lib.experiments.grid import Work, grid, process_pool, run_grid
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.sharing import (
    NOBODY,
    claimed,
    failure,
    failure_path,
    is_claimed,
    progress,
    write_failure,
)
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.training.checkpoint import Checkpoint
from ctsl_lib.training.recipe import Recipe
from scripts.campaign.harness import Command, outcomes, under_way
from scripts.waiting import until

LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes in /proc")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    started = Command(tmp_path)
    yield started
    started.clear()


def settings(*values: str) -> list[str]:
    small = ("pairs=[[tiny_cnn, tiny_cnn]]", "n_train=60", "batch_size=30", *values)
    return [part for value in small for part in ("-p", value)]


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL") if hasattr(signal, name)]
names = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


def end(command: Command, process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send the signal to the main process alone; nothing stays, and the exit status names the signal."""
    process.send_signal(number)
    assert until(lambda: not command.processes() and process.poll() is not None, 30), command.processes()
    assert process.stderr is not None
    said = process.stderr.read()
    if number == signal.SIGKILL:
        assert process.returncode == -number
        return
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1:] == [
        "stopped; what is finished is kept, and the same command goes on from there"
    ]


def at_work(command: Command) -> bool:
    """Whether one of the command's processes is in the middle of a run."""
    return any(note.pid in command.processes() for note in under_way(command.records))


@LINUX
@pytest.mark.slow
def test_signals_end_a_training_and_its_workers_and_it_goes_on(command: Command, tmp_path: Path) -> None:
    train = ["train", "digits", *settings("seeds=2", "epochs=72", "methods=[independent, tfkd]")]
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Command(tmp_path / "undisturbed")
    undisturbed.finish(*train, "--processes", "1")
    train += ["--processes", "2"]
    command.environment["CTSL_CHECKPOINT"] = "1000"  # only what a signal saves is saved
    for number in SIGNALS:
        process = command.start(*train)
        assert until(lambda: at_work(command), 240), number.name
        assert len(command.processes()) >= 3
        end(command, process, number)
        assert list(command.records.rglob("*.ckpt")), number.name
    assert command.start(*train).wait(120) == 0
    assert outcomes(command.records) == outcomes(undisturbed.records)
    assert not [path for path in command.records.rglob("*") if path.suffix in (".ckpt", ".running", ".tmp")]


@LINUX
@pytest.mark.slow
@names
def test_a_signal_ends_kernels_and_their_workers(command: Command, number: signal.Signals) -> None:
    notebooks = ["notebooks", "06", "-p", "seeds=4", "-p", "epochs=100"]
    process = command.start(*notebooks)
    # main, its worker, the kernel, the kernel's workers (and what multiprocessing keeps beside them)
    assert until(lambda: bool(list(command.records.rglob("*.running"))), 240)
    assert len(command.processes()) >= 4
    end(command, process, number)


def sleep_then(seconds: float, value: str) -> str:
    time.sleep(seconds)
    return value


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_own_task_alone() -> None:
    with Workers(2) as workers:
        slow, dead = workers.submit(sleep_then, 1, "done"), workers.submit(die)
        later = [workers.submit(sleep_then, 0, str(i)) for i in range(4)]
        wait([slow, dead, *later])
        assert slow.result() == "done" and [future.result() for future in later] == ["0", "1", "2", "3"]
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            dead.result()


def stubborn(mark: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(mark).touch()
    time.sleep(600)


def interrupt_myself() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still there"


def hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def unpicklable() -> threading.Lock:
    return threading.Lock()


class OddError(Exception):
    def __init__(self) -> None:
        super().__init__("odd")
        self.lock = threading.Lock()


def raise_odd() -> None:
    raise OddError


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_workers_hear_no_interrupt_and_survive_what_cannot_be_sent() -> None:
    with Workers(1) as workers:
        assert (
            workers.submit(interrupt_myself).result() == "still there"
        )  # Ctrl-C reaches all, the parent ends them
        workers.submit(hear_interrupts).result()  # as nbclient does
        assert workers.submit(interrupt_myself).result() == "still there"
        for task, message in ((unpicklable, "cannot pickle"), (raise_odd, "odd")):
            with pytest.raises(RuntimeError, match=message):
                workers.submit(task).result()
        assert workers.submit(sleep_then, 0, "done").result() == "done"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_end_spares_no_worker_and_begins_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctsl_lib.experiments.workers.GRACE", 1.0)
    workers = Workers(2)
    first, second = workers.submit(stubborn, str(tmp_path / "mark")), workers.submit(time.sleep, 600)
    third = workers.submit(time.sleep, 600)
    assert until(lambda: len(workers._workers) == 2 and (tmp_path / "mark").exists(), 60)
    begun = list(workers._workers)
    workers.end()
    assert not any(worker.process.is_alive() for worker in begun)
    for task, message in ((first, "SIGKILL"), (second, "SIGTERM"), (third, "the workers were ended")):
        with pytest.raises(WorkerDiedError, match=message):
            task.result()


@pytest.mark.timeout(120)
def test_an_error_ends_the_workers_of_a_pool() -> None:
    with pytest.raises(ZeroDivisionError), process_pool(2) as pool:
        assert pool is not None
        pool.submit(time.sleep, 600)
        raise ZeroDivisionError


TINY = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=2, batch_size=30))
DIVERGES = TINY.model_copy(update={"recipe": Recipe(epochs=2, batch_size=30, learning_rate=1e20)})


def test_a_run_that_fails_does_not_keep_the_others_from_running(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    self_taught = DIVERGES.model_copy(update={"objective": METHODS["tfkd"], "seed": 5})
    together = DIVERGES.model_copy(update={"objective": METHODS["dml"]})
    good = [TINY, TINY.model_copy(update={"seed": 1})]
    with pytest.raises(GridError) as raised:
        run_grid([DIVERGES, together, self_taught, *good], store)
    assert all(store.load(spec) is not None for spec in good)
    said = str(raised.value).splitlines()
    assert said[0] == "4 runs failed, all others are finished"
    (own,) = (
        line for line in said if line.startswith(f"{DIVERGES.key} (digits, tiny_cnn + tiny_cnn, 1 ce, seed 0): ")
    )
    assert "not finite" in own  # the loss, or the weights at the end of an epoch
    assert f"its stage 1, {self_taught.stage1().key}, failed" in str(raised.value)
    facts = json.loads(failure_path(store, DIVERGES).read_text())
    assert set(facts) == {"spec", "reason", "epoch", "commit", "when", "data_digest"}
    assert facts["spec"] == DIVERGES.key and facts["epoch"] in (1, 2)
    assert state_of(DIVERGES, store) == f"failed: {facts['reason']}"
    assert not list(store.root.rglob("*.running"))

    trained: list[Spec] = []
    original = runs._train

    def counted(spec: Spec, *rest: Any) -> Any:
        trained.append(spec)
        return original(spec, *rest)

    monkeypatch.setattr(runs, "_train", counted)
    with pytest.raises(GridError, match="it failed before and was not tried again"):
        run_grid([DIVERGES, *good], store)
    assert trained == []
    with pytest.raises(GridError, match="1 runs failed"):
        run_grid([DIVERGES, *good], store, retry_failed=True)
    assert trained == [DIVERGES]


def test_a_record_takes_the_note_of_a_failure_away(store: Store) -> None:
    write_failure(store, TINY, "no reason", 1)
    assert state_of(TINY, store) == "failed: no reason"
    run_grid([TINY], store, retry_failed=True)
    assert not failure_path(store, TINY).exists() and state_of(TINY, store) == "done"


def test_short_memory_fails_one_run_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    original = runs._train

    def short(spec: Spec, *rest: Any) -> Any:
        if spec.seed < 8:
            raise [
                MemoryError(),
                torch.OutOfMemoryError("CUDA out of memory"),
                RuntimeError("not enough memory"),
                RuntimeError("DefaultCPUAllocator: can't allocate memory"),
                RuntimeError("CUDA error: out of memory"),
                RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
                RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
                RuntimeError("GET was unable to find an engine to execute this computation"),
            ][spec.seed]
        return original(spec, *rest)

    monkeypatch.setattr(runs, "_train", short)
    with pytest.raises(GridError, match="8 runs failed"):
        run_grid([TINY.model_copy(update={"seed": seed}) for seed in range(9)], store)
    assert [record.spec.seed for record in store] == [8]
    assert not list(store.root.rglob("*.failed"))  # it may be tried again

    monkeypatch.setattr(runs, "_train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # an error of the code itself is not hidden
        run_grid([TINY], store)


def test_an_error_of_the_code_drops_what_has_not_begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = [], threading.Event()

    def fails_then_waits(spec: Spec, *_: Any) -> Any:
        begun.append(spec.seed)
        over.wait(0 if spec.seed == 0 else 60)
        raise ZeroDivisionError

    monkeypatch.setattr(runs, "_train", fails_then_waits)
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(ZeroDivisionError):
            run_grid([TINY.model_copy(update={"seed": seed}) for seed in range(5)], store, executor=executor)
        over.set()
    assert begun in ([0], [0, 1])


def test_a_note_of_failure_beside_a_record_of_stage_1_counts_no_more(store: Store) -> None:
    self_taught = TINY.model_copy(update={"objective": METHODS["tfkd"]})
    run_grid([self_taught.stage1()], store)
    write_failure(store, self_taught.stage1(), "no reason", 1)
    assert [record.spec for record in run_grid([self_taught], store)] == [self_taught]


def test_records_that_vanish_meanwhile_are_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Work, "check", lambda _: store.path(TINY).unlink())
    with pytest.raises(RuntimeError, match="records or kept networks vanished from"):
        run_grid([TINY], store)


def test_images_replaced_between_two_calls_are_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    [before] = run_grid([TINY], store)
    content = "0" * 32
    original = Digits.load
    monkeypatch.setattr(Digits, "digest", lambda _: content)
    monkeypatch.setattr(Digits, "load", lambda data, seed: replace(original(data, seed), digest=content))
    with pytest.warns(UserWarning, match="was made from other images of digits"):
        [after] = run_grid([TINY], store)
    assert after.data_digest == content and before.data_digest != content


PLUGIN = """
import multiprocessing, os, signal
from ctsl_lib import build_peer, register
from ctsl_lib.experiments import run
from ctsl_lib.models.tiny import tiny_cnn

original = run._train
def logged(spec, *rest):
    with open(os.environ["CTSL_TEST_LOG"], "a") as log:
        log.write(spec.key + chr(10))
    if "fragile" in spec.peers and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    if "once" in spec.peers and not os.path.exists("died"):
        open("died", "w").close()
        os._exit(7)
    return original(spec, *rest)
if run._train.__name__ != "logged":
    run._train = logged

@register("fragile")
def fragile(channels, num_classes):
    return tiny_cnn(channels, num_classes)

@register("once")
def once(channels, num_classes):
    return tiny_cnn(channels, num_classes)
"""


@pytest.fixture
def logged(command: Command) -> Callable[[], list[str]]:
    """Adds to the command a log of trainings, and networks that end their process."""
    log = command.folder / "log"
    (command.folder / "grid_plugin.py").write_text(PLUGIN)
    command.environment |= {
        "CTSL_TEST_LOG": str(log),
        "CTSL_PLUGINS": str(command.folder / "grid_plugin.py"),
    }
    return lambda: log.read_text().split() if log.exists() else []


@LINUX
@pytest.mark.slow
def test_workers_that_die_are_replaced_and_their_runs_named(
    command: Command, logged: Callable[[], list[str]]
) -> None:
    pairs = "pairs=[[fragile, fragile], [once, once], [tiny_cnn, tiny_cnn]]"
    small = ["-p", "seeds=2", "-p", "epochs=1", "-p", "methods=[independent]"]
    process = command.start("train", "digits", *settings(), "-p", pairs, *small, "--processes", "2")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in said
    assert len([line for line in said.splitlines() if "it is tried once more" in line]) == 3
    assert "error: 2 runs failed, all others are finished" in said
    assert said.count("fragile + fragile, 1 ce, seed 0): its worker process died (SIGKILL") == 2
    assert len(list(command.records.rglob("*.json"))) == 4 and len(logged()) == 4 + 3 + 2


SHARED = ["train", "digits", *settings("seeds=2", "epochs=12", "methods=[independent, dml, tfkd]")]


@LINUX
@pytest.mark.slow
def test_two_processes_share_the_work(command: Command, logged: Callable[[], list[str]]) -> None:
    both = [command.start(*SHARED, "--processes", "1") for _ in range(2)]
    assert [process.wait(180) for process in both] == [0, 0]
    assert len(list(Store(command.records))) == 8
    assert len(logged()) == 8 and len(set(logged())) == 8
    assert not [path for path in command.records.rglob("*") if path.suffix != ".json" and path.suffix != ".pt"][
        1:
    ]


@LINUX
@pytest.mark.slow
def test_a_process_finishes_what_a_killed_one_has_begun(
    command: Command, logged: Callable[[], list[str]]
) -> None:
    first, second = (command.start(*SHARED, "--processes", "1") for _ in range(2))
    assert until(lambda: len(logged()) >= 3, 60)
    first.kill()  # it stays as a zombie, as nobody asks for its exit status
    assert second.wait(180) == 0
    assert len(list(Store(command.records))) == 8
    assert len(set(logged())) == 8 and len(logged()) <= 9


def note(checkpoint: Checkpoint, **changes: object) -> None:
    checkpoint.note(3, 12)
    facts = json.loads(checkpoint.note_path.read_text())
    checkpoint.note_path.write_text(json.dumps(facts | changes))


def test_a_claim_is_exclusive_and_expires(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt")
    assert not is_claimed(checkpoint)
    with claimed(checkpoint, 12):
        assert is_claimed(checkpoint)
        with pytest.raises(RunClaimedError, match="another process works on run"), claimed(checkpoint, 12):
            pass
        assert is_claimed(checkpoint)
        checkpoint.clear()
    assert list(tmp_path.iterdir()) == []

    note(checkpoint)  # of this process, which does not work on it: a number that was given out again
    assert not is_claimed(checkpoint)
    process = subprocess.Popen(["sleep", "60"])
    try:
        note(checkpoint, pid=process.pid)
        assert is_claimed(checkpoint)
        os.utime(checkpoint.note_path, (0, 0))  # older than the process of that number
        assert not is_claimed(checkpoint) or not Path("/proc/stat").exists()
    finally:
        process.kill()
        process.wait()
    note(checkpoint, pid=process.pid)
    assert not is_claimed(checkpoint)
    note(checkpoint, host="elsewhere")
    assert is_claimed(checkpoint)
    os.utime(checkpoint.note_path, (time.time() - 600, time.time() - 600))
    assert not is_claimed(checkpoint)
    for text in ("", "[]", "{}", json.dumps({"host": socket.gethostname()})):
        checkpoint.note_path.write_text(text)
        assert not is_claimed(checkpoint)


def test_status_and_grid_give_one_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = store.checkpoint(TINY)
    stopped, running = "stopped after epoch 3 of 12", "running: epoch 3 of 12"
    note(checkpoint)  # of this process, which does not work on it
    assert (is_claimed(checkpoint), state_of(TINY, store)) == (False, stopped)
    note(checkpoint, host="elsewhere")
    assert (is_claimed(checkpoint), state_of(TINY, store)) == (True, running)
    os.utime(checkpoint.note_path, (time.time() - 600, time.time() - 600))
    assert (is_claimed(checkpoint), state_of(TINY, store)) == (False, stopped)
    with subprocess.Popen(["sleep", "60"]) as process:
        note(checkpoint, pid=process.pid)
        assert (is_claimed(checkpoint), state_of(TINY, store)) == (True, running)
        process.kill()
        assert until(lambda: not is_claimed(checkpoint), 30)  # a zombie, as nobody asked for its exit status
        assert state_of(TINY, store) == stopped
    note(checkpoint, pid=NOBODY, host="elsewhere")
    assert (is_claimed(checkpoint), state_of(TINY, store)) == (False, stopped)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("claims", ["run", "stage 1"])
def test_runs_of_others_are_waited_for_at_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, claims: str
) -> None:
    monkeypatch.setattr("ctsl_lib.experiments.grid.POLL", 0.01)
    theirs = TINY.model_copy(update={"objective": METHODS["tfkd"]})
    claim = theirs if claims == "run" else theirs.stage1()
    free = [TINY.model_copy(update={"seed": seed}) for seed in (1, 2)]
    polled: list[list[bool]] = []
    answers: list[bool] = []
    original = Work._is_claimed

    def watched(work: Work, spec: Spec) -> bool:
        polled.append([store.load(one) is not None for one in (*free, theirs)])
        if len(polled) == 3:
            stack.close()
        answers.append(original(work, spec))
        return answers[-1]

    monkeypatch.setattr(Work, "_is_claimed", watched)
    with ExitStack() as stack:
        stack.enter_context(claimed(store.checkpoint(claim), 2))
        records = run_grid([theirs, *free], store)
    assert [record.spec for record in records] == [theirs, *free]
    assert polled == [[True, True, False]] * 3 and answers == [True, True, False]  # all others first


def test_the_note_of_a_claimed_run_is_left_to_its_process(store: Store) -> None:
    run_grid([TINY], store)
    note(store.checkpoint(TINY), host="elsewhere")
    run_grid([TINY], store)
    assert store.checkpoint(TINY).note_path.exists()


def test_a_claim_is_touched_and_ends_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctsl_lib.experiments.sharing.BEAT", 0.01)
    checkpoint = Checkpoint(tmp_path / "run.ckpt")
    with claimed(checkpoint, 12):
        os.utime(checkpoint.note_path, (0, 0))
        assert until(lambda: checkpoint.note_path.stat().st_mtime > 0, 60)
    assert checkpoint.note_path.exists() and not is_claimed(checkpoint)


def test_where_processes_cannot_be_seen_a_claim_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise AssertionError("os.kill presses Ctrl-C on Windows")

    checkpoint = Checkpoint(tmp_path / "run.ckpt")
    note(checkpoint, pid=os.getppid())
    monkeypatch.setattr(os, "kill", pressed)
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_claimed(checkpoint) and alive(os.getppid(), time.time())
    os.utime(checkpoint.note_path, (time.time() - 600, time.time() - 600))
    assert not is_claimed(checkpoint)


SUFFIXES = [".json", ".pt", ".ckpt", ".running", ".failed"]


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore:.*(is not a record|is not used)")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["pipe", "loop", "bytes", "unreadable"])
def test_whatever_is_in_the_place_of_a_file_is_replaced(store: Store, suffix: str, kind: str) -> None:
    place = store.path(TINY).with_suffix(suffix)
    place.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "bytes":
        place.write_bytes(b"\xff\xfe[")
    else:
        place.symlink_to({"loop": place.name, "unreadable": "/proc/self/mem"}[kind])
    assert not is_claimed(store.checkpoint(TINY)) and failure(store, TINY) is None
    assert state_of(TINY, store) == ("stopped" if suffix == ".ckpt" else "missing")
    [record] = run_grid([TINY], store, keep_weights=True)
    assert store.load(TINY, weights=True) == record and state_of(TINY, store) == KEPT
    assert sorted(path.suffix for path in place.parent.iterdir()) == [".json", ".pt"]


@pytest.mark.filterwarnings("ignore:.*(is not a record|is not used)")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_in_the_place_of_a_file_is_named_before_training(
    store: Store, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store.path(TINY).with_suffix(suffix)
    (place / "mine").mkdir(parents=True)
    other = TINY.model_copy(update={"seed": 1})
    trained: list[int] = []
    original = runs._train
    monkeypatch.setattr(runs, "_train", lambda spec, *rest: (trained.append(spec.seed), original(spec, *rest))[1])
    with pytest.raises(
        GridError, match=f"1 runs failed.*\n.*{place} is a folder in the place of a file: move it"
    ):
        run_grid([TINY, other], store)
    assert trained == [1] and (place / "mine").exists()
    assert state_of(TINY, store) == ("stopped" if suffix == ".ckpt" else "missing")


def test_leftovers_that_cannot_be_removed_do_no_harm(store: Store) -> None:
    [record] = run_grid([TINY], store)
    for suffix in (".ckpt", ".running", ".failed"):
        store.path(TINY).with_suffix(suffix).mkdir()
    assert run_grid([TINY], store) == [record] and state_of(TINY, store) == "done"


@pytest.mark.parametrize("text", ["", "3", "null", '["reason"]', "{}", "[" * 100_000])
def test_a_note_of_failure_that_is_none_says_nothing(store: Store, text: str) -> None:
    failure_path(store, TINY).parent.mkdir(parents=True)
    failure_path(store, TINY).write_text(text)
    assert failure(store, TINY) is None


def test_the_variable_for_checkpoints_is_checked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_CHECKPOINT", "often")
    with pytest.raises(ValueError, match="CTSL_CHECKPOINT must be a number of seconds, got 'often'"):
        run_grid([TINY], store)


def test_a_run_that_is_given_up_is_free_and_keeps_its_epoch(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(KeyboardInterrupt), claimed(checkpoint, 12):
        checkpoint.path.touch()
        checkpoint.note(5, 12)
        raise KeyboardInterrupt
    assert not is_claimed(checkpoint) and progress(checkpoint) == "stopped after epoch 5 of 12"
    with pytest.raises(ValueError), claimed(checkpoint, 12):
        assert progress(checkpoint) == "running: epoch 5 of 12"
        raise ValueError
    checkpoint.path.unlink()
    with pytest.raises(KeyboardInterrupt), claimed(checkpoint, 12):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def take(folder: Path, name: str, all_of_us: int) -> int:
    """Try to claim 200 runs at the same time as others do; returns how many were got."""
    kept: list[ExitStack] = []
    meet(folder / "begin", name, all_of_us)
    for number in range(200):
        with suppress(RunClaimedError), ExitStack() as stack:
            stack.enter_context(claimed(Checkpoint(folder / f"{number}.ckpt"), 1))
            kept.append(stack.pop_all())
    meet(folder / "end", name, all_of_us)  # a claim ends with its process
    return len(kept)


def meet(folder: Path, name: str, all_of_us: int) -> None:
    """Come to a meeting of processes, and wait until all are there."""
    folder.mkdir(exist_ok=True)
    (folder / name).touch()
    assert until(lambda: len(list(folder.iterdir())) == all_of_us, 120)


@pytest.mark.slow
def test_of_several_processes_one_gets_a_stale_claim(tmp_path: Path) -> None:
    for number in range(200):
        note(Checkpoint(tmp_path / f"{number}.ckpt"), pid=NOBODY)
    with Workers(3) as workers:
        got = [workers.submit(take, tmp_path, name, 3) for name in "abc"]
        assert sum(future.result() for future in got) == 200


def test_leftovers_beside_finished_records_are_removed(store: Store) -> None:
    run_grid([TINY], store)
    checkpoint = store.checkpoint(TINY)
    checkpoint.path.touch()
    note(checkpoint, pid=NOBODY)
    store.path(TINY).with_name(f".{TINY.key}.json.abc.tmp").touch()
    run_grid([TINY], store)
    assert list(store.root.rglob("*.*")) == [store.path(TINY)]


PAIRS = {"pairs": [["tiny_cnn", "tiny_cnn"]], "seeds": 1, "epochs": 1, "methods": ["independent"]}
PLAIN = PAIRS | {"n_train": 60, "batch_size": 30}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pairs": [["tiny_cnn", "tiny_cnn"], ["tiny_cnn", "vgg11"]]},
            r"vgg11, of tiny_cnn \+ vgg11, cannot learn from batches of 4 images of 1x8x8 \(.+\); name another",
        ),
        ({"methods": ["independent", "kd"], "teacher": "vgg11"}, "vgg11, of the teacher, cannot learn"),
        ({"batch_size": 61}, "batch_size must be at most the 60 training images, got 61"),
        ({"batch_size": 60, "images_per_class": 2}, "at most the 10 classes, got 30"),
    ],
)
def test_a_plan_is_tried_before_it_is_run(store: Store, change: dict[str, Any], message: str) -> None:
    plan = plan_from(PLAIN | change, "digits")
    with pytest.raises(ValueError, match=message):
        plan.train(store, processes=1)
    assert not store.root.exists()  # nothing was trained


def test_a_plan_whose_runs_are_done_needs_no_trial(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_from(PLAIN, "digits")
    plan.train(store, processes=1)

    def missing(*_: object) -> None:
        raise DataError("no images")

    monkeypatch.setattr(Digits, "load", missing)
    plan.train(store, processes=1)
    with pytest.raises(DataError):
        plan_from(PLAIN | {"seeds": 2}, "digits").check(store)


def test_a_plan_keeps_the_peers_where_they_are_wanted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_from(PLAIN, "digits")
    plan.train(store, processes=1)
    [spec] = plan.by_pair()[0]
    record = store.load(spec)
    assert not store.weights_path(spec).exists()
    tried: list[Spec] = []
    monkeypatch.setattr("ctsl_lib.experiments.trial.try_runs", tried.extend)
    plan.train(store, processes=1, keep_weights=True)
    assert tried == [spec] and store.load(spec) == record
    assert len(store.load_peers(spec)) == 2


def test_a_trial_changes_no_random_numbers(store: Store) -> None:
    before = torch.random.get_rng_state()
    plan_from(PLAIN, "digits").check(store)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sets_that_cannot_be_searched_are_named_before_training(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"pairs": [["tiny_reid", "tiny_reid"]], "identities": 12, "height": 32, "width": 16, "batch_size": 8}
    plan = plan_from(PAIRS | small, "synthetic_market")
    plan.check(store)
    data = plan.data.load(0)
    assert isinstance(data.test, RetrievalSplit)
    gallery = replace(data.test.gallery, camera=torch.zeros_like(data.test.gallery.camera))
    query = replace(data.test.query, camera=torch.zeros_like(data.test.query.camera))
    one_camera = replace(data, test=replace(data.test, query=query, gallery=gallery))
    monkeypatch.setattr(type(plan.data), "load", lambda *_: one_camera)
    with pytest.raises(PlanError, match="test images of synthetic_market cannot be searched: no query counts"):
        plan.train(store, processes=1)


def test_a_class_without_training_images_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_from(PLAIN, "digits")
    data = plan.data.load(0)
    kept = data.train.true_labels != 3
    train = Split(data.train.images[kept], data.train.labels[kept], data.train.true_labels[kept])
    monkeypatch.setattr(Digits, "load", lambda *_: replace(data, train=train))
    with pytest.raises(PlanError, match=r"1 classes have no training image \(3\); n_train = \d+ is too small"):
        plan.check(store)


def test_a_long_path_for_temporary_files_falls_back_to_tcp(tmp_path: Path) -> None:
    short, long = Path("/tmp/ctsl-1234"), tmp_path / ("x" * 100)
    if sys.platform != "win32":
        assert _transport(short)["KernelManager"]["transport"] == "ipc"
    assert not _transport(long)


@pytest.mark.slow
def test_a_notebook_runs_where_the_temporary_folder_has_a_long_path(command: Command) -> None:
    folder = command.folder / ("x" * 100)
    folder.mkdir()
    command.environment["TMPDIR"] = str(folder)
    process = command.start("notebooks", "10", "--out", str(command.folder / "out"))
    assert process.wait(180) == 0 and (command.folder / "out" / "10_tables.ipynb").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("notebooks", "00", "--out", "taken"), "--out must name a folder, but taken is a file"),
        (("reproduce", "--out", "taken/deep"), "--out must name a folder, but taken is a file"),
        (("reproduce", "--figures", "taken"), "--figures must name a folder, but taken is a file"),
        (("status", "digits", "-p", "pairs=[[tiny_cnn"), "got 'pairs=[[tiny_cnn': "),
        (("notebooks", "00", "-p", "epochs={"), "the value of a parameter must be YAML, got 'epochs={'"),
    ],
)
def test_what_a_person_may_mistype_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    monkeypatch.setattr("sys.argv", ["ctsl", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 1 and message in said and len(said.splitlines()) == 1


def test_data_sets_of_one_name_in_two_folders_have_tables_of_their_own() -> None:
    names = [table_name(name) for name in ("x", "a/x", "b/x", "./b/y", "b/x.zip", "/data/b/x", "digits")]
    assert names == ["x", "a__x", "b__x", "b__y", "b__x.zip", "data__b__x", "digits"]


class Networks:
    """Stands for what a run has in memory."""


LEFT: list["weakref.ref[Networks]"] = []


def lacks_memory(*_: Any, **__: Any) -> None:
    """A run that fails, with its networks in its frame."""
    networks = Networks()
    LEFT.append(weakref.ref(networks))
    raise torch.OutOfMemoryError("CUDA out of memory")


def still_there() -> list[bool]:
    """Whether the networks of failed runs are still in memory."""
    return [one() is not None for one in LEFT]


def test_a_run_that_lacked_memory_leaves_none_of_it_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    LEFT.clear()
    seen: list[bool] = []
    monkeypatch.setattr(
        "ctsl_lib.experiments.grid.run", lambda *_, **__: (seen.extend(still_there()), lacks_memory())
    )
    with pytest.raises(GridError, match="CUDA out of memory"):
        run_grid([TINY.model_copy(update={"seed": seed}) for seed in range(3)], store)
    assert len(LEFT) == 3 and seen == [False] * 3


def test_a_worker_whose_task_lacked_memory_keeps_none_of_it() -> None:
    with Workers(1) as workers:
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory") as raised:
            workers.submit(lacks_memory).result()
        assert workers.submit(still_there).result() == [False]
    assert "in lacks_memory" in "".join(raised.value.__notes__)


def test_a_note_of_a_failure_holds_for_the_images_it_came_from(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_failure(store, TINY, "no reason", 1)
    assert failure(store, TINY) == "no reason"
    monkeypatch.setattr(Store, "data_digest", lambda self, data, again=False: "of other images")
    assert failure(store, TINY) is None
    facts = json.loads(failure_path(store, TINY).read_text())
    failure_path(store, TINY).write_text(json.dumps({k: v for k, v in facts.items() if k != "data_digest"}))
    assert failure(store, TINY) == "no reason"  # a note of an earlier version


def test_a_grid_has_seeds_that_a_spec_may_have() -> None:
    [spec] = grid(TINY, {"independent": METHODS["independent"]}, np.arange(3, 4))
    assert spec == TINY.model_copy(update={"seed": 3}) and type(spec.seed) is int
    for wrong in (-1, 0.5):
        with pytest.raises(ValueError, match="seed"):
            grid(TINY, {"independent": METHODS["independent"]}, [wrong])  # type: ignore[list-item]
