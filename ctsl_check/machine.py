"""Part 1: versions against `constraints.txt`, the device, its precision and its memory."""

import os
import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from ctsl_check.report import Part, Row
from ctsl_lib import ROOT
from ctsl_lib.environment import allocator, cores
from ctsl_lib.experiments.provenance import cpu_name, default_device, device_name
from ctsl_lib.models.precision import bf16_in_hardware

RULE = (
    "Other versions than those of `constraints.txt` are named: they may change the last digits of sums. "
    "Nothing here is off by itself."
)


def device_from(name: str | None) -> torch.device:
    """The device that a person has named; by default CUDA if there is one.

    Raises: ValueError that says which devices there are.
    """
    if name is None:
        return default_device()
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    there += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name not in there:
        raise ValueError(f"device must be one of {', '.join(there)} on this machine, got {name!r}")
    return torch.device(name)


def machine(device: torch.device) -> Part:
    """The environment that everything else in the report belongs to."""
    rows = [versions(ROOT)]
    rows.append(Row(what="Python", found=platform.python_version()))
    rows.append(Row(what="system", found=f"{platform.system()}, {platform.machine()}"))
    rows.append(Row(what="CPU", found=f"{cpu_name()}, {cores()} cores, memory allocator: {allocator()}"))
    rows.append(Row(what="memory", found=_memory()))
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = load > cores() / 2
        found = f"{load:.1f} processes on {cores()} cores" + (": part 6 is too slow" if busy else "")
        rows.append(Row(what="load before the check", found=found, verdict="note" if busy else "ok"))
    if device.type == "cuda":
        rows += _cuda(device)
    else:
        rows.append(Row(what="device", found=device_name(device)))
        fast = bf16_in_hardware(device)
        words = {True: "in hardware", False: "computed, but not by instructions of its own"}
        found = "not told by PyTorch" if fast is None else words[fast]
        rows.append(Row(what="bf16", found=found, verdict="ok" if fast else "note"))
    return Part(title="1 environment", rule=RULE, rows=rows)


def versions(root: Path) -> Row:
    """The packages that the kit asks for itself, against the versions that it was tested with.

    `root` is the kit's folder, with `constraints.txt` and `pyproject.toml`.
    """
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {one.name.lower(): one for one in map(Requirement, filter(None, (x.strip() for x in lines)))}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    others = []
    names = [Requirement(text).name.lower() for text in project["dependencies"]]
    for name in names:
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if name in pinned and not (
            found != "missing" and pinned[name].specifier.contains(found, prereleases=True)
        ):
            others.append(f"{name} {found} ({pinned[name].specifier})")
    return Row(
        what="versions",
        found=", ".join(others) or f"{len(names)} packages as pinned, torch {torch.__version__}",
        expected="constraints.txt",
        verdict="note" if others else "ok",
    )


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "not told by this system"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"


def _cuda(device: torch.device) -> list[Row]:
    about = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    tf32 = torch.backends.cuda.matmul.allow_tf32
    convolutions = torch.backends.cudnn.allow_tf32
    return [
        Row(what="device", found=f"{about.name}, compute capability {about.major}.{about.minor}"),
        Row(what="device memory", found=f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"),
        Row(what="CUDA, cuDNN", found=f"{torch.version.cuda}, {torch.backends.cudnn.version()}"),
        Row(
            what="bf16",
            found="in hardware" if bf16_in_hardware(device) else "emulated",
        ),
        Row(
            what="float32",
            found=f"TF32 in products: {'yes' if tf32 else 'no'}, in convolutions: {'yes' if convolutions else 'no'}",
            verdict="note" if tf32 or convolutions else "ok",
        ),
        Row(
            what="deterministic algorithms",
            found="asked for" if torch.are_deterministic_algorithms_enabled() else "not asked for",
        ),
    ]
