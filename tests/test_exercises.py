"""Every exercise: the solution passes, the stub fails with its hint, typical mistakes get the right diagnosis."""

import ast
import math
import os
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from torch import Tensor

from ctsl_course.exercises import check, hint, solution, tried
from ctsl_course.exercises.cells import NOTEBOOKS, exercises_of, key_of, number_of
from ctsl_course.exercises.diagnose import WrongAnswer, equals, gradient, pencil_equals
from ctsl_course.exercises.engine import Exercise, find, load, verdict
from ctsl_course.exercises.pages import write_pages
from ctsl_course.exercises.tried import Tried
from ctsl_course.exercises.versions import on_colab, solved, student, up_to_date, version, write_versions

EXERCISES = load()
PATHS = [
    path
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    if path.name not in ("30_report.ipynb", "40_check.ipynb")
]
"""All notebooks but the reports, which are no lessons."""


@pytest.fixture(params=EXERCISES.values(), ids=EXERCISES.keys())
def exercise(request: pytest.FixtureRequest) -> Exercise:
    return request.param


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def numbers(answer: Any) -> list[float]:
    return list(answer.values()) if isinstance(answer, dict) else np.ravel(answer).tolist()


def test_there_are_enough() -> None:
    counts = Counter(exercise.notebook for exercise in EXERCISES.values())
    assert len(EXERCISES) >= 40
    assert all(counts[number_of(path)] >= 3 for path in PATHS), counts
    assert set(counts) <= {number_of(path) for path in PATHS}


def test_numbers_have_no_gaps() -> None:
    for path in PATHS:
        places = [int(exercise.number.partition(".")[2]) for exercise in exercises_of(number_of(path))]
        assert places == list(range(1, len(places) + 1))


def test_the_source_is_whole(exercise: Exercise) -> None:
    assert exercise.difficulty in ("*", "**", "***") and 1 <= exercise.minutes <= 60
    assert all(exercise.hints) and exercise.title and exercise.text and exercise.why
    assert not set("$\\") & set(exercise.hints[0])  # `check` prints it as plain text
    assert exercise.name.startswith("my_") and exercise.name in exercise.stub


def test_the_solution_passes(exercise: Exercise) -> None:
    right, words = verdict(exercise, exercise.right)
    assert right, words


def test_the_stub_fails_with_its_hint(exercise: Exercise) -> None:
    right, words = verdict(exercise, exercise.unfinished)
    assert not right and "Hint: " in words


def test_typical_mistakes_get_their_diagnosis(exercise: Exercise) -> None:
    assert len(exercise.wrong) >= 2
    for answer, part in exercise.wrong:
        right, words = verdict(exercise, answer)
        assert not right and part in words, f"{getattr(answer, '__name__', answer)}: {words}"


def test_a_diagnosis_does_not_give_the_number_away(exercise: Exercise) -> None:
    if exercise.kind == "pencil":
        words = " ".join(verdict(exercise, answer)[1] for answer, _ in exercise.wrong)
        given = set(re.findall(r"\d+\.\d+", words))
        right = {f"{value:.3g}" for value in numbers(exercise.right) if value != round(value)}
        assert not given & right


STRANGE: tuple[Any, ...] = (
    None,
    "0.15",
    object(),
    [],
    {},
    (1.0, math.nan),
    math.inf,
    lambda: 1,
    lambda *given: None,
    lambda *given: "text",
    lambda *given: torch.full((3, 7), math.nan),
    lambda *given: given[0],
    lambda *given: 1 / 0,
)


def test_no_answer_makes_the_check_stop(exercise: Exercise) -> None:
    for answer in STRANGE:
        right, words = verdict(exercise, answer)
        assert not right and words


def test_check_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    check("00.1", 0.15)
    check("00.1", 0.2)
    passed, failed = capsys.readouterr().out.splitlines()
    assert passed == "✓ 00.1 How many labels are wrong?: passed. Checked: your numbers."
    assert failed.startswith("✗ 00.1 How many labels are wrong?: this is the share that is redrawn")


def test_hint_and_solution_print(capsys: pytest.CaptureFixture[str]) -> None:
    hint("02.2")
    hint("02.2", 2)
    solution("02.2")
    out = capsys.readouterr().out
    assert all(part in out for part in (*EXERCISES["02.2"].hints, "def my_response_loss(", EXERCISES["02.2"].why))
    with pytest.raises(ValueError, match="level must be 1 or 2, got 3"):
        hint("02.2", 3)


def test_a_number_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r'there is no exercise "02.9". Notebook 02 has 02.1 to 02.5'):
        find("02.9")
    with pytest.raises(ValueError, match=r'Did you mean "02\.3"'):
        find("2.3")
    with pytest.raises(ValueError, match=r'a text in quotes, such as "02\.1", got 2\.3'):
        find(2.3)  # type: ignore[arg-type]


def test_an_error_is_told_with_its_line() -> None:
    def my_gradient(logits: Tensor, labels: Tensor) -> Tensor:
        p = logits.softmax(dim=1)
        return p - labels

    _, words = verdict(EXERCISES["00.2"], my_gradient)
    assert words.startswith("your function stopped in line 3 (`return p - labels`) with RuntimeError: ")


def test_a_changed_argument_is_told() -> None:
    def double(f: Tensor) -> Tensor:
        return f.mul_(2)

    with pytest.raises(WrongAnswer, match="changes its argument `f` in place"):
        Tried(double)(torch.ones(3))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([-1.0, -2.0], "has the wrong sign"),
        ([10.0, 20.0], "is 10 times too large"),
        ([0.25, 0.5], "is 4 times too small"),
        ([1.0, math.nan], "is not finite"),
        ([1.0, 2.0, 3.0], r"must have the shape \(2,\), yours has the shape \(3,\)"),
        ([2.0, 1.0], "not by a sign or a constant factor"),
        ([0.5, 1.0], "a known mistake"),
        ("text", "must be made of numbers"),
    ],
)
def test_what_is_said_of_a_wrong_result(found: Any, words: str) -> None:
    with pytest.raises(WrongAnswer, match=words):
        equals(found, [1.0, 2.0], {"a known mistake": [0.5, 1.0]})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (25, "in percent, a share is asked for"),
        (-0.25, "has the wrong sign"),
        (0.25 / math.log(2), "use the natural logarithm"),
        (0.2, "nearly right"),
        (0.3, "nearly right"),
        (0.26, "is not right: it is too large"),
        (0.9, "is not right: it is too large"),
        ((0.25, 1), "must have 1 number, yours has 2"),
        (True, "must be a number, got True"),
    ],
)
def test_what_is_said_of_a_wrong_number(found: Any, words: str) -> None:
    with pytest.raises(WrongAnswer, match=words):
        pencil_equals(found, 0.25, [], tolerance=0.01)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (torch.tensor(1.0), "passes no gradient to what should learn: it is detached"),
        (1.0, "must be a tensor, so that it has a gradient"),
        (torch.ones(2, requires_grad=True), r"must be one number, yours has the shape \(2,\)"),
    ],
)
def test_what_is_said_of_a_loss_without_a_gradient(loss: Any, words: str) -> None:
    with pytest.raises(WrongAnswer, match=words):
        gradient(loss, torch.ones(2, requires_grad=True))


def test_numbers_may_come_as_tensors_and_arrays() -> None:
    pencil_equals(torch.tensor([0.5, 0.25]), (0.5, 0.25), [], tolerance=0.01)
    pencil_equals(np.float64(3), 3, [], tolerance=0.01)
    with pytest.raises(WrongAnswer, match="in another order"):
        pencil_equals((0.25, 0.5), (0.5, 0.25), [], tolerance=0.01)


def test_notebooks_agree_with_the_source(path: Path) -> None:
    assert version(path, up_to_date) == path.read_text(encoding="utf-8"), (
        "run `python -m ctsl_course.exercises write` and then `ctsl notebooks NN --out notebooks`"
    )


def test_notebooks_show_the_stub_failing(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        number, role = key_of(cell) or ("", "")
        if role == "check" and cell.execution_count:
            printed = "".join(output.text for output in cell.outputs)  # a line may come in two parts
            assert printed.startswith(f"✗ {number} ") and printed.count("\n") == 1


def test_a_student_starts_with_empty_cells(path: Path) -> None:
    notebook = nbformat.reads(version(path, student), as_version=4)
    stubs = [cell.source for cell in notebook.cells if (key_of(cell) or ("", ""))[1] == "stub"]
    assert stubs == [exercise.stub for exercise in exercises_of(number_of(path))]
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_solutions_run_with_the_notebook_s_imports(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Imports of all cells, then each solution and its check, as the solved notebook has them."""
    notebook = nbformat.reads(version(path, solved), as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    nodes = [node for source in sources for node in ast.parse(source).body]
    imports = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    place: dict[str, Any] = {}
    exec("\n".join(imports), place)
    for cell in notebook.cells:
        if (key_of(cell) or ("", ""))[1] in ("stub", "check") and key_of(cell) != ("00.5", "check"):
            exec(cell.source, place)
    assert "✗" not in capsys.readouterr().out


def test_write_mends_a_notebook_and_leaves_the_rest(tmp_path: Path) -> None:
    path = next(path for path in PATHS if number_of(path) == "02")
    notebook, other = (nbformat.read(path, as_version=4) for _ in range(2))
    cells = [cell for cell in other.cells if key_of(cell) != ("02.2", "stub")]  # a cell is lost ...
    next(cell for cell in cells if key_of(cell) == ("02.3", "text")).source = "changed"  # ... and one is changed
    spoiled = tmp_path / path.name
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata), spoiled)
    mended = nbformat.reads(version(spoiled, up_to_date), as_version=4)
    assert [cell.source for cell in mended.cells] == [cell.source for cell in notebook.cells]
    kept = [cell.get("outputs") for cell in mended.cells if key_of(cell) != ("02.2", "stub")]
    assert kept == [cell.get("outputs") for cell in notebook.cells if key_of(cell) != ("02.2", "stub")]


def test_versions_never_replace_the_notebooks(tmp_path: Path) -> None:
    assert write_versions(PATHS[:1], tmp_path / "new", student) == [tmp_path / "new" / PATHS[0].name]
    with pytest.raises(ValueError, match="--out must not be the notebooks' own folder"):
        write_versions(PATHS[:1], NOTEBOOKS, student)


def test_answers_are_not_written_over(tmp_path: Path) -> None:
    first, second = write_versions(PATHS[:2], tmp_path, student)
    notebook = nbformat.read(second, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="run")]
    nbformat.write(notebook, second)
    write_versions(PATHS[:2], tmp_path, student, replace=False)  # nobody has changed a cell
    notebook.cells[-1].source = "my answer"
    nbformat.write(notebook, second)
    first.write_text("not a notebook", encoding="utf-8")
    with pytest.raises(
        ValueError, match=f"whose cells were changed.*: {first.name}, {second.name}. Name another"
    ):
        write_versions(PATHS[:2], tmp_path, student, replace=False)
    assert (
        "my answer" in second.read_text(encoding="utf-8")
        and first.read_text(encoding="utf-8") == "not a notebook"
    )
    write_versions(PATHS[:2], tmp_path, student)
    assert "my answer" not in second.read_text(encoding="utf-8")


def test_solved_notebooks_are_the_same_every_time(tmp_path: Path) -> None:
    paths = [path for path in PATHS if number_of(path) == "02"]
    [first], [second] = (write_versions(paths, tmp_path / name, solved) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_pages_of_the_book_are_blank_or_solved(path: Path, tmp_path: Path) -> None:
    blank, answered = (file.read_text(encoding="utf-8") for file in write_pages([path], tmp_path))
    for one in exercises_of(number_of(path)):
        heading = f"## {one.number} {one.title}\n"
        assert heading in blank and heading in answered
        assert one.stub in blank and one.solution in answered and one.solution not in blank
        assert all(hint in blank for hint in one.hints) and one.why in answered


def test_a_notebook_for_colab_fetches_the_kit_there_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = write_versions(PATHS[:1], tmp_path / "once", on_colab("https://github.com/someone/kit"))
    notebook, own = nbformat.read(path, as_version=4), nbformat.read(PATHS[0], as_version=4)
    first, *rest = notebook.cells
    assert [cell.source for cell in rest] == [cell.source for cell in own.cells]
    assert [cell.get("outputs") for cell in rest] == [cell.get("outputs") for cell in own.cells]
    commands: list[str] = []
    shell = SimpleNamespace(system=commands.append)
    monkeypatch.chdir(tmp_path)
    exec(first.source, {"get_ipython": lambda: shell})
    assert commands == []
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr(os, "chdir", lambda folder: commands.append(f"cd {folder}"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(first.source, {"get_ipython": lambda: shell})
    assert [command.split()[0] for command in commands] == ["git", "pip", "cd"]
    assert "https://github.com/someone/kit ctsl" in commands[0]


def test_only_an_address_gets_into_the_cell_for_colab() -> None:
    for address in ("github.com/a/b", "https://a.b/c; rm -rf x", "https://a.b/$(x)", "file:///etc"):
        with pytest.raises(ValueError, match="--repository must be an address"):
            on_colab(address)


def test_an_endless_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tried, "LIMIT", 1)

    def endless(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        while True:
            pass

    right, words = verdict(find("00.2"), endless)
    assert not right and words.startswith("your function has not come to an end after 1 seconds")
    assert verdict(find("00.2"), find("00.2").right)[0]  # the alarm is off again


def test_autograd_is_no_formula() -> None:
    def by_autograd(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        leaf = logits.clone().requires_grad_()
        return torch.autograd.grad(torch.nn.functional.cross_entropy(leaf, labels), leaf)[0]

    right, words = verdict(find("00.2"), by_autograd)
    assert not right and words == "your function uses autograd: write the formula itself."


def test_empty_entries_are_named() -> None:
    right, words = verdict(find("22.1"), {"three seeds": 1.99, "five seeds": ...})
    assert not right and words.startswith("five seeds is not filled in yet. Hint: ")


def test_a_list_is_an_array_where_nothing_else_is_said() -> None:
    assert verdict(find("07.9"), lambda curves: [row[-1] for row in curves])[0]
    assert not verdict(find("07.9"), lambda curves: curves[-1])[0]
    assert verdict(find("01c.1"), lambda c, right, bins: np.float64(find("01c.1").right(c, right, bins)))[0]
    for factor, words in (
        (2, "is 2 times too large"),
        (3.12, "is too large"),
        (0.999, "is too small"),
        (-1, "wrong sign"),
    ):
        with pytest.raises(WrongAnswer, match=words):
            equals(factor * 0.7, 0.7)
