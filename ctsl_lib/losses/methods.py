"""The compared methods, each as a row of weights of the one objective."""

from itertools import chain, combinations

from ctsl_lib.losses.objective import GROUPS, Objective


def factorial(full: Objective) -> dict[str, Objective]:
    """The eight combinations of MLI, MLR and SLI on top of the labels, by name: "none", "MLI", ... ."""
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
"""The compared methods, each as its row of the factorial: the baselines are the objective with terms left out."""


def methods(full: Objective) -> dict[str, Objective]:
    """The five methods that share the weights of `full`."""
    rows = factorial(full)
    return {name: rows[row] for name, row in METHOD_NAMES.items()}


FULL = Objective.from_paper(alpha=1.0, beta=2.5, gamma=4.0, beta1=2.0, beta2=1.6, t=1.0)
"""The kit's weights for the built-in data (the paper's own are not known to us).

Each kind of knowledge has the weight that suited it alone on validation images: see data/search/README.md.
"""
METHODS = methods(FULL)
ABLATIONS = factorial(FULL)


def baselines(teacher: str) -> dict[str, Objective]:
    """What readers ask for beside the paper's methods: a fixed teacher, and label smoothing.

    The values are the usual ones (Hinton's loss as 0.1 CE + 0.9 t^2 KL with t = 4; smoothing 0.1).
    """
    return {
        "kd": Objective(ce=0.1, self=0.9, temperature=4, scale_self_by_t2=True, teacher=teacher),
        "label_smoothing": Objective(label_smoothing=0.1),
    }
