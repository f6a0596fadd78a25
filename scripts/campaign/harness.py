"""What all kinds of disturbance share: cases, faults, processes that are started, watched and ended."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, ClassVar, NamedTuple

from tqdm import tqdm

from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.training.checkpoint import Checkpoint, Note
from scripts.waiting import until

PATIENCE = 300.0
"""Seconds after which a process that should have ended counts as hanging."""
PRELOAD = [
    "ctsl_lib.cli.main", "ctsl_lib.experiments.run", "ctsl_lib.experiments.grid", "ctsl_lib.data.digits",
    "ctsl_lib.data.images", "ctsl_lib.data.reid", "ctsl_lib.evidence.tables", "ctsl_lib.evidence.labels",
    "torch._dynamo", "scripts.campaign.kills", "scripts.campaign.damage", "scripts.campaign.archives",
]  # fmt: skip
"""What the server of `start` has imported, so that a process begins within milliseconds."""


class Fault(Exception):
    """What a case has found wrong."""


class Skip(Exception):
    """Why a kind cannot be tried on this machine."""


class Kind:
    """One kind of disturbance: it draws cases, disturbs, and looks whether all that is promised holds."""

    name: ClassVar[str]
    tries: ClassVar[int]
    """Cases of a campaign by default."""

    def __init__(self, folder: Path) -> None:
        """Take an empty folder for what all cases share; `prepare` fills it."""
        self.folder = folder

    def prepare(self) -> None:
        """Do once what all cases need; raises Skip if they cannot be tried here."""

    def case(self, draw: Random, folder: Path) -> None:
        """Try one case.

        Args:
            draw: decides all that is random, except how the system schedules processes.
            folder: an empty one for the case.

        Raises: Fault if something is wrong.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Put away what `prepare` has set up outside its folder."""


def require(condition: object, message: str) -> None:
    """Raise a Fault with this message unless the condition holds."""
    if not condition:
        raise Fault(message)


# --- processes of one function ------------------------------------------------------------------------------


def start(target: Callable[..., Any], *args: Any) -> BaseProcess:
    """Start a process that calls a function; it is forked from a server that has imported the library.

    Args:
        target: a function of a module.
        args: what it is called with.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_begin, args=(target, args))
    process.start()
    return process


def _begin(target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    tqdm.set_lock(threading.RLock())  # its own would outlive a process that is killed
    target(*args)


class Told(NamedTuple):
    """What a function in a process of its own has returned, and the warnings that it has caused."""

    value: Any
    warnings: list[str]


def in_child(target: Callable[..., Any], *args: Any, memory: int = 0) -> Told:
    """Call a function in a process of its own, so that neither a hang nor a crash ends the campaign.

    Args:
        target: a function of a module.
        args: what it is called with.
        memory: bytes that the process may take beside what it has when it starts; 0 for any.

    Raises: Fault if it raises anything, hangs or dies.
    """
    ours, theirs = multiprocessing.get_context("forkserver").Pipe()
    process = start(_tell, theirs, target, args, memory)
    theirs.close()
    try:
        require(ours.poll(PATIENCE), f"{target.__name__} hangs")
        value, said, raised = ours.recv()
    except EOFError:
        process.join()
        raise Fault(f"{target.__name__} died, exit status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    require(raised is None, f"{target.__name__} raised {raised}")
    return Told(value, said)


def _tell(connection: Connection, target: Callable[..., Any], args: tuple[Any, ...], memory: int) -> None:
    if memory:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, resource.RLIM_INFINITY))
    value, raised = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = target(*args)
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raised = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
    connection.send((value, [str(warning.message) for warning in caught], raised))


def call_command(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Call the command `ctsl` in this process, which should be one of `in_child`.

    Args:
        arguments: of the command.
        folder: where it is called.
        environment: further variables; they hold for the rest of the process.

    Returns: the exit status, and what it wrote to standard error.
    """
    from ctsl_lib.cli.main import main

    os.chdir(folder)
    os.environ |= {"CTSL_PROGRESS": "0", **environment}
    with open(os.memfd_create("stderr"), "w+b") as kept:  # noqa: PTH123 - a file in memory: the disk may be full
        os.dup2(kept.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["ctsl", *arguments]
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stderr.flush()
        kept.seek(0)
        return status, kept.read().decode()


# --- processes of the command -------------------------------------------------------------------------------

# A process that was started in the background ignores SIGINT; the one under test must not.
CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
MAIN = "from ctsl_lib.cli.main import main; main()"
ENDING = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Command:
    """The command in a folder of its own; all its processes carry a mark, by which they are found."""

    def __init__(self, folder: Path, code: str = MAIN) -> None:
        """Start nothing yet.

        Args:
            folder: for its records and results.
            code: Python that calls the command.
        """
        self.folder, self.code = folder, CODE + code
        self.records = folder / "records"
        self.mark = uuid.uuid4().hex
        own = {"CTSL_RECORDS": str(self.records), "CTSL_CACHE": str(folder / "cache"), "CTSL_CHECKPOINT": "0"}
        self.environment = os.environ | own | {"CTSL_PROGRESS": "0", "CTSL_CAMPAIGN_MARK": self.mark}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it with these arguments; what it says on standard error can be read."""
        return subprocess.Popen(
            [sys.executable, "-c", self.code, *arguments],
            cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def finish(self, *arguments: str) -> str:
        """Run it to its end, which must be a good one; returns what it says on standard error."""
        process = self.start(*arguments)
        try:
            _, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.clear()
            raise Fault("the command hangs") from None
        require(process.returncode == 0, f"exit status {process.returncode}: {said.strip()[-500:]}")
        return said

    def processes(self) -> dict[int, str]:
        """The number of each living process of it, and its command line."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (place / "environ").read_bytes():
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def check_gone(self, process: subprocess.Popen[str], seconds: float) -> str:
        """Raise a Fault unless all its processes are gone after so many seconds.

        Args:
            process: the main one.
            seconds: that ending may take.

        Returns: what it has said on standard error.
        """
        if not until(lambda: not self.processes() and process.poll() is not None, seconds):
            left = "; ".join(line[:80] for line in self.processes().values())
            self.clear()
            raise Fault(f"after {seconds:g} s there are still: {left}")
        assert process.stderr is not None
        return process.stderr.read()

    def clear(self) -> None:
        """Kill whatever is left of it."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# --- runs ---------------------------------------------------------------------------------------------------


def settings(**values: object) -> list[str]:
    """The smallest plan on the built-in data with these settings, as arguments of the command."""
    small = {"pairs": "[[tiny_cnn, tiny_cnn]]", "n_train": 60, "batch_size": 20, "seeds": 1} | values
    return [part for name, value in small.items() for part in ("-p", f"{name}={value}")]


def small_spec(method: str, **recipe: object) -> Spec:
    """A run of less than a second on the built-in data.

    Args:
        method: one of the kit's methods.
        recipe: fields of the recipe that differ from the smallest one.
    """
    small = {"epochs": 4, "batch_size": 20, "evaluate_every": 2} | recipe
    return Spec.model_validate(
        {"data": {"name": "digits", "n_train": 60}, "objective": METHODS[method].model_dump(), "recipe": small}
    )


def outcome(record: Record | None) -> str:
    """All of a record that must be the same whenever and wherever it is made; empty without a record."""
    return record.model_dump_json(exclude={"provenance"}) if record is not None else ""


def outcomes(folder: Path) -> dict[str, str]:
    """Key -> outcome of all records in a folder."""
    return {record.spec.key: outcome(record) for record in Store(folder)}


def under_way(folder: Path) -> list[Note]:
    """The notes of runs that have finished an epoch and have more than three before them.

    Args:
        folder: of records, or one above it.
    """
    notes = (Checkpoint(path.with_suffix(".ckpt")).read_note() for path in folder.rglob("*.running"))
    return [note for note in notes if note is not None and 1 <= note.epoch < note.epochs - 3]


def check_leftovers(folder: Path, *expected: Path) -> None:
    """Raise a Fault if there is any file but records, the kept weights of stage 1, and those expected.

    Args:
        folder: of records.
        expected: files that may be there.
    """
    first = {path.with_suffix(".pt") for path in folder.rglob("*.json")}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".json" and path not in first and path not in expected:
            raise Fault(f"{path.name} is left beside the records")
