"""`make audit` never takes "nothing is known" for "nothing is wrong"."""

import os
import sys
from pathlib import Path

import pytest

from scripts.audit import PINNED, audit, report

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
UNKNOWN = {
    "name": "torch",
    "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.15.0)",
}
BAD = {
    "name": "pillow",
    "version": "8.0.0",
    "vulns": [
        {"id": "PYSEC-2021-70", "fix_versions": ["8.1.0"], "aliases": [], "description": "..."},
        {"id": "PYSEC-0000-1", "fix_versions": [], "aliases": [], "description": "..."},
    ],
}


def test_vulnerabilities_are_listed_and_fail() -> None:
    said, status = report([CLEAN, BAD])
    assert status == 1 and said.splitlines() == [
        "pillow 8.0.0: PYSEC-2021-70, mended in 8.1.0",
        "pillow 8.0.0: PYSEC-0000-1, mended in no version yet",
        "audit: 2 known vulnerabilities in 2 packages",
    ]


def test_packages_that_were_not_looked_up_are_named() -> None:
    assert report([UNKNOWN, UNKNOWN]) == ("audit: skipped, the service knows none of the 2 pinned packages", 0)
    said, status = report([CLEAN, UNKNOWN])
    assert status == 0 and said.splitlines() == [
        "audit: 0 known vulnerabilities in 1 packages",
        "audit: 1 packages could not be looked up: torch",
    ]


def test_every_package_is_pinned_to_one_version() -> None:
    lines = PINNED.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.count("==") != 1 or line.startswith("#")] == []


@pytest.mark.slow
def test_without_an_index_it_is_skipped_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said, status = audit(tmp_path / "environment")
    assert status == 0 and said.startswith("audit: skipped, pip-audit cannot be installed (ERROR: ")
    assert len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the tool is a shell script here")
def test_a_service_that_does_not_answer_is_told_in_one_line(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "pip-audit"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'ServiceError: no route to host' >&2; exit 1\n")
    tool.chmod(0o755)
    assert audit(tmp_path) == ("audit: skipped, the service does not answer (ServiceError: no route to host)", 0)
