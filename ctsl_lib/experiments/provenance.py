"""Where a record was made, and with what: device, versions, commit."""

import os
import platform
import subprocess
import warnings
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
    """Where a record was made, and with what."""

    device: str
    cpu: str = ""
    """Model and vector instructions, which the last digits of sums depend on; empty in older records."""
    commit: str
    versions: dict[str, str]
    threads: int
    allocator: str = "default"
    """Whether freed memory is kept; see `environment.keep_memory`. It changes times, not results."""
    finished: str
    """When the run ended: UTC, ISO 8601."""
    wall_time: float
    """Seconds of training and evaluation, without stage 1."""


NVIDIA_DRIVER = Path("/dev/nvidiactl")
"""What is there on Linux where an NVIDIA driver runs."""


def default_device() -> "torch.device":
    """The CUDA device if there is one, else the CPU, with a warning if there is a driver that PyTorch cannot use."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if NVIDIA_DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        warnings.warn(
            f"an NVIDIA driver is there, but PyTorch {torch.__version__} can use no GPU, so everything runs on the "
            "CPU: `python -c 'import torch; torch.cuda.init()'` says why. If it is meant, set CUDA_VISIBLE_DEVICES=''",
            stacklevel=2,
        )
    return torch.device("cpu")


def device_name(device: "torch.device") -> str:
    """The name of a device, as records have it."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


@cache
def cpu_name() -> str:
    """The model of the CPU, if the system tells it, and the vector instructions that PyTorch uses on it."""
    import torch

    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def provenance(device: "torch.device", wall_time: float) -> Provenance:
    """The provenance of a record that this process has just made.

    Args:
        device: where the peers were trained.
        wall_time: seconds of training and evaluation, without stage 1.
    """
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
    """The commit of the library, with "+changes" if files differ from it; "unknown" outside git.

    It is read once, before the first run, because that is the code that this process has loaded.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    """What git answers about the library's folder."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT / "ctsl_lib", capture_output=True, text=True, check=True)
    return done.stdout.strip()
