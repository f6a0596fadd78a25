"""The campaign runs, and what it has found stays mended."""

import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from pydantic import ValidationError

from ctsl_lib import ROOT
from ctsl_lib.cli.notebooks import run_notebook
from ctsl_lib.cli.status import state_of
from ctsl_lib.data.cache import cached
from ctsl_lib.data.class_folders import read_class_folders
from ctsl_lib.data.specs import ImageFolder
from ctsl_lib.errors import DataError, explained
from ctsl_lib.evidence.tables import export
from ctsl_lib.experiments.grid import run_grid
from ctsl_lib.experiments.sharing import failure_path, is_claimed
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers
from ctsl_lib.plots.style import save
from ctsl_lib.training.recipe import Recipe
from scripts.campaign.archives import read
from scripts.campaign.harness import in_child, small_spec
from scripts.campaign.packing import packed, png, tree


@pytest.mark.slow
def test_the_campaign_runs_and_prints_its_table() -> None:
    call = [sys.executable, "-m", "scripts.campaign", "--tries", "1", "--seed", "5"]
    done = subprocess.run(
        [*call, "--kind", "mutate-record", "--kind", "hostile-archive"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|")[1:5] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in row] for row in rows[1:]] == [
        ["mutate-record", "1", "1", "0"],
        ["hostile-archive", "1", "1", "0"],
    ]


# --- full disks ---------------------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Inside the block no file may have more bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_table(folder: Path) -> None:
    export(pd.DataFrame({"mean": range(1000)}), pd.DataFrame({"mean": ["1"]}), folder, "digits")


def write_figure(folder: Path) -> None:
    figure, _ = plt.subplots()
    save(figure, "figure", folder)


@pytest.mark.parametrize("write", [write_table, write_figure])
def test_no_half_of_a_table_or_a_figure_is_left(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with files_of_at_most(100), pytest.raises(OSError, match=rf"{tmp_path}/.* cannot be written: File too large"):
        write(tmp_path)
    plt.close("all")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_cache_without_room_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path))
    images = np.arange(100_000).reshape(100, 1000).T[:, ::2]  # in no order that a file has
    with files_of_at_most(10_000), pytest.raises(DataError, match=r"cannot be written \(.*File too large\)"):
        cached("mine", lambda: ({"images": images}, {}))
    assert list(tmp_path.iterdir()) == []
    assert np.array_equal(cached("mine", lambda: ({"images": images}, {})).arrays["images"], images)


def test_a_notebook_without_room_is_named(tmp_path: Path) -> None:
    cells = [new_code_cell("epochs: int = 1", metadata={"tags": ["parameters"]}), new_code_cell("'x' * 1000")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "00_small.ipynb")
    target = tmp_path / "out" / "00_small.ipynb"
    with files_of_at_most(500), pytest.raises(OSError, match=rf"^{target} cannot be made: File too large$"):
        run_notebook(tmp_path / "00_small.ipynb", target, {})
    assert not target.exists()


# --- notes that are none ------------------------------------------------------------------------------------

NOTES: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "deep": lambda path: path.write_text("[" * 100_000),
    "infinite": lambda path: path.write_text('{"host": "HOST", "pid": Infinity, "epoch": 1, "epochs": 4}'),
    "two lines": lambda path: path.write_text('{"host": "HOST", "pid": 0, "epoch": "1\\n2", "epochs": 4}'),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", NOTES)
@pytest.mark.parametrize("which", ["running", "failed"])
def test_what_has_the_name_of_a_note_and_is_none_does_not_matter(store: Store, kind: str, which: str) -> None:
    spec = small_spec("independent")
    path = store.checkpoint(spec).note_path if which == "running" else failure_path(store, spec)
    path.parent.mkdir(parents=True)
    NOTES[kind](path)
    if path.is_file():
        path.write_text(path.read_text().replace("HOST", os.uname().nodename))
    assert not is_claimed(store.checkpoint(spec)) and state_of(spec, store) == "missing"
    if kind != "folder":  # in whose place no note can be written
        run_grid([spec], store)
        assert state_of(spec, store) == "done" and [file.suffix for file in path.parent.iterdir()] == [".json"]


def test_odd_names_of_fields_are_told_in_one_line() -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({"two\nlines": 1})
    assert explained(refused.value).startswith("two\\nlines: Extra inputs are not permitted")


# --- archives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", ["a\nb", "\x1b[31m", "x" * 60_000, "a\u202eb"], ids=["line", "colour", "long", "turn"]
)
@pytest.mark.parametrize("place", ["train/a/{}.png", "train/{}/x.png", "train/a/x.{}", "../{}.png"])
def test_odd_names_are_told_in_one_line(tmp_path: Path, place: str, odd: str) -> None:
    path = tmp_path / "mine.zip"
    members = tree() | {place.format(odd): b"no picture"}
    path.write_bytes(packed(members))
    if place.startswith("train/a/x."):
        with pytest.warns(UserWarning, match="1 file left out") as said:
            read_class_folders(path)
        told = str(said[0].message)
    else:
        with pytest.raises(DataError) as refused:
            read_class_folders(path)
        told = str(refused.value)
    assert told.isprintable() and len(told) < 1500


@pytest.mark.slow
def test_images_that_do_not_fit_into_memory_are_told_in_one_line(tmp_path: Path) -> None:
    for name in ("data", "work"):
        (tmp_path / name).mkdir()
    large = png(np.zeros((5000, 5000), np.uint8))
    with zipfile.ZipFile(tmp_path / "data" / "mine.zip", "w") as archive:
        for number in range(80):
            archive.writestr(f"{('train', 'test')[number % 2]}/{number // 2 % 2}/{number}.png", large)
    (_, error), _ = in_child(read, ImageFolder(path="mine.zip"), tmp_path, memory=2**30)
    assert "need more memory than there is" in error and "a smaller size needs less" in error
    assert not list(tmp_path.glob("cache/*"))


# --- workers ------------------------------------------------------------------------------------------------


def wait_for_ever() -> None:
    while True:
        os.read(os.pipe()[0], 1)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_signal_does_not_wait_for_what_workers_do() -> None:
    with pytest.raises(SystemExit), Workers(1) as workers:
        workers.submit(wait_for_ever)
        raise SystemExit(143)
