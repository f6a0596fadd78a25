"""The paper's tables from records: each pair, both peers, every method, with intervals and paired differences."""

from pathlib import Path

import pandas as pd

from ctsl_lib import ROOT
from ctsl_lib.evidence.labels import label, metric_label
from ctsl_lib.evidence.statistics import Interval, mean_interval
from ctsl_lib.experiments.plan import Plan
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store

PAPER = ROOT / "data" / "paper"
PUBLISHED = ("dataset", "network", "method", "value", "metric", "recipe", "source")
"""Columns of data/paper/*.csv: one published value a row, never without its source."""


def pair_name(pair: tuple[str, ...]) -> str:
    """How a pair is written."""
    return " + ".join(pair)


def measurements(plan: Plan, store: Store | None = None) -> pd.DataFrame:
    """A row for each record and peer: pair, method, seed, peer, network, last, best, parameters, epochs, seconds.

    `last` and `best` are top-1 (for retrieval mAP) in percent after the last epoch and after the best one *on the
    test images*, which nobody can know in advance: best is given only to compare with papers that report it.
    `epochs` and `seconds` are of the whole run, stage 1 included. Retrieval adds columns of CMC ranks.
    """
    store = store if store is not None else Store()
    rows = [
        {
            "pair": pair_name(pair),
            "method": method,
            "seed": record.spec.seed,
            "peer": peer + 1,
            "network": network,
            "last": record.metrics[record.spec.data.metric][peer],
            "best": max(record.history.accuracy[peer]),
            "parameters": record.parameters[peer],
            "epochs": record.spec.recipe.epochs * (2 if record.spec.objective.needs_frozen else 1),
            "seconds": record.provenance.wall_time + _stage1_seconds(record, store),
            "key": record.spec.key,
        }
        | {name: values[peer] for name, values in record.metrics.items() if name.startswith("rank")}
        for (pair, method), records in plan.records(store).items()
        for record in records
        for peer, network in enumerate(pair)
    ]
    columns = ["pair", "method", "seed", "peer", "network", "last", "best", "parameters"]
    columns += ["epochs", "seconds", "key"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _stage1_seconds(record: Record, store: Store) -> float:
    if not record.spec.objective.needs_frozen:
        return 0.0
    first = store.load(record.spec.stage1())
    return first.provenance.wall_time if first is not None else float("nan")


def paper_table(frame: pd.DataFrame, plan: Plan, baseline: str = "independent") -> pd.DataFrame:
    """From `measurements`: numbers by pair, peer, network and method; empty where the plan has no record yet.

    Columns: n, last, low, high, difference, difference_low, difference_high (paired, same seeds and same peer),
    best, parameters, epochs (of training, stage 1 included); for retrieval rank1, rank1_low, rank1_high as well.
    """
    rows = []
    for pair in plan.pairs:
        for peer, network in enumerate(pair, start=1):
            own = frame[(frame["pair"] == pair_name(pair)) & (frame["peer"] == peer)]
            by_method = {str(name): rows.set_index("seed") for name, rows in own.groupby("method")}
            for method in plan.methods:
                row = {"pair": pair_name(pair), "peer": peer, "network": network, "method": method, "n": 0}
                rows.append(row | _cells(by_method, method, baseline))
    return pd.DataFrame(rows).set_index(["pair", "peer", "network", "method"])


def _cells(by_method: dict[str, pd.DataFrame], method: str, baseline: str) -> dict[str, float]:
    found = by_method.get(method)
    if found is None:
        return {}
    last = mean_interval(found["last"].to_numpy())
    cells = {
        "n": last.n, "last": last.mean, "low": last.low, "high": last.high,
        "best": found["best"].mean(), "parameters": found["parameters"].iloc[0],
        "epochs": found["epochs"].iloc[0],
    }  # fmt: skip
    if "rank1" in found:
        first = mean_interval(found["rank1"].to_numpy())
        cells |= {"rank1": first.mean, "rank1_low": first.low, "rank1_high": first.high}
    other = by_method.get(baseline)
    if other is not None and method != baseline:
        seeds = found.index.intersection(other.index)
        if len(seeds):
            difference = mean_interval((found["last"][seeds] - other["last"][seeds]).to_numpy())
            cells |= {
                "difference": difference.mean,
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
    return cells


def readable_table(
    table: pd.DataFrame, published: pd.DataFrame | None = None, metric: str = "top1"
) -> pd.DataFrame:
    """The table as text: mean ± half interval, a star where a difference's interval excludes zero, dashes."""
    shown = pd.DataFrame(index=table.index)
    rows = [row for _, row in table.reindex(columns=_NUMBERS).iterrows()]
    shown[f"{metric_label(metric)}, last epoch (%)"] = [_interval(row, "last", "low", "high") for row in rows]
    shown["difference to independent"] = [
        _interval(row, "difference", "difference_low", "difference_high", signed=True) for row in rows
    ]
    if "rank1" in table:
        shown["rank-1 (%)"] = [_interval(row, "rank1", "rank1_low", "rank1_high") for row in rows]
    shown["best epoch (%)"] = [_number(row["best"], "{:.2f}") for row in rows]
    shown["parameters"] = [_number(row["parameters"], "{:,.0f}") for row in rows]
    shown["epochs"] = [_number(row["epochs"], "{:.0f}") for row in rows]
    shown["seeds"] = [int(row["n"]) for row in rows]
    if published is not None:
        shown["paper (%)"] = [_published(published, network, method) for _, _, network, method in table.index]
    named = [(pair, peer, network, label(method)) for pair, peer, network, method in table.index]
    shown.index = pd.MultiIndex.from_tuples(named, names=table.index.names)
    return shown


_NUMBERS = [
    "n", "last", "low", "high", "difference", "difference_low", "difference_high", "best", "parameters", "epochs",
    "rank1", "rank1_low", "rank1_high",
]  # fmt: skip


def _interval(row: pd.Series, mean: str, low: str, high: str, *, signed: bool = False) -> str:
    if pd.isna(row[mean]):
        return "–"
    found = Interval(row[mean], row[low], row[high], int(row["n"]))
    return f"{'+' if signed and found.mean >= 0 else ''}{found}" + (
        " *" if signed and found.excludes_zero else ""
    )


def _number(value: float, pattern: str) -> str:
    return "–" if pd.isna(value) else pattern.format(value)


def _published(published: pd.DataFrame, network: str, method: str) -> str:
    found = published[(published["network"] == network) & (published["method"] == method)]
    return " / ".join(f"{value:g}" for value in found["value"]) or "–"


def published_values(dataset: str, name: str = "others", folder: Path = PAPER) -> pd.DataFrame:
    """Published values for a data set: of `others`, or of the `paper` itself; each with its source."""
    path = folder / f"{name}.csv"
    frame = pd.read_csv(path, comment="#") if path.exists() else pd.DataFrame(columns=list(PUBLISHED))
    if tuple(frame.columns) != PUBLISHED:
        raise ValueError(f"{path} must have the columns {', '.join(PUBLISHED)}; got {', '.join(frame.columns)}")
    unsourced = frame[frame["source"].isna() | frame["value"].isna()]
    if len(unsourced):
        raise ValueError(f"{path}: each row must have a value and a source; row {unsourced.index[0] + 2} has not")
    return frame[frame["dataset"] == dataset].reset_index(drop=True)


def export(table: pd.DataFrame, shown: pd.DataFrame, folder: Path, name: str) -> tuple[Path, Path]:
    """Write the numbers as CSV and the readable table as LaTeX; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    csv, latex = folder / f"{name}.csv", folder / f"{name}.tex"
    table.to_csv(csv, float_format="%.4f")
    latex.write_text(shown.to_latex(escape=True), encoding="utf-8")
    return csv, latex


def state_of(spec: Spec, store: Store) -> str:
    """done, running with its epoch, stopped after an epoch (goes on when called again), or missing."""
    if store.load(spec) is not None:
        return "done"
    return store.checkpoint(spec).state()
