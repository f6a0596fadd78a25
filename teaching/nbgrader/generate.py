"""Write the graded assignments of a course: `python teaching/nbgrader/generate.py SEED results/assignments`.

What is written are nbgrader's *source* notebooks, with solutions and hidden tests. `make assignments SEED=...` makes
the students' versions of them as well. The seed may be any text. Who knows it can generate the hidden tests, so it
should be long, and secret.
"""

import shutil
import sys
from importlib import import_module
from pathlib import Path

from tasks import Assignment

from notebooks import notebook, write

HERE = Path(__file__).resolve().parent
ASSIGNMENTS: list[Assignment] = [import_module(f"session{i}").ASSIGNMENT for i in range(1, 7)]


def generate(seed: str, course: Path) -> None:
    """Write all source notebooks and nbgrader's settings.

    Args:
        seed: of the course.
        course: folder of the course; submissions and grades in it are left alone.
    """
    for assignment in ASSIGNMENTS:
        write(notebook(assignment, seed), course / "source" / assignment.name / f"{assignment.name}.ipynb")
    shutil.copy(HERE / "nbgrader_config.py", course)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: generate.py SEED FOLDER, such as results/assignments")
    if len(sys.argv[1]) < 12:
        print("Warning: a short seed can be found by trying, and with it the hidden tests.", file=sys.stderr)
    generate(sys.argv[1], Path(sys.argv[2]))
