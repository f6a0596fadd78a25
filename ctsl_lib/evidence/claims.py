"""The paper's claims C1 to C6 and our questions E1 and E2 judged by records: effect, interval, verdict.

A comparison is a paired difference over seeds (peers averaged). It is *supported* where its 95 % interval lies
above zero, *contradicted* where it lies below, *undecided* where it holds zero or where all seeds gave the same,
and *not tested* where fewer than two seeds have both runs. A claim is supported only if each of its comparisons
is, which needs no correction. It is contradicted if one of the m tested ones is at Bonferroni's confidence,
1 - 0.05/m; not tested if none is tested; else undecided.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from ctsl_lib.evidence.labels import label
from ctsl_lib.evidence.papertables import pair_name
from ctsl_lib.evidence.statistics import Interval, mean_interval
from ctsl_lib.experiments.plan import LONGER, WARM
from ctsl_lib.experiments.spec import Record

Records = Mapping[tuple[tuple[str, ...], str], Sequence[Record]]
"""(pair, method) -> records; see `plans.Plan.records`."""
Place = tuple[str, tuple[str, ...]]
"""Data set and pair."""
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = VERDICTS = (
    "supported", "contradicted", "undecided", "not tested",
)  # fmt: skip
DATASETS = ("cifar10", "cifar100", "tiny_imagenet", "market1501")
"""The four data sets that the paper's claims speak of."""
SMALL_NETWORKS = ("mobilenetv2", "shufflenetv2", "reid_mobilenetv2", "reid_shufflenetv2")
SMALL_PAIR = SMALL_NETWORKS[:2]


class Comparison(NamedTuple):
    """One paired comparison that a claim rests on."""

    where: str
    """Data set and pair."""
    what: str
    differences: tuple[float, ...]
    """One for each seed that both sides have."""
    keys: tuple[str, ...] = ()
    """Of the records compared."""

    @property
    def effect(self) -> Interval:
        """Mean difference with its 95 % interval."""
        return mean_interval(self.differences)

    @property
    def tied(self) -> bool:
        """Whether all seeds gave the same difference, but for rounding."""
        return math.isclose(min(self.differences), max(self.differences), abs_tol=1e-9)

    @property
    def verdict(self) -> str:
        """On which side of zero the interval lies."""
        if len(self.differences) < 2:
            return NOT_TESTED
        if self.tied or not self.effect.excludes_zero:
            return UNDECIDED
        return SUPPORTED if self.effect.low > 0 else CONTRADICTED


class Claim(NamedTuple):
    """A claim with all comparisons that it needs."""

    name: str
    text: str
    comparisons: list[Comparison]

    @property
    def verdict(self) -> str:
        """Supported only if every comparison is; contradicted if one is, corrected for their number."""
        tested = [found for found in self.comparisons if found.verdict != NOT_TESTED]
        if not tested:
            return NOT_TESTED
        if len(self.having(SUPPORTED)) == len(self.comparisons):
            return SUPPORTED
        bonferroni = 1 - 0.05 / len(tested)
        against = [mean_interval(found.differences, bonferroni) for found in self.having(CONTRADICTED)]
        return CONTRADICTED if any(effect.high < 0 for effect in against) else UNDECIDED

    def having(self, verdict: str) -> list[Comparison]:
        """The comparisons with this verdict."""
        return [found for found in self.comparisons if found.verdict == verdict]


def by_seed(records: Sequence[Record], only: Collection[str] = ()) -> dict[int, float]:
    """Seed -> top-1 (on Market-1501 mAP) of the last epoch, averaged over peers, or over those networks only."""

    def mean(record: Record) -> float:
        found = zip(record.spec.peers, record.metrics[record.spec.data.metric], strict=True)
        return float(np.mean([value for name, value in found if not only or name in only]))

    return {record.spec.seed: mean(record) for record in records}


def _curve(record: Record) -> tuple[list[float], list[float]]:
    """Epochs and the peers' mean accuracy after them; nothing is known at the start."""
    accuracy = np.mean(np.asarray(record.history.accuracy), axis=0)
    return [0.0, *map(float, record.history.evaluated)], [0.0, *map(float, accuracy)]


def accuracy_after(record: Record, share: float) -> float:
    """The peers' mean accuracy after this share of the epochs, between evaluations on a straight line."""
    return float(np.interp(share * record.spec.recipe.epochs, *_curve(record)))


def epochs_to_reach(record: Record, accuracy: float) -> float:
    """When the peers' mean accuracy first reaches this, on straight lines; one more than all epochs if never."""
    for (start, low), (end, high) in pairwise(zip(*_curve(record), strict=True)):
        if high >= accuracy:
            return start + (end - start) * (accuracy - low) / (high - low)
    return record.spec.recipe.epochs + 1


def _paired(
    where: str, what: str, ours: Mapping[int, float], theirs: Mapping[int, float], *groups: Sequence[Record]
) -> Comparison:
    seeds = sorted(set(ours) & set(theirs))
    differences = tuple(ours[seed] - theirs[seed] for seed in seeds)
    keys = tuple(record.spec.key for group in groups for record in group if record.spec.seed in seeds)
    return Comparison(where, what, differences, keys)


def _over(
    evidence: Mapping[str, Records],
    claimed: str,
    others: Sequence[str],
    where: Sequence[Place],
    only: Collection[str] = (),
) -> list[Comparison]:
    """How much better a method is than others at these places; `only` these networks of a pair, if any."""
    found = []
    for dataset, pair in where:
        records = evidence.get(dataset, {})
        chosen = [name for name in pair if name in only]
        note = f", peer {' and '.join(dict.fromkeys(chosen))}" if 0 < len(chosen) < len(pair) else ""
        for other in others:
            what = f"{label(claimed)} over {label(other)}{note}"
            ours, theirs = records.get((pair, claimed), []), records.get((pair, other), [])
            values = by_seed(ours, chosen), by_seed(theirs, chosen)
            found.append(_paired(_place(dataset, pair), what, *values, ours, theirs))
    return found


def judge(evidence: Mapping[str, Records]) -> list[Claim]:
    """All claims from the records of each data set; what has no records is not tested."""
    over, places = partial(_over, evidence), _places(evidence)
    small = [(d, p) for d, p in places if set(p) & set(SMALL_NETWORKS)]
    absent = [name for name in SMALL_PAIR if not any(name in pair for _, pair in small)]
    small += [("cifar100", (name, name)) for name in absent]
    mixed = [(d, p) for d, p in places if len(set(p)) > 1] or [("cifar100", SMALL_PAIR)]
    mixed = [place for place in mixed if place not in small or set(place[1]) - set(SMALL_NETWORKS)]
    searched = [place for place in places if place[0] == "market1501"]
    return [
        Claim(
            "C1", "CTSL-MKT is better than DML, RKD, Tf-KD and independent training on all four data sets",
            over("ctsl_mkt", ("independent", "dml", "rkd", "tfkd"), places),
        ),
        Claim(
            "C2", "The full objective is better than every ablation of it",
            over("ctsl_mkt", ("independent", "dml", "rkd", "tfkd", "MLI+MLR", "MLI+SLI", "MLR+SLI"), places),
        ),
        Claim(
            "C3", "Leaving out self-learning costs the most",
            over("MLI+SLI", ("MLI+MLR",), places) + over("MLR+SLI", ("MLI+MLR",), places),
        ),
        Claim(
            "C4", "It converges faster than DML and RKD",
            convergence(evidence),
        ),
        Claim(
            "C5", "The gain is clear for small networks and for mixed pairs",
            over("ctsl_mkt", ("independent",), small, SMALL_NETWORKS)
            + over("ctsl_mkt", ("independent",), mixed),
        ),
        Claim(
            "C6", "On Market-1501 CTSL-MKT has a higher mAP than DML, RKD and Tf-KD",
            over("ctsl_mkt", ("dml", "rkd", "tfkd"), searched),
        ),
        Claim(
            "E1", "Our question: CTSL-MKT is better than independent training of as many epochs in all",
            over("ctsl_mkt", (LONGER,), places),
        ),
        Claim(
            "E2", "The same for peers that start from the first stage's weights",
            over(WARM, (LONGER,), places),
        ),
    ]  # fmt: skip


def _places(evidence: Mapping[str, Records]) -> list[Place]:
    """Every data set of the claims with each of its pairs, or with none where there are no records."""
    pairs = {name: sorted({pair for pair, _ in records}) for name, records in evidence.items()}
    return [(dataset, pair) for dataset in DATASETS for pair in pairs.get(dataset) or [()]]


def _place(dataset: str, pair: tuple[str, ...]) -> str:
    return f"{dataset}, {pair_name(pair)}" if pair else dataset


def convergence(evidence: Mapping[str, Records], share: float = 0.5) -> list[Comparison]:
    """C4: how many epochs later than CTSL-MKT do DML and RKD reach a goal?

    The goal is what independent training with the same seed reaches after this share of its epochs. An accuracy
    before the first evaluation is not known: a goal that lies there is not used.
    """
    return [_sooner(evidence, place, other, share) for place in _places(evidence) for other in ("dml", "rkd")]


def _sooner(evidence: Mapping[str, Records], place: Place, other: str, share: float) -> Comparison:
    dataset, pair = place
    groups = [evidence.get(dataset, {}).get((pair, method), []) for method in (other, "ctsl_mkt", "independent")]
    seen = [record for record in groups[2] if record.history.evaluated[0] < share * record.spec.recipe.epochs]
    goal = {record.spec.seed: accuracy_after(record, share) for record in seen}
    theirs, ours = (
        {r.spec.seed: epochs_to_reach(r, goal[r.spec.seed]) for r in group if r.spec.seed in goal}
        for group in groups[:2]
    )
    return _paired(_place(*place), f"epochs that {label(other)} needs more", theirs, ours, *groups)


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row for each comparison: claim, effect with interval, seeds, number of records, verdict."""
    rows = []
    for claim in claims:
        for found in claim.comparisons:
            n = len(found.differences)
            rows.append(
                {
                    "claim": claim.name,
                    "comparison": f"{found.where}: {found.what}",
                    "effect": f"{found.effect.mean:+.2f}" if n else "–",
                    "95 % interval": f"{found.effect.low:+.2f} to {found.effect.high:+.2f}" if n > 1 else "–",
                    "seeds": n,
                    "records": len(found.keys),
                    "verdict": found.verdict,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row for each claim: its text, how many comparisons have each verdict, and its own verdict."""
    rows = [
        {"claim": claim.name, "text": claim.text}
        | {name: len(claim.having(name)) for name in VERDICTS}
        | {"verdict": claim.verdict}
        for claim in claims
    ]
    return pd.DataFrame(rows).set_index("claim")
