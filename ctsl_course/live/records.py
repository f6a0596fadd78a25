"""Live pictures of committed records: methods under label noise, and what studies of few seeds would have said."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ctsl_course.live.drawing import Bind, Element, el, line, panel, text
from ctsl_course.live.output import Control, Picture, State
from ctsl_lib.evidence.labels import label
from ctsl_lib.evidence.statistics import Interval, mean_interval, paired_difference

PARTS = ("top1", "top1_low", "top1_high", "gain", "gain_low", "gain_high")
SHOWN = 40
"""Studies that are drawn at once."""


def noise(accuracies: Mapping[float, pd.DataFrame], baseline: str = "independent") -> Picture:
    """Accuracy of some methods, and their difference from one of them, by label noise.

    Args:
        accuracies: share of random labels -> seeds x methods, see `statistics.pivot`; the same methods everywhere.
        baseline: the method that the others are compared with.

    Raises: ValueError unless there are two levels or more with the same methods, the baseline among them.
    """
    methods = [str(name) for name in next(iter(accuracies.values()), pd.DataFrame())]
    if len(accuracies) < 2 or baseline not in methods or any(list(f) != methods for f in accuracies.values()):
        found = {level: list(frame) for level, frame in accuracies.items()}
        raise ValueError(
            f"accuracies must be two levels or more of the same methods with {baseline}, got {found}"
        )
    levels: list[dict[str, Any]] = [
        {
            "noise": 100 * share,
            "methods": [
                [*_ends(mean_interval(rows[name].to_numpy())), *_ends(paired_difference(rows, name, baseline))]
                for name in methods
            ],
        }
        for share, rows in sorted(accuracies.items())
    ]

    def values(state: State) -> dict[str, float | str]:
        level = levels[int(state["level"])]
        found: dict[str, float | str] = {"noise": level["noise"]}
        for i, numbers in enumerate(level["methods"]):
            found |= {f"{part}{i}": number for part, number in zip(PARTS, numbers, strict=True)}
        return found

    names = [label(name) for name in methods]
    tops, gains = ([one for level in levels for row in level["methods"] for one in row[part]]
                   for part in (slice(0, 3), slice(3, 6)))  # fmt: skip
    others = ["" if name == baseline else label(name) for name in methods]  # it has no difference from itself
    last = len(levels) - 1
    shown = (f"{name} {{top1{i}:1}} %" + f" ({{gain{i}:+2}})" * bool(others[i]) for i, name in enumerate(names))
    return Picture(
        title="Accuracy and gain by label noise",
        about=f"Left the test accuracy of {len(names)} methods with 95 % intervals, right their paired difference from "
        f"{label(baseline)}; a slider changes the share of random labels.",
        caption=f"With {{noise:0}} % random labels: {'; '.join(shown)}.",
        controls=(Control("level", "random labels: {noise:0} %", 0, last, 1, 0),),
        panels=(
            _forest("test accuracy (%)", names, "top1", tops, ":1"),
            _forest(f"difference from {label(baseline)} (points)", others, "gain", gains, ":+2"),
        ),
        values=values,
        script="noise.js",
        data={"levels": levels, "parts": PARTS},
    )


def _ends(found: Interval) -> tuple[float, float, float]:
    """Mean and bounds; a single seed has no interval, only a mean."""
    return found[:3] if found.n > 1 else (found.mean,) * 3


def _forest(title: str, names: Sequence[str], part: str, numbers: Sequence[float], shown: str) -> Element:
    """A row for each method with a name: mean and interval."""
    left, right, height = 92, 300, 24 * len(names) + 26
    gap = 5 if part == "top1" else 2
    low, high = gap * np.floor(min(numbers) / gap), gap * np.ceil(max(numbers) / gap)
    scale = (right - left) / (high - low)
    offset = left - scale * low
    parts = [text(left, 14, title)]
    for tick in np.arange(low, high + gap / 2, gap):
        x = offset + scale * tick
        kind = "axis" if part == "gain" and tick == 0 else "grid"
        parts += [line(x, 22, x, height, kind), text(x, height + 15, f"{tick:g}".replace("-", "−"), "middle")]
    for i, name in enumerate(names):
        if not name:
            continue
        y, at = 40 + 24 * i, Bind(f"{part}{i}", scale, offset)
        ends = (Bind(f"{part}_low{i}", scale, offset), Bind(f"{part}_high{i}", scale, offset))
        parts += [text(left - 8, y + 4, name, "end"), line(ends[0], y, ends[1], y, f"line c{i}")]
        parts += [line(end, y - 5, end, y + 5, f"line c{i}") for end in ends]
        parts += [
            el("circle", cx=at, cy=y, r=5, class_=f"filled c{i}"),
            text(308, y + 4, f"{{{part}{i}{shown}}}"),
        ]
    return panel(350, height + 22, title, parts)


def seeds(differences: pd.DataFrame) -> Picture:
    """What studies of n of our seeds would have said about some differences.

    Args:
        differences: seeds x rows, paired differences from a baseline in percentage points.

    Raises: ValueError unless there are two seeds or more.
    """
    total = len(differences)
    if total < 2:
        raise ValueError(f"differences must have two seeds or more, got {total}")
    names = [label(str(name)) for name in differences]
    columns = [differences[name].tolist() for name in differences]

    def values(state: State) -> dict[str, float | str]:
        row, n = int(state["row"]), int(state["n"])
        studies = [mean_interval(some) for some in combinations(columns[row], n)]
        studies.sort(key=lambda study: (round(study.mean, 8), round(study.half, 8)))
        shown = min(SHOWN, len(studies))
        found: dict[str, float | str] = {
            "row_name": names[row],
            "studies": len(studies),
            "shown": shown,
            "found": 100 * float(np.mean([study.excludes_zero for study in studies])),
            "half": float(np.mean([study.half for study in studies])),
        }
        for i in range(SHOWN):
            place = i * (len(studies) - 1) // (shown - 1) if shown > 1 else 0
            found |= _study(i, studies[place] if i < shown else None)
        return found

    return Picture(
        title="How many seeds?",
        about="Each vertical line is the 95 % interval of a study with n of our seeds; it is bold where it excludes "
        "zero. A slider changes n.",
        caption="{row_name}: of the {studies:0} studies with n = {n:0} seeds, {found:0} % exclude zero; their "
        "half-width is {half:2} points on average. Drawn: {shown:0} of them, in the order of their means.",
        controls=(
            Control("n", "seeds of a study: n = {n:0}", 2, total, 1, min(3, total)),
            Control("row", "difference from the baseline of", 0, len(names) - 1, 1, len(names) - 1, tuple(names)),
        ),
        panels=(_studies(),),
        values=values,
        script="seeds.js",
        data={
            "differences": columns,
            "names": names,
            "shown": SHOWN,
            "t": {n: float(stats.t.ppf(0.975, n - 1)) for n in range(2, total + 1)},
        },
    )


def _study(i: int, study: Interval | None) -> dict[str, float | str]:
    mean, low, high = study[:3] if study else (0.0, 0.0, 0.0)
    kind = "none" if study is None else "found" if study.excludes_zero else "open"
    return {f"mean{i}": mean, f"low{i}": low, f"high{i}": high, f"kind{i}": kind}


def _studies() -> Element:
    scale, middle, left = 14, 128, 30
    parts = [text(0, 12, "difference from the baseline (points)")]
    for tick in range(-6, 9, 2):
        y = middle - scale * tick + 14
        parts += [
            line(left, y, 350, y, "grid" if tick else "axis"),
            text(left - 5, y + 4, f"{tick}".replace("-", "−"), "end"),
        ]
    marks = []
    for i in range(SHOWN):
        x = 6 + 7.9 * i
        ends = Bind(f"low{i}", -scale, middle), Bind(f"high{i}", -scale, middle)
        marks.append(line(x, ends[0], x, ends[1], f"{{kind{i}}}"))
        marks.append(el("circle", cx=x, cy=Bind(f"mean{i}", -scale, middle), r=3, class_=f"{{kind{i}}}"))
    clipped = {"x": left, "y": 14, "width": 320, "height": 228}
    parts.append(Element("svg", clipped, tuple(marks)))
    below = (
        "studies, in the order of their means",
        "bold and filled: excludes zero",
        "thin and hollow: contains zero",
    )
    parts += [text(left, 258 + 16 * i, words) for i, words in enumerate(below)]
    return panel(350, 294, "Intervals of studies with n seeds", parts)
