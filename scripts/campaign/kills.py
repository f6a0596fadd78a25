"""Kills at random moments: of a run, a grid, the building of a cache, a notebook."""

import json
import os
import signal
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from ctsl_lib.cli.notebooks import first_unrun
from ctsl_lib.cli.signals import ending_signals
from ctsl_lib.data.specs import ImageFolder
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from scripts.campaign.harness import (
    ENDING,
    Command,
    Fault,
    Kind,
    check_leftovers,
    in_child,
    outcome,
    outcomes,
    require,
    settings,
    small_spec,
    start,
)

SECONDS = 15.0
"""How long a command and all its processes may take to end after a signal."""
SAID = "stopped; what is finished is kept, and the same command goes on from there"


def train(spec: Spec, folder: Path) -> tuple[str, float]:
    """Run a spec with its state saved after every epoch; signals end it as they end the command.

    Args:
        spec: the run.
        folder: for its record.

    Returns: the outcome, and the seconds that it took.
    """
    os.environ |= {"CTSL_CHECKPOINT": "0", "CTSL_PROGRESS": "0"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    with ending_signals():
        return outcome(run(spec, Store(folder), progress=False)), time.monotonic() - began


def decode(source: Path, cache: Path) -> tuple[str, float]:
    """The digest of class folders, and the seconds that it took.

    Args:
        source: of the images.
        cache: where decoded images are kept.
    """
    os.environ["CTSL_CACHE"] = str(cache)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    with ending_signals():
        return ImageFolder(path=str(source), size=64).digest(), time.monotonic() - began


def kill(process: BaseProcess, draw: Random, seconds: float) -> None:
    """End a process by a signal within so many seconds, unless it ends by itself."""
    number = draw.choice(ENDING)
    process.join(draw.uniform(0, seconds))
    if process.is_alive():
        assert process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        raise Fault(f"{number.name} does not end it within {SECONDS:g} s")


class KillRun(Kind):
    """A run is killed up to four times and then left alone."""

    name, tries = "kill-run", 20

    def prepare(self) -> None:
        """Each spec is run undisturbed when it is first drawn; none has been yet."""
        self.references: dict[str, tuple[str, float]] = {}

    def case(self, draw: Random, folder: Path) -> None:
        """The record must be that of the undisturbed run, and nothing may be left beside it."""
        method = draw.choice(["independent", "dml", "rkd", "tfkd", "ctsl_mkt"])
        spec = small_spec(method, mirror=True, precision=draw.choice(["fp32", "bf16"]))
        if spec.key not in self.references:
            self.references[spec.key] = in_child(train, spec, self.folder / spec.key).value
        expected, seconds = self.references[spec.key]
        for _ in range(draw.randint(1, 4)):
            kill(start(train, spec, folder), draw, seconds)
        (found, _), said = in_child(train, spec, folder)
        require(found == expected, f"the record of {method} differs from that of the undisturbed run")
        require(not said, f"a state was not believed: {said}")
        check_leftovers(folder)


class KillCache(Kind):
    """The building of a cache is killed up to three times and then left alone."""

    name, tries = "kill-cache", 20

    def prepare(self) -> None:
        """Write class folders of 400 images, and decode them undisturbed."""
        draw = np.random.default_rng(0)
        self.source = self.folder / "images"
        for part, label, count in (
            ("train", "a", 180),
            ("train", "b", 180),
            ("test", "a", 20),
            ("test", "b", 20),
        ):
            place = self.source / part / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(256, size=(32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
        self.expected, self.seconds = in_child(decode, self.source, self.folder / "cache").value

    def case(self, draw: Random, folder: Path) -> None:
        """The next build must be right, and the cache must hold one entry and nothing half built."""
        cache = folder / "cache"
        for _ in range(draw.randint(1, 3)):
            process = start(decode, self.source, cache)
            if draw.random() < 0.5:  # while it writes, which is a small part of the time
                self._wait_for_writing(process, cache)
                kill(process, draw, 0.02)
            else:
                kill(process, draw, self.seconds)
        (found, _), said = in_child(decode, self.source, cache)
        require(found == self.expected, "the images that were decoded differ")
        require(not said, f"the entry was not believed: {said}")
        entries = [path.name for path in cache.iterdir()]
        require(len(entries) == 1 and not entries[0].startswith("."), f"the cache holds {entries}")

    def _wait_for_writing(self, process: BaseProcess, cache: Path) -> None:
        before = set(cache.glob("*")) if cache.exists() else set()
        while process.is_alive() and not (cache.exists() and set(cache.glob("*")) - before):
            time.sleep(0.001)


class KillGrid(Kind):
    """`ctsl train` with two processes: its main process, one of its workers, or all at once, as by Ctrl-C."""

    name, tries = "kill-grid", 5
    arguments = (
        "train", "digits", *settings(epochs=12, methods="[independent, dml, tfkd]"), "--processes", "2",
    )  # fmt: skip

    def prepare(self) -> None:
        """Train undisturbed."""
        command = Command(self.folder)
        began = time.monotonic()
        command.finish(*self.arguments)
        self.seconds = time.monotonic() - began
        self.expected = outcomes(command.records)

    def case(self, draw: Random, folder: Path) -> None:
        """Nobody may be left, records must be those of an undisturbed training, nothing may lie beside them."""
        command = Command(folder)
        process = command.start(*self.arguments)
        target, number = draw.choice(["main", "worker", "all"]), draw.choice(ENDING)
        time.sleep(draw.uniform(0, self.seconds))
        if target == "worker":
            self._kill_a_worker(draw, command)
            command.check_gone(process, 10 * self.seconds + SECONDS)  # another one takes its place
            require(process.returncode == 0, f"a worker's death ends all: exit status {process.returncode}")
        else:
            end = os.killpg if target == "all" else os.kill
            with suppress(ProcessLookupError):
                end(process.pid, number)
            said = command.check_gone(process, SECONDS)
            require(process.returncode in ending(number), f"exit status {process.returncode} after {number.name}")
            if process.returncode > 128:
                require(SAID in said and "Traceback" not in said, f"after {number.name} it says {said.strip()!r}")
        command.finish(*self.arguments)
        require(
            outcomes(command.records) == self.expected, "the records differ from those of an undisturbed grid"
        )
        check_leftovers(command.records)
        require(not command.processes(), "processes are left after a good end")

    def _kill_a_worker(self, draw: Random, command: Command) -> None:
        workers = [pid for pid, line in sorted(command.processes().items()) if "spawn_main" in line]
        if workers:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)


def ending(number: signal.Signals) -> tuple[int, ...]:
    """Exit statuses of a command after a signal: its own, Python's before the command began, or that of its end."""
    return (0, -number) if number == signal.SIGKILL else (0, 128 + number, -number)


NOTEBOOK = """
from ctsl_lib import METHODS, Spec, Store
from ctsl_lib.experiments.grid import grid, process_pool, run_grid
base = Spec.model_validate_json(SPEC)
with process_pool(2) as executor:
    run_grid(grid(base, {"a": METHODS["dml"]}, range(2)), executor=executor)
"""


class KillNotebook(Kind):
    """`ctsl notebooks` on a notebook whose kernel has two workers: its main process, or all at once."""

    name, tries = "kill-notebook", 3

    def prepare(self) -> None:
        """Write the notebook, and run it undisturbed."""
        cells: list[Any] = [new_markdown_cell("# 00"), new_code_cell("", metadata={"tags": ["parameters"]})]
        text = json.dumps(small_spec("dml", epochs=20).model_dump_json())
        notebook = new_notebook(cells=[*cells, new_code_cell(NOTEBOOK.replace("SPEC", text))])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        place = self.folder / "notebooks" / "00_small.ipynb"
        place.parent.mkdir()
        nbformat.write(notebook, place)
        self.code = (
            "from functools import partial; from pathlib import Path; from ctsl_lib.cli import notebooks\n"
            f"notebooks.find_notebooks = partial(notebooks.find_notebooks, folder=Path({str(place.parent)!r}))\n"
            "from ctsl_lib.cli.main import main; main()"
        )
        began = time.monotonic()
        command = Command(self.folder, self.code)
        command.finish("notebooks")
        self.seconds = time.monotonic() - began
        self.expected = outcomes(command.records)
        require(len(self.expected) == 2, f"the notebook should make 2 records, it made {len(self.expected)}")

    def case(self, draw: Random, folder: Path) -> None:
        """Kernel and workers must be gone within seconds, no notebook may pass for finished, the next one finishes."""
        command = Command(folder, self.code)
        process = command.start("notebooks")
        number, everyone = draw.choice(ENDING), draw.random() < 0.3
        time.sleep(draw.uniform(0.2, 1) * self.seconds)
        with suppress(ProcessLookupError):
            (os.killpg if everyone else os.kill)(process.pid, number)
        command.check_gone(process, SECONDS)
        require(process.returncode in ending(number), f"exit status {process.returncode} after {number.name}")
        target = folder / "results" / "notebooks" / "00_small.ipynb"
        # It may be killed between the last step of the notebook and its own end: then all cells have run.
        require(
            not target.exists() or first_unrun(target) is None, "a notebook that was killed passes for finished"
        )
        command.finish("notebooks")
        require(target.exists() and not command.processes(), "the next one does not finish")
        require(outcomes(command.records) == self.expected, "its records differ from those of an undisturbed one")
        check_leftovers(command.records)
