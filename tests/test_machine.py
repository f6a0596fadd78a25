"""Processes, threads and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctsl_lib.environment import allocator


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has these settings")
@pytest.mark.parametrize(("wish", "expected"), [("1", [True, "glibc, memory kept"]), ("0", [False, "default"])])
def test_memory_is_kept_unless_switched_off(wish: str, expected: list) -> None:
    code = """
import json, subprocess, sys
from ctsl_lib.environment import allocator, keep_memory
child = "from ctsl_lib.environment import allocator; print(allocator())"
kept = keep_memory()
said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip()
assert said == allocator()
print(json.dumps([kept, said]))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"CTSL_MALLOC": wish}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert json.loads(done.stdout) == expected
    assert allocator() in ("default", "glibc, memory kept")
