"""Look up known vulnerabilities of the pinned packages: `make audit`.

pip-audit is installed into an environment of its own, so that the kit does not depend on it. Where the package index
does not answer, nothing is known, and one line says so: that is no failure, but no clean bill either.
"""

import json
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv" / "audit"
PINNED = ROOT / "constraints.txt"


def report(dependencies: Iterable[Mapping[str, Any]]) -> tuple[str, int]:
    """What pip-audit found, in words, and the exit status.

    Args:
        dependencies: the entries of its JSON report; one without a version was not looked up.

    Returns: a line for each vulnerability and one for the sum; 1 if there is a vulnerability, else 0.
    """
    every = list(dependencies)
    known = [one for one in every if "skip_reason" not in one]
    if not known:
        return f"audit: skipped, the service knows none of the {len(every)} pinned packages", 0
    lines = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for one in known
        for vulnerability in one["vulns"]
    ]
    lines.append(f"audit: {len(lines)} known vulnerabilities in {len(known)} packages")
    if len(known) < len(every):
        unknown = ", ".join(one["name"] for one in every if "skip_reason" in one)
        lines.append(f"audit: {len(every) - len(known)} packages could not be looked up: {unknown}")
    return "\n".join(lines), int(any(one["vulns"] for one in known))


def audit(environment: Path = ENVIRONMENT, pinned: Path = PINNED) -> tuple[str, int]:
    """Run pip-audit, which is installed first if need be.

    Args:
        environment: folder of the environment that it is installed into.
        pinned: the file with a line NAME==VERSION for each package.

    Returns: see `report`; where it cannot run, that line says why.
    """
    tool = environment / ("Scripts" if sys.platform == "win32" else "bin") / "pip-audit"
    if not tool.with_suffix(".exe" if sys.platform == "win32" else "").exists():
        venv.create(environment, clear=True, with_pip=True)
        installed = subprocess.run(
            [tool.with_name("python"), "-m", "pip", "install", "--quiet", "pip-audit"],
            capture_output=True,
            text=True,
        )
        if installed.returncode:
            return f"audit: skipped, pip-audit cannot be installed ({_last_line(installed.stderr)})", 0
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    found = subprocess.run([tool, "--requirement", pinned, *options], capture_output=True, text=True)
    try:
        dependencies = json.loads(found.stdout)["dependencies"]
    except (ValueError, KeyError):
        return f"audit: skipped, the service does not answer ({_last_line(found.stderr)})", 0
    return report(dependencies)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]


if __name__ == "__main__":
    said, status = audit()
    print(said)
    sys.exit(status)
