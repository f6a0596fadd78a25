"""The paper's claims C1 to C6 judged by records: effect, interval, verdict, never typed in.

A comparison is a paired difference over seeds (peers averaged). It is *supported* where its 95 % interval lies
above zero, *contradicted* where it lies below, *undecided* where it holds zero, and *not tested* where fewer than
two seeds have both runs. A claim that needs several comparisons is supported only if each is; one that is
contradicted is enough against it; a claim of which nothing is tested is not tested; else it is undecided.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ctsl_lib.experiments import Record
from ctsl_lib.figures import label
from ctsl_lib.papertables import pair_name
from ctsl_lib.tables import Interval, mean_interval

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
    effect: Interval | None
    """None: not tested."""
    keys: tuple[str, ...]
    """Of the records compared."""

    @property
    def verdict(self) -> str:
        """On which side of zero the interval lies."""
        if self.effect is None or self.effect.n < 2:
            return NOT_TESTED
        if self.effect.excludes_zero:
            return SUPPORTED if self.effect.low > 0 else CONTRADICTED
        return UNDECIDED


class Claim(NamedTuple):
    """A claim with all comparisons that it needs."""

    name: str
    text: str
    comparisons: list[Comparison]

    @property
    def verdict(self) -> str:
        """Supported only if every comparison is; one that is contradicted is enough against it."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if CONTRADICTED in verdicts:
            return CONTRADICTED
        return verdicts.pop() if len(verdicts) == 1 else UNDECIDED

    def having(self, verdict: str) -> list[Comparison]:
        """The comparisons with this verdict."""
        return [found for found in self.comparisons if found.verdict == verdict]


def by_seed(records: Sequence[Record]) -> dict[int, float]:
    """Seed -> top-1 (on Market-1501 mAP) of the last epoch, averaged over peers."""
    return {record.spec.seed: float(np.mean(record.metrics[record.spec.data.metric])) for record in records}


def epochs_to_reach(record: Record, accuracy: float) -> float:
    """First evaluated epoch at which the peers' mean accuracy reaches this; one more than all if never."""
    curve = np.mean(record.history.accuracy, axis=0)
    reached = [epoch for epoch, value in zip(record.history.evaluated, curve, strict=True) if value >= accuracy]
    return reached[0] if reached else record.spec.recipe.epochs + 1


def compare(where: str, what: str, better: Sequence[Record], worse: Sequence[Record]) -> Comparison:
    """How much better the one is than the other, over the seeds that both have."""
    return _paired(where, what, by_seed(better), by_seed(worse), better, worse)


def _paired(
    where: str, what: str, ours: Mapping[int, float], theirs: Mapping[int, float], *groups: Sequence[Record]
) -> Comparison:
    seeds = sorted(set(ours) & set(theirs))
    effect = mean_interval([ours[seed] - theirs[seed] for seed in seeds]) if seeds else None
    keys = tuple(record.spec.key for group in groups for record in group if record.spec.seed in seeds)
    return Comparison(where, what, effect, keys)


def judge(evidence: Mapping[str, Records]) -> list[Claim]:
    """All six claims from the records of each data set; what has no records is not tested."""
    pairs = {name: sorted({pair for pair, _ in records}) for name, records in evidence.items()}
    places = [(dataset, pair) for dataset in DATASETS for pair in pairs.get(dataset, [()])]

    def rows(dataset: str, pair: tuple[str, ...], method: str) -> Sequence[Record]:
        return evidence.get(dataset, {}).get((pair, method), [])

    def over(
        claimed: str, others: Sequence[str], where: Sequence[tuple[str, tuple[str, ...]]]
    ) -> list[Comparison]:
        return [
            compare(
                _place(dataset, pair),
                f"{label(claimed)} − {label(other)}",
                rows(dataset, pair, claimed),
                rows(dataset, pair, other),
            )
            for dataset, pair in where
            for other in others
        ]

    small = [(d, p) for d, p in places if set(p) & set(SMALL_NETWORKS)]
    absent = [name for name in SMALL_PAIR if not any(name in pair for _, pair in small)]
    small += [("cifar100", (name, name)) for name in absent]
    mixed = [(d, p) for d, p in places if len(set(p)) > 1] or [("cifar100", SMALL_PAIR)]
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
            [
                _sooner(_place(d, p), f"epochs that {label(other)} needs more", rows(d, p, "ctsl_mkt"),
                        rows(d, p, other), rows(d, p, "independent"))
                for d, p in places
                for other in ("dml", "rkd")
            ],
        ),
        Claim(
            "C5", "The gain is clear for small networks and for mixed pairs",
            over("ctsl_mkt", ("independent",), list(dict.fromkeys(small + mixed))),
        ),
        Claim(
            "C6", "On Market-1501 CTSL-MKT has a higher mAP than DML, RKD and Tf-KD",
            [
                compare(
                    _place("market1501", pair), f"CTSL-MKT − {label(other)}, mAP",
                    rows("market1501", pair, "ctsl_mkt"), rows("market1501", pair, other),
                )
                for pair in pairs.get("market1501", [()])
                for other in ("dml", "rkd", "tfkd")
            ],
        ),
    ]  # fmt: skip


def _place(dataset: str, pair: tuple[str, ...]) -> str:
    return f"{dataset}, {pair_name(pair)}" if pair else dataset


def _sooner(
    where: str, what: str, ours: Sequence[Record], theirs: Sequence[Record], independent: Sequence[Record]
) -> Comparison:
    """Epochs until the accuracy that independent training with the same seed ends with."""
    goal = by_seed(independent)
    own, other = (
        {r.spec.seed: epochs_to_reach(r, goal[r.spec.seed]) for r in group if r.spec.seed in goal}
        for group in (ours, theirs)
    )
    return _paired(where, what, other, own, ours, theirs, independent)


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row for each comparison: claim, effect with interval, seeds, number of records, verdict."""
    rows = []
    for claim in claims:
        for found in claim.comparisons:
            rows.append(
                {
                    "claim": claim.name,
                    "comparison": f"{found.where}: {found.what}",
                    "effect": "–" if found.effect is None else f"{found.effect.mean:+.2f}",
                    "95 % interval": "–" if found.verdict == NOT_TESTED or found.effect is None
                    else f"{found.effect.low:+.2f} to {found.effect.high:+.2f}",
                    "seeds": 0 if found.effect is None else found.effect.n,
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
