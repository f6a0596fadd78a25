"""Exercises of notebook 07, sections 8 to 11: weights, reports and starts, to be mended before the cure is shown."""

import math
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ctsl_course.exercises import pitfalls
from ctsl_course.exercises.diagnose import equals, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import build_peer


def my_weight(ce_gradient: Tensor, term_gradient: Tensor) -> float:
    return 25.0  # usual in recipes; mend this line


def weight_right(ce_gradient: Tensor, term_gradient: Tensor) -> float:
    return 0.3 * (ce_gradient.norm() / term_gradient.norm()).item()


def weight_inverted(ce_gradient: Tensor, term_gradient: Tensor) -> float:
    return 0.3 * (term_gradient.norm() / ce_gradient.norm()).item()


def weight_alone(ce_gradient: Tensor, term_gradient: Tensor) -> float:
    return 0.3 / term_gradient.norm().item()


def weight_is_heard(answer: Tried) -> None:
    ce = some(50)
    for size in (0.002, 0.2, 40.0):
        term = size * some(50, seed=1)
        ratio = (term.norm() / ce.norm()).item()
        found = float(answer(ce, term))
        inverted = abs(found - 0.3 * ratio) < 1e-6
        require(not inverted, "the wrong way round: a term with a small gradient needs a large weight")
        alone = abs(found - 0.3 / term.norm().item()) < 1e-6 * found
        require(not alone, "compare with the gradient of cross entropy: what counts is the ratio of both lengths")
        pitfalls.is_heard(found, ratio)
        equals(found * ratio, 0.3, what="r")


code(
    "07.8",
    "A weight by measurement",
    minutes=6,
    difficulty="*",
    text=r"""
        Mend the choice of the weight: from the gradients of cross entropy and of the unweighted term, as vectors,
        choose it so that $r = 0.3$ in (07.7).
    """,
    hints=("Solve (07.7) for the weight.", "The length of a vector is `.norm()`."),
    stub=my_weight,
    solution=weight_right,
    wrong={
        my_weight: "of the gradient of cross entropy",
        weight_inverted: "the wrong way round",
        weight_alone: "the ratio of both lengths",
    },
    checks={"is_heard for three sizes": weight_is_heard},
    shown=(pitfalls.is_heard,),
    why="Measure r before the first long run. It takes one batch.",
)


def my_report(curves: np.ndarray) -> np.ndarray:
    return curves.max(axis=1)  # one number for each row of epochs; mend this line


def report_right(curves: np.ndarray) -> np.ndarray:
    return curves[:, -1]


def report_best_of_five(curves: np.ndarray) -> np.ndarray:
    return curves[:, -5:].max(axis=1)


def report_mean(curves: np.ndarray) -> np.ndarray:
    return curves.mean(axis=1)


def report_first(curves: np.ndarray) -> np.ndarray:
    return curves[:, 0]


def report_is_of_the_end(answer: Tried) -> None:
    curves = np.array([np.linspace(50, 88, 20), np.linspace(40, 81, 20)])
    mistakes = {
        "the early epochs are part of this mean: report the network that you would hand over": curves.mean(
            axis=1
        ),
        "this is the first epoch": curves[:, 0],
    }
    pitfalls.is_unbiased(answer)
    equals(answer(curves), curves[:, -1], mistakes, what="the report of two rising curves")


code(
    "07.9",
    "An honest report",
    minutes=3,
    difficulty="*",
    text="Mend the report: one number for each row, that of the network which is handed over. (Choosing the epoch "
    "on *validation* images would be fair as well; here are test accuracies only.)",
    hints=("The choice must not look at the test accuracies.", "The last column."),
    stub=my_report,
    solution=report_right,
    wrong={
        my_report: "1.9 points too high",
        report_best_of_five: "points too high",
        report_mean: "the early epochs",
        report_first: "this is the first epoch",
    },
    checks={"is_unbiased, and two rising curves": report_is_of_the_end},
    shown=(pitfalls.expected_max, pitfalls.is_unbiased),
    why="Report the last epoch. Choose on validation images, never on the test set.",
)


def my_rule(differences: np.ndarray) -> np.ndarray:
    return differences.mean(axis=1) > 0  # a gain, for each row of seeds? mend this line


def rule_right(differences: np.ndarray) -> np.ndarray:
    n = differences.shape[1]
    half = stats.t.ppf(0.975, n - 1) * differences.std(axis=1, ddof=1) / math.sqrt(n)
    return differences.mean(axis=1) - half > 0


def rule_normal(differences: np.ndarray) -> Any:
    half = stats.norm.ppf(0.975) * differences.std(axis=1, ddof=1) / math.sqrt(differences.shape[1])
    return differences.mean(axis=1) - half > 0


def rule_all_positive(differences: np.ndarray) -> Any:
    return (differences > 0).all(axis=1)


def rule_of_two_points(differences: np.ndarray) -> Any:
    return differences.mean(axis=1) > 2


def rule_never(differences: np.ndarray) -> np.ndarray:
    return np.zeros(len(differences), dtype=bool)


def rule_finds_a_true_gain(answer: Tried) -> None:
    gains = np.random.default_rng(1).normal(3, 1, size=(2_000, 10))
    found = np.asarray(answer(gains))
    require(found.dtype == bool and found.shape == (2_000,), "return one boolean for each row of seeds")
    share = 100 * found.mean()
    require(
        share > 99,
        f"a true gain of three standard deviations, ten seeds, is found in {share:.0f} % of studies only",
    )
    small = 100 * np.asarray(answer(gains / 10)).mean()
    require(small > 99, f"the same gain in units ten times as large is found in {small:.0f} % of studies only")


code(
    "07.10",
    "A rule that finds nothing in nothing",
    minutes=8,
    difficulty="**",
    text="""
        Mend the rule. It must announce a gain in at most 3 % of comparisons of a method with itself, with 3 seeds
        and with 10, and it must still find a gain that is there.
    """,
    hints=(
        "What does notebook 06 ask of a difference?",
        "The lower end of Student's 95 % interval must be above zero.",
    ),
    stub=my_rule,
    solution=rule_right,
    wrong={
        my_rule: "a gain in 50 %",
        rule_normal: "comparisons of a method with itself",
        rule_all_positive: "a gain in 12 %",
        rule_never: "a true gain",
        rule_of_two_points: "in units ten times as large",
    },
    checks={
        "finds_nothing_in_noise with 3 seeds": partial(pitfalls.finds_nothing_in_noise, n=3),
        "with 10 seeds": partial(pitfalls.finds_nothing_in_noise, n=10),
        "a true gain": rule_finds_a_true_gain,
    },
    shown=(pitfalls.finds_nothing_in_noise,),
    why='More seeds do not help the rule "higher mean": it is wrong half of the time for ever.',
)


def my_pair() -> list[Peer]:
    one = build_peer("tiny_cnn", 1, 10, 0)
    return [one, deepcopy(one)]  # mend this line


def pair_right() -> list[Peer]:
    return [build_peer("tiny_cnn", 1, 10, seed) for seed in (0, 1)]


def pair_of_one_seed() -> list[Peer]:
    return [build_peer("tiny_cnn", 1, 10, 0) for _ in range(2)]


def pair_of_one() -> list[Peer]:
    return [build_peer("tiny_cnn", 1, 10, 0)] * 2


def pair_with_another_classifier() -> list[Peer]:
    one, two = pair_of_one_seed()
    two.classifier.reset_parameters()
    return [one, two]


def peers_are_strangers(answer: Tried) -> None:
    pair = answer()
    require(isinstance(pair, list | tuple) and len(pair) == 2, "return a list of two peers")
    require(pair[0] is not pair[1], "this is one network under two names")
    shapes = [[tuple(value.shape) for value in peer.parameters()] for peer in pair]
    require(shapes[0] == shapes[1], "these are networks of two kinds; take two of one kind")
    pitfalls.differ_after_training(answer)
    equal = [
        torch.equal(a, b)
        for a, b in zip(*(list(p.backbone.parameters()) for p in pair), strict=True)
        if a.ndim > 1
    ]
    require(not any(equal), "the classifiers differ, but both backbones start from the same weights")


code(
    "07.11",
    "Two peers that differ",
    minutes=3,
    difficulty="*",
    text="Mend the pair: two networks of one kind that have something to tell each other.",
    hints=("`build_peer(name, channels, classes, seed)` draws the first weights from the seed.", "Two seeds."),
    stub=my_pair,
    solution=pair_right,
    wrong={
        my_pair: "still 0.0 after 5 steps",
        pair_of_one_seed: "still 0.0 after 5 steps",
        pair_of_one: "one network under two names",
        pair_with_another_classifier: "the same weights",
    },
    checks={"differ_after_training, in all layers": peers_are_strangers},
    shown=(pitfalls.differ_after_training,),
    why="A term that is exactly zero is a finding. Log each term by name, and look.",
)
