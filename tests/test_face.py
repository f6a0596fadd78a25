"""The library's face, and what happens where it was installed without the kit around it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ctsl_lib

KIT = Path(ctsl_lib.__file__).parent


def python(
    code: str, *arguments: str, path: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd or KIT)} | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.mark.parametrize("name", ctsl_lib.__all__)
def test_every_name_of_the_face_is_there(name: str) -> None:
    assert getattr(ctsl_lib, name) is not None


def test_the_face_is_light_and_names_what_it_has_not() -> None:
    code = "import sys; from ctsl_lib import METHODS, Plan, Spec; print({'torch', 'pandas'} & set(sys.modules) or [])"
    assert python(code).stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Spce'"):
        _ = ctsl_lib.Spce


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """The package by itself, as a wheel installs it."""
    shutil.copytree(KIT, tmp_path / "site" / "ctsl_lib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "work").mkdir()
    return tmp_path


def test_the_command_refuses_without_the_kit(alone: Path) -> None:
    done = python(
        "from ctsl_lib.cli.main import main; main()", "reproduce", path=alone / "site", cwd=alone / "work"
    )
    assert done.returncode != 0 and "installed without its notebooks" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not list((alone / "work").iterdir())


def test_the_library_writes_into_the_users_folder(alone: Path) -> None:
    code = "from ctsl_lib import Store; print(Store().root)"
    done = python(code, path=alone / "site", cwd=alone / "work")
    assert Path(done.stdout.strip()) == (alone / "work" / "data" / "records").resolve()
