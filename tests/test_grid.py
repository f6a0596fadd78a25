"""Many runs side by side: signals, deaths, failures, shared work, and plans that are tried before they are run."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from ctsl_lib.errors import WorkerDiedError
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers

# A process that was started in the background ignores SIGINT; the one under test must not.
CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from ctsl_lib.cli.main import main; main()"
)
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes in /proc")


def marked(mark: str) -> list[int]:
    """The processes that have this mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], bool], seconds: float) -> bool:
    latest = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > latest:
            return False
        time.sleep(0.05)
    return True


class Command:
    """The command in a folder of its own; all its processes carry a mark."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, f"CTSL_TEST_MARK={uuid.uuid4().hex}"
        self.records = folder / "records"
        name, _, value = self.mark.partition("=")
        own = {name: value, "CTSL_RECORDS": str(self.records), "CTSL_PROGRESS": "0", "CTSL_CHECKPOINT": "0"}
        self.environment = os.environ | own | {"CTSL_CACHE": str(folder / "cache")}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip

    def left(self) -> list[int]:
        return marked(self.mark)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    started = Command(tmp_path)
    yield started
    for pid in started.left():
        os.kill(pid, signal.SIGKILL)


def settings(*values: str) -> list[str]:
    small = ("pairs=[[tiny_cnn, tiny_cnn]]", "n_train=60", "batch_size=30", *values)
    return [part for value in small for part in ("-p", value)]


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
names = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


def end(command: Command, process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send the signal to the main process alone; nothing stays, and the exit status names the signal."""
    process.send_signal(number)
    assert until(lambda: not command.left() and process.poll() is not None, 10), command.left()
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The records of a training that nothing disturbed, without where and when they were made."""
    command = Command(tmp_path_factory.mktemp("undisturbed"))
    process = command.start(*TRAIN)
    assert process.wait(120) == 0
    return outcomes(command.records)


def outcomes(folder: Path) -> list[str]:
    return [record.model_dump_json(exclude={"provenance"}) for record in Store(folder)]


TRAIN = ["train", "digits", *settings("seeds=2", "epochs=40", "methods=[independent, tfkd]"), "--processes", "2"]


@LINUX
@pytest.mark.slow
@names
def test_a_signal_ends_a_training_and_its_workers(
    command: Command, undisturbed: list[str], number: signal.Signals
) -> None:
    process = command.start(*TRAIN)
    assert until(lambda: bool(list(command.records.rglob("*.ckpt"))), 60)
    assert len(command.left()) >= 3
    end(command, process, number)
    assert list(command.records.rglob("*.ckpt"))
    assert command.start(*TRAIN).wait(120) == 0
    assert outcomes(command.records) == undisturbed
    assert not [path for path in command.records.rglob("*") if path.suffix in (".ckpt", ".running")]


@LINUX
@pytest.mark.slow
@names
def test_a_signal_ends_kernels_and_their_workers(command: Command, number: signal.Signals) -> None:
    notebooks = ["notebooks", "06", "-p", "seeds=4", "-p", "epochs=100"]
    process = command.start(*notebooks)
    # main, its worker, the kernel, the kernel's workers (and what multiprocessing keeps beside them)
    assert until(lambda: bool(list(command.records.rglob("*.running"))), 90)
    assert len(command.left()) >= 4
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
