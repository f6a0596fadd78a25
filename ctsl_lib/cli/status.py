"""How far the runs of a table are: what `ctsl status` prints."""

from collections import Counter
from collections.abc import Sequence

from ctsl_lib.evidence.labels import pair_name
from ctsl_lib.experiments.plan import Plan, cost
from ctsl_lib.experiments.provenance import default_device, device_name
from ctsl_lib.experiments.sharing import failure, progress
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store

KEPT, BARE = "done, networks kept", "done without networks"
"""States of a run with a record: with the trained networks beside it, and without them where another run needs them."""
DONE = ("done", KEPT)
"""States of a run that is not trained again."""


def state_of(spec: Spec, store: Store, *, networks: bool = False) -> str:
    """How far a run is.

    Args:
        spec: of the run.
        store: where its record would be.
        networks: whether another run needs the trained networks, so that a record alone is not enough.

    Returns: one of `DONE`, failed with the reason, running with its epoch, stopped after an epoch (goes on when called
        again), missing, or `BARE`.
    """
    done = store.load(spec) is not None
    if done and store.weights_path(spec).exists():
        return KEPT
    if done and not networks:
        return "done"
    state = progress(store.checkpoint(spec))
    reason = failure(store, spec)
    if reason is not None and not state.startswith("running"):
        return f"failed: {reason}"
    return BARE if done and state == "missing" else state


def _states(plan: Plan, store: Store) -> list[tuple[str, Spec, str]]:
    """(method, run, how far it is); what a run without a record learns from must have its networks, too."""
    runs = [(method, spec, state_of(spec, store)) for method, spec in plan.runs()]
    needed = {spec.stage1() for _, spec, state in runs if state not in DONE and spec.objective.needs_frozen}
    return [
        (method, spec, state_of(spec, store, networks=True) if spec in needed else state)
        for method, spec, state in runs
    ]


def lines(plan: Plan, store: Store, recent: Sequence[Record], *, each: bool) -> list[str]:
    """How far a table is, in a line, with the cost of what is left.

    Args:
        plan: the table.
        store: where the records are.
        recent: records that the estimate of the cost rests on.
        each: whether a line for each run comes first.
    """
    runs = _states(plan, store)
    detail = [
        f"{pair_name(spec.peers):24} {method:14} seed {spec.seed:<3} {spec.key}  {state}"
        for method, spec, state in runs
    ]
    counts = Counter(BARE if state == BARE else state.split()[0].strip(":,") for _, _, state in runs)
    left = [spec for _, spec, state in runs if state not in DONE]
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    price = f"; left: {cost(left, recent, device_name(default_device()))}" if left else ""
    return [*(detail if each else []), f"{plan.dataset}: {said}{price}"]
