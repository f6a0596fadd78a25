"""A plan names all runs behind one of the paper's tables: pairs of networks, methods, seeds, one recipe."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from ctsl_lib.data.catalogue import DataSpec, data_class, data_spec
from ctsl_lib.data.types import Metric
from ctsl_lib.experiments.grid import layout_for, process_pool, run_grid
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Record, Store
from ctsl_lib.losses.methods import baselines, factorial, methods
from ctsl_lib.losses.objective import Objective
from ctsl_lib.models.precision import Precision
from ctsl_lib.models.registry import check_network
from ctsl_lib.training.recipe import Recipe

DATA_FIELDS = ("n_train", "n_validation", "label_noise", "identities", "height", "width", "distance")
"""Fields of a plan that belong to the data set; each has those that its class has (see `datasets`)."""
LONGER = "independent_2x"
"""Independent training for twice the epochs: as many as self-learning takes, its first stage included."""
WARM = "ctsl_mkt_warm"
"""The full method with peers that start from the first stage's weights; the paper leaves open whether they do."""


class Plan(BaseModel, frozen=True, extra="forbid"):
    """The runs of a table; the fields are the parameters of the table notebooks and of the profiles."""

    dataset: str
    """A data set by name, or the path of a folder or zip of class folders."""
    pairs: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """Networks that learn together, by name."""
    methods: tuple[str, ...] = ("independent", "dml", "rkd", "tfkd", "ctsl_mkt")
    """Methods, ablation rows such as "MLI+MLR", `LONGER`, `WARM`, or the baselines "kd" and "label_smoothing"."""
    seeds: int = Field(default=3, ge=1)
    """Number of seeds: 0, 1, ..."""
    weights: dict[str, float]
    """The full method's weights (response, distance, angle, self) and temperature; the others are parts of it."""
    teacher: str = "resnet18"
    """The fixed teacher of the baseline "kd"."""
    initial: Literal["random", "imagenet"] = "random"
    n_train: int | None = None
    n_validation: int = 0
    label_noise: float = 0.0
    identities: int | None = None
    height: int | None = None
    width: int | None = None
    distance: Metric | None = None
    epochs: int
    batch_size: int
    images_per_class: int = 0
    optimizer: Literal["sgd", "amsgrad"] = "sgd"
    learning_rate: float
    weight_decay: float
    schedule: Literal["one_cycle", "cosine", "steps"]
    drop_at: tuple[float, ...] = (0.3, 0.6, 0.8)
    drop: float = 0.2
    padding: int
    mirror: bool
    erasing: float = 0.0
    precision: Precision = "fp32"
    compile: bool = False
    evaluate_every: int = 1

    @field_validator("pairs")
    @classmethod
    def _known_networks(cls, pairs: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for pair in pairs:
            for name in pair:
                check_network(name)
        return pairs

    @property
    def objectives(self) -> dict[str, Objective]:
        """Each method of the plan as a row of weights."""
        full = Objective.model_validate(self.weights)
        warm = Objective.model_validate(self.weights | {"start": "pretrained"})
        variants = {LONGER: Objective(), WARM: warm}
        known = methods(full) | variants | factorial(full) | baselines(self.teacher)
        unknown = [name for name in self.methods if name not in known]
        if unknown:
            raise ValueError(f"methods must be among {', '.join(known)}; got {', '.join(unknown)}")
        return {name: known[name] for name in self.methods}

    def base(self, pair: tuple[str, ...], method: str = "independent") -> Spec:
        """What the runs of this pair share; the objective and the seed are still the defaults."""
        recipe = {name: getattr(self, name) for name in Recipe.model_fields if name in type(self).model_fields}
        if method == LONGER:
            recipe["epochs"] *= 2
        return Spec(data=self.data, peers=pair, recipe=Recipe.model_validate(recipe), initial=self.initial)

    @property
    def data(self) -> DataSpec:
        """The data set. A setting that it does not have may only be at its default."""
        known = data_class(self.dataset).model_fields
        given = {name: getattr(self, name) for name in DATA_FIELDS}
        foreign = [
            f"{name} = {value!r}"
            for name, value in given.items()
            if name not in known and value != Plan.model_fields[name].default
        ]
        if foreign:
            raise ValueError(f"{self.dataset} has no setting for {', '.join(foreign)}")
        own = {name: value for name, value in given.items() if name in known and value is not None}
        return data_spec(self.dataset, own)

    def specs(self) -> dict[tuple[tuple[str, ...], str], list[Spec]]:
        """(pair, method) -> its runs, one for each seed."""
        return {
            (pair, method): [
                self.base(pair, method).model_copy(update={"objective": objective, "seed": seed})
                for seed in range(self.seeds)
            ]
            for pair in self.pairs
            for method, objective in self.objectives.items()
        }

    def runs(self) -> list[tuple[str, Spec]]:
        """(method or "stage 1", spec) of all runs, what is frozen first."""
        every = [(method, spec) for (_, method), specs in self.specs().items() for spec in specs]
        first = dict.fromkeys(spec.stage1() for _, spec in every if spec.objective.needs_frozen)
        return [("stage 1", spec) for spec in first] + every

    def train(
        self, store: Store | None = None, *, processes: int | None = None, threads: int | None = None
    ) -> None:
        """Run what has no record yet, pair by pair and seed by seed: a plan cut short has whole comparisons.

        Args:
            store: where records live.
            processes: runs side by side. threads: of each. By default what suits each pair and the machine.
        """
        every = self.specs()
        for pair in self.pairs:
            runs = [spec for (where, _), specs in every.items() if where == pair for spec in specs]
            runs.sort(key=lambda spec: spec.seed)
            chosen = layout_for(runs, processes, threads)
            with process_pool(chosen.processes) as executor:
                run_grid(runs, store, executor=executor, threads=chosen.threads)

    def records(self, store: Store | None = None) -> dict[tuple[tuple[str, ...], str], list[Record]]:
        """(pair, method) -> the records that are there."""
        store = store if store is not None else Store()
        found = {place: [store.load(spec) for spec in runs] for place, runs in self.specs().items()}
        return {place: [record for record in runs if record is not None] for place, runs in found.items()}


def plan_from(values: Mapping[str, Any], dataset: str) -> Plan:
    """The plan that a profile's values describe for a data set; values that only notebooks use are left out."""
    known = {name: value for name, value in values.items() if name in Plan.model_fields}
    return Plan.model_validate(known | {"dataset": dataset})
