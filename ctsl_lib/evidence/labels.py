"""How pairs, methods, ablations and metrics are written in figures and tables."""

LABELS = {
    "independent": "independent",
    "dml": "DML",
    "rkd": "RKD",
    "tfkd": "Tf-KD",
    "ctsl_mkt": "CTSL-MKT",
    "none": "labels only",
    "label_smoothing": "label smoothing",
    "independent_2x": "independent, 2× epochs",
    "ctsl_mkt_warm": "CTSL-MKT, warm start",
}


def label(name: str) -> str:
    """How a method or ablation is written; a label stays as it is."""
    return LABELS.get(name, " + ".join(part.strip() for part in name.split("+")))


def metric_label(metric: str) -> str:
    """How a metric is written."""
    return {"top1": "top-1", "rank1": "rank-1"}.get(metric, metric)


UNITS = {"seconds": "s", "wall_time": "s", "epochs": "", "parameters": ""}
"""Of the columns of a tidy frame that are no percentages."""


def with_unit(metric: str) -> str:
    """How a metric is written where its unit must be told.

    >>> with_unit("top1"), with_unit("seconds"), with_unit("parameters")
    ('top-1 (%)', 'seconds (s)', 'parameters')
    """
    unit = UNITS.get(metric, "%")
    return f"{metric_label(metric)} ({unit})" if unit else metric_label(metric)


def pair_name(pair: tuple[str, ...]) -> str:
    """How a group of networks is written."""
    return " + ".join(pair)
