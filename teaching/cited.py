"""Numbers that slides, quiz and guides cite: computed from the committed records when the page is built.

A text says which number it wants between double braces, and no number of ours is typed:

    {{ mean dml }}                      accuracy of a method, mean and half of its 95 % interval
    {{ gain dml }}                      its paired difference from independent training
    {{ diff ctsl_mkt twice noise=0 }}   the paired difference of any two methods, here with true labels
    {{ gain dml metric=ece seeds=3 }}   another metric, the first three seeds
    {{ effect MLI MLR }}                an effect or interaction of the factorial
    {{ weights dml }}                   its five weights, as cells of a table
    {{ printed 01b "alone ([\\d.]+)" }}   what an executed notebook printed: the group of the pattern
    {{ count 01b "wide_cnn (\\d+)" }}    the same, a whole number with commas
    {{ row 01b "t = 1 ([\\d. ]+)" }}      the same, split at white space: cells of a table

    {{ gain dml table=cifar100/overnight }}   of another table: data set, profile

Options: noise, peers (equal, mixed, one, three, four), schedule (one_cycle, steps), metric (top1, ece, agreement),
seeds; part=mean for the mean alone, with one decimal or as many as decimals= says, part=range for the interval's ends.
Of another table: pair (resnet14+squeezenet; by default its first), and set= for values other than the profile's
("n_train=5000;epochs=120"). Nothing here needs torch, which the book's environment does not have.
"""

import json
import math
import re
import shlex
import sys
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from ctsl_lib.experiments.plan import plan_from  # noqa: E402
from ctsl_lib.experiments.profiles import load_profile, parse_assignments  # noqa: E402
from ctsl_lib.losses.methods import ABLATIONS, FULL, METHODS  # noqa: E402
from ctsl_lib.losses.objective import GROUPS, TERMS, Objective  # noqa: E402

RECORDS = ROOT / "data" / "records"
BRACES = re.compile(r"\{\{\s*(.+?)\s*\}\}", re.DOTALL)
ROWS = METHODS | {
    "without_self": ABLATIONS["MLI+MLR"],
    "without_relation": ABLATIONS["MLI+SLI"],
    "without_response": ABLATIONS["MLR+SLI"],
    "uniform": Objective(ce=5, label_smoothing=0.8),
    "five_times": Objective(ce=5),
    "twice": METHODS["independent"],
    "warm": FULL.model_copy(update={"start": "pretrained"}),
}
"""Name -> objective. "twice" is independent training for twice the epochs, "warm" the full method from its pre-trained
networks."""
PEERS = {
    "equal": ["tiny_cnn"] * 2,
    "mixed": ["tiny_cnn", "tiny_resnet"],
    "one": ["tiny_cnn"],
    "three": ["tiny_cnn"] * 3,
    "four": ["tiny_cnn"] * 4,
}
OPTIONS = {
    "noise": "0.4",
    "peers": "equal",
    "schedule": "one_cycle",
    "metric": "top1",
    "seeds": "10",
    "part": "",
    "decimals": "",
    "table": "",
    "pair": "",
    "set": "",
}


@cache
def records() -> list[dict]:
    """All records of the digits that count: second stage, judged on test images."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("digits/*.json"))]
    kept = [one for one in found if one["spec"]["stage"] == 2 and one["spec"]["evaluate_on"] == "test"]
    if not kept:
        raise FileNotFoundError(f"no records in {RECORDS}")
    return kept


def by_seed(method: str, options: dict[str, str]) -> dict[int, float]:
    """Seed -> the mean of a metric over the peers of the run.

    Args:
        method: a key of ROWS; of another table a name that its profile may list.
        options: see OPTIONS.
    """
    if options["table"]:
        return seeds_of_table(method, options)
    if method not in ROWS:
        raise ValueError(f"method must be one of {', '.join(ROWS)}; got {method!r}")
    return seeds_of(ROWS[method], options, epochs=24 if method == "twice" else 12)


def seeds_of(objective: Objective, options: dict[str, str], epochs: int = 12) -> dict[int, float]:
    """Seed -> the mean of a metric over the peers of the run with this objective and the 400 images of the course.

    Args:
        objective: of the runs.
        options: see OPTIONS.
        epochs: of the runs.
    """
    wanted = objective.model_dump(mode="json", by_alias=True)
    values = {}
    for record in records():
        spec = record["spec"]
        if (
            spec["objective"] == wanted
            and spec["peers"] == PEERS[options["peers"]]
            and spec["data"] == {"name": "digits", "n_train": 400, "label_noise": float(options["noise"])}
            and (spec["recipe"]["epochs"], spec["recipe"]["schedule"]) == (epochs, options["schedule"])
        ):
            values[spec["seed"]] = mean(record["metrics"][options["metric"]])
    values = {seed: value for seed, value in values.items() if seed < int(options["seeds"])}
    if len(values) != int(options["seeds"]):
        raise LookupError(f"{objective.in_words} with {options} has records of {len(values)} seeds")
    return values


def seeds_of_table(method: str, options: dict[str, str]) -> dict[int, float]:
    """Seed -> the mean of a metric over the peers of the run, for the seeds that have a record.

    Args:
        method: as a profile lists it.
        options: see OPTIONS; `table` is given.
    """
    dataset, _, profile = options["table"].partition("/")
    changes = parse_assignments(list(filter(None, options["set"].split(";"))))
    plan = plan_from(load_profile(profile, dataset=dataset) | {"methods": [method]} | changes, dataset)
    pair = tuple(options["pair"].split("+")) if options["pair"] else plan.pairs[0]
    values = {}
    for spec in plan.specs()[pair, method]:
        path = RECORDS / dataset / f"{spec.key}.json"
        if path.exists():
            values[spec.seed] = mean(json.loads(path.read_text(encoding="utf-8"))["metrics"][options["metric"]])
    if not values:
        raise LookupError(f"{method} of {' + '.join(pair)} has no records for the table {options['table']}")
    return values


def interval(values: list[float], sign: bool, part: str = "", decimals: str = "") -> str:
    """Mean and half of the 95 % interval, as the tables of the kit write them.

    Args:
        values: one for each seed.
        sign: whether a plus is written.
        part: "mean" for the mean alone, "range" for the two ends.
        decimals: how many; by default 2, for the mean alone 1.
    """
    places, plus = int(decimals or (1 if part == "mean" else 2)), "+" if sign else ""
    centre = mean(values)
    if part == "mean":
        text = f"{centre:{plus}.{places}f}"
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
        row = ABLATIONS["+".join(name for name, sign in chosen.items() if sign > 0) or "none"]
        sign = math.prod(chosen[name] for name in factors)
        for seed, value in seeds_of(row, OPTIONS).items():
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


def cite(words: str) -> str:
    """The number that the words between the braces ask for."""
    kind, *rest = shlex.split(words)
    if kind == "printed":
        return printed(*rest)
    if kind == "count":
        return f"{int(printed(*rest)):,}"
    if kind == "row":
        return " | ".join(printed(*rest).split())
    if kind == "weights":
        weights = ROWS[rest[0]].active
        return " | ".join(f"{weights[term]:g}" if term in weights else "–" for term in TERMS)
    options = OPTIONS | dict(word.split("=", 1) for word in rest if "=" in word)
    if unknown := options.keys() - OPTIONS.keys():
        raise ValueError(f"options are {', '.join(OPTIONS)}; got {', '.join(unknown)}")
    names = [word for word in rest if "=" not in word]
    if kind == "effect":
        return interval(effect(names), True, options["part"], options["decimals"])
    if kind == "mean":
        return interval(list(by_seed(names[0], options).values()), False, options["part"], options["decimals"])
    if kind not in ("gain", "diff"):
        raise ValueError(f"a citation is mean, gain, diff, effect, weights, printed, count or row; got {kind!r}")
    one, other = by_seed(names[0], options), by_seed(names[1] if kind == "diff" else "independent", options)
    paired = [one[seed] - other[seed] for seed in one if seed in other]
    return interval(paired, True, options["part"], options["decimals"])


def fill(text: str) -> str:
    """The text with each citation replaced by its number; one that cannot be found ends the build."""
    return BRACES.sub(lambda found: cite(found[1]), text)
