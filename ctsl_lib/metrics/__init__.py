"""What trained peers are judged by.

Accuracy, calibration and agreement of answers; CMC and mAP of rankings.
"""

COLUMNS = (
    "pair", "method", "seed", "peer", "network", "best", "parameters", "epochs", "wall_time", "seconds", "key"
)  # fmt: skip
"""Columns of the tidy frame beside the metrics, see `ctsl_lib.evidence.tables`."""
