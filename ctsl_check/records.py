"""Part 5: a random sample of the committed records, made again in a store of its own."""

import random
import tempfile
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import torch

from ctsl_check.report import Part, Row, Verdict
from ctsl_lib.errors import GridError
from ctsl_lib.evidence.remade import ALARM, Agreement, compare
from ctsl_lib.experiments.grid import process_pool, run_grid
from ctsl_lib.experiments.spec import NUMERICS, Record
from ctsl_lib.experiments.store import Store

LONGEST = 60.0
"""Seconds that a record may have taken where it was made, to be among those that are drawn."""
RULE = (
    "The runs are drawn by `--seed` and trained here in a store of their own. identical: all curves and metrics to the "
    "last digit. within the spread: other last digits, and a difference that two seeds have as well. off: more than "
    f"that. Both tests together find something off in at most {ALARM:.0%} of the checks of a machine that only rounds "
    "otherwise: each run by Student's t against the spread of the other committed seeds (|d| <= t s sqrt(2), "
    "Bonferroni for the runs that are not identical), and from nine seeds on all together by flipping signs "
    "seed by seed."
)


def candidates(committed: Store, longest: float = LONGEST) -> list[Record]:
    """The committed records that can be made again here, in the order of their keys.

    Args:
        committed: the store.
        longest: seconds that a run may have taken.

    Returns: those of images that are at hand and are the same; an empty digest, of an old record, counts as the same.
    """
    affordable = [record for record in committed if record.provenance.wall_time <= longest]
    at_hand = [record for record in affordable if _at_hand(record, committed)]
    return sorted(at_hand, key=lambda record: record.spec.key)


def _at_hand(record: Record, store: Store) -> bool:
    digest = store.data_digest(record.spec.data)
    return digest is not None and record.data_digest in ("", digest)


def remake(
    records: Sequence[Record], root: Path, device: torch.device, processes: int | None = None
) -> list[Record]:
    """Train the runs of some records again, in today's numerics.

    Args:
        records: the committed ones.
        root: folder of the store for the new ones.
        device: where to train.
        processes: runs side by side; by default one a core, or one on a GPU.

    Raises: GridError if a run fails.
    """
    specs = [record.spec.model_copy(update={"numerics": NUMERICS}) for record in records]
    if device.type == "cuda" or len(specs) == 1:
        processes = 1
    with process_pool(processes) as executor:
        return run_grid(specs, Store(root), executor=executor, device=str(device), threads=1, progress=False)


def sampled(
    device: torch.device,
    sample: int,
    seed: int = 0,
    *,
    committed: Store,
    longest: float = LONGEST,
    processes: int | None = None,
) -> Part:
    """Make a sample of the committed records again and compare.

    Args:
        device: where to train.
        sample: how many records.
        seed: draws them.
        committed: their store.
        longest: see `candidates`.
        processes: see `remake`.
    """
    title = "5 committed records made again"
    there = candidates(committed, longest)
    if not there or not sample:
        reason = "none was asked for" if there else f"no record of at most {longest:g} s whose images are at hand"
        return Part(title=title, rule=RULE, rows=[Row(what="records", found=reason, verdict="not possible here")])
    drawn = random.Random(seed).sample(there, min(sample, len(there)))
    with tempfile.TemporaryDirectory(prefix="ctsl-check-") as folder:
        try:
            remade = remake(drawn, Path(folder), device, processes)
        except GridError as error:
            failed = [Row(what="a run failed", found=line, verdict="off") for line in str(error).splitlines()[1:]]
            return Part(title=title, rule=RULE, rows=failed)
    found = compare(remade, committed)
    drawn_row = Row(
        what="drawn", found=f"{len(drawn)} of {len(there)} records that took at most {longest:g} s each"
    )
    return Part(title=title, rule=RULE, rows=[drawn_row, *rows_of(found)])


def rows_of(found: Agreement) -> list[Row]:
    """A row for each run, and one for all together.

    Args:
        found: how runs compare with the committed records.
    """
    verdicts: dict[str, Verdict] = {"identical": "ok", "within the spread": "ok", "off": "off"}
    rows = [
        Row(
            what=one.committed.spec.in_words,
            found=f"{one.verdict}, {one.difference:+.2f} points" if one.verdict != "identical" else one.verdict,
            expected="identical" if one.verdict == "identical" else f"at most {one.limit:.2f} points",
            verdict=verdicts.get(one.verdict, "note"),
            numbers={"difference": one.difference} | ({"allowed": one.limit} if isfinite(one.limit) else {}),
        )
        for one in found.runs
    ]
    if isfinite(found.chance):  # else there are too few seeds
        text = f"shift of {found.shift:+.2f} points, p = {found.chance:.2g}"
        rows.append(
            Row(
                what="all together",
                found=text,
                expected=f"p above {ALARM / 2:g}",
                verdict="off" if found.shifted else "ok",
                numbers={"shift": found.shift, "p": found.chance},
            )
        )
    return rows
