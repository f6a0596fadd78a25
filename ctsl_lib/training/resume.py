"""A run that was stopped goes on from its checkpoint, once all that the checkpoint holds has been checked."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from ctsl_lib.errors import StateError, shown
from ctsl_lib.losses.objective import REGISTERED, Objective
from ctsl_lib.models.peer import Peer
from ctsl_lib.training.checkpoint import Checkpoint, check_weights, kinds
from ctsl_lib.training.history import History
from ctsl_lib.training.optimizer import make_optimizer
from ctsl_lib.training.recipe import Recipe, learning_rate_factor


def resume(
    checkpoint: Checkpoint | None,
    peers: Sequence[Peer],
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    objective: Objective,
    recipe: Recipe,
    steps: int,
) -> tuple[int, History]:
    """Load the state of a checkpoint, if there is one, into the peers, the optimiser and the scheduler.

    A state that cannot be used causes a warning, and nothing is changed.

    Args:
        checkpoint: of the run; None if no states are saved.
        peers, optimizer, scheduler: as they are before the first step.
        objective: the weights of the terms.
        recipe: how the run trains.
        steps: of an epoch.

    Returns: the number of epochs that are finished, and their curves.
    """

    def check(state: dict[str, Any]) -> None:
        _check_epoch(state["epoch"], recipe)
        check_weights(peers, state["peers"])
        _check_history(state["history"], state["epoch"], len(peers), objective, recipe)
        _check_optimizer(state, optimizer, scheduler, recipe, steps)

    saved = checkpoint.load(check) if checkpoint is not None else None
    if saved is None:
        return 0, History.empty(len(peers))
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    for peer, state in zip(peers, saved["peers"], strict=True):
        peer.load_state_dict(state)
    return saved["epoch"], History.model_validate(saved["history"])


def _check_epoch(epoch: Any, recipe: Recipe) -> None:
    if type(epoch) is not int or not 1 <= epoch < recipe.epochs:
        raise StateError(f"epoch must be a whole number from 1 to {recipe.epochs - 1}, got {shown(epoch)}")


def _check_history(content: Any, epoch: int, peers: int, objective: Objective, recipe: Recipe) -> None:
    history = History.model_validate(content)
    history.check(peers, epoch)
    evaluated = [done for done in range(1, epoch + 1) if recipe.evaluates(done)]
    if history.evaluated != evaluated:
        raise StateError(f"history.evaluated must be {shown(evaluated)}, got {shown(history.evaluated)}")
    names = {name for name in objective.active if peers > 1 or REGISTERED[name].needs != "peers"}
    for k, terms in enumerate(history.terms):
        if set(terms) != names:
            found = ", ".join(sorted(terms))
            raise StateError(f"history.terms must be {', '.join(sorted(names))}, got {found} for peer {k}")


def _check_optimizer(
    state: dict[str, Any], optimizer: torch.optim.Optimizer, scheduler: LambdaLR, recipe: Recipe, steps: int
) -> None:
    """Compare with what this recipe's own optimiser and scheduler would have at the end of this epoch."""
    taken = state["epoch"] * steps
    rate = recipe.learning_rate * learning_rate_factor(recipe, taken / (recipe.epochs * steps))
    expected = scheduler.state_dict() | {"last_epoch": taken, "_step_count": taken + 1, "_last_lr": [rate]}
    if state["scheduler"] != expected:
        raise StateError(f"the scheduler must be after {taken} steps, got {shown(state['scheduler'])}")
    groups = [group | {"lr": rate} for group in optimizer.state_dict()["param_groups"]]
    found = state["optimizer"]
    if set(found) != {"state", "param_groups"} or found["param_groups"] != groups:
        raise StateError(f"the optimizer must be {recipe.optimizer} with the recipe's settings, got another one")
    # The optimiser itself, after one step of copies of the same parameters, shows what it keeps of each.
    copies = [parameter.detach().clone() for group in optimizer.param_groups for parameter in group["params"]]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    example = make_optimizer(copies, recipe)
    example.step()
    kept = {index: kinds(values) for index, values in example.state_dict()["state"].items()}
    # A parameter that no loss depends on never has a gradient, and nothing is kept of it.
    if bool(found["state"]) != bool(kept):
        raise StateError(
            f"the optimizer must have kept something of {len(kept)} parameters, got {found['state']}"
        )
    for index, values in found["state"].items():
        if kept.get(index) != kinds(values):
            raise StateError(
                f"the optimizer must have kept {kept.get(index)} of parameter {index}, got {kinds(values)}"
            )
    example.load_state_dict(found)
