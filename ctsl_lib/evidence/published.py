"""Values that others have published, each with its source."""

from pathlib import Path

import pandas as pd

from ctsl_lib import ROOT

PAPER = ROOT / "data" / "paper"
PUBLISHED = ("dataset", "network", "method", "value", "metric", "recipe", "source")
"""Columns of data/paper/*.csv: one published value a row, never without its source."""


def published_values(dataset: str, name: str = "others", folder: Path = PAPER) -> pd.DataFrame:
    """Published values for a data set.

    Args:
        dataset: its name.
        name: whose values: of `others`, or of the `paper` itself.
        folder: where the CSV files are.

    Returns: a row for each value, with the columns `PUBLISHED`; none where there is no file.
    Raises: ValueError where a row has no source or no number, or the columns are others.
    """
    path = folder / f"{name}.csv"
    frame = pd.read_csv(path, comment="#") if path.exists() else pd.DataFrame(columns=list(PUBLISHED))
    if tuple(frame.columns) != PUBLISHED:
        raise ValueError(f"{path} must have the columns {', '.join(PUBLISHED)}; got {', '.join(frame.columns)}")
    numbers = pd.to_numeric(frame["value"], errors="coerce")
    unsourced = frame[frame["source"].isna() | numbers.isna()]
    if len(unsourced):
        row = ", ".join(f"{name} {unsourced.iloc[0][name]}" for name in PUBLISHED[:4])
        raise ValueError(f"{path}: each row must have a number as its value and a source, unlike that of {row}")
    frame["value"] = numbers
    return frame[frame["dataset"] == dataset].reset_index(drop=True)
