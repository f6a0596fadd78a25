"""The paper's claims C1 to C6 and our questions E1 and E2, judged by records: effect, interval, verdict.

A comparison is a difference paired by seed, with peers averaged. Its verdict is read off the 95 % interval:
*supported* if the interval lies above zero, *contradicted* if it lies below, *undecided* if it contains zero or
if all seeds gave the same difference, *not tested* if fewer than two seeds have both runs.

A claim is supported only if each of its comparisons is; that needs no correction. Of many comparisons one may lie
below zero by chance, so a claim with m tested comparisons is contradicted only if one of them is at Bonferroni's
confidence, 1 - 0.05/m. It is not tested if none of them is, and undecided in all other cases.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from ctsl_lib.data.catalogue import PAPER_SETS, retrieval_sets
from ctsl_lib.evidence.labels import label, pair_name
from ctsl_lib.evidence.statistics import Interval, mean_interval
from ctsl_lib.experiments.plan import LONGER, WARM
from ctsl_lib.experiments.spec import Record

Records = Mapping[tuple[tuple[str, ...], str], Sequence[Record]]
"""(pair, method) -> records, as `Plan.records` gives them."""
Place = tuple[str, tuple[str, ...]]
"""Data set and pair."""
VERDICTS = ("supported", "contradicted", "undecided", "not tested")
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = VERDICTS
SMALL_NETWORKS = ("mobilenetv2", "shufflenetv2", "reid_mobilenetv2", "reid_shufflenetv2", "tiny_cnn")
"""The paper's small networks, and the smaller one of the built-in pairs, which stands for them on the digits."""
SMALL_PAIR = SMALL_NETWORKS[:2]


class Comparison(NamedTuple):
    """One paired comparison that a claim rests on."""

    where: str
    """Data set and pair."""
    what: str
    differences: tuple[float, ...]
    """One for each seed that has both runs."""
    keys: tuple[str, ...] = ()
    """Of the records compared."""

    @property
    def effect(self) -> Interval:
        """Mean difference with its 95 % interval."""
        return mean_interval(self.differences)

    @property
    def verdict(self) -> str:
        """On which side of zero the interval lies."""
        if len(self.differences) < 2:
            return NOT_TESTED
        if not self.effect.excludes_zero:
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
        if self.tested == 0:
            return NOT_TESTED
        if len(self.having(SUPPORTED)) == len(self.comparisons):
            return SUPPORTED
        return CONTRADICTED if self.contradicting else UNDECIDED

    @property
    def tested(self) -> int:
        """The number of comparisons that are tested: m of the correction."""
        return len(self.comparisons) - len(self.having(NOT_TESTED))

    @property
    def contradicting(self) -> list[Comparison]:
        """The comparisons that lie below zero even if corrected for their number."""
        below = self.having(CONTRADICTED)
        return [one for one in below if mean_interval(one.differences, 1 - 0.05 / self.tested).high < 0]

    def having(self, verdict: str) -> list[Comparison]:
        """The comparisons with this verdict."""
        return [one for one in self.comparisons if one.verdict == verdict]


def by_seed(records: Sequence[Record], only: Collection[str] = ()) -> dict[int, float]:
    """The result of each seed.

    Args:
        records: of one method, with different seeds.
        only: the networks whose peers count; by default all.

    Returns: seed -> top-1 (on Market-1501 mAP) in percent after the last epoch, averaged over these peers.
    """

    def mean(record: Record) -> float:
        results = zip(record.spec.peers, record.metrics[record.spec.data.metric], strict=True)
        return float(np.mean([value for network, value in results if not only or network in only]))

    return {record.spec.seed: mean(record) for record in records}


def _curve(record: Record) -> tuple[list[float], list[float]]:
    """Epochs and the peers' mean accuracy after them, from (0, 0) on."""
    accuracy = np.mean(np.asarray(record.history.accuracy), axis=0)
    return [0.0, *map(float, record.history.evaluated)], [0.0, *map(float, accuracy)]


def accuracy_after(record: Record, share: float) -> float:
    """How good a run was part of the way.

    Args:
        record: of any run.
        share: of its epochs, from 0 to 1.

    Returns: the peers' mean accuracy in percent; between evaluations on a straight line.
    """
    return float(np.interp(share * record.spec.recipe.epochs, *_curve(record)))


def epochs_to_reach(record: Record, accuracy: float) -> float:
    """When a run first reaches an accuracy.

    Args:
        record: of any run.
        accuracy: the goal for the peers' mean, in percent.

    Returns: epochs, between evaluations on a straight line; one more than all epochs if it never gets there.
    """
    for (start, low), (end, high) in pairwise(zip(*_curve(record), strict=True)):
        if high >= accuracy:
            return start if low >= accuracy else start + (end - start) * (accuracy - low) / (high - low)
    return record.spec.recipe.epochs + 1


def _paired(
    place: Place, what: str, ours: Mapping[int, float], theirs: Mapping[int, float], *groups: Sequence[Record]
) -> Comparison:
    dataset, pair = place
    seeds = sorted(set(ours) & set(theirs))
    keys = tuple(record.spec.key for group in groups for record in group if record.spec.seed in seeds)
    where = f"{dataset}, {pair_name(pair)}" if pair else dataset
    return Comparison(where, what, tuple(ours[seed] - theirs[seed] for seed in seeds), keys)


def _over(
    evidence: Mapping[str, Records],
    claimed: str,
    others: Sequence[str],
    where: Sequence[Place],
    only: Collection[str] = (),
) -> list[Comparison]:
    """How much better a method is than others at these places; with `only`, for these networks of a pair."""
    comparisons = []
    for dataset, pair in where:
        records = evidence.get(dataset, {})
        peers = [network for network in pair if network in only]
        note = f", peer {' and '.join(dict.fromkeys(peers))}" if 0 < len(peers) < len(pair) else ""
        for other in others:
            groups = [records.get((pair, method), []) for method in (claimed, other)]
            results = [by_seed(group, peers) for group in groups]
            what = f"{label(claimed)} over {label(other)}{note}"
            comparisons.append(_paired((dataset, pair), what, results[0], results[1], *groups))
    return comparisons


def asked_of(evidence: Mapping[str, Records]) -> tuple[str, ...]:
    """The data sets that the claims are judged on: the paper's four, or those of evidence that names any other."""
    return tuple(evidence) if set(evidence) - set(PAPER_SETS) else PAPER_SETS


def _places(evidence: Mapping[str, Records]) -> list[Place]:
    """Every data set of the claims with each of its pairs, or with none where there are no records."""
    pairs = {name: sorted({pair for pair, _ in records}) for name, records in evidence.items()}
    return [(dataset, pair) for dataset in asked_of(evidence) for pair in pairs.get(dataset) or [()]]


def judge(evidence: Mapping[str, Records]) -> list[Claim]:
    """Judge all claims by the records of each data set; what has no records is not tested.

    Args:
        evidence: data set -> its records; see `asked_of`. What other data sets than the paper's give is no verdict
            on the paper.

    Returns: the claims C1 to C6, E1 and E2.
    """
    over, places, asked = partial(_over, evidence), _places(evidence), asked_of(evidence)
    persons = [name for name in asked if name in retrieval_sets()]
    where = "all four data sets" if asked == PAPER_SETS else ", ".join(asked)
    rivals = ("independent", "dml", "rkd", "tfkd")
    return [
        Claim(
            "C1", f"CTSL-MKT is better than DML, RKD, Tf-KD and independent training on {where}",
            over("ctsl_mkt", rivals, places),
        ),
        Claim(
            "C2", "The full objective is better than every ablation of it",
            over("ctsl_mkt", (*rivals, "MLI+MLR", "MLI+SLI", "MLR+SLI"), places),
        ),
        Claim(
            "C3", "Leaving out self-learning costs the most",
            over("MLI+SLI", ("MLI+MLR",), places) + over("MLR+SLI", ("MLI+MLR",), places),
        ),
        Claim("C4", "CTSL-MKT converges faster than DML and RKD", convergence(evidence)),
        Claim("C5", "The gain is clear for small networks and for mixed pairs", _c5(evidence, places)),
        Claim(
            "C6", f"On {', '.join(persons) or 'persons'} CTSL-MKT has a higher mAP than DML, RKD and Tf-KD",
            over("ctsl_mkt", rivals[1:], [place for place in places if place[0] in persons]),
        ),
        Claim(
            "E1", "Our question: CTSL-MKT is better than independent training for as many epochs in total",
            over("ctsl_mkt", (LONGER,), places),
        ),
        Claim(
            "E2", "Our question: it still is if its peers start from the first stage's weights",
            over(WARM, (LONGER,), places),
        ),
    ]  # fmt: skip


def _c5(evidence: Mapping[str, Records], places: Sequence[Place]) -> list[Comparison]:
    """C5: small networks by their own accuracy, mixed pairs by the mean over their peers."""
    small = [(dataset, pair) for dataset, pair in places if set(pair) & set(SMALL_NETWORKS)]
    mixed = [(dataset, pair) for dataset, pair in places if len(set(pair)) > 1]
    if asked_of(evidence) == PAPER_SETS:  # the paper's networks without records stand there as not tested
        trained = {network for _, pair in small for network in pair}
        small += [("cifar100", (network, network)) for network in SMALL_PAIR if network not in trained]
        mixed = mixed or [("cifar100", SMALL_PAIR)]
    mixed = [place for place in mixed if place not in small or set(place[1]) - set(SMALL_NETWORKS)]
    over = partial(_over, evidence, "ctsl_mkt", ("independent",))
    return over(small, SMALL_NETWORKS) + over(mixed)


def convergence(evidence: Mapping[str, Records], share: float = 0.5) -> list[Comparison]:
    """C4: how many epochs after CTSL-MKT do DML and RKD reach a goal?

    The goal is what independent training with the same seed reaches after a share of its epochs. It is used only
    if that run had been evaluated before then: an accuracy before the first evaluation is not known.

    Args:
        evidence: data set -> its records.
        share: of the epochs of independent training, from 0 to 1.

    Returns: for each place and rival the difference in epochs; positive where CTSL-MKT is the faster one.
    """
    comparisons = []
    for dataset, pair in _places(evidence):
        records = evidence.get(dataset, {})
        goal = {
            record.spec.seed: accuracy_after(record, share)
            for record in records.get((pair, "independent"), [])
            if record.history.evaluated[0] < share * record.spec.recipe.epochs
        }
        for other in ("dml", "rkd"):
            groups = [records.get((pair, method), []) for method in (other, "ctsl_mkt", "independent")]
            theirs, ours = (
                {r.spec.seed: epochs_to_reach(r, goal[r.spec.seed]) for r in group if r.spec.seed in goal}
                for group in groups[:2]
            )
            what = f"extra epochs that {label(other)} needs"
            comparisons.append(_paired((dataset, pair), what, theirs, ours, *groups))
    return comparisons


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row for each comparison: claim, effect with interval, seeds, number of records, verdict."""
    rows = [
        {
            "claim": claim.name,
            "comparison": f"{one.where}: {one.what}",
            "effect": f"{one.effect.mean:+.2f}" if one.differences else "–",
            "95 % interval": "{1:+.2f} to {2:+.2f}".format(*one.effect) if len(one.differences) > 1 else "–",
            "seeds": len(one.differences),
            "records": len(one.keys),
            "verdict": one.verdict,
        }
        for claim in claims
        for one in claim.comparisons
    ]
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
