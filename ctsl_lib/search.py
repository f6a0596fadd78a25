"""How the quick profile's settings were chosen: small searches on validation images, with seeds of their own.

The order matters for fairness: first the recipe that suits independent training best, then under that recipe
the weights that suit each kind of knowledge alone. Nothing is chosen for the full method, which takes the
weights of its parts.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import pandas as pd

from ctsl_lib.experiments import Spec, Store
from ctsl_lib.grids import layout_for, process_pool, run_grid
from ctsl_lib.objectives import Objective
from ctsl_lib.recipes import Recipe
from ctsl_lib.tables import mean_interval

SEARCH_SEEDS = tuple(range(1000, 1010))
"""Far from the seeds 0, 1, ... that results are reported on."""


def recipes(base: Spec) -> dict[str, Spec]:
    """Candidates for the recipe, judged on one network trained alone."""
    found = {}
    for epochs, decay, padding in product((12, 20, 30), (5e-4, 5e-3, 2e-2), (1, 2)):
        recipe = Recipe(epochs=epochs, weight_decay=decay, padding=padding, evaluate_every=epochs)
        found[f"epochs={epochs} weight_decay={decay:g} padding={padding}"] = base.model_copy(
            update={"recipe": recipe, "peers": base.peers[:1], "objective": Objective()}
        )
    return found


def weights(base: Spec) -> dict[str, Spec]:
    """Candidates for the weights of each kind of knowledge alone."""
    rows: dict[str, dict[str, float]] = {"independent": {}}
    for response in (0.5, 1, 2, 4, 8):
        rows[f"response={response:g}"] = {"response": response}
    for distance in (1, 2.5, 5, 10, 25):
        rows[f"distance={distance:g} angle={2 * distance:g}"] = {"distance": distance, "angle": 2 * distance}
    for gamma, t in product((0.5, 1, 2, 4, 8), (1, 4)):
        rows[f"self={gamma:g} temperature={t:g}"] = {"self": gamma, "temperature": t}
    return _with_objectives(base, rows)


def _with_objectives(base: Spec, rows: Mapping[str, Mapping[str, float]]) -> dict[str, Spec]:
    return {
        name: base.model_copy(update={"objective": Objective.model_validate(row)}) for name, row in rows.items()
    }


def image_weights(base: Spec) -> dict[str, Spec]:
    """Fewer candidates, for data on which a run takes minutes."""
    rows: dict[str, dict[str, float]] = {"independent": {}}
    for response in (1, 4):
        rows[f"response={response:g}"] = {"response": response}
    for distance in (2.5, 25):
        rows[f"distance={distance:g} angle={2 * distance:g}"] = {"distance": distance, "angle": 2 * distance}
    for gamma, t in ((1, 1), (4, 1), (4, 4)):
        rows[f"self={gamma:g} temperature={t:g}"] = {"self": gamma, "temperature": t}
    return _with_objectives(base, rows)


SEARCHES: dict[str, Callable[[Spec], dict[str, Spec]]] = {
    "recipe": recipes,
    "weights": weights,
    "image_weights": image_weights,
}


def search(
    candidates: Mapping[str, Spec],
    seeds: Sequence[int] = SEARCH_SEEDS,
    store: Store | None = None,
    processes: int | None = None,
) -> pd.DataFrame:
    """Validation accuracy of each candidate: mean over peers and seeds with its 95 % interval, best first."""
    specs = [
        spec.model_copy(update={"seed": seed, "evaluate_on": "validation"})
        for spec in candidates.values()
        for seed in seeds
    ]
    chosen = layout_for(specs, processes)
    with process_pool(chosen.processes) as executor:
        records = run_grid(specs, store, executor=executor, threads=chosen.threads)
    rows = []
    for position, name in enumerate(candidates):
        runs = records[position * len(seeds) : (position + 1) * len(seeds)]
        found = mean_interval([sum(run.metrics["top1"]) / len(run.metrics["top1"]) for run in runs])
        rows.append({"candidate": name} | found._asdict())
    return pd.DataFrame(rows).set_index("candidate").sort_values("mean", ascending=False)
