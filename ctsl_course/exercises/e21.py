"""Exercises of notebook 21: splits of the same work, slopes, the seed as the unit, the edge of a map."""

import math

import numpy as np
from scipy import stats

from ctsl_course.exercises.diagnose import equals, require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried

pencil(
    "21.1",
    "Another regime of the same work",
    minutes=6,
    difficulty="*",
    text="""
        A training of 6,000 images of 20 classes takes 40 epochs, in batches of 32. A second regime shall spend the same
        number of image passes on 1,500 images. How many epochs are that, how many images per class, and how many steps?
        An epoch leaves out its incomplete batch.
    """,
    hints=(
        "A quarter of the images is seen four times as often.",
        r"$E = 240{,}000 / 1{,}500$; steps are $E \cdot \lfloor 1500/32 \rfloor$.",
    ),
    name="my_regime",
    answer={"epochs": 160, "images per class": 75, "steps": 7360},
    wrong=[
        ({"epochs": 10}, "epochs: with fewer images the same work takes more epochs, not fewer"),
        ({"images per class": 300}, "images per class: this is the first regime, with 6,000 images"),
        ({"steps": 7500}, "steps: this counts fractions of a batch; an epoch leaves out its incomplete batch"),
        ({"steps": 7520}, "steps: this counts the incomplete batch of each epoch as a step"),
    ],
    tolerance=1e-4,
    why="""
        160 epochs of 46 whole batches, 7,360 steps. The first regime takes 40 · 187 = 7,480: "the same work" is the
        same up to the batches that are left out, here within two per cent. Choose splits for which this is little.
    """,
)


def my_slope(n: np.ndarray, gains: np.ndarray) -> float:
    """Slope of the gains over the logarithm of the images per class n, in points for each doubling (least squares)."""
    raise NotImplementedError


def slope_right(n: np.ndarray, gains: np.ndarray) -> float:
    """Formula (21.3)."""
    x = np.log2(n) - np.log2(n).mean()
    return float(x @ (gains - gains.mean()) / (x @ x))


def slope_natural(n: np.ndarray, gains: np.ndarray) -> float:
    return slope_right(n, gains) * math.log(2)


def slope_in_images(n: np.ndarray, gains: np.ndarray) -> float:
    return float(np.polyfit(n, gains, 1)[0])


def slope_through_zero(n: np.ndarray, gains: np.ndarray) -> float:
    x = np.log2(n)
    return float(x @ gains / (x @ x))


def slope_of_the_ends(n: np.ndarray, gains: np.ndarray) -> float:
    first, last = gains[n == n.min()].mean(), gains[n == n.max()].mean()
    return float((last - first) / math.log2(n.max() / n.min()))


def slope_inverted(n: np.ndarray, gains: np.ndarray) -> float:
    x, d = np.log2(n) - np.log2(n).mean(), gains - gains.mean()
    return float(x @ d / (d @ d))


def slopes_agree(answer: Tried) -> None:
    n = np.array([10.0, 20, 40, 80, 10, 20, 40, 80])
    gains = np.array([5.0, 4, 1, 0, 6, 2, 2, -1])
    mistakes = {
        "this is for each factor of e: a doubling is one step of the logarithm to base 2": slope_natural(
            n, gains
        ),
        "this is the slope over the number of images itself; take its logarithm first": slope_in_images(n, gains),
        "this line is forced through zero: subtract both means first": slope_through_zero(n, gains),
        "this looks at the first and the last regime alone; all gains count": slope_of_the_ends(n, gains),
        "this divides by the spread of the gains: the squares of the logarithms belong below": slope_inverted(
            n, gains
        ),
    }
    equals(answer(n, gains), slope_right(n, gains), mistakes, what="the slope")


code(
    "21.2",
    "Points for each doubling",
    minutes=8,
    difficulty="*",
    text="""
        Write the slope of (21.3) without looking at the notebook's function. Both arrays have an entry for each seed
        and regime: the number of images per class, and the gain.
    """,
    hints=(
        "Take logarithms to base 2, and subtract the mean on both sides.",
        "`x @ d / (x @ x)` with both centred.",
    ),
    stub=my_slope,
    solution=slope_right,
    wrong={
        slope_natural: "a doubling is one step",
        slope_in_images: "take its logarithm first",
        slope_through_zero: "forced through zero",
        slope_of_the_ends: "the first and the last regime alone",
        slope_inverted: "the squares of the logarithms belong below",
    },
    checks={"two seeds, four regimes": slopes_agree},
    why="""
        The ends alone throw half of the runs away. With four regimes a doubling apart the regression weighs the outer
        ones three times as much as the inner ones, and uses all of them.
    """,
)


def my_interval(n: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % interval (21.4) of the slope, seed by seed, from a (seeds, regimes) array of gains."""
    raise NotImplementedError


def interval_right(n: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    """A slope for each seed, then Student's interval over the seeds."""
    x = np.log2(n) - np.log2(n).mean()
    each = gains @ x / (x @ x)
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each))
    return each.mean() - half, each.mean() + half


def of_regression(x: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    """The interval of a slope that takes all points for independent."""
    line = stats.linregress(x, gains)
    half = stats.t.ppf(0.975, len(x) - 2) * line.stderr
    return line.slope - half, line.slope + half


def interval_of_all(n: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    return of_regression(np.tile(np.log2(n), len(gains)), gains.ravel())


def interval_of_means(n: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    return of_regression(np.log2(n), gains.mean(axis=0))


def stretched(ends: tuple[float, float], factor: float) -> tuple[float, float]:
    """An interval with the same middle and another width."""
    middle, half = sum(ends) / 2, (ends[1] - ends[0]) / 2 * factor
    return middle - half, middle + half


def interval_normal(n: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    return stretched(interval_right(n, gains), 1.96 / stats.t.ppf(0.975, len(gains) - 1))


def interval_of_one_seed(n: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    return stretched(interval_right(n, gains), math.sqrt(len(gains)))


def intervals_agree(answer: Tried) -> None:
    n = np.array([10.0, 20, 40, 80])
    gains = np.array([[5.0, 4, 1, 0], [6, 2, 2, -1], [3, 3, 2, 2]])
    found = answer(n, gains)
    require(
        isinstance(found, tuple | list | np.ndarray) and len(found) == 2,
        "return two numbers, the lower and the upper end",
    )
    mistakes = {
        "this takes all gains for independent: first a slope for each seed, then the interval": interval_of_all(
            n, gains
        ),
        "this averages the seeds first, so it does not see how much they differ": interval_of_means(n, gains),
        "1.96 is for very many seeds: use Student's value for their number": interval_normal(n, gains),
        "this is where single seeds lie; a mean over seeds is known better, by the root of their number": (
            interval_of_one_seed(n, gains)
        ),
    }
    equals(np.array(found, dtype=float), np.array(interval_right(n, gains)), mistakes, what="the interval")


code(
    "21.3",
    "The seed is the unit",
    minutes=12,
    difficulty="**",
    text="""
        Write the interval (21.4). A row of `gains` is a seed, a column a regime with `n` images per class. Then
        compare it with the interval (21.3) for the same numbers: which one is wider, and why?
    """,
    hints=(
        "First a slope for each row; then forget the regimes.",
        "`stats.t.ppf(0.975, S - 1) * slopes.std(ddof=1) / math.sqrt(S)` for S seeds.",
    ),
    stub=my_interval,
    solution=interval_right,
    wrong={
        interval_of_all: "first a slope for each seed",
        interval_of_means: "averages the seeds first",
        interval_normal: "1.96 is for very many seeds",
        interval_of_one_seed: "where single seeds lie",
    },
    checks={"three seeds, four regimes": intervals_agree},
    why="""
        Here (21.4) is the wider one: -1.43 ± 2.25 against ± 0.63. The slopes of the three seeds are -1.8, -2.1 and
        -0.4, and three numbers that far apart leave much open; the regression counts twelve gains as twelve. It can be
        the other way round, where all seeds bend away from the line alike.
    """,
)

pencil(
    "21.4",
    "Beyond the edge of the map",
    minutes=6,
    difficulty="**",
    text="""
        A line fitted to the gains at 10, 20, 40 and 80 images per class is 6 points at 10 and falls by 1.5 points for
        each doubling. At how many images per class does it reach zero? Would you plan with that number?
    """,
    hints=(
        "How many doublings take six points away?",
        "Each doubling is a factor of 2, starting from 10.",
    ),
    name="my_crossing",
    answer=160,
    wrong=[
        (14, "this adds a number of doublings to a number of images"),
        (40, "this multiplies by the number of doublings; each of them is a factor of 2"),
        (10 * math.exp(4), "this is for factors of e; the slope is for each doubling"),
        (80, "three doublings take away 4.5 points, not six"),
    ],
    tolerance=0.01,
    why="""
        Four doublings: 160 images per class, which is outside the map. Nobody has measured there, and nothing says that
        the gains go on along a line. Run that regime before you count on it.
    """,
)
