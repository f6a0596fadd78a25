"""The lists of packages agree with one another."""

import ast
import json
import re
import tomllib
from pathlib import Path

import yaml

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
    extras = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    assert names([*PROJECT["dependencies"], *extras]) - {PROJECT["name"], "torchdistill"} <= pinned


def test_modules_and_functions_stay_small() -> None:
    too_long = []
    for path in sorted(
        path
        for package in ("ctsl_lib", "ctsl_course", "ctsl_check", "ctsl_share")
        for path in (ROOT / package).rglob("*.py")
    ):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 300:
            too_long.append(f"{path.name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                if lines > 60:
                    too_long.append(f"{path.name}: {node.name} has {lines} lines")
    assert not too_long


def test_who_cites_the_kit_finds_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert zenodo == {
        "creators": [{"name": author["name"]} for author in citation["authors"]],
        "license": {"id": citation["license"]},
        "publication_date": str(citation["date-released"]),
        "title": citation["title"],
        "version": citation["version"],
    }
    assert citation["version"] == PROJECT["version"]
    assert f"## {citation['version']} ({citation['date-released']})" in (ROOT / "CHANGELOG.md").read_text(
        encoding="utf-8"
    )
