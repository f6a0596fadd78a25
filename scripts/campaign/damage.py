"""Damaged files: records, saved states, kept weights and notes, changed byte by byte or in their content."""

import copy
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch

from ctsl_lib.cli.status import state_of
from ctsl_lib.errors import GridError
from ctsl_lib.experiments.grid import run_grid
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.sharing import failure_path, write_failure
from ctsl_lib.experiments.spec import PERCENT, Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.training.checkpoint import Checkpoint, read_state, write_state
from scripts.campaign.corrupt import BYTES, put_something_else
from scripts.campaign.harness import Kind, call_command, check_leftovers, in_child, outcome, require, small_spec

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1, 101, 10**30, -(10**400), 1e308, 5e-324, math.nan, math.inf, -math.inf, "", "0", "nan",
    "~nobody\0", "\n\x1b[31m", "\u202e", "x" * 100_000, [], {}, [[]], {"a": [{}]}, [1] * 10_000, "../../x",
)  # fmt: skip
"""What no field expects."""


# --- records ------------------------------------------------------------------------------------------------


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value, with a key or an index in it."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield value, key
        yield from places(inner)


def change(content: Any, draw: Random) -> Any:
    """Change a JSON value in one to three places: other values, missing or further members."""
    content = copy.deepcopy(content)
    for _ in range(draw.randint(1, 3)):
        found = list(places(content))
        if not found:
            break
        container, key = draw.choice(found)
        value = container[key]
        match draw.choice(["nasty", "nasty", "number", "delete", "add", "move"]):
            case "number" if isinstance(value, int | float) and abs(value) < 1e300:
                container[key] = value * draw.choice([-1, 10, 1.5, 1e300]) + draw.choice([0, 1, -1])
            case "delete":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw.choice(["x", "", "a\nb", "top1"])] = draw.choice(NASTY)
            case "add":
                container.insert(key, draw.choice(NASTY))
            case "move":
                other, there = draw.choice(found)
                container[key] = copy.deepcopy(other[there]) if there in _keys(other) else None
            case _:
                container[key] = draw.choice(NASTY)
    return content


def _keys(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))


def list_store(folder: Path) -> list[str]:
    """All records of a folder as JSON, and each of them loaded by its spec once more."""
    store = Store(folder)
    records = list(store)
    for record in records:
        require(store.load(record.spec) == record, "a record that is listed cannot be loaded")
    return [record.model_dump_json() for record in records]


def check_believable(record: Record) -> None:
    """Raise a Fault unless a record that was accepted is finite and within limits, checked once more by other code."""
    for name, values in record.metrics.items():
        for value in values:
            limited = name not in PERCENT or 0 <= value <= 100
            require(math.isfinite(value) and limited, f"{name} = {value} was accepted")
    numbers = [value for terms in record.history.terms for curve in terms.values() for value in curve]
    require(all(map(math.isfinite, numbers)), "a term that is not finite was accepted")
    require(len(record.metrics["top1"]) == len(record.spec.peers) == len(record.parameters), "peers do not agree")


class MutateRecord(Kind):
    """A record is changed: it is refused by name, or still a record; the others are read, and `ctsl status` works."""

    name, tries = "mutate-record", 120

    def prepare(self) -> None:
        """Make two records: one to change, one to leave alone."""
        self.specs = [small_spec("independent"), small_spec("dml")]
        for spec in self.specs:
            in_child(_train, spec, self.folder)
        self.texts = [Store(self.folder).path(spec).read_text() for spec in self.specs]

    def case(self, draw: Random, folder: Path) -> None:
        """Damage one of the two."""
        damaged, intact = (Store(folder).path(spec) for spec in self.specs)
        damaged.parent.mkdir()
        intact.write_text(self.texts[1])
        how = draw.random()
        if how < 0.05:
            put_something_else(damaged, draw)
        elif how < 0.45:
            damaged.write_bytes(draw.choice(BYTES)(self.texts[0].encode(), draw))
        else:
            damaged.write_text(json.dumps(change(json.loads(self.texts[0]), draw)))
        texts, said = in_child(list_store, folder)
        found = {record.spec.key: record for record in map(Record.model_validate_json, texts)}
        accepted = found.pop(damaged.stem, None)
        require(list(found) == [intact.stem], f"the record that nobody touched is not listed, but {list(found)}")
        if accepted is not None:
            require(accepted.spec == self.specs[0] and not said, f"it is listed, and yet refused: {said}")
            check_believable(accepted)
        else:
            require(
                len(said) == 1 and said[0].startswith(f"{damaged} is not a record"), f"it is refused by {said}"
            )
            require(
                said[0].isprintable() and len(said[0]) < 1000, f"the warning is not a line: {said[0][:300]!r}"
            )
        plan = ["-p", "pairs=[[tiny_cnn, tiny_cnn]]", "-p", "n_train=60", "-p", "epochs=4", "-p", "batch_size=20"]
        status, told = in_child(
            call_command, ["status", "digits", *plan], folder, {"CTSL_RECORDS": str(folder)}
        ).value
        require(status == 0 and "Traceback" not in told, f"ctsl status ends with {status}: {told[-500:]}")


def _train(spec: Spec, folder: Path) -> None:
    run(spec, Store(folder), progress=False)


# --- states -------------------------------------------------------------------------------------------------


def change_state(state: dict[str, Any], draw: Random) -> dict[str, Any]:
    """Change what a file of states holds so that it cannot be that of its run, whatever it is."""
    changed = copy.deepcopy(state)
    name = draw.choice([name for name in changed if name != "seconds"])
    match draw.choice(["delete", "nasty", "peer", "tensor"]):
        case "delete":
            del changed[name]
        case "nasty":
            changed[name] = draw.choice([None, -1, math.nan, "x", [], {}, torch.zeros(3), [[]]])
        case "peer":
            changed["peers"] = changed["peers"][1:]
        case "tensor":
            weights = draw.choice(changed["peers"])
            weight = draw.choice(sorted(weights))
            other = [torch.zeros(7, 7, 7), weights[weight].to(torch.complex64), "x", None]
            weights[weight] = draw.choice(other)
    return changed


def stop_after(spec: Spec, folder: Path, last: int) -> None:
    """Train a spec with its state saved after every epoch, and stop after one of them.

    Args:
        spec: the run.
        folder: for its record.
        last: how many epochs are finished and saved when it stops.
    """
    os.environ |= {"CTSL_CHECKPOINT": "0", "CTSL_PROGRESS": "0"}
    before = Checkpoint.end_of_epoch

    def end_of_epoch(self: Checkpoint, state: dict[str, Any], done: int, epochs: int) -> None:
        before(self, state, done, epochs)
        if self.key == spec.key and done == last:
            raise KeyboardInterrupt

    Checkpoint.end_of_epoch = end_of_epoch  # type: ignore[method-assign]
    try:
        run(spec, Store(folder), progress=False)
    except KeyboardInterrupt:
        return


def go_on(spec: Spec, folder: Path) -> str:
    """Train a spec as a grid does; returns its outcome, or what the grid says if it failed.

    Args:
        spec: the run.
        folder: of its record.
    """
    store = Store(folder)
    state = state_of(spec, store)
    require(state.isprintable(), f"its state is not a line: {state!r}")
    try:
        [record] = run_grid([spec], store, progress=False)
    except GridError as error:
        return str(error)
    return outcome(record)


class MutateState(Kind):
    """What a stopped run has left is changed: it is named and made anew, and the record is the undisturbed one."""

    name, tries = "mutate-state", 80

    def prepare(self) -> None:
        """Make the record undisturbed, and a folder in which the run was stopped half way."""
        self.spec = small_spec("tfkd", mirror=True)
        self.expected = in_child(go_on, self.spec, self.folder / "whole").value
        self.half = self.folder / "half"
        in_child(stop_after, self.spec, self.half, 3)
        store = Store(self.half)
        write_failure(store, self.spec, "loss is not finite", 2)
        self.files = [
            store.checkpoint(self.spec).path, store.weights_path(self.spec.stage1()),
            store.checkpoint(self.spec).note_path, failure_path(store, self.spec),
        ]  # fmt: skip
        require(all(path.exists() for path in self.files), "the run that was stopped has left no state")

    def case(self, draw: Random, folder: Path) -> None:
        """Damage one file."""
        shutil.copytree(self.half, folder, dirs_exist_ok=True)
        state, weights, note, failed = (folder / path.relative_to(self.half) for path in self.files)
        path = draw.choice([state, state, weights, weights, note, failed])
        content = path.read_bytes()
        failed.unlink()
        how = draw.random()
        if how < 0.1:
            put_something_else(path, draw)
        elif path.suffix in (".running", ".failed") and how < 0.5:
            path.write_text(json.dumps(change(json.loads(content), draw)))
        elif path in (state, weights) and how < 0.5:
            write_state(path, change_state(read_state(path), draw))
        else:
            path.write_bytes(draw.choice(BYTES)(content, draw))
        gone = not path.exists()  # a link that leads nowhere is as good as no file
        if path == note and not path.is_symlink():
            os.utime(
                path, (0, 0)
            )  # a young one that names another host or process may be right, and is waited for
        found, said = in_child(go_on, self.spec, folder)
        if path == failed and "it failed before" in found:  # what is left of the note still says so
            return
        if path.is_dir():  # which may hold anything, so that it is not taken away
            require(f"{path} is a folder in the place of a file: move it away" in found, f"it says {found[:300]}")
            shutil.rmtree(path)
            gone = True
            found, said = in_child(go_on, self.spec, folder)
        require(
            found == self.expected, f"the record differs from the undisturbed one after {path.name} was changed"
        )
        require(all(map(str.isprintable, said)), f"a warning is not one line: {said}")
        named = len(said) == 1 and said[0].startswith(f"{path} is not used")
        silent = gone or path not in (state, weights)
        require(named or (silent and not said), f"{path.name}: {said}")
        check_leftovers(folder)
