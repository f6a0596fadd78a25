"""Exercises of notebook 10 on cost: a hundred classes, the price of two stages, a rival of equal cost."""

import math

import pandas as pd

from ctsl_course.exercises.diagnose import equals, require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import Objective

pencil(
    "10.4",
    "A network that knows nothing",
    minutes=4,
    difficulty="*",
    text="""
        A network gives each of 100 classes the same probability. What is its cross entropy in nats, and what are
        top-1 and top-5 accuracy, in percent, if ties are broken at random? Every training should start near these
        numbers.
    """,
    hints=(
        "Cross entropy is minus the logarithm of the label's probability.",
        "ln 100; one class, or five, of a hundred.",
    ),
    name="my_start",
    answer={"loss": math.log(100), "top1": 1, "top5": 5},
    wrong=[
        ({"loss": 2}, "loss: this is log10, nats come from the natural logarithm"),
        ({"loss": 6.644}, "loss: this is log2 (bits), nats come from the natural logarithm"),
        ({"loss": 2.303}, "loss: this is for 10 classes"),
        ({"top1": 0.01, "top5": 0.05}, "top1 and top5 are shares, percent are asked for"),
    ],
    why="ln 100 = 4.605. A first loss far above it means that the network starts sure and wrong.",
)


def my_epochs(objective: Objective, epochs: int) -> int:
    """Epochs of training that one network of a pair costs under this row of weights, the frozen copy's included."""
    raise NotImplementedError


def cost_right(objective: Objective, epochs: int) -> int:
    """Whoever learns from a frozen copy has been trained once before."""
    return 2 * epochs if objective.self > 0 else epochs


def cost_of_stage_two(objective: Objective, epochs: int) -> int:
    return epochs


def cost_of_all_distillation(objective: Objective, epochs: int) -> int:
    return epochs if objective == METHODS["independent"] else 2 * epochs


def cost_of_pair(objective: Objective, epochs: int) -> int:
    return 2 * cost_right(objective, epochs)


def costs_agree(answer: Tried) -> None:
    found = {name: answer(row, 10) for name, row in METHODS.items()}
    require(
        found["tfkd"] != 10 or found["ctsl_mkt"] != 10,
        "a frozen copy was trained, too: methods with self knowledge train every network twice",
    )
    require(
        found["dml"] != 20 or found["independent"] != 10,
        "DML and RKD teach while they learn: they need no training beforehand",
    )
    require(found["independent"] != 20, "count the epochs of one network, not of the pair")
    expected = {name: cost_right(row, 10) for name, row in METHODS.items()}
    require(found == expected, f"not the epochs of each method: {found}")
    require(
        answer(Objective(self=0.1), 7) == 14, "a small weight of self knowledge needs the frozen copy as well"
    )


code(
    "10.5",
    "What a row of weights costs",
    minutes=6,
    difficulty="*",
    text="""
        Write the number of epochs that one network is trained for under an objective whose second stage has `epochs`
        epochs. This is the column *epochs* of the table, and the reason for the row `independent_2x`.
    """,
    hints=("Which of the five terms needs a training before the training?", "`objective.self > 0`."),
    stub=my_epochs,
    solution=cost_right,
    wrong={
        cost_of_stage_two: "a frozen copy was trained, too",
        cost_of_all_distillation: "they need no training beforehand",
        cost_of_pair: "not of the pair",
    },
    checks={"five methods": costs_agree},
    why="The fair rival of Tf-KD and CTSL-MKT is independent training for as many epochs in all.",
)


def my_gain(frame: pd.DataFrame, method: str, rival: str) -> float:
    """Mean paired difference in `top1` of a method over a rival; a row of the frame is one peer of one run.

    The frame has the columns method, seed, peer and top1. Not every seed has both runs.
    """
    raise NotImplementedError


def gain_right(frame: pd.DataFrame, method: str, rival: str) -> float:
    """Peers first, then seeds that have both, then the mean."""
    by_seed = frame.pivot_table(index="seed", columns="method", values="top1", aggfunc="mean")
    return float((by_seed[method] - by_seed[rival]).dropna().mean())


def gain_unpaired(frame: pd.DataFrame, method: str, rival: str) -> float:
    means = frame.groupby("method")["top1"].mean()
    return float(means[method] - means[rival])


def gain_reversed(frame: pd.DataFrame, method: str, rival: str) -> float:
    return -gain_right(frame, method, rival)


def gain_of_peer_1(frame: pd.DataFrame, method: str, rival: str) -> float:
    return gain_right(frame[frame["peer"] == 1], method, rival)


def gain_by_position(frame: pd.DataFrame, method: str, rival: str) -> float:
    one, other = (
        frame[frame["method"] == name].groupby("seed")["top1"].mean().to_numpy() for name in (method, rival)
    )
    n = min(len(one), len(other))
    return float((one[:n] - other[:n]).mean())


def runs_with_gaps(one: str, other: str) -> pd.DataFrame:
    """Five seeds of one method and three of another, in between; differences of unequal size."""
    rows = [
        {
            "method": name,
            "seed": seed,
            "peer": peer,
            "top1": base + 2.0 * seed + seed**2 * slope + off * (peer == 2),
        }
        for name, base, slope, off, seeds in ((one, 15.0, 0.3, 1.0, range(5)), (other, 20.0, 0.0, 0.5, (0, 2, 4)))
        for seed in seeds
        for peer in (1, 2)
    ]
    return pd.DataFrame(rows)


def gain_agrees(answer: Tried) -> None:
    frame = runs_with_gaps("ours", "twice")
    mistakes = {
        "some seeds have only one of the two runs: pair them first, and leave these seeds out": (
            gain_unpaired(frame, "ours", "twice")
        ),
        "this is the rival minus the method": -gain_right(frame, "ours", "twice"),
        "this is the first peer alone; average the peers of a run": gain_of_peer_1(frame, "ours", "twice"),
        "runs are paired by their position in the list: pair them by seed": gain_by_position(
            frame, "ours", "twice"
        ),
    }
    equals(answer(frame, "ours", "twice"), gain_right(frame, "ours", "twice"), mistakes, what="the gain")
    other = runs_with_gaps("a", "b")
    equals(answer(other, "a", "b"), gain_right(other, "a", "b"), what="the gain of methods with other names")


code(
    "10.6",
    "At the same cost",
    minutes=12,
    difficulty="**",
    text="""
        Write the paired gain of one method over another. Then compare CTSL-MKT with `independent` and with
        `independent_2x` in this notebook's records: `frame[frame["pair"] == pair_name(plan.pairs[0])]`. Which of
        the two comparisons would a table without a column of costs show?
    """,
    hints=(
        "A table seeds × methods, with the mean over peers in each cell.",
        '`pivot_table(index="seed", columns="method", values="top1")`, subtract the columns, `dropna()`, `mean()`.',
    ),
    stub=my_gain,
    solution=gain_right,
    wrong={
        gain_unpaired: "pair them first",
        gain_reversed: "the rival minus the method",
        gain_of_peer_1: "the first peer alone",
        gain_by_position: "pair them by seed",
    },
    checks={"seeds that lack a run": gain_agrees},
    why="""
        A table without a column of costs shows the first, +2.63 points over independent training of half the cost. At
        the same cost it is +8.70 on these noisy digits, because twice the epochs cost independent training six points;
        where labels are right it can be a loss (notebook 05, section 9). Read both before any other number.
    """,
)
