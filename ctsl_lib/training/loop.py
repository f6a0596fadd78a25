"""One loop for every method and for both stages."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from ctsl_lib.data.types import Dataset, SplitName
from ctsl_lib.environment import shows_progress
from ctsl_lib.errors import NonFiniteInputError, NonFiniteLossError
from ctsl_lib.losses.objective import Objective
from ctsl_lib.metrics.evaluation import scores
from ctsl_lib.models.peer import Peer, count_parameters
from ctsl_lib.models.precision import autocast
from ctsl_lib.randomness import derive_seed, same_every_time, seeded
from ctsl_lib.training.batches import Batches, FrozenAnswers
from ctsl_lib.training.checkpoint import Checkpoint
from ctsl_lib.training.history import History
from ctsl_lib.training.optimizer import make_optimizer
from ctsl_lib.training.recipe import Recipe, learning_rate_factor
from ctsl_lib.training.resume import resume

GRAPHS = 64
"""How often the code that all networks share may be compiled in one run."""


def train(
    peers: Sequence[Peer],
    objective: Objective,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    frozen: Sequence[Peer] | None = None,
    evaluate_on: SplitName = "test",
    checkpoint: Checkpoint | None = None,
    progress: bool | None = None,
) -> History:
    """Train the peers together, in place, on the device that they are on.

    Args:
        peers: K >= 1 networks; a single one has no terms that compare peers.
        objective: the weights of the terms, the same for every peer.
        data: the data set, on the peers' device.
        recipe: how to train.
        seed: fixes the order of images, augmentation and dropout.
        frozen: for every peer a trained copy, or the teacher, for terms that need it; they do not change.
        evaluate_on: the split for the accuracy curve; choose settings on "validation" only.
        checkpoint: saves the state between epochs; if it has a state already, training goes on from there.
        progress: whether to draw a progress bar; by default unless the environment variable CTSL_PROGRESS is 0.

    Returns: the curves of terms and accuracies.
    Raises: ValueError on settings that do not fit, NonFiniteLossError if a term or a weight becomes NaN or
        infinite.
    """
    _check_settings(peers, objective, data, recipe, frozen, evaluate_on)
    same_every_time(data.train.images.device)
    steps = len(data.train) // recipe.batch_size
    optimizer = make_optimizer([parameter for peer in peers for parameter in peer.parameters()], recipe)
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(recipe, step / (recipe.epochs * steps)))
    answers = FrozenAnswers(frozen, data, recipe, objective) if frozen else None
    if recipe.compile and data.train.images.is_cuda:  # on a CPU, compiling takes longer than it saves
        compile_networks([*peers, *(answers.frozen if answers is not None else ())])
    if not any(map(count_parameters, peers)):
        means = _epoch(peers, objective, Batches(data, recipe, seed, 0, answers), optimizer, scheduler)
        return _constant(means, scores(peers, data.split(evaluate_on), data, recipe.precision), recipe)
    first, history = resume(checkpoint, peers, optimizer, scheduler, objective, recipe, steps)

    epochs = range(first, recipe.epochs)
    bar = tqdm(
        epochs,
        desc="training",
        unit="epoch",
        initial=first,
        total=recipe.epochs,
        disable=not shows_progress(progress),
    )
    for epoch in bar:
        batches = Batches(data, recipe, seed, epoch, answers)
        history.add_terms(_epoch(peers, objective, batches, optimizer, scheduler))
        if recipe.evaluates(epoch + 1):
            history.add_accuracy(epoch + 1, _finite_scores(peers, data, evaluate_on, recipe, epoch + 1))
        if checkpoint is not None:
            state = {
                "epoch": epoch + 1,
                "peers": [peer.state_dict() for peer in peers],
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "history": history.model_dump(),
            }
            checkpoint.end_of_epoch(state, epoch + 1, recipe.epochs)
    return history


def _constant(means: list[dict[str, float]], accuracy: Sequence[float], recipe: Recipe) -> History:
    """The curves of peers that are given and do not learn: one look at them is enough for all epochs."""
    history = History.empty(len(means))
    for epoch in range(1, recipe.epochs + 1):
        history.add_terms(means)
        if recipe.evaluates(epoch):
            history.add_accuracy(epoch, accuracy)
    return history


def _check_settings(
    peers: Sequence[Peer],
    objective: Objective,
    data: Dataset,
    recipe: Recipe,
    frozen: Sequence[Peer] | None,
    evaluate_on: SplitName,
) -> None:
    n = len(data.train)
    if not len(data.split(evaluate_on)):
        raise ValueError(
            f"evaluate_on is {evaluate_on!r}, but {data.name} has no such images; set n_validation above 0"
        )
    if not peers:
        raise ValueError("peers must be 1 or more networks, got none")
    objective.check_terms()
    objective.check_peers(len(peers))
    if recipe.batch_size > n:
        raise ValueError(f"batch_size must be at most the {n} training images, got {recipe.batch_size}")
    if objective.learns_from_frozen and (frozen is None or len(frozen) != len(peers)):
        raise ValueError(f"the objective needs {len(peers)} frozen copies; train stage 1 first")


def _epoch(
    peers: Sequence[Peer],
    objective: Objective,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
) -> list[dict[str, float]]:
    """Train on all batches of an epoch; returns for each peer a dict: term -> mean over the batches."""
    everyone, recipe = range(len(peers)), batches.recipe
    groups = [everyone] if objective.update == "simultaneous" else [range(k, k + 1) for k in everyone]
    epoch_terms = _Terms(batches.epoch)
    learning = [count_parameters(peer) > 0 for peer in peers]
    for peer, learns in zip(peers, learning, strict=True):
        peer.train(learns)
    for step, (images, labels, copies) in enumerate(batches):
        for group in groups:
            optimizer.zero_grad()
            draws = derive_seed(batches.seed, "dropout", batches.epoch, step, group[0])
            with seeded(draws, images.device), autocast(images.device, recipe.precision):
                outputs = [peer(images) for peer in peers]  # all forwards first
            place: AbstractContextManager[None] = nullcontext()
            if objective.extra:  # a term of a user's own may draw
                place = seeded(derive_seed(batches.seed, "terms", batches.epoch, step, group[0]), images.device)
            try:
                with place:
                    losses = objective(outputs, labels, copies, only=group, compiled=recipe.compile)
            except NonFiniteInputError as error:
                raise NonFiniteLossError(_where(batches.epoch, step) + str(error)) from None
            total = epoch_terms.add(step, dict(zip(group, losses, strict=True)))  # peer -> term -> scalar
            if any(learning[k] for k in group):
                total.backward()
            _forget_gradients(peer for k, peer in enumerate(peers) if k not in group)
            optimizer.step()
        scheduler.step()
    return epoch_terms.means(len(peers), len(batches))


def _forget_gradients(waiting: Iterable[Peer]) -> None:
    """Let peers whose turn it is not take no step: relations that move send their gradient to all peers."""
    for peer in waiting:
        peer.zero_grad()


def compile_networks(networks: Sequence[Peer], backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile networks, however many were compiled in this process before.

    All peers share the code of `Peer.forward`, and torch compiles one code eight times by default: for each kind of
    network in training, frozen and evaluated. After that it runs the rest uncompiled, without an error.

    Args:
        networks: peers and frozen copies; they are changed.
        backend: of `torch.compile`.
    """
    torch.compiler.reset()
    torch._dynamo.config.cache_size_limit = GRAPHS  # from torch 2.7 on `recompile_limit`, known by both names
    for network in networks:
        network.compile(backend=backend)


def _where(epoch: int, step: int) -> str:
    """How a message says where a loss is not finite."""
    return f"loss is not finite in epoch {epoch + 1}, step {step + 1}: "


def _finite_scores(
    peers: Sequence[Peer], data: Dataset, split: SplitName, recipe: Recipe, epoch: int
) -> list[float]:
    """The accuracy, or mAP, of each peer after an epoch.

    Raises: NonFiniteLossError if the last step, whose loss was finite, has left weights, or answers, that are not.
    """
    for k, peer in enumerate(peers):
        for name, values in peer.state_dict().items():
            if not torch.isfinite(values).all():
                raise NonFiniteLossError(f"weights are not finite after epoch {epoch}: {name} of peer {k}")
    try:
        return scores(peers, data.split(split), data, recipe.precision)
    except NonFiniteInputError as error:
        raise NonFiniteLossError(f"{error}, after epoch {epoch}") from None


class _Terms:
    """The terms of one epoch. On a GPU they are checked only every hundred steps, as each check waits for the GPU."""

    EVERY = 100

    def __init__(self, epoch: int) -> None:
        self.epoch, self.checked = epoch, 0
        self.steps: list[int] = []
        self.names: list[list[tuple[int, str]]] = []
        self.values: list[Tensor] = []

    def add(self, step: int, losses: dict[int, dict[str, Tensor]]) -> Tensor:
        """Store terms of one step (peer -> term -> scalar), which may have several updates; return their sum."""
        values = torch.stack([value for loss in losses.values() for value in loss.values()])
        self.steps.append(step)
        self.names.append([(k, name) for k, loss in losses.items() for name in loss])
        self.values.append(values.detach())
        if values.device.type == "cpu" or len(self.values) % self.EVERY == 0:
            self.check()
        return values.sum()

    def check(self) -> None:
        """Raise a NonFiniteLossError that names the first step with a term that is NaN or infinite, if there is one."""
        unchecked, self.checked = range(self.checked, len(self.values)), len(self.values)
        if not unchecked or torch.isfinite(torch.cat([self.values[update] for update in unchecked])).all():
            return
        first = next(update for update in unchecked if not torch.isfinite(self.values[update]).all())
        pairs = zip(self.names[first], self.values[first].tolist(), strict=True)
        terms = ", ".join(f"peer {k} {name} = {value:g}" for (k, name), value in pairs)
        raise NonFiniteLossError(_where(self.epoch, self.steps[first]) + terms)

    def means(self, peers: int, steps: int) -> list[dict[str, float]]:
        """For each peer a dict: term -> mean over the steps."""
        self.check()
        sums: list[dict[str, float]] = [{} for _ in range(peers)]
        names = [name for update in self.names for name in update]
        for (k, name), value in zip(names, torch.cat(self.values).tolist(), strict=True):
            sums[k][name] = sums[k].get(name, 0.0) + value
        return [{name: value / steps for name, value in sums_of_peer.items()} for sums_of_peer in sums]
