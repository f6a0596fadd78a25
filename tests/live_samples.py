"""Live pictures with drawn numbers, and states in which pages, widgets and library are compared."""

import numpy as np
import pandas as pd
import torch

from ctsl_course import live
from ctsl_course.live.output import Picture

DRAW = np.random.default_rng(0)
METHODS = ["independent", "dml", "ctsl_mkt"]


def accuracies(noise: float) -> pd.DataFrame:
    return pd.DataFrame(DRAW.normal(90 - 20 * noise, 2, (5, 3)), columns=METHODS)


def pictures() -> dict[str, Picture]:
    images = torch.from_numpy(DRAW.integers(0, 16, (2, 1, 8, 8), dtype=np.uint8))
    logits = torch.from_numpy(DRAW.normal(0, 4, (2, 10)))
    return {
        "temperature": live.temperature(images, logits, [str(c) for c in range(10)], ["one", "other"]),
        "tug_of_war": live.tug_of_war(),
        "triangle": live.triangle(),
        "noise": live.noise({0.4: accuracies(0.4), 0.0: accuracies(0.0)}),
        "seeds": live.seeds(pd.DataFrame(DRAW.normal(1, 2, (10, 2)), columns=["MLI", "MLI+SLI"])),
    }


PICTURES = pictures()
STATES: dict[str, list[dict[str, float]]] = {
    "temperature": [{"log2_t": t} for t in (-3, -0.25, 0, 5)],
    "tug_of_war": [
        {"sure": sure, "steps": steps, "both": both}
        for sure, steps, both in ((0.96, 0, 1), (0.96, 1, 1), (0.96, 30, 1), (0.5, 7, 0), (0.02, 30, 0))
    ],
    "triangle": [
        dict(zip(("Ax", "Ay", "Bx", "By", "Cx", "Cy"), map(float, xy), strict=True))
        for xy in ((0, 0, 3, 0, 0, 4), (1, 1, 1, 1, 2, 3), (0, 0, 0, 0, 0, 0), (0, 0, 1, 0, 5, 0), (-2, 5, 5, -3, 0, 1))
    ],
    "noise": [{"level": 0}, {"level": 1}],
    "seeds": [{"n": n, "row": row} for n in (2, 3, 9, 10) for row in (0, 1)],
}  # fmt: skip
