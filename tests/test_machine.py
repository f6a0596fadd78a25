"""Processes, threads and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctsl_lib.data.digits import Digits
from ctsl_lib.environment import allocator
from ctsl_lib.experiments import grid as machine
from ctsl_lib.experiments.grid import LARGE, forward_work, layout, layout_for
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.training.recipe import Recipe

SMALL = LARGE / 10


@pytest.mark.parametrize(
    ("work", "wishes", "expected"),
    [
        ([SMALL], {"available": 2}, (2, 1)),
        ([SMALL], {"available": 16}, (16, 1)),
        ([LARGE], {"available": 2}, (1, 2)),
        ([SMALL, LARGE], {"available": 16}, (4, 4)),
        ([LARGE], {"available": 16, "processes": 8}, (8, 2)),
        ([LARGE], {"available": 16, "threads": 1}, (16, 1)),
        ([SMALL], {"available": 4, "processes": 9}, (9, 1)),
        ([], {"available": 1}, (1, 1)),
    ],
)
def test_layout(monkeypatch: pytest.MonkeyPatch, work, wishes, expected) -> None:
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    assert layout(work, **wishes) == expected


def test_layout_wants_numbers() -> None:
    with pytest.raises(ValueError, match="threads must be 1 or more, got 0"):
        layout(threads=0)


def test_work_of_a_forward_pass() -> None:
    # By hand: tiny_cnn's convolutions at 8x8, after pooling at 4x4, its classifier; 2 for each multiply-add.
    multiply_adds = 64 * 9 * (1 * 16 + 16 * 32) + 16 * 9 * 32 * 64 + 64 * 10
    assert forward_work(["tiny_cnn"], (1, 8, 8), batch_size=3) == 2 * 3 * multiply_adds


def test_layout_of_specs_knows_tiny_from_large() -> None:
    tiny = Spec(data=Digits())
    large = tiny.model_copy(update={"peers": ("resnet34", "resnet34"), "recipe": Recipe(batch_size=256)})
    assert layout_for([tiny], processes=1, threads=None).threads == 1
    assert layout_for([tiny, large], processes=1).threads == min(4, machine.cores())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has these settings")
@pytest.mark.parametrize(("wish", "expected"), [("1", [True, "glibc, memory kept"]), ("0", [False, "default"])])
def test_memory_is_kept_unless_switched_off(wish: str, expected: list) -> None:
    code = """
import json, subprocess, sys
from ctsl_lib.machine import allocator, keep_memory
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
