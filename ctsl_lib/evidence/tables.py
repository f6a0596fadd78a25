"""Records -> one tidy frame -> one summary in numbers -> one table to read."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from ctsl_lib.environment import write_atomically
from ctsl_lib.evidence.labels import label, pair_name, with_unit
from ctsl_lib.evidence.statistics import NO_INTERVAL, Interval, mean_interval, paired_difference, pivot
from ctsl_lib.experiments.plan import Plan
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.objective import Objective
from ctsl_lib.metrics import COLUMNS

EACH_PEER = ("pair", "peer", "network")
"""What the paper's tables group by: each peer of each pair on its own."""


def frame_of(
    records: Iterable[Record], names: Mapping[str, Objective], store: Store | None = None
) -> pd.DataFrame:
    """The tidy frame of some records.

    Args:
        records: of any pairs and seeds. One whose objective is not among `names` is left out.
        names: method -> its objective. An objective under two names counts twice.
        store: where the records of stage 1 are looked up, for `seconds`.

    Returns: a row for each record and peer, with `COLUMNS` and a column for each metric (top1, ece, mAP, ...), in
        percent after the last epoch. `peer` counts from 1. `best` is the best epoch *on the test images*, which
        nobody can know in advance; it is there to compare with papers that report it. `epochs` and `seconds` are
        of all training, stage 1 included (NaN seconds where its record is missing); `wall_time` is of the run
        alone. A metric of the whole group, such as agreement, is the same for each peer.
    """
    names_of: dict[Objective, list[str]] = defaultdict(list)
    for name, objective in names.items():
        names_of[objective].append(name)
    return _frame([(name, r) for r in records for name in names_of.get(r.spec.objective, ())], store)


def measurements(plan: Plan, store: Store | None = None) -> pd.DataFrame:
    """The tidy frame of a plan's records, as `frame_of` describes it.

    Args:
        plan: the runs of a table; those without a record are left out.
        store: where the records are.

    Returns: a row for each record and peer, in the plan's order of pairs and methods.
    """
    store = store if store is not None else Store()
    return _frame([(name, r) for (_, name), records in plan.records(store).items() for r in records], store)


def _frame(named: Iterable[tuple[str, Record]], store: Store | None) -> pd.DataFrame:
    store = store if store is not None else Store()

    @cache  # several methods share a stage 1
    def stage1_cost(spec: Spec) -> tuple[int, float]:
        """Epochs and seconds; a teacher that was given has not been trained."""
        first = store.load(spec)
        if first is None:
            return spec.recipe.epochs, float("nan")
        return spec.recipe.epochs if max(first.parameters) else 0, first.provenance.wall_time

    rows = [
        {
            "pair": pair_name(record.spec.peers),
            "method": method,
            "seed": record.spec.seed,
            "peer": peer + 1,
            "network": network,
            "best": max(record.history.accuracy[peer]),
            "parameters": record.parameters[peer],
            "epochs": record.spec.recipe.epochs + epochs,
            "wall_time": record.provenance.wall_time,
            "seconds": record.provenance.wall_time + seconds,
            "key": key,
        }
        | {metric: values[peer % len(values)] for metric, values in record.metrics.items()}
        for method, record in named
        for key in [record.spec.key]
        for epochs, seconds in [
            stage1_cost(record.spec.stage1()) if record.spec.objective.needs_frozen else (0, 0.0)
        ]
        for peer, network in enumerate(record.spec.peers)
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(COLUMNS))


def summary(
    frame: pd.DataFrame,
    metric: str = "top1",
    baseline: str = "independent",
    *,
    by: Sequence[str] = (),
    also: Sequence[str] = (),
) -> pd.DataFrame:
    """For every method the mean and the paired difference from the baseline, each with its interval and its n.

    Args:
        frame: a tidy frame, see `frame_of`.
        metric: its column that is compared.
        baseline: the method that the others are compared with, seed by seed.
        by: columns that rows are kept apart by, such as `EACH_PEER`; by default a method has one row, the mean
            over the peers of each run.
        also: further metrics whose mean and interval are wanted.

    Returns: numbers, not text (see `readable`): mean, low, high, n; difference, difference_low, difference_high,
        difference_n, which counts the seeds that both methods have (0 and NaN where there is none); the same four
        for each of `also`; with `by`, the means of best, parameters and epochs as well.
    """
    index = [*by, "method"]
    groups = frame.groupby(list(by), sort=False) if by else [((), frame)]
    rows = {
        (*place, method): row
        for place, part in (groups if len(frame) else [])
        for method, row in _rows(part, metric, baseline, also, details=bool(by)).items()
    }
    columns = list(next(iter(rows.values()), _cells(NO_INTERVAL) | _cells(NO_INTERVAL, "difference")))
    keys = pd.MultiIndex.from_tuples(rows, names=index) if by else pd.Index([m for (m,) in rows], name="method")
    return pd.DataFrame(list(rows.values()), index=keys, columns=columns)


def _rows(
    frame: pd.DataFrame, metric: str, baseline: str, also: Sequence[str], *, details: bool
) -> dict[str, dict[str, float]]:
    values = pivot(frame, metric)
    others = {name: pivot(frame, name) for name in also}
    rows = {}
    for method in values:
        shared = 0 if method == baseline or baseline not in values else len(values[[method, baseline]].dropna())
        difference = paired_difference(values, str(method), baseline) if shared else NO_INTERVAL
        row = _cells(_mean(values[method])) | _cells(difference, "difference")
        for name, other in others.items():
            row |= _cells(_mean(other[method]), name)
        if details:
            own = frame[frame["method"] == method]
            row |= {name: float(own[name].mean()) for name, _, _ in _DETAILS}
        rows[str(method)] = row
    return rows


def _mean(values: pd.Series) -> Interval:
    """Over the seeds that have a value, of which there may be none."""
    there = values.dropna().to_numpy()
    return mean_interval(there) if len(there) else NO_INTERVAL


def _cells(interval: Interval, name: str = "") -> dict[str, float]:
    """An interval as columns of a summary; it never goes without its n."""
    before = f"{name}_" if name else ""
    low, high, n = interval.low, interval.high, interval.n
    return {name or "mean": interval.mean, f"{before}low": low, f"{before}high": high, f"{before}n": n}


def interval_in(row: pd.Series, name: str = "") -> Interval:
    """Read an interval back from a row of a summary.

    Args:
        row: of `summary`.
        name: "" for the mean, "difference", or one of the further metrics.

    Returns: the interval with its own n, which is 0 where nothing was compared.
    """
    before = f"{name}_" if name else ""
    n = row[f"{before}n"]
    return Interval(row[name or "mean"], row[f"{before}low"], row[f"{before}high"], 0 if pd.isna(n) else int(n))


def readable(
    table: pd.DataFrame,
    metric: str = "top-1 (%)",
    baseline: str = "independent",
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A summary as text: mean ± half interval, a star where a difference's interval excludes zero, dashes.

    Args:
        table: a `summary`.
        metric: heading of the column of means.
        baseline: the one that the summary was made with, for the heading of the differences.
        published: published values for a last column, if there are any, see `published_values`; with `EACH_PEER`.

    Returns: a row for each of the table, methods written as `label` writes them.
    """
    rows = [row for _, row in table.iterrows()]
    shown = pd.DataFrame(index=table.index)
    shown[metric] = [str(interval_in(row)) for row in rows]
    shown[f"difference from {label(baseline)}"] = [_signed(interval_in(row, "difference")) for row in rows]
    counts = [str(column) for column in table if str(column).endswith("_n") and column != "difference_n"]
    for name in (count.removesuffix("_n") for count in counts):
        shown[with_unit(name)] = [str(interval_in(row, name)) for row in rows]
    for name, title, pattern in _DETAILS:
        if name in table:
            shown[title] = [_number(value, pattern) for value in table[name]]
    shown["seeds"] = table["n"].fillna(0).astype(int)
    if published is not None and len(published):
        shown["paper (%)"] = [_published(published, network, method) for *_, network, method in table.index]
    return shown.rename(index=label, level="method")


_DETAILS = (
    ("best", "best epoch (%)", "{:.2f}"), ("parameters", "parameters", "{:,.0f}"), ("epochs", "epochs", "{:.0f}")
)  # fmt: skip


def _signed(difference: Interval) -> str:
    return difference.signed() + (" *" if difference.excludes_zero else "")


def _number(value: float, pattern: str) -> str:
    return "–" if pd.isna(value) else pattern.format(value)


def _published(published: pd.DataFrame, network: str, method: str) -> str:
    same = published[(published["network"] == network) & (published["method"] == method)]
    return " / ".join(f"{value:g}" for value in same["value"]) or "–"


def table_name(dataset: str) -> str:
    """The name of a data set's table files: its own name, or for images at a path all of the path.

    >>> table_name("cifar10"), table_name("my_images"), table_name("birds/small"), table_name("birds/small.zip")
    ('cifar10', 'my_images', 'birds__small', 'birds__small.zip')
    """
    parts = Path(os.path.normpath(dataset)).parts
    return "__".join(part.strip(os.sep) for part in parts if part.strip(os.sep))


def export(table: pd.DataFrame, shown: pd.DataFrame, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a table for other programs and for a paper.

    Args:
        table: the numbers, written as CSV.
        shown: the same as text, written as LaTeX.
        folder: made if it is missing.
        name: of both files, without an ending.

    Returns: the paths of the CSV and of the LaTeX file.
    Raises: OSError that names the file that cannot be written, and says why.
    """
    csv, latex = folder / f"{name}.csv", folder / f"{name}.tex"
    text = shown.to_latex(escape=True)
    write_atomically(csv, lambda temporary: table.to_csv(temporary, float_format="%.4f"))
    write_atomically(latex, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return csv, latex
