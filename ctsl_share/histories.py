"""The curves of runs, for other programs: one tidy table, or event files for TensorBoard."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ctsl_lib.evidence.labels import pair_name
from ctsl_lib.experiments.spec import Record

COLUMNS = (
    "data", "pair", "method", "stage", "seed", "peer", "network", "epoch", "quantity", "value", "key"
)  # fmt: skip


def histories(named: Iterable[tuple[str, Record]]) -> pd.DataFrame:
    """The curves of some runs as a tidy frame.

    Args:
        named: method -> record; a record under two names counts twice.

    Returns: a row for each value, with `COLUMNS`. `peer` and `epoch` count from 1. `quantity` is `loss.TERM`, the
        weighted term as a mean over the batches of the epoch, or the metric that the data set is judged by (top1,
        mAP), in percent, on the split that the spec names.
    """
    rows = []
    for method, record in named:
        spec, curves = record.spec, record.history
        for k, network in enumerate(spec.peers):
            place = (spec.data.name, pair_name(spec.peers), method, spec.stage, spec.seed, k + 1, network)
            values = [
                (epoch, f"loss.{term}", value)
                for term, curve in curves.terms[k].items()
                for epoch, value in enumerate(curve, start=1)
            ]
            values += [
                (epoch, spec.data.metric, value)
                for epoch, value in zip(curves.evaluated, curves.accuracy[k], strict=True)
            ]
            rows += [(*place, *one, spec.key) for one in values]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_tensorboard(frame: pd.DataFrame, folder: Path) -> int:
    """Write event files for TensorBoard: a folder for each peer of each run, the epoch as the step.

    Args:
        frame: of `histories`.
        folder: made if it is missing; it must be empty, as TensorBoard would show old and new curves as one.

    Returns: the number of folders.
    Raises: ValueError if TensorBoard is not installed, or if the folder is not empty.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "--tensorboard needs the package tensorboard, which is not installed: pip install 'tensorboard>=2.18'"
        ) from None
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--tensorboard must name an empty folder or a new one, {folder} is not empty")
    groups = frame.groupby(["data", "pair", "method", "stage", "seed", "peer", "key"], sort=False)
    for (data, pair, method, stage, seed, peer, key), curves in groups:
        first = "-stage1" if stage == 1 else ""
        parts = [_plain(part) for part in (data, pair, method)]
        # The key at the end tells runs apart that differ in another setting, such as the epochs.
        writer: Any = SummaryWriter(str(folder.joinpath(*parts, f"seed{seed}{first}-peer{peer}-{key}")))
        with writer:
            for row in curves.itertuples():
                writer.add_scalar(str(row.quantity).replace(".", "/", 1), row.value, row.epoch)
    return len(groups)


def _plain(name: object) -> str:
    """A name as part of a path."""
    return re.sub(r"[^\w.+-]+", "_", str(name).replace(" + ", "+"))
