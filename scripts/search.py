"""How the profiles were chosen (`python -m scripts.search --help`): searches on validation
images, with seeds of their own.

The order matters for fairness: first the recipe that suits independent training best, then under that recipe
the weights that suit each kind of knowledge alone. Nothing is chosen for the full method, which takes the
weights of its parts.
"""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer

from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.cli.tables import Parameter, Processes, plan_of
from ctsl_lib.environment import check_place, expanded, write_atomically
from ctsl_lib.evidence.statistics import mean_interval
from ctsl_lib.evidence.tables import table_name
from ctsl_lib.experiments.grid import process_pool, run_grid
from ctsl_lib.experiments.profiles import parse_assignments
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.objective import Objective

FIRST_SEED = 1000
"""Far from the seeds 0, 1, ... that results are reported on."""
PROFILE, VALIDATION = "small", 2000
"""The profile of another data set than the digits, and the number of its validation images."""


def recipes(base: Spec) -> dict[str, Spec]:
    """Candidates for the recipe, judged on one network trained alone."""
    found = {}
    for epochs, decay, padding in product((12, 20, 30), (5e-4, 5e-3, 2e-2), (1, 2)):
        changes = {"epochs": epochs, "weight_decay": decay, "padding": padding, "evaluate_every": epochs}
        found[f"epochs={epochs} weight_decay={decay:g} padding={padding}"] = _alone(base, **changes)
    return found


def overnight_recipe(base: Spec) -> dict[str, Spec]:
    """Candidates for learning rate and weight decay of the profile `overnight`, on one network trained alone."""
    return {
        f"learning_rate={rate:g} weight_decay={decay:g}": _alone(base, learning_rate=rate, weight_decay=decay)
        for decay, rate in product((5e-4, 1e-3, 2e-3), (0.1, 0.2))
    }


def twice_the_epochs(base: Spec) -> dict[str, Spec]:
    """Whether a training has converged: what twice the epochs gain one network trained alone."""
    return {
        f"epochs={epochs}": _alone(base, epochs=epochs, evaluate_every=epochs)
        for epochs in (2 * base.recipe.epochs, base.recipe.epochs)
    }


def rival(base: Spec) -> dict[str, Spec]:
    """Candidates for the recipe of independent training for twice the epochs, the rival of equal cost."""
    epochs = 2 * base.recipe.epochs
    return {
        f"epochs={epochs} weight_decay={decay:g} padding={padding}": _alone(
            base, epochs=epochs, evaluate_every=epochs, weight_decay=decay, padding=padding
        )
        for decay, padding in product((5e-4, 5e-3, 2e-2), (1, 2))
    }


def batch_norm(base: Spec) -> dict[str, Spec]:
    """Whether networks without batch normalisation learn under a recipe that was chosen for a ResNet."""
    names = ("squeezenet", "squeezenet_bn", "alexnet", "alexnet_bn")
    return {name: _alone(base.model_copy(update={"peers": (name,)})) for name in names}


def _alone(base: Spec, **changes: float) -> Spec:
    """The first network of `base` trained on the labels alone, with these changes of the recipe."""
    recipe = base.recipe.model_copy(update=changes)
    return base.model_copy(update={"recipe": recipe, "peers": base.peers[:1], "objective": Objective()})


def reid_recipe(base: Spec) -> dict[str, Spec]:
    """Candidates for the recipe of re-identification, judged on one network trained alone."""
    found = {}
    rates: tuple[tuple[Literal["sgd", "amsgrad"], float], ...] = (("sgd", 0.05), ("sgd", 0.1), ("amsgrad", 0.003))
    for (optimizer, rate), group, erasing in product(rates, (0, 4), (0.0, 0.5)):
        changes = {"optimizer": optimizer, "learning_rate": rate, "images_per_class": group, "erasing": erasing}
        recipe = base.recipe.model_copy(update=changes)
        name = " ".join(f"{field}={value}" for field, value in changes.items())
        found[name] = base.model_copy(
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


def overnight_weights(base: Spec) -> dict[str, Spec]:
    """Candidates for long trainings: the values of the short ones and the large ones of the literature.

    Distance 25 and angle 50 are RKD's in public code; self 16 at t = 4 is Hinton's factor t^2; self 76 at t = 20
    is what public code of Tf-KD weighs the term with, relative to cross entropy (0.95 * 400 / 100 against 0.05).
    """
    rows: dict[str, dict[str, float]] = {"independent": {}}
    for gamma, t in ((4, 4), (16, 4), (76, 20)):
        rows[f"self={gamma:g} temperature={t:g}"] = {"self": gamma, "temperature": t}
    for distance in (2.5, 25):
        rows[f"distance={distance:g} angle={2 * distance:g}"] = {"distance": distance, "angle": 2 * distance}
    for response in (1, 4):
        rows[f"response={response:g}"] = {"response": response}
    return _with_objectives(base.model_copy(update={"peers": ("resnet8", "resnet8")}), rows)


def soft_targets(base: Spec) -> dict[str, Spec]:
    """Candidates for a teacher without an opinion: the share of the same probability for all classes, and the loss.

    The first is label smoothing as it is usual; the last is the uniform teacher of the digits.
    """
    rows = {
        f"ce={ce:g} label_smoothing={share:g}": {"ce": ce, "label_smoothing": share}
        for ce, share in ((1, 0.1), (1, 0.3), (2, 0.5), (5, 0.8))
    }
    return _with_objectives(base.model_copy(update={"peers": ("resnet8", "resnet8")}), rows)


SEARCHES: dict[str, Callable[[Spec], dict[str, Spec]]] = {
    "recipe": recipes,
    "weights": weights,
    "image_weights": image_weights,
    "reid_recipe": reid_recipe,
    "overnight_recipe": overnight_recipe,
    "twice_the_epochs": twice_the_epochs,
    "rival": rival,
    "overnight_weights": overnight_weights,
    "batch_norm": batch_norm,
    "soft_targets": soft_targets,
}

OWN_NETWORKS = ("overnight_weights", "batch_norm", "soft_targets")
"""Searches whose networks are not those of the profile."""


def run_search(
    candidates: Mapping[str, Spec], seeds: int, store: Store | None = None, processes: int | None = None
) -> pd.DataFrame:
    """Top-1 or mAP of each candidate on validation images.

    Args:
        candidates: name -> spec, whose seed and images are replaced.
        seeds: their number; the first one is `FIRST_SEED`.
        store: where records are kept; by default see `Store`.
        processes: runs side by side; see `process_pool`.

    Returns: a row for each candidate, mean over peers and seeds with its interval, best first.
    """
    specs = [
        spec.model_copy(update={"seed": FIRST_SEED + place, "evaluate_on": "validation"})
        for spec in candidates.values()
        for place in range(seeds)
    ]
    with process_pool(processes) as executor:
        records = run_grid(specs, store, executor=executor)
    rows = []
    for position, name in enumerate(candidates):
        runs = records[position * seeds : (position + 1) * seeds]
        values = [run.metrics[run.spec.data.metric] for run in runs]
        found = mean_interval([sum(peers) / len(peers) for peers in values])
        rows.append({"candidate": name} | found._asdict())
    return pd.DataFrame(rows).set_index("candidate").sort_values("mean", ascending=False)


def base_of(
    dataset: str | None, profile: str | None, parameter: list[str] | None, validation: int | None
) -> tuple[str, Spec]:
    """What the candidates of a search are changes of.

    Args:
        dataset, profile, parameter, validation: the options of the command; None for those that were not given.

    Returns: the name of the data set as files have it, and the spec.
    Raises: ValueError if options for a data set come without one.
    """
    if dataset is None:
        given = {"--profile": profile, "-p": parameter, "--validation": validation}
        needing = [name for name, value in given.items() if value is not None]
        if needing:
            raise ValueError(
                f"{', '.join(needing)} needs --dataset; without it a search takes the digits as they are"
            )
        return "digits", Spec()
    size = VALIDATION if validation is None else validation
    plan = plan_of(dataset, profile or PROFILE, [f"n_validation={size}", *(parameter or [])])
    return table_name(plan.dataset), plan.base(plan.pairs[0])


def main(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(SEARCHES)}.")],
    dataset: Annotated[
        str | None, typer.Option(help="Another data set, with --profile; default the digits.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(show_default=PROFILE, help="Of --dataset, as `ctsl train` takes it.")
    ] = None,
    parameter: Parameter = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: 1000, 1001, ...")] = 10,
    validation: Annotated[
        int | None,
        typer.Option(
            min=2,
            show_default=str(VALIDATION),
            help="Validation images of --dataset; for re-identification persons.",
        ),
    ] = None,
    processes: Processes = None,
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = Path("data/search"),
) -> None:
    """Repeat a search on validation images that settings of the kit come from."""
    if what not in SEARCHES:
        raise ValueError(f"WHAT must be one of {', '.join(SEARCHES)}; got {what!r}")
    if what in OWN_NETWORKS and "pairs" in parse_assignments(parameter or []):
        raise ValueError(f"-p pairs cannot be given: {what} has networks of its own")
    folder = expanded("--out", out)
    check_place("--out", folder)
    name, base = base_of(dataset, profile, parameter, validation)
    found = run_search(SEARCHES[what](base), seeds, processes=processes)
    write_atomically(folder / f"{name}_{what}.csv", lambda to: found.to_csv(to, float_format="%.3f"))
    typer.echo(found.round(2).to_string())


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
