"""The lists of packages agree with one another."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[ ]", line.strip())[0].lower().replace("_", "-") for line in requirements}


def test_environment_names_packages_that_the_project_declares() -> None:
    lines = (ROOT / "environment.yml").read_text(encoding="utf-8").partition("- pip:")[2].splitlines()
    listed = names([line.strip(" -") for line in lines if line.strip() and "- --" not in line])
    declared = names(
        [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    )
    assert listed <= declared
    assert {
        "jupyterlab",
        "papermill",
        "nbval",
        "seaborn",
        "pandas",
        "matplotlib",
        "torch",
        "torchvision",
    } <= listed


def test_what_the_project_needs_is_pinned() -> None:
    pinned = names((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    extras = [r for name in ("dev", "lab") for r in PROJECT["optional-dependencies"][name]]
    assert names([*PROJECT["dependencies"], *extras]) <= pinned
