"""The methods that are compared, each as a row of weights of the one objective."""

from collections.abc import Mapping
from itertools import chain, combinations
from typing import TYPE_CHECKING

from ctsl_lib.losses.objective import BUILT_IN, GROUPS, Objective, needs

if TYPE_CHECKING:
    import pandas as pd


def factorial(full: Objective) -> dict[str, Objective]:
    """The eight combinations of MLI, MLR and SLI, each added to the labels: "none", "MLI", ..., "MLI+MLR+SLI".

    Raises: ValueError if a term of a user's own learns from peers or frozen copies: "none" would have it as well.
    """
    for name, _ in full.extra:
        if needs(name) != "labels":
            raise ValueError(
                f"weights must not have {name}, which learns from {needs(name)}: independent training would have it as "
                f"well. Give it in a row of its own, such as rows={{mine: {{ce: 1, {name}: 1}}}}"
            )
    rows = {}
    for chosen in chain.from_iterable(combinations(GROUPS, size) for size in range(len(GROUPS) + 1)):
        dropped = chain.from_iterable(terms for name, terms in GROUPS.items() if name not in chosen)
        rows["+".join(chosen) or "none"] = full.without(*dropped)
    return rows


METHOD_NAMES = {
    "independent": "none",
    "dml": "MLI",
    "rkd": "MLR",
    "tfkd": "SLI",
    "ctsl_mkt": "MLI+MLR+SLI",
}
"""Method -> its name among the eight combinations: each method is the full one with some terms left out."""


def methods(full: Objective) -> dict[str, Objective]:
    """The five methods by name, all with the weights of `full`."""
    rows = factorial(full)
    return {name: rows[row] for name, row in METHOD_NAMES.items()}


FULL = Objective.from_paper(alpha=1.0, beta=2.5, gamma=4.0, beta1=2.0, beta2=1.6, t=1.0)
"""The kit's weights for the built-in data; we do not know the paper's own.

The weight of each kind of knowledge was chosen on validation images, for that kind alone: see data/search/README.md.
"""
METHODS = methods(FULL)
ABLATIONS = factorial(FULL)


def baselines(teacher: str) -> dict[str, Objective]:
    """Two well-known baselines that are not in the paper: a fixed teacher ("kd") and label smoothing.

    `teacher` is the name of the teacher's network. The weights are the usual ones: 0.1 CE + 0.9 t^2 KL with t = 4
    (Hinton et al. 2015, arXiv 1503.02531), and a smoothing of 0.1 (Szegedy et al. 2016, arXiv 1512.00567).
    """
    return {
        "kd": Objective(ce=0.1, self=0.9, temperature=4, scale_self_by_t2=True, teacher=teacher),
        "label_smoothing": Objective(label_smoothing=0.1),
    }


def objective_table(rows: Mapping[str, Objective]) -> "pd.DataFrame":
    """A table with a row for each objective and a column for each weight and switch; terms of weight 0 are empty."""
    import pandas as pd

    frame = pd.DataFrame([row.model_dump(exclude={"extra"}) | dict(row.extra) for row in rows.values()])
    frame.index = pd.Index(rows, name="objective")
    terms = [*BUILT_IN, *dict.fromkeys(name for row in rows.values() for name, _ in row.extra)]
    frame[terms] = frame[terms].mask(frame[terms] == 0)
    return frame
