"""The runnable paper: collaborative teacher-student learning via multiple knowledge transfer (CTSL-MKT).

The names below are what most users need; each is imported when it is first used. The rooms that they come from:
`models`, `data`, `losses`, `metrics`, `training`, `experiments`, `evidence`, `plots`, `cli`.
"""

from typing import TYPE_CHECKING

from ctsl_lib.environment import ROOT, load_lazily

if TYPE_CHECKING:
    from ctsl_lib import data, losses, models, plots
    from ctsl_lib.data.specs import data_set
    from ctsl_lib.experiments.grid import grid, process_pool, run_grid
    from ctsl_lib.experiments.plan import Plan, plan_from
    from ctsl_lib.experiments.run import run
    from ctsl_lib.experiments.spec import Record, Spec
    from ctsl_lib.experiments.store import Store
    from ctsl_lib.losses.methods import ABLATIONS, METHODS
    from ctsl_lib.losses.objective import Objective, term
    from ctsl_lib.metrics.evaluation import metric
    from ctsl_lib.models.registry import build_peer, register
    from ctsl_lib.training.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "ABLATIONS", "METHODS", "ROOT", "Objective", "Plan", "Recipe", "Record", "Spec", "Store", "build_peer", "data",
    "data_set", "grid", "losses", "metric", "models", "plan_from", "plots", "process_pool", "register", "run",
    "run_grid", "term",
]  # fmt: skip
__getattr__ = load_lazily(
    __name__,
    {
        "data.specs": ("data_set",),
        "experiments.grid": ("grid", "process_pool", "run_grid"),
        "experiments.plan": ("Plan", "plan_from"),
        "experiments.run": ("run",),
        "experiments.spec": ("Record", "Spec"),
        "experiments.store": ("Store",),
        "losses.methods": ("ABLATIONS", "METHODS"),
        "losses.objective": ("Objective", "term"),
        "metrics.evaluation": ("metric",),
        "models.registry": ("build_peer", "register"),
        "training.recipe": ("Recipe",),
    },
    rooms=("data", "losses", "models", "plots"),
)
