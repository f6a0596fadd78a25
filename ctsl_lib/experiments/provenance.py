"""Where and with what a record is made."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ctsl_lib import ROOT, __version__
from ctsl_lib.environment import allocator

if TYPE_CHECKING:
    import torch


class Provenance(BaseModel, frozen=True):
    """Where and with what a record was made."""

    device: str
    cpu: str = ""
    """Model and vector instructions, on which the last digits of sums depend; empty in older records."""
    commit: str
    versions: dict[str, str]
    threads: int
    allocator: str = "default"
    """How memory is kept; see `machine.keep_memory`. It changes times, not numbers."""
    finished: str
    """UTC, ISO 8601."""
    wall_time: float
    """Seconds of training and evaluation, without stage 1."""


def default_device() -> "torch.device":
    """CUDA where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: "torch.device") -> str:
    """How records name it."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


@cache
def cpu_name() -> str:
    """The CPU's model, where the system tells it, and the vector instructions that PyTorch uses on it."""
    import torch

    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def provenance(device: "torch.device", wall_time: float) -> Provenance:
    """Where and with what this process works."""
    import torch

    return Provenance(
        device=device_name(device),
        cpu=cpu_name(),
        commit=current_commit(),
        versions={
            "ctsl": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
        },
        threads=torch.get_num_threads(),
        allocator=allocator(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_time=round(wall_time, 3),
    )


@cache
def current_commit() -> str:
    """The commit of the code, with "+changes" where the work tree differs from it; "unknown" outside git.

    Asked once, before the first run: that is the code which this process has loaded.
    """
    folder = ROOT / "ctsl_lib"
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "."],
            cwd=folder, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")
