"""What a teacher does with a course's folder, in one process; runs in the environment of nbgrader.

    .venv-nbgrader/bin/python teaching/nbgrader/course.py release results/assignments
    .venv-nbgrader/bin/python teaching/nbgrader/course.py grade results/assignments
    .venv-nbgrader/bin/python teaching/nbgrader/course.py feedback results/assignments
    .venv-nbgrader/bin/python teaching/nbgrader/course.py scores results/assignments

`release` makes the students' notebooks in release/. Put what comes back into submitted/STUDENT/session1/session1.ipynb;
`grade` runs it, `feedback` writes pages in feedback/, `scores` prints the points of each task as JSON. The commands of
nbgrader do the same, one assignment at a time.
"""

import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.apps.baseapp import NbGrader
from sqlalchemy.exc import SAWarning

warnings.filterwarnings("ignore", category=SAWarning)  # nbgrader's own, at every new submission


def open_course(folder: Path) -> NbGraderAPI:
    """The course in a folder, with the settings that lie there."""
    os.chdir(folder)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    app = NbGrader()
    app.initialize([])
    app.log_level = "ERROR"
    return NbGraderAPI(coursedir=None, config=app.config)


def must(result: dict[str, Any], what: str) -> None:
    """Stop with nbgrader's own words if a step failed."""
    if not result["success"]:
        sys.exit(f"{what} failed:\n{result.get('error') or result.get('log')}")


def release(api: NbGraderAPI) -> None:
    """The students' version of every assignment."""
    for name in sorted(api.get_source_assignments()):
        must(api.generate_assignment(name), f"release of {name}")


def grade(api: NbGraderAPI) -> None:
    """Run every submission that has not been graded; what cannot be run, or has disarmed its tests, is named."""
    failed = 0
    for name in sorted(api.get_source_assignments()):
        for student in sorted(api.get_submitted_students(name) - api.get_autograded_students(name)):
            if not api.autograde(name, student)["success"]:
                failed += 1
                print(f"{name}, {student}: could not be run to its end; look at the notebook")
            elif disarmed(Path("autograded", student, name, f"{name}.ipynb")):
                print(
                    f"{name}, {student}: the last test did not fail, as it does for everybody; look at the notebook"
                )
    if failed:
        sys.exit(f"{failed} submission(s) were not graded")


def disarmed(notebook: Path) -> bool:
    """Whether the test that must fail did not."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    canary = [cell for cell in cells if cell["metadata"].get("nbgrader", {}).get("grade_id") == "canary"]
    return not any(out.get("ename") == "AssertionError" for cell in canary for out in cell["outputs"])


def feedback(api: NbGraderAPI) -> None:
    """A page for each graded submission, which asks no other host for anything."""
    for name in sorted(api.get_source_assignments()):
        for student in sorted(api.get_autograded_students(name)):
            must(api.generate_feedback(name, student), f"feedback on {name} for {student}")
            for page in Path("feedback", student, name).glob("*.html"):
                page.write_text(OTHER_HOSTS.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")


def scores(api: NbGraderAPI) -> None:
    """Print student -> assignment -> cell -> points; a task that waits for a person is null."""
    found: dict[str, Any] = {}
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as book:
        for assignment in book.assignments:
            for submission in book.assignment_submissions(assignment.name):
                grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
                found.setdefault(submission.student.id, {})[assignment.name] = {
                    grade.name: None if grade.needs_manual_grade else grade.score for grade in grades
                }
    print(json.dumps(found, indent=1, sort_keys=True))


OTHER_HOSTS = re.compile(r'<script src="https?://[^"]*">\s*</script>')
COMMANDS = {"release": release, "grade": grade, "feedback": feedback, "scores": scores}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: course.py {'|'.join(COMMANDS)} FOLDER")
    COMMANDS[sys.argv[1]](open_course(Path(sys.argv[2])))
