"""The graded assignments: right answers earn all points, others do not, whatever they patch; and last year's do not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctsl_lib import ROOT

TEACHING = ROOT / "teaching" / "nbgrader"
NBGRADER = Path(os.environ.get("CTSL_NBGRADER", ROOT / ".venv-nbgrader")) / "bin" / "python"
sys.path.insert(0, str(TEACHING))

from generate import ASSIGNMENTS  # noqa: E402
from tasks import Assignment, Open, Task, answer, fill  # noqa: E402

from notebooks import IMPORTS, checks, drawn_for, notebook, write  # noqa: E402

THIS_YEAR, LAST_YEAR = "the seed of this year", "the seed of last year"
TASKS = [(one, task) for one in ASSIGNMENTS for task in one.tasks if isinstance(task, Task)]
NAMES = [f"{one.name}-{task.name}" for one, task in TASKS]


def passes(task: Task, source: str, tests: list[str]) -> list[bool]:
    """Which tests an answer gets past, without nbgrader."""
    found = []
    for check in tests:
        try:
            exec(f"{IMPORTS}\n{source}\n{check}", {})
            found.append(True)
        except (AssertionError, RuntimeError, IndexError, TypeError):
            found.append(False)
    return found


def drawn_tests(one: Assignment, task: Task, seed: str) -> tuple[dict[str, Any], list[str]]:
    """What the task draws, and its tests."""
    drawn, random = drawn_for(seed, one, task)
    cases = task.cases(random, drawn) if task.cases else [()]
    return dict(drawn), [checks(task, drawn, case, "case") for case in cases]


@pytest.mark.parametrize(("one", "task"), TASKS, ids=NAMES)
def test_the_solution_passes_and_the_wrong_answer_does_not(one: Assignment, task: Task) -> None:
    for seed in ("0", "1", "2", THIS_YEAR):
        drawn, tests = drawn_tests(one, task, seed)
        assert all(passes(task, answer(task, drawn, task.solution), tests))
        assert not all(passes(task, answer(task, drawn, task.wrong), tests))


@pytest.mark.parametrize(("one", "task"), TASKS, ids=NAMES)
def test_last_years_answer_does_not_fit(one: Assignment, task: Task) -> None:
    last, _ = drawn_tests(one, task, LAST_YEAR)
    _, tests = drawn_tests(one, task, THIS_YEAR)
    assert not all(passes(task, answer(task, last, task.solution), tests))


def test_assignments_are_many_and_are_not_the_public_exercises() -> None:
    public = " ".join(path.read_text() for path in (ROOT / "ctsl_course" / "exercises").glob("e*.py"))
    assert len(ASSIGNMENTS) == 6
    for one in ASSIGNMENTS:
        assert len(one.tasks) >= 4 and isinstance(one.tasks[-1], Open)
        for task in one.tasks:
            assert f'"{task.title}"' not in public
            assert f'name="{task.name}"' not in public and f"def {task.name}(" not in public


@pytest.mark.parametrize("one", ASSIGNMENTS, ids=[one.name for one in ASSIGNMENTS])
def test_a_seed_gives_the_same_notebook_again_and_another_seed_another(one: Assignment) -> None:
    first, again, other = (notebook(one, seed) for seed in (THIS_YEAR, THIS_YEAR, LAST_YEAR))
    assert first == again and first != other
    points = [cell["metadata"]["nbgrader"].get("points", 0) for cell in first["cells"]]
    assert sum(points) == sum(task.points for task in one.tasks)
    ids = [cell["metadata"]["nbgrader"]["grade_id"] for cell in first["cells"]]
    assert len(ids) == len(set(ids))


def test_a_text_says_what_was_not_drawn() -> None:
    with pytest.raises(ValueError, match="goal"):
        fill("to <<goal>>", {"other": 1})


CHEAT = """
import builtins
import torch

torch.testing.assert_close = lambda *args, **kwargs: None
torch.allclose = torch.equal = torch.isclose = lambda *args, **kwargs: True
for name in ("abs", "all", "any", "round"):
    setattr(builtins, name, lambda *args, **kwargs: True)
zip = enumerate = range = sorted = lambda *args: []
len = isinstance = type = float = list = dict = lambda *args: True
minus = lambda one, other: 0.0
wanted = {}


class Liar(0.0.__class__):
    def yes(self, *others):
        return True

    def zero(self, *others):
        return Liar(0.0)

    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = yes
    __sub__ = __rsub__ = __mul__ = __abs__ = zero
    __hash__ = 0.0.__class__.__hash__
    flatten = reshape = lambda self, *others: self
    tolist = lambda self: [Liar(1.0)]


torch.as_tensor = torch.cat = lambda *args, **kwargs: Liar(1.0)
find_temperature = effective_classes = lambda logits: Liar(1.0)
wrong_share = Liar(1.0)
"""


DISARMED = """
def without_asserts(lines):
    return [line for line in lines if not line.lstrip().startswith("assert")]


get_ipython().input_transformers_post.append(without_asserts)
find_temperature = lambda logits: 1.0
"""


def answered(release: Path, one: Assignment, seed: str, which: str, change: dict[str, str]) -> dict[str, Any]:
    """A released notebook with answers.

    Args:
        release: the students' notebook.
        one: its assignment.
        seed: whose numbers the answers use.
        which: "solution" or "wrong".
        change: cells with another source, by grade_id.
    """
    content: dict[str, Any] = json.loads(release.read_text())
    sources = dict(change)
    for task in one.tasks:
        if isinstance(task, Task):
            drawn, _ = drawn_for(seed, one, task)
            sources.setdefault(f"{task.name}_answer", answer(task, drawn, getattr(task, which)))
    for cell in content["cells"]:
        cell["source"] = sources.get(cell["metadata"]["nbgrader"]["grade_id"], cell["source"])
    return content


def earned(one: Assignment, full: tuple[str, ...]) -> dict[str, float]:
    """Points by cell if all tasks named in `full` are right and all others wrong."""
    points: dict[str, float] = {}
    for task in one.tasks:
        if isinstance(task, Task):
            share = 1.0 if task.name in full else 0.0
            if task.cases:
                points[f"{task.name}_example"] = share
            points[f"{task.name}_hidden"] = share * (task.points - (task.cases is not None))
    return points


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with the assignments of one seed."""
    if not NBGRADER.exists():
        pytest.skip("nbgrader has no environment here; `make grading-test` makes it")
    folder = tmp_path_factory.mktemp("course")
    subprocess.run([sys.executable, TEACHING / "generate.py", THIS_YEAR, folder], check=True)
    with (folder / "nbgrader_config.py").open("a") as settings:
        settings.write("c.Execute.timeout = 20\n")
    manage("release", folder)
    return folder


def manage(command: str, folder: Path, returns: int = 0) -> str:
    """What a teacher's command prints."""
    done = subprocess.run(
        [NBGRADER, TEACHING / "course.py", command, folder], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == returns, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_submissions_earn_the_stated_points(course: Path) -> None:
    first, third = ASSIGNMENTS[0], ASSIGNMENTS[2]
    emptied = {"find_temperature_example": "", "find_temperature_hidden": "", "wrong_share_hidden": "pass"}
    submissions: list[tuple[str, Assignment, tuple[str, ...]]] = []

    def add(student: str, one: Assignment, full: tuple[str, ...], *answers: Any) -> None:
        released = course / "release" / one.name / f"{one.name}.ipynb"
        content = answered(released, one, *answers) if answers else json.loads(released.read_text())
        write(content, course / "submitted" / student / one.name / f"{one.name}.ipynb")
        submissions.append((student, one, full))

    for one in ASSIGNMENTS:
        names = tuple(task.name for task in one.tasks if isinstance(task, Task))
        add("right", one, names, THIS_YEAR, "solution", {})
    for one in (first, third):
        add("wrong", one, (), THIS_YEAR, "wrong", {})
        add("last_year", one, (), LAST_YEAR, "solution", {})
    add("empty", first, ())
    add(
        "cheat",
        first,
        (),
        THIS_YEAR,
        "wrong",
        {"find_temperature_answer": CHEAT, "wrong_share_answer": ""} | emptied,
    )
    loop = {"loss_of_answer": "while True:\n    pass"}
    add("endless", third, ("meeting_loss", "largest_alpha"), THIS_YEAR, "solution", loop)

    disarm = {"find_temperature_answer": DISARMED}
    for student, change in {
        "disarm": disarm,
        "crash": {"find_temperature_answer": "import os\n\nos._exit(1)"},
    }.items():
        content = answered(course / "release" / "session1" / "session1.ipynb", first, THIS_YEAR, "wrong", change)
        write(content, course / "submitted" / student / "session1" / "session1.ipynb")

    said = manage("grade", course, returns=1).splitlines()
    assert [line.partition(":")[0] for line in said] == ["session1, crash", "session1, disarm"]
    assert "could not be run" in said[0] and "did not fail" in said[1]
    scores = json.loads(manage("scores", course))
    for student, one, full in submissions:
        found = scores[student][one.name]
        wanted = earned(one, full)
        assert {name: found[name] for name in wanted} == wanted, f"{student}, {one.name}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_feedback_shows_no_hidden_test(course: Path) -> None:
    if not (course / "autograded").exists():
        pytest.skip("nothing was graded")
    manage("feedback", course)
    pages = {path.parent.parent.name: path.read_text() for path in (course / "feedback").rglob("session1.html")}
    assert {"right", "wrong", "empty", "cheat"} <= pages.keys()
    graded = json.loads((course / "autograded" / "wrong" / "session1" / "session1.ipynb").read_text())
    hidden = [cell for cell in graded["cells"] if "BEGIN HIDDEN TESTS" in "".join(cell["source"])]
    assert len(hidden) == 4
    for page in pages.values():
        assert "HIDDEN TESTS" not in page and "hidden case" not in pages["right"]
        for cell in hidden:
            lines = [line for line in "".join(cell["source"]).splitlines() if line.startswith(("x0", "wanted"))]
            assert not any(line in page for line in lines)
        assert 'src="http' not in page
    assert "not the right number" in pages["wrong"]
