"""A plan names all runs behind a table: pairs of networks, methods, seeds, one recipe. It can estimate their cost."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, model_validator

from ctsl_lib.data.catalogue import data_class, data_spec
from ctsl_lib.data.specs import DATA_SETS, DataSpec
from ctsl_lib.environment import suggestion
from ctsl_lib.errors import shown
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHOD_NAMES, baselines, factorial, methods
from ctsl_lib.losses.objective import BUILT_IN, GROUPS, Objective
from ctsl_lib.models.registry import check_network
from ctsl_lib.training.recipe import Recipe

LONGER = "independent_2x"
"""Independent training for twice the epochs, which is as many as self-learning takes with its first stage."""
WARM = "ctsl_mkt_warm"
"""The full method with peers that start from the weights of the first stage; the paper leaves open whether they do."""
NAMED_FOR = METHOD_NAMES | {WARM: METHOD_NAMES["ctsl_mkt"]}
"""Method -> the kinds of knowledge that it is named for; the names of the eight combinations say it themselves."""

Pair = tuple[str, ...]
NetworkName = Annotated[str, AfterValidator(check_network)]


class Plan(BaseModel, frozen=True, extra="forbid"):
    """The runs of a table. `plan_from` makes one from the settings of a profile."""

    dataset: str
    """A data set by name, or the path of a folder or zip of class folders, as the user wrote it."""
    data: DataSpec
    pairs: tuple[Annotated[tuple[NetworkName, ...], Field(min_length=1)], ...] = Field(min_length=1)
    """The groups of networks that learn together, each network by name."""
    methods: tuple[str, ...] = Field(("independent", "dml", "rkd", "tfkd", "ctsl_mkt"), min_length=1)
    """What to compare: methods, ablation rows such as "MLI+MLR", `LONGER`, `WARM`, the baselines "kd" and
    "label_smoothing", or names of `rows`."""
    seeds: int = Field(default=3, ge=1)
    """The number of seeds: 0, 1, ..."""
    objective: Objective
    """The full method; the other methods leave out some of its terms."""
    rows: dict[str, Objective] = {}
    """A user's own methods: name -> weights of the terms."""
    teacher: NetworkName = "resnet18"
    """The fixed teacher of the baseline "kd"."""
    initial: Literal["random", "imagenet"] = "random"
    recipe: Recipe

    @model_validator(mode="after")
    def _each_once(self) -> "Plan":
        for name, listed in (("pairs", self.pairs), ("methods", self.methods)):
            for one, count in Counter(listed).items():
                if count > 1:
                    raise ValueError(f"{name} must name each once; got {shown(one)} {count} times")
        return self

    @model_validator(mode="after")
    def _known_methods(self) -> "Plan":
        known = self._known()
        for name in self.methods:
            if name not in known:
                names = ", ".join(known)
                raise ValueError(f"methods must be among {names}; got {name!r}{suggestion(name, known)}")
        return self

    @model_validator(mode="after")
    def _methods_have_their_terms(self) -> "Plan":
        # Without them a row would be another method under a wrong name, with a difference of exactly 0.
        for name in (name for name in self.methods if name not in self.rows):
            for kind in NAMED_FOR.get(name, name).split("+"):
                terms = GROUPS.get(kind, ())
                if terms and not any(term in self.objective.active for term in terms):
                    raise ValueError(
                        f"{name} needs {' or '.join(terms)} above 0 in weights, which must name every term of the "
                        f"full method; got {self.objective.in_words}"
                    )
        return self

    def _known(self) -> dict[str, Objective]:
        full = self.objective
        warm = full.model_copy(update={"start": "pretrained"})
        longer = methods(full)["independent"].model_copy(update={"start": "fresh"})
        known = methods(full) | {LONGER: longer, WARM: warm} | factorial(full) | baselines(self.teacher)
        return known | self.rows

    @property
    def objectives(self) -> dict[str, Objective]:
        """Each method of the plan as a row of weights."""
        known = self._known()
        return {name: known[name] for name in self.methods}

    def base(self, pair: Pair, method: str = "independent") -> Spec:
        """What all runs of a pair have in common; objective and seed are still the defaults.

        Args:
            pair: the networks.
            method: `LONGER` trains for twice the epochs; no other method makes a difference.
        """
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

    def by_pair(self) -> list[list[Spec]]:
        """For each pair its runs without those of stage 1, all methods of one seed before the next seed."""
        every = self.specs().items()
        runs = ([spec for (where, _), specs in every if where == pair for spec in specs] for pair in self.pairs)
        return [sorted(specs, key=lambda spec: spec.seed) for specs in runs]

    def runs(self) -> list[tuple[str, Spec]]:
        """All runs as (method, spec), those of stage 1, as ("stage 1", spec), first."""
        every = [(method, spec) for (_, method), specs in self.specs().items() for spec in specs]
        first = dict.fromkeys(spec.stage1() for _, spec in every if spec.objective.needs_frozen)
        return [("stage 1", spec) for spec in first] + every

    def check(self, store: Store | None = None, *, weights: bool = False) -> None:
        """Try in seconds what would else fail after hours: the data, the batches, each network on a few images.

        Only pairs that lack a record are tried.

        Args:
            store: where records are kept; by default see `Store`.
            weights: whether the trained peers are wanted beside each record.

        Raises: PlanError that names the pair and what to change; DataError if the images are missing.
        """
        from ctsl_lib.experiments.trial import try_runs

        store = store if store is not None else Store()
        every = [spec for specs in self.specs().values() for spec in specs]
        wanted = (store.path, store.weights_path) if weights else (store.path,)
        try_runs([spec for spec in every if not all(path(spec).exists() for path in wanted)])

    def train(
        self,
        store: Store | None = None,
        *,
        processes: int | None = None,
        executor: Executor | None = None,
        threads: int = 1,
        retry_failed: bool = False,
        keep_weights: bool = False,
    ) -> None:
        """Run what has no record yet, pair by pair and seed by seed, after a `check`.

        All methods of one seed come before the next seed, so that a training that is stopped early leaves complete
        comparisons. What other processes work on is left to them at first, and waited for at the end. An executor,
        which may have more workers than a pair has runs, gets the runs of all pairs in this order at once.

        Args:
            store: where records are kept; by default see `Store`.
            processes: how many runs go on side by side; see `process_pool`.
            executor: runs them instead of processes of this machine, such as a `cluster.Cluster`.
            threads: CPU threads of each run.
            retry_failed: whether to try runs again whose loss was not finite in an earlier call.
            keep_weights: whether to keep the trained peers; a run that is done but lacks them is trained again.

        Raises: GridError that names each failed run, after all others have finished; the errors of `check` and, but
            for those, of `run`.
        """
        from ctsl_lib.experiments.grid import Work, process_pool

        store = store if store is not None else Store()
        self.check(store, weights=keep_weights)
        pairs = self.by_pair()
        groups = pairs if executor is None else [[spec for specs in pairs for spec in specs]]
        with process_pool(processes) if executor is None else nullcontext(executor) as pool:
            work = Work(store, pool, keep_weights=keep_weights, threads=threads, retry_failed=retry_failed)
            for wait in (False, True):
                for specs in groups:
                    work.finish(specs, wait=wait)
            work.check()

    def records(self, store: Store | None = None) -> dict[tuple[Pair, str], list[Record]]:
        """(pair, method) -> the records that exist in the store."""
        store = store if store is not None else Store()
        loaded = {place: [store.load(spec) for spec in runs] for place, runs in self.specs().items()}
        return {place: [record for record in runs if record is not None] for place, runs in loaded.items()}


OWN = ("pairs", "methods", "seeds", "weights", "rows", "teacher", "initial")
"""Settings of a profile that belong to the plan itself; all others belong to the data, the recipe or the objective."""
SWITCHES = tuple(n for n in Objective.model_fields if n not in (*BUILT_IN, "extra", "temperature", "teacher"))
NOTEBOOKS_ONLY = ("run_missing", "dataset")
"""Settings of a profile that only notebooks use."""


def _data_names() -> set[str]:
    every = {name for settings in DATA_SETS.values() for name in settings.model_fields}
    return every - {"name", "path"}


def plan_names() -> list[str]:
    """The names of all settings that a profile or a person may give."""
    return sorted({*OWN, *SWITCHES, *Recipe.model_fields, *_data_names()})


def plan_from(values: Mapping[str, Any], dataset: str, *, others: Literal["refuse", "ignore"] = "refuse") -> Plan:
    """The plan that a flat list of settings (epochs, n_train, pairs, weights, ...) describes for a data set.

    Args:
        values: setting -> value, as in a profile or among the variables of a notebook; see `plan_names`.
        dataset: the name of a data set, or the path of a folder or zip of class folders.
        others: whether to refuse or ignore names that are no settings of a plan; notebooks have such variables.

    Returns: the plan. Raises: ValueError that names an unknown setting or a value out of range.
    """
    known = plan_names()
    for name in values:
        if others == "refuse" and name not in known and name not in NOTEBOOKS_ONLY:
            raise ValueError(f"a plan has no setting {name!r}{suggestion(name, known)}")
    kind = data_class(dataset)
    given = {name: values[name] for name in sorted(_data_names() & values.keys())}
    foreign = [f"{name} = {value!r}" for name, value in given.items() if name not in kind.model_fields and value]
    if foreign:
        raise ValueError(f"{dataset} has no setting for {', '.join(foreign)}")
    data = {name: value for name, value in given.items() if name in kind.model_fields}
    switches = {name: values[name] for name in SWITCHES if name in values}
    weights = values.get("weights", {})
    if not isinstance(weights, Mapping):
        raise ValueError(
            f"weights must give each term a number, such as {{ce: 1, self: 0.5}}; got {shown(weights)}"
        )
    own = {name: values[name] for name in OWN if name in values and name != "weights"}
    return Plan.model_validate(
        own
        | {
            "dataset": dataset,
            "data": data_spec(dataset, data),
            "recipe": {name: values[name] for name in Recipe.model_fields if name in values},
            "objective": dict(weights) | switches,
        }
    )


class Cost(NamedTuple):
    """An estimate of how long some runs take, one after the other in one process."""

    seconds: float
    """The time of the runs that can be estimated."""
    unknown: int
    """The number of runs that cannot be estimated, because no similar run has a record."""

    def __str__(self) -> str:
        hours = self.seconds / 3600
        decimals = 1 if hours < 100 else 0
        text = f"about {hours:,.{decimals}f} h" if hours >= 1 else f"about {self.seconds / 60:.0f} min"
        if not self.unknown:
            return f"{text} of one process"
        return (f"{text} of one process, and " if self.seconds else "") + f"{self.unknown} runs of unknown cost"


def cost(specs: Iterable[Spec], records: Sequence[Record], device: str) -> Cost:
    """A rough estimate of how long some runs take on one kind of device, from the records of similar runs.

    Two runs are similar if they have the same networks, data, batch size, precision and order of updates, and if both
    or neither are compiled and use frozen copies. The median time of an epoch is multiplied by the number of epochs.

    Args:
        specs: the runs.
        records: what to estimate from.
        device: its name, as in `Provenance.device`.
    """
    an_epoch = defaultdict(list)
    for record in records:
        if record.provenance.device == device:
            an_epoch[_traits(record.spec)].append(record.provenance.wall_time / record.spec.recipe.epochs)
    seconds, unknown = 0.0, 0
    for spec in specs:
        times = an_epoch.get(_traits(spec), [])
        seconds += median(times) * spec.recipe.epochs if times else 0.0
        unknown += not times
    return Cost(seconds, unknown)


def _traits(spec: Spec) -> tuple[object, ...]:
    recipe, own = spec.recipe, spec.objective
    frozen = own.needs_frozen, own.teacher
    return spec.data, spec.peers, *frozen, own.update, recipe.batch_size, recipe.precision, recipe.compile
