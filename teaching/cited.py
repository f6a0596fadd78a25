"""Numbers that slides, quiz and guides cite: computed from the committed records when the page is built.

A text says which number it wants between double braces, and no number of ours is typed:

    {{ mean dml }}                      accuracy of a method, mean and half of its 95 % interval
    {{ gain dml }}                      its paired difference from independent training
    {{ diff ctsl_mkt independent_2x label_noise=0 }}   the paired difference of any two, here with right labels
    {{ gain dml metric=ece seeds=3 }}   another metric, the first three seeds
    {{ gain dml table=cifar100/overnight peers=resnet14+squeezenet_bn }}   another table and pair
    {{ effect MLI MLR }}                an effect or interaction of the factorial
    {{ weights dml }}                   its five weights, as cells of a table
    {{ printed 01b "alone ([\\d.]+)" }}   what an executed notebook printed: the group of the pattern
    {{ count 01b "wide_cnn (\\d+)" }}    the same, a whole number with commas
    {{ row 01b "t = 1 ([\\d. ]+)" }}      the same, split at white space: cells of a table

A method is one that a profile may list, or one of ROWS. Options: metric (top1, ece, agreement, mAP); part=mean for the
mean alone, with one decimal or as many as decimals= says, part=range for the interval's ends, part=each for the values
seed by seed, where they are too few for an interval; table; peers, by default the first pair; and every setting of a
profile in place of its own (label_noise=0, n_train=100, seeds=3). A name of SHORT stands for several options. Nothing
here needs torch, which the book's environment does not have.
"""

import json
import math
import re
import shlex
import sys
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from ctsl_lib.experiments.plan import LONGER, WARM, plan_from, plan_names  # noqa: E402
from ctsl_lib.experiments.profiles import load_profile, parse_assignments  # noqa: E402
from ctsl_lib.losses.methods import ABLATIONS, METHODS  # noqa: E402
from ctsl_lib.losses.objective import GROUPS, TERMS, Objective  # noqa: E402

RECORDS = ROOT / "data" / "records"
BRACES = re.compile(r"\{\{\s*(.+?)\s*\}\}", re.DOTALL)
ROWS = {
    "uniform": Objective(ce=5, label_smoothing=0.8),
    "five_times": Objective(ce=5),
    "nine_times": Objective(ce=9),
}
"""Rows of weights that no profile lists: a uniform teacher, and the labels with five and nine times the loss."""
SHORT = {
    "@long": "table=cifar100/overnight peers=resnet14+resnet14 seeds=4",
    "@parts": "table=cifar100/overnight peers=resnet14+resnet14 seeds=3",
}
"""The long trainings on CIFAR-100, with the seeds that are there: of the main rows, and of all rows."""
KNOWN = (*METHODS, LONGER, WARM, *ABLATIONS, *ROWS)
PARTS = ("", "mean", "range", "each")
OPTIONS = {"metric": "top1", "part": "", "decimals": "", "table": "digits/digits", "peers": ""}


@cache
def metrics(path: Path) -> dict[str, list[float]]:
    """The metrics of a record, whose file must be there."""
    return json.loads(path.read_text(encoding="utf-8"))["metrics"]


def by_seed(method: str, options: dict[str, str]) -> dict[int, float]:
    """Seed -> the mean of a metric over the peers of the run.

    Args:
        method: one of KNOWN.
        options: those of OPTIONS, and settings of a profile.
    """
    if method not in KNOWN:
        raise ValueError(f"method must be one of {', '.join(KNOWN)}; got {method!r}")
    dataset, _, profile = options["table"].partition("/")
    changes = parse_assignments([f"{name}={value}" for name, value in options.items() if name not in OPTIONS])
    if options["peers"]:
        changes["pairs"] = [options["peers"].split("+")]
    values = load_profile(profile, dataset=dataset) | {"methods": [method], "rows": ROWS} | changes
    plan = plan_from(values, dataset)
    paths = {spec.seed: RECORDS / dataset / f"{spec.key}.json" for spec in plan.specs()[plan.pairs[0], method]}
    found = {seed: mean(metrics(path)[options["metric"]]) for seed, path in paths.items() if path.exists()}
    if len(found) != plan.seeds:
        raise LookupError(f"{method} with {options} has records of {len(found)} seeds, not of {plan.seeds}")
    return found


def interval(values: list[float], sign: bool, part: str = "", decimals: str = "") -> str:
    """Mean and half of the 95 % interval, as the tables of the kit write them.

    Args:
        values: one for each seed.
        sign: whether a plus is written.
        part: "mean" for the mean alone, "range" for the two ends, "each" for every value.
        decimals: how many; by default 2, for the mean alone 1.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS[1:])} or left out; got {part!r}")
    places, plus = int(decimals or (1 if part == "mean" else 2)), "+" if sign else ""
    centre = mean(values)
    if part == "mean":
        text = f"{centre:{plus}.{places}f}"
    elif part == "each":
        *first, last = (f"{value:{plus}.{places}f}" for value in values)
        text = f"{', '.join(first)} and {last}"
    else:
        half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
        text = f"{centre:{plus}.{places}f} ± {half:.{places}f}"
        if part == "range":
            text = f"{centre - half:{plus}.{places}f} to {centre + half:{plus}.{places}f}"
    return text.replace("-", "−")


def effect(factors: list[str]) -> list[float]:
    """A main effect or an interaction of the factorial, seed by seed.

    Args:
        factors: some of MLI, MLR and SLI.
    """
    total = [0.0] * 10
    for signs in product((-1, 1), repeat=3):
        chosen = dict(zip(GROUPS, signs, strict=True))
        row = "+".join(name for name, sign in chosen.items() if sign > 0) or "none"
        sign = math.prod(chosen[name] for name in factors)
        for seed, value in by_seed(row, OPTIONS).items():
            total[seed] += sign * value / 4
    return total


def printed(number: str, pattern: str) -> str:
    """What an executed notebook printed.

    Args:
        number: of the notebook, such as 01b.
        pattern: a regular expression with one group; spaces in it stand for any white space.
    """
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    outputs = [out for cell in json.loads(path.read_text())["cells"] for out in cell.get("outputs", [])]
    texts = [out.get("text") or out.get("data", {}).get("text/markdown", "") for out in outputs]
    texts += [out.get("data", {}).get("text/plain", "") for out in outputs]
    found = re.search(r"\s+".join(pattern.split()), "\n".join("".join(text) for text in texts))
    if not found:
        raise LookupError(f"notebook {number} does not print {pattern!r}")
    return found[1].replace("-", "−")


def weights(method: str) -> str:
    """The five weights of a method, as cells of a table."""
    active = METHODS[method].active
    return " | ".join(f"{active[term]:g}" if term in active else "–" for term in TERMS)


TEXTS: dict[str, Callable[..., str]] = {
    "printed": printed,
    "count": lambda *words: f"{int(printed(*words)):,}",
    "row": lambda *words: " | ".join(printed(*words).split()),
    "weights": weights,
}
"""Kinds of citations that are no values by seed."""
TAKES = {"mean": (1,), "gain": (1,), "diff": (2,), "effect": (1, 2, 3)}
"""The other kinds, and how many methods or factors they may name."""


def cite(words: str) -> str:
    """The number that the words between the braces ask for."""
    for name, options in SHORT.items():
        words = words.replace(name, options)
    kind, *rest = shlex.split(words)
    if kind in TEXTS:
        return TEXTS[kind](*rest)
    if kind not in TAKES:
        raise ValueError(f"a citation is {', '.join((*TAKES, *TEXTS))}; got {kind!r}")
    options = OPTIONS | dict(word.split("=", 1) for word in rest if "=" in word)
    if unknown := options.keys() - OPTIONS.keys() - set(plan_names()):
        raise ValueError(f"options are {', '.join(OPTIONS)} and a profile's settings; got {', '.join(unknown)}")
    names = [word for word in rest if "=" not in word]
    if len(names) not in TAKES[kind]:
        count = " or ".join(map(str, TAKES[kind]))
        raise ValueError(f"{kind} takes {count} of the methods, got {', '.join(names) or 'none'}")
    return interval(values_of(kind, names, options), kind != "mean", options["part"], options["decimals"])


def values_of(kind: str, names: list[str], options: dict[str, str]) -> list[float]:
    """Seed by seed what a mean, gain, difference or effect is taken of."""
    if kind == "effect":
        return effect(names)
    one = by_seed(names[0], options)
    if kind == "mean":
        return list(one.values())
    other = by_seed(names[1] if kind == "diff" else "independent", options)
    return [one[seed] - other[seed] for seed in one]


def fill(text: str) -> str:
    """The text with each citation replaced by its number; one that cannot be found ends the build."""
    return BRACES.sub(lambda found: cite(found[1]), text)
