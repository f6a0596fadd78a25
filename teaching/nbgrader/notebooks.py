"""Source notebooks for nbgrader: text as template, solution, tests that compare plain numbers."""

import json
import math
from pathlib import Path
from random import Random
from typing import Any

from tasks import Assignment, Case, Drawn, Open, Task, answer, fill, plain

IMPORTS = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor"
INTRO = """# {title}

{intro}

Work in the cells that say so, run all cells from top to bottom, and hand in this file under its name. Numbers and
definitions are this year's. Tests that you can see check one example; others, which you cannot see, check more, with a
tolerance of one in ten thousand. Tensors come in float64. Each cell may take 30 seconds."""


def drawn_for(seed: str, assignment: Assignment, task: Task | Open) -> tuple[Drawn, Random]:
    """What a task draws; each task has random numbers of its own, so a new task changes no other.

    Args:
        seed: of the course.
        assignment: where the task stands.
        task: the task.
    """
    random = Random(f"{seed}/{assignment.name}/{task.name}")
    return task.draw(random), random


def literal(value: Any, leaves: list[str], gradient: bool) -> str:
    """Python for one argument; tensors are made above the call and named x0, x1, ...

    Args:
        value: of a case.
        leaves: lines that make the tensors, to which this function adds.
        gradient: whether tensors of numbers are differentiated.
    """
    if isinstance(value, tuple):
        return f"[{', '.join(literal(one, leaves, gradient) for one in value)}]"
    if not isinstance(value, list):
        return repr(value)
    first = value
    while isinstance(first, list):
        first = first[0]
    kind = (
        "" if isinstance(first, int) else ", dtype=torch.float64" + (", requires_grad=True" if gradient else "")
    )
    leaves.append(f"x{len(leaves)} = torch.tensor({value}{kind})")
    return f"x{len(leaves) - 1}"


def call(task: Task, case: Case) -> str:
    """Lines that set `found` to the plain numbers of one answer, with its gradients where the task asks for them."""
    leaves: list[str] = []
    arguments = ", ".join(literal(value, leaves, task.gradient) for value in case)
    lines = [*leaves, f"found = {task.name}({arguments})" if task.stub else f"found = {task.name}"]
    if task.gradient:
        moving = ", ".join(line.partition(" ")[0] for line in leaves if "requires_grad" in line)
        lines += [
            f"gradients = torch.autograd.grad(found, [{moving}], allow_unused=True, materialize_grads=True)",
            "found = torch.cat([found.reshape(1), *[one.flatten() for one in gradients]])",
        ]
    lines.append("found = [*torch.as_tensor(found, dtype=torch.float64).flatten().tolist()]")
    return "\n".join(lines)


def expected(task: Task, drawn: Drawn, case: Case) -> list[float]:
    """What the solution answers."""
    names: dict[str, Any] = {}
    exec(f"{IMPORTS}\n{answer(task, drawn, task.solution)}\n{call(task, case)}", names)
    found: list[float] = names["found"]
    if not all(map(math.isfinite, found)):
        raise ValueError(f"the solution of {task.name} is not finite for {case}")
    return found


def checks(task: Task, drawn: Drawn, case: Case, words: str) -> str:
    """Asserts that compare plain numbers with numbers that are written out.

    No name is used that a cell before could have replaced, neither of torch.testing nor of the builtins: a display
    makes the list, `assert` is a statement, and minus is taken from a number.

    Args:
        task: what is tested.
        drawn: its numbers.
        case: the arguments.
        words: what a failed line says.
    """
    wanted = {i: float(f"{value:.8g}") for i, value in enumerate(expected(task, drawn, case))}
    what = "the value first, then its gradients by the tensors above" if task.gradient else "what is right"
    return f"""{call(task, case)}
wanted = {wanted}  # {what}
minus = (0.0).__class__.__sub__  # float's own, not a name that another cell could set
assert found.__len__() == {len(wanted)}, "{words}: {len(wanted)} number(s) expected"
for i, want in wanted.items():
    gap = minus(found[i], want)
    assert gap * gap < 1e-8 * (want * want + 1e-4), "{words}: not the right number"
"""


def cell(kind: str, source: str, name: str, **about: Any) -> dict[str, Any]:
    """One cell with nbgrader's metadata.

    Args:
        kind: "code" or "markdown".
        source: its text.
        name: unique in the notebook.
        about: grade, solution and points where they are not as in a cell to read.
    """
    about = {"grade": False, "solution": False, "task": False} | about
    about |= {"grade_id": name, "locked": not about["solution"], "schema_version": 3}
    made = {"cell_type": kind, "id": name.replace("_", "-"), "metadata": {"nbgrader": about}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def hidden(source: str) -> str:
    """A test that students do not get."""
    return f"### BEGIN HIDDEN TESTS\n{source.rstrip()}\n### END HIDDEN TESTS"


def task_cells(task: Task, drawn: Drawn, random: Random) -> list[dict[str, Any]]:
    """Text, answer, a test that is seen and a hidden one."""
    text = f"## {task.title} ({task.points} points)\n\n{fill(task.text, drawn)}"
    made = [
        cell("markdown", text, f"{task.name}_text"),
        cell("code", answer(task, drawn, task.solution, marked=True), f"{task.name}_answer", solution=True),
    ]
    if task.cases is None:
        source = f"# {task.name} is compared with the right number\n{hidden(checks(task, drawn, (), task.name))}"
        return [*made, cell("code", source, f"{task.name}_hidden", grade=True, points=task.points)]
    shown, *others = task.cases(random, drawn)
    seen = f"# an example, 1 point\n{checks(task, drawn, shown, 'the example')}".rstrip()
    tests = [checks(task, drawn, case, f"hidden case {i + 1}") for i, case in enumerate(others)]
    source = "# more of the same kind, with other shapes\n" + hidden("\n".join(tests))
    return [
        *made,
        cell("code", seen, f"{task.name}_example", grade=True, points=1),
        cell("code", source, f"{task.name}_hidden", grade=True, points=task.points - 1),
    ]


def open_cells(question: Open, drawn: Drawn) -> list[dict[str, Any]]:
    """A question, and a cell for the answer that shows the rubric to the person who grades."""
    text = f"## {question.title} ({question.points} points)\n\n{fill(question.text, drawn)}"
    rubric = f"=== BEGIN MARK SCHEME ===\n\n{plain(question.rubric)}\n\n=== END MARK SCHEME ==="
    return [
        cell("markdown", text, f"{question.name}_text"),
        cell("markdown", rubric, question.name, grade=True, solution=True, points=question.points),
    ]


def canary_cell() -> dict[str, Any]:
    """The last cell: its test fails for everybody, and if it does not, something has disarmed the tests."""
    source = hidden('assert 1 == 2, "this line fails for everybody, as it must"')
    return cell("code", f"# the end\n{source}", "canary", grade=True, points=0)


def notebook(assignment: Assignment, seed: str) -> dict[str, Any]:
    """The source notebook of one assignment.

    Args:
        assignment: its tasks.
        seed: of the course; another one gives other numbers, shapes and definitions.
    """
    text = INTRO.format(title=assignment.title, intro=assignment.intro)
    cells = [cell("markdown", text, "intro"), cell("code", IMPORTS, "imports")]
    for task in assignment.tasks:
        drawn, random = drawn_for(seed, assignment, task)
        cells += task_cells(task, drawn, random) if isinstance(task, Task) else open_cells(task, drawn)
    cells.append(canary_cell())
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def write(content: dict[str, Any], path: Path) -> None:
    """Save a notebook, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
