"""A plan names all runs behind a table (pairs of networks, methods, seeds, one recipe) and what they would cost."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, model_validator

from ctsl_lib.data.catalogue import data_class, data_spec
from ctsl_lib.data.specs import DATA_SETS, DataSpec
from ctsl_lib.environment import suggestion
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import baselines, factorial, methods
from ctsl_lib.losses.objective import BUILT_IN, Objective
from ctsl_lib.models.registry import check_network
from ctsl_lib.training.recipe import Recipe

LONGER = "independent_2x"
"""Independent training for twice the epochs: as many as self-learning takes, its first stage included."""
WARM = "ctsl_mkt_warm"
"""The full method with peers that start from the first stage's weights; the paper leaves open whether they do."""

Pair = tuple[str, ...]
NetworkName = Annotated[str, AfterValidator(check_network)]


class Plan(BaseModel, frozen=True, extra="forbid"):
    """The runs of a table. `plan_from` makes one of a profile's flat names."""

    dataset: str
    """A data set by name, or the path of a folder or zip of class folders, as the user wrote it."""
    data: DataSpec
    pairs: tuple[tuple[NetworkName, ...], ...] = Field(min_length=1)
    """Networks that learn together, by name."""
    methods: tuple[str, ...] = ("independent", "dml", "rkd", "tfkd", "ctsl_mkt")
    """Methods, ablation rows such as "MLI+MLR", `LONGER`, `WARM`, the baselines "kd" and "label_smoothing", or
    names of `rows`."""
    seeds: int = Field(default=3, ge=1)
    """Number of seeds: 0, 1, ..."""
    objective: Objective
    """The full method; the others are parts of it."""
    rows: dict[str, Objective] = {}
    """Methods of a user's own: name -> weights of the terms."""
    teacher: NetworkName = "resnet18"
    """The fixed teacher of the baseline "kd"."""
    initial: Literal["random", "imagenet"] = "random"
    recipe: Recipe

    @model_validator(mode="after")
    def _known_methods(self) -> "Plan":
        known = self._known()
        for name in self.methods:
            if name not in known:
                names = ", ".join(known)
                raise ValueError(f"methods must be among {names}; got {name!r}{suggestion(name, known)}")
        return self

    def _known(self) -> dict[str, Objective]:
        full = self.objective
        warm = full.model_copy(update={"start": "pretrained"})
        known = methods(full) | {LONGER: Objective(), WARM: warm} | factorial(full) | baselines(self.teacher)
        return known | self.rows

    @property
    def objectives(self) -> dict[str, Objective]:
        """Each method of the plan as a row of weights."""
        known = self._known()
        return {name: known[name] for name in self.methods}

    def base(self, pair: Pair, method: str = "independent") -> Spec:
        """What the runs of this pair share; the objective and the seed are still the defaults."""
        epochs = self.recipe.epochs * (2 if method == LONGER else 1)
        recipe = self.recipe.model_copy(update={"epochs": epochs})
        return Spec(data=self.data, peers=pair, recipe=recipe, initial=self.initial)

    def specs(self) -> dict[tuple[Pair, str], list[Spec]]:
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

    def train(self, store: Store | None = None, *, processes: int | None = None, threads: int = 1) -> None:
        """Run what has no record yet, pair by pair and seed by seed; cut short, it leaves whole comparisons.

        Args:
            store: where records live.
            processes: runs side by side, by default one a core. threads: CPU threads of each.
        """
        from ctsl_lib.experiments.grid import process_pool, run_grid

        every = self.specs()
        with process_pool(processes) as executor:
            for pair in self.pairs:
                runs = [spec for (where, _), specs in every.items() if where == pair for spec in specs]
                run_grid(sorted(runs, key=lambda spec: spec.seed), store, executor=executor, threads=threads)

    def records(self, store: Store | None = None) -> dict[tuple[Pair, str], list[Record]]:
        """(pair, method) -> the records that are there."""
        store = store if store is not None else Store()
        loaded = {place: [store.load(spec) for spec in runs] for place, runs in self.specs().items()}
        return {place: [record for record in runs if record is not None] for place, runs in loaded.items()}


OWN = ("pairs", "methods", "seeds", "weights", "rows", "teacher", "initial")
"""Names of a profile that belong to the plan itself; all others belong to the data, the recipe or the objective."""
SWITCHES = tuple(n for n in Objective.model_fields if n not in (*BUILT_IN, "extra", "temperature", "teacher"))
NOTEBOOKS_ONLY = ("run_missing", "dataset")
"""What profiles say to notebooks beside it."""


def _data_names() -> set[str]:
    every = {name for settings in DATA_SETS.values() for name in settings.model_fields}
    return every - {"name", "path"}


def plan_names() -> list[str]:
    """All names that a profile or a person may set."""
    return sorted({*OWN, *SWITCHES, *Recipe.model_fields, *_data_names()})


def plan_from(values: Mapping[str, Any], dataset: str, *, others: Literal["refuse", "ignore"] = "refuse") -> Plan:
    """The plan that flat names (epochs, n_train, pairs, weights, ...) describe for a data set.

    Args:
        values: name -> value, as in a profile or among a notebook's variables. See `plan_names`.
        dataset: a name, or the path of class folders.
        others: what to do with names that mean nothing to a plan; notebooks have such variables.

    Raises: ValueError that names what is unknown, or out of range.
    """
    known = plan_names()
    for name in values:
        if others == "refuse" and name not in known and name not in NOTEBOOKS_ONLY:
            raise ValueError(f"a plan has no setting {name!r}{suggestion(name, known)}")
    kind = data_class(dataset)
    given = {name: values[name] for name in sorted(_data_names() & values.keys()) if values[name] is not None}
    foreign = [f"{name} = {value!r}" for name, value in given.items() if name not in kind.model_fields and value]
    if foreign:
        raise ValueError(f"{dataset} has no setting for {', '.join(foreign)}")
    data = {name: value for name, value in given.items() if name in kind.model_fields}
    switches = {name: values[name] for name in SWITCHES if name in values}
    own = {name: values[name] for name in OWN if name in values and name != "weights"}
    return Plan.model_validate(
        own
        | {
            "dataset": dataset,
            "data": data_spec(dataset, data),
            "recipe": {name: values[name] for name in Recipe.model_fields if name in values},
            "objective": dict(values.get("weights", {})) | switches,
        }
    )


class Cost(NamedTuple):
    """Of some runs, one after the other in one process."""

    seconds: float
    """Of those that are like a run that was timed."""
    unknown: int
    """Runs that no record is like."""

    def __str__(self) -> str:
        hours = self.seconds / 3600
        text = f"about {hours:.1f} h" if hours >= 1 else f"about {self.seconds / 60:.0f} min"
        if not self.unknown:
            return f"{text} of one process"
        return (f"{text} of one process, and " if self.seconds else "") + f"{self.unknown} runs of unknown cost"


def cost(specs: Iterable[Spec], records: Sequence[Record], device: str) -> Cost:
    """What these runs would cost on this kind of device, estimated from records of similar ones. Rough.

    Similar are runs of the same networks on the same data in the same batches, precision and order of updates,
    both compiled or not, with or without frozen copies; their median time is scaled to the epochs.
    """
    seconds, unknown = 0.0, 0
    for spec in specs:
        times = [
            record.provenance.wall_time / record.spec.recipe.epochs
            for record in records
            if record.provenance.device == device and _traits(record.spec) == _traits(spec)
        ]
        seconds += median(times) * spec.recipe.epochs if times else 0.0
        unknown += not times
    return Cost(seconds, unknown)


def _traits(spec: Spec) -> tuple[object, ...]:
    recipe, own = spec.recipe, spec.objective
    frozen = own.needs_frozen, own.teacher
    return spec.data, spec.peers, *frozen, own.update, recipe.batch_size, recipe.precision, recipe.compile
