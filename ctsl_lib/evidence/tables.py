"""Records -> tables."""

from collections.abc import Iterable, Mapping

import pandas as pd

from ctsl_lib.evidence.statistics import Interval, mean_interval, paired_difference, pivot
from ctsl_lib.experiments.spec import Record
from ctsl_lib.losses.objective import Objective


def frame_of(records: Iterable[Record], names: Mapping[str, Objective]) -> pd.DataFrame:
    """A row for each record and peer: method, seed, peer, network, metrics, wall_time.

    Records whose objective is not among `names` are left out; an objective under two names counts twice.
    """
    rows = [
        {
            "method": name,
            "seed": record.spec.seed,
            "peer": peer,
            "network": network,
            "wall_time": record.provenance.wall_time,
            "key": record.spec.key,
        }
        | {metric: values[peer % len(values)] for metric, values in record.metrics.items()}
        for record in records
        for name, objective in names.items()
        if record.spec.objective == objective
        for peer, network in enumerate(record.spec.peers)
    ]
    return pd.DataFrame(rows)


def summary(frame: pd.DataFrame, metric: str = "top1", baseline: str = "independent") -> pd.DataFrame:
    """For every method the mean with interval and the paired difference to the baseline with its interval.

    Numbers, not text: columns n, mean, low, high, difference, difference_low, difference_high. See `readable`.
    """
    values = pivot(frame, metric)
    rows = {}
    for method in values:
        one = mean_interval(values[method].dropna().to_numpy())
        row = {"n": one.n, "mean": one.mean, "low": one.low, "high": one.high}
        if method != baseline:
            difference = paired_difference(values, str(method), baseline)
            row |= {
                "difference": difference.mean,
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
        rows[str(method)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def readable(table: pd.DataFrame, metric: str = "top-1 (%)", baseline: str = "independent") -> pd.DataFrame:
    """A summary as text: "mean ± half interval"; a star where the interval excludes zero, a dash for nothing."""

    def difference(row: pd.Series) -> str:
        if pd.isna(row.get("difference")):
            return "–"
        found = Interval(row["difference"], row["difference_low"], row["difference_high"], int(row["n"]))
        return f"{'+' if found.mean >= 0 else ''}{found}" + (" *" if found.excludes_zero else "")

    return pd.DataFrame(
        {
            metric: [str(Interval(r["mean"], r["low"], r["high"], int(r["n"]))) for _, r in table.iterrows()],
            f"difference to {baseline}": [difference(row) for _, row in table.iterrows()],
            "seeds": table["n"].astype(int),
        },
        index=table.index,
    )
