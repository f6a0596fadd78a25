"""How methods, ablations and metrics are written for readers."""

LABELS = {
    "independent": "independent",
    "dml": "DML",
    "rkd": "RKD",
    "tfkd": "Tf-KD",
    "ctsl_mkt": "CTSL-MKT",
    "none": "labels only",
    "independent_2x": "independent, 2× epochs",
    "ctsl_mkt_warm": "CTSL-MKT, warm start",
}
"""How methods and ablations are written in figures and tables for readers."""


def label(name: str) -> str:
    """How a method or ablation is written for readers."""
    return LABELS.get(name, name.replace("+", " + "))


def metric_label(metric: str) -> str:
    """How a metric is written for readers."""
    return {"top1": "top-1", "rank1": "rank-1"}.get(metric, metric)
