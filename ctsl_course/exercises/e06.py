"""Exercises of notebook 06: factorial effects, intervals, several comparisons."""

import math

import numpy as np
from scipy import stats

from ctsl_course.exercises.diagnose import equals, require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.evidence.statistics import mean_interval

pencil(
    "06.1",
    "Effects of a two by two table",
    minutes=6,
    difficulty="*",
    text="""
        Work out both main effects and the interaction of the table in section 1: neither 80, A alone 84, B alone 84,
        both 84. A main effect is the mean with minus the mean without; an interaction is *half* the difference of two
        differences.
    """,
    hints=(
        "With A the rows are 84 and 84, without it 80 and 84.",
        "Effect of A with B: 84 − 84. Without B: 84 − 80.",
    ),
    name="my_effects",
    answer={"A": 2, "B": 2, "A x B": -2},
    wrong=[
        ({"A x B": -4}, "A x B: this is the difference of the two differences; take half of it"),
        ({"A x B": 2}, "A x B: the effect of A *with* B comes first, then minus the one without"),
        ({"A": 4, "B": 4}, "this is what each part adds alone; a main effect averages over the other part"),
        (
            {"A": 0, "B": 0},
            "this is what leaving a part out of the full method costs; average over the other part",
        ),
    ],
    why="""
        Each part is worth 2 points on average, and the interaction takes exactly that away where the other one is
        present.
    """,
)

pencil(
    "06.2",
    "Ten seeds instead of three",
    minutes=4,
    difficulty="*",
    text="By which factor is an interval narrower with ten seeds than with three, if $s$ stays the same?",
    hints=("Two things shrink it.", r"$(4.303 / \sqrt 3) \, / \, (2.262 / \sqrt{10})$."),
    name="my_factor",
    answer=3.474,
    wrong=[
        (
            10 / 3,
            "this is the ratio of the numbers of seeds: the root of it counts, and Student's value shrinks as well",
        ),
        (math.sqrt(10 / 3), "this is the part of the root alone; Student's value shrinks as well"),
        (4.303 / 2.262, "this is the part of Student's value alone; the root of n grows as well"),
        (1 / 3.474, "this is the wrong way round: how much *narrower*, so a factor above 1"),
    ],
    why="2.484 / 0.715 = 3.47. The t quantile gives 1.90 of it, the root 1.83.",
)


def my_interval(differences: np.ndarray) -> tuple[float, float]:
    """The lower and upper end of the 95 % interval (06.5) of paired differences, one for each seed."""
    raise NotImplementedError


def interval_right(differences: np.ndarray) -> tuple[float, float]:
    """Student's value for n - 1 degrees of freedom, and a standard deviation that divides by n - 1."""
    n = len(differences)
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return differences.mean() - half, differences.mean() + half


def interval_normal(differences: np.ndarray) -> tuple[float, float]:
    half = 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
    return differences.mean() - half, differences.mean() + half


def interval_biased(differences: np.ndarray) -> tuple[float, float]:
    n = len(differences)
    half = stats.t.ppf(0.975, n - 1) * differences.std() / math.sqrt(n)
    return differences.mean() - half, differences.mean() + half


def interval_one_sided(differences: np.ndarray) -> tuple[float, float]:
    n = len(differences)
    half = stats.t.ppf(0.95, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return differences.mean() - half, differences.mean() + half


def interval_of_runs(differences: np.ndarray) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1)
    return differences.mean() - half, differences.mean() + half


def interval_agrees(answer: Tried) -> None:
    d = np.array([2.0, 3.0, 4.5, 1.0])
    found = answer(d)
    require(
        isinstance(found, tuple | list | np.ndarray) and len(found) == 2,
        "return two numbers: the lower and the upper end",
    )
    mistakes = {
        "1.96 is the value for very many seeds; use Student's for n - 1": interval_normal(d),
        "NumPy's std divides by n; the sample's divides by n - 1 (ddof=1)": interval_biased(d),
        "95 % leave 2.5 % on each side: the quantile is 0.975": interval_one_sided(d),
        "the root of n is missing: this is where one more seed may fall, not the mean": interval_of_runs(d),
        "Student's value belongs to n - 1 degrees of freedom": tuple(
            d.mean() + sign * stats.t.ppf(0.975, 4) * d.std(ddof=1) / 2 for sign in (-1, 1)
        ),
    }
    equals(found, mean_interval(d)[1:3], mistakes, what="the interval of (2, 3, 4.5, 1)")


code(
    "06.3",
    "An interval of your own",
    minutes=8,
    difficulty="*",
    text="Write (06.5) for any number of seeds, with `stats.t.ppf`. Which of its two ends moves if a seed is added?",
    hints=(
        "Mean, standard deviation, Student's value, root of n.",
        "`differences.std(ddof=1)` and `stats.t.ppf(0.975, n - 1)`.",
    ),
    stub=my_interval,
    solution=interval_right,
    wrong={
        interval_normal: "very many seeds",
        interval_biased: "ddof=1",
        interval_one_sided: "2.5 % on each side",
        interval_of_runs: "the root of n is missing",
    },
    checks={"four seeds": interval_agrees},
    why="Both ends move. With four seeds each of these mistakes changes the width by more than 13 %.",
)

pencil(
    "06.4",
    "What 1.96 costs with three seeds",
    minutes=8,
    difficulty="**",
    text=r"""
        Somebody uses 1.96 in place of $t_{n-1}$ "because it is 95 %". What is the true confidence of that interval with
        three seeds, as a share? Find it by simulation or by formula: the distribution function of $t_2$ is
        $\tfrac12 + x / (2\sqrt{2 + x^2})$.
    """,
    hints=(
        "The interval holds the truth where |t| is at most 1.96.",
        r"$P(|t_2| \le x) = 2 F(x) - 1 = x / \sqrt{2 + x^2}$.",
    ),
    name="my_confidence",
    answer=0.8109,
    wrong=[
        (0.9055, "this is F(1.96): the interval has two ends"),
        (0.8551, "this is for 3 degrees of freedom: three seeds have n - 1 = 2"),
        (0.1891, "this is the share of misses; the confidence is the share of hits"),
    ],
    tolerance=0.006,
    why="1.96 / √(2 + 1.96²) = 0.811: an interval called 95 % misses in nearly one case of five.",
)

pencil(
    "06.5",
    "Peers counted as seeds",
    minutes=6,
    difficulty="**",
    text=r"""
        Somebody treats the two peers of a run as two independent results: 6 values from 3 seeds. Suppose that the
        two peers of each seed are equal, so that the toy sample $d = (2, 3, 4)$ becomes $(2, 2, 3, 3, 4, 4)$.
        What is the half width of its 95 % interval now?
    """,
    hints=("Apply (06.5) with n = 6.", "s = √(4/5) = 0.894 and the t value for 5 degrees of freedom is 2.571."),
    name="my_half_width",
    answer=0.9387,
    wrong=[
        (2.484, "this is the honest half width of the three seeds"),
        (0.8569, "the standard deviation divides by n - 1 (ddof=1)"),
        (1.571, "you kept Student's value of three seeds; whoever counts six has 5 degrees of freedom"),
    ],
    why="""
        2.571 · 0.894 / √6 = 0.94 instead of 2.48. Nothing was learned, and the interval shrank to well under half.
    """,
)


def my_holm(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Which of the p-values Holm's procedure finds, as booleans in the order of p."""
    raise NotImplementedError


def holm_right(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Compare the sorted values with rising limits, and stop at the first failure."""
    p = np.asarray(p)
    order = p.argsort()
    passed = p[order] <= level / (len(p) - np.arange(len(p)))
    found = np.zeros(len(p), dtype=bool)
    found[order] = np.logical_and.accumulate(passed)
    return found


def holm_without_stop(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    order = p.argsort()
    found = np.zeros(len(p), dtype=bool)
    found[order] = p[order] <= level / (len(p) - np.arange(len(p)))
    return found


def holm_bonferroni(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    return p <= level / len(p)


def holm_sorted(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    passed = np.sort(p) <= level / (len(p) - np.arange(len(p)))
    return np.logical_and.accumulate(passed)


def _found(answer: Tried, *p: float, **level: float) -> list[bool]:
    found = np.asarray(answer(np.array(p), *level.values()))
    require(found.shape == (len(p),), f"return one verdict for each of the {len(p)} p-values")
    require(found.dtype == bool, f"return booleans, yours are {found.dtype}")
    return [bool(one) for one in found]


def holm_finds_all(answer: Tried) -> None:
    found = _found(answer, 0.030, 0.010, 0.020)
    require(
        found != [False, True, False], "this is Bonferroni: after a find the next limit is 0.05 over one fewer"
    )
    require(all(found), "of (0.030, 0.010, 0.020) all are found, as in section 6's table")
    found = _found(answer, 0.030, 0.010, 0.020, level=0.025)
    require(not any(found), "with level 0.025 none of (0.030, 0.010, 0.020) is found: `level` is not used")


def holm_stops(answer: Tried) -> None:
    found = _found(answer, 0.040, 0.010, 0.026)
    require(found != [True, True, False], "stop at the first p-value that is too large: no later one counts")
    require(
        found != [True, False, False], "these are verdicts for the sorted values: put them back in the order of p"
    )
    require(found == [False, True, False], f"for (0.040, 0.010, 0.026) the verdicts are not {found}")


code(
    "06.6",
    "Holm's procedure",
    minutes=15,
    difficulty="***",
    text="""
        Write Holm's procedure without a look at section 6: sort the p-values, compare the smallest with 0.05/m,
        the next with 0.05/(m − 1), and so on; stop at the first that is too large.
    """,
    hints=(
        "The verdicts must come back in the order in which the p-values were given.",
        "`order = p.argsort()`, limits `level / (m - np.arange(m))`, `np.logical_and.accumulate`, "
        "`found[order] = ...`.",
    ),
    stub=my_holm,
    solution=holm_right,
    wrong={
        holm_without_stop: "stop at the first",
        holm_bonferroni: "this is Bonferroni",
        holm_sorted: "back in the order of p",
    },
    checks={"three that are all found": holm_finds_all, "stopping, and the order": holm_stops},
    why="It is never worse than Bonferroni: the first limit is the same, all later ones are wider.",
)

pencil(
    "06.7",
    "Half a design",
    minutes=8,
    difficulty="***",
    text="""
        You can afford only four of the eight rows: MLI (82), MLR (81), SLI (84) and the full method (87).
        Estimate the main effect of MLI as the mean of the two rows with it minus the mean of the two without. And
        which interaction of section 2's pencil numbers is hidden in it: how large is that one?
    """,
    hints=(
        "With MLI: its own row and the full method.",
        "In these four rows the product of the three signs is always +1, so the sign of MLI is that of MLR × SLI.",
    ),
    name="my_half",
    answer={"estimate": 2.0, "hidden interaction": 0.5},
    wrong=[
        ({"estimate": 1.5}, "this is the main effect from all eight rows; take the four rows alone"),
        (
            {"hidden interaction": -0.5},
            "this is MLI x SLI; ask which product of signs equals the sign of MLI in all four rows",
        ),
        ({"estimate": 4.0}, "take the means of two rows each, not their sums"),
    ],
    why="""
        (82 + 87)/2 − (81 + 84)/2 = 2.0 is the main effect of MLI *plus* the interaction MLR × SLI, 1.5 + 0.5.
        Half a design sees the two as one (they are *aliased*).
    """,
)
