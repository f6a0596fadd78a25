"""The six parts of the check, one after the other, as one report."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import torch

from ctsl_check.losses import losses
from ctsl_check.machine import machine
from ctsl_check.records import LONGEST, sampled
from ctsl_check.repeat import repeat
from ctsl_check.report import Part, Report, Row, failure
from ctsl_check.resume import resume
from ctsl_check.speed import NETWORKS, speed
from ctsl_lib import ROOT
from ctsl_lib.experiments.provenance import cpu_name, current_commit, device_name
from ctsl_lib.experiments.store import Store

PARTS = range(1, 7)


def check(
    device: torch.device,
    sample: int = 4,
    seed: int = 0,
    *,
    longest: float = LONGEST,
    parts: Sequence[int] = PARTS,
    compiled: bool = True,
    networks: Sequence[str] = NETWORKS,
    committed: Store | None = None,
    say: Callable[[Part], object] = lambda part: None,
) -> Report:
    """Look at everything that the kit promises, on one device.

    Args:
        device: where to train.
        sample: how many committed records are made again.
        seed: draws the records, and is the seed of the small runs.
        longest: seconds that a record may have taken where it was made, to be among those that are drawn.
        parts: which of the six, by number.
        compiled: whether to look at compiled losses, too; compiling takes most of a minute.
        networks: those whose speed is measured.
        committed: the committed records; by default those in the kit.
        say: is told each part as soon as it is finished.

    Raises: ValueError on another part.
    """
    store = committed if committed is not None else Store(ROOT / "data" / "records")
    calls: dict[int, Callable[[], Part]] = {
        1: lambda: machine(device),
        2: lambda: losses(device, compiled=compiled, seed=seed),
        3: lambda: repeat(device, seed),
        4: lambda: resume(device, seed),
        5: lambda: sampled(device, sample, seed, committed=store, longest=longest),
        6: lambda: speed(device, networks, committed=store),
    }
    unknown = [number for number in parts if number not in calls]
    if unknown:
        raise ValueError(f"part must be among {', '.join(map(str, calls))}, got {unknown[0]}")
    options: dict[str, str | int | list[int]]
    options = {"device": str(device), "sample": sample, "seed": seed, "longest": f"{longest:g}"}
    options |= {"part": sorted(set(parts))} if set(parts) < set(calls) else {}
    options |= {} if compiled else {"no-compiled": ""}
    done: list[Part] = []
    for number in sorted(set(parts)):
        started = time.perf_counter()
        try:
            part = calls[number]()
        except Exception as error:  # the other parts still have something to say
            row = Row(what="the part ended with an error", found=failure(error), verdict="off")
            part = Part(title=f"{number} (not finished)", rule="", rows=[row])
        done.append(part.model_copy(update={"seconds": round(time.perf_counter() - started, 1)}))
        say(done[-1])
    where = f"{device_name(device)}; {cpu_name()}" if device.type == "cuda" else cpu_name()
    return Report(
        device=where,
        commit=current_commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        options=options,
        parts=done,
    )
