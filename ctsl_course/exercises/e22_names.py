"""Exercise of notebook 22 on names for differences."""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from ctsl_course.exercises.diagnose import require
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried


def my_name(differences: list[float], smallest: float = 1.0) -> str:
    """The plan's name for paired differences: "better", "worse", "less than a point", "open" or "single run"."""
    raise NotImplementedError


def ends(differences: list[float]) -> tuple[float, float]:
    """Of the 95 % interval of the mean."""
    d = np.asarray(differences, dtype=float)
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean() - half, d.mean() + half


def name_right(differences: list[float], smallest: float = 1.0) -> str:
    """Zero first, then the smallest effect of interest; equal differences have no spread, and decide nothing."""
    if len(differences) < 2:
        return "single run"
    if np.allclose(differences, differences[0]):
        return "open"
    middle, n = np.mean(differences), len(differences)
    half = stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / math.sqrt(n)
    low, high = middle - half, middle + half
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "less than a point" if -smallest < low and high < smallest else "open"


def name_of_the_mean(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: the mean lies within one point of zero."""
    found = name_right(differences, smallest)
    return "less than a point" if found == "open" and abs(np.mean(differences)) < smallest else found


def name_small_first(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: asks for the smallest effect before zero."""
    if len(differences) < 2:
        return "single run"
    low, high = ends(differences)
    return "less than a point" if -smallest < low and high < smallest else name_right(differences, smallest)


def name_one_sided(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: looks at the upper end alone."""
    found = name_right(differences, smallest)
    return "less than a point" if found == "open" and ends(differences)[1] < smallest else found


def _name_with(differences: list[float], smallest: float, factor: float, ddof: int = 1) -> str:
    """The name by an interval with another factor than Student's, or another spread."""
    if len(differences) < 2 or np.ptp(differences) < 1e-9:
        return name_right(differences, smallest)
    middle, spread = np.mean(differences), np.std(differences, ddof=ddof)
    half = factor * spread / math.sqrt(len(differences))
    if abs(middle) > half:
        return "better" if middle > 0 else "worse"
    return "less than a point" if abs(middle) + half < smallest else "open"


def name_normal(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: 1.96 in the place of Student's value."""
    return _name_with(differences, smallest, 1.96)


def name_of_three(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: Student's value of three seeds for any number."""
    return _name_with(differences, smallest, 4.303)


def name_biased(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: the spread divided by n."""
    return _name_with(differences, smallest, stats.t.ppf(0.975, len(differences) - 1), ddof=0)


def name_by_width(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: a short interval is one near zero."""
    found = name_right(differences, smallest)
    short = len(differences) > 1 and ends(differences)[1] - ends(differences)[0] < 2 * smallest
    return "less than a point" if found == "open" and short else found


def name_of_one_point(differences: list[float], smallest: float = 1.0) -> str:
    """Mistake: `smallest` is not used."""
    return name_right(differences)


def names_are(*cases: tuple[list[float], str, str]) -> Callable[[Tried], None]:
    """A check of several lists: differences, their name, and what to say if it is another one."""

    def check(answer: Tried) -> None:
        for differences, name, said in cases:
            found = answer(differences)
            require(found == name, f"{differences} is called {name!r}, not {found!r}: {said}")

    return check


def name_with_a_smaller_effect(answer: Tried) -> None:
    found = answer([0.1, -0.1, 0.0], 0.2)
    require(
        found == "open", f"[0.1, -0.1, 0.0] with smallest=0.2 is called 'open', not {found!r}: ±0.25 is wider"
    )


code(
    "22.2",
    "Names for a difference",
    minutes=10,
    difficulty="**",
    text="""
        Write the rule of section 3, with Student's interval: "better" or "worse" if it excludes zero; else
        "less than a point" if *all* of it lies within `smallest` of zero, ends excluded; else "open". One
        seed alone is a "single run", and equal differences, which have no spread, are "open".
    """,
    hints=(
        "Ask in this order: enough seeds? zero excluded? all of it within the smallest effect?",
        "What must hold for the lower end, and what for the upper one?",
    ),
    stub=my_name,
    solution=name_right,
    wrong={
        name_of_the_mean: "the whole interval must lie",
        name_small_first: "zero comes first",
        name_one_sided: "both ends",
        name_normal: "Student",
        name_biased: "n - 1",
        name_by_width: "both ends",
        name_of_three: "five seeds",
        name_of_one_point: "smallest=0.2",
    },
    checks={
        "one seed": names_are(([2.0], "single run", "one seed has no interval")),
        "clear of zero": names_are(
            ([1.9, 2.0, 2.1], "better", "its interval lies above zero"),
            ([-2.1, -2.0, -1.9], "worse", "its interval lies below zero"),
            ([0.3, 0.4, 0.5], "better", "zero comes first; a small gain that is sure is a gain"),
        ),
        "not clear of zero": names_are(
            ([0.1, -0.1, 0.0], "less than a point", "its interval lies within one point of zero"),
            ([1.0, -0.5, 0.2], "open", "the whole interval must lie within a point of zero, not the mean alone"),
            ([1.0, 2.0, 3.0], "open", "three seeds have Student's value 4.303, not 1.96"),
            ([-0.9, 0.1, -0.4], "open", "both ends of the interval must lie within a point of zero"),
            ([0.9, 0.2, 0.5], "open", "both ends of the interval must lie within a point of zero"),
            ([0.4, 1.2, 1.0], "open", "the spread is taken with n - 1"),
            ([0.5, 1.5, 1.0, 0.8, 0.4], "better", "five seeds have Student's value 2.776"),
        ),
        "equal differences": names_are(
            ([2.0, 2.0, 2.0], "open", "equal differences have no spread and decide nothing"),
            ([0.1 + 0.2, 0.3, 0.3], "open", "differences that are equal but for rounding decide nothing either"),
        ),
        "another smallest effect": name_with_a_smaller_effect,
    },
    why="""
        "Less than a point" is the statement that a mere lack of significance never is: the effect was looked
        for closely enough, and it is small. "Open" means that nobody knows.
    """,
)
