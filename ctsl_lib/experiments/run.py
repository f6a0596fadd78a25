"""Run a spec: train its peers and save a record."""

import time

import torch

from ctsl_lib.environment import load_plugins
from ctsl_lib.errors import DataError, NonFiniteLossError, RunClaimedError
from ctsl_lib.experiments.provenance import current_commit, default_device, provenance
from ctsl_lib.experiments.sharing import POLL, claimed, epochs_done, is_claimed, tidy, write_failure
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.metrics.evaluation import evaluate
from ctsl_lib.models.peer import Peer, count_parameters, frozen_copies
from ctsl_lib.models.precision import warn_of_emulation
from ctsl_lib.models.registry import build_peer
from ctsl_lib.randomness import cpu_threads, derive_seed
from ctsl_lib.training.checkpoint import Checkpoint
from ctsl_lib.training.loop import train


def run(
    spec: Spec,
    store: Store | None = None,
    *,
    keep_weights: bool = False,
    device: torch.device | str | None = None,
    threads: int = 1,
    progress: bool | None = None,
    wait: bool = True,
) -> Record:
    """Train what `spec` names and save the record; if all that is asked for exists already, only return it.

    Stage 1 is run first if the objective needs it. A record or a state that was made from other images than those at
    hand now causes a warning and is not used: the run is trained again.

    Args:
        spec: what to run.
        store: where records are kept; by default see `Store`.
        keep_weights: whether to save the trained peers beside the record; stage 1 always does.
        device: where to train; by default CUDA if there is one.
        threads: CPU threads. Another number may change the last digits of sums and so the results. Many runs are
            fastest side by side with one thread each; see `process_pool`.
        progress: whether to draw progress bars; see `train`.
        wait: whether to wait, if another process works on the same run, until it is done or gives up.

    Returns: the record; with kept weights, and of stage 1, that of the networks, see `Store.save`.
    Raises: DataError if the images are missing; StateError if a folder is where a file must be written;
        RunClaimedError instead of waiting; the errors of `train`. A loss that is not finite leaves a file beside
        the place of the record, see `sharing.write_failure`.
    """
    store = store if store is not None else Store()
    keep_weights = keep_weights or spec.stage == 1
    store.data_digest(spec.data, again=True)
    before = _stamps(store, spec)
    existing = store.load(spec, weights=keep_weights)
    if existing is not None:
        if not is_claimed(store.checkpoint(spec)):
            tidy(store, spec)
        return existing
    device = torch.device(device) if device is not None else default_device()
    current_commit()
    spec.objective.check_terms()  # before a stage 1, which may take hours
    if spec.objective.needs_frozen:
        run(spec.stage1(), store, device=device, threads=threads, progress=progress, wait=wait)
    while True:
        try:
            with cpu_threads(threads):
                return _run_claimed(spec, store, keep_weights, device, progress, before)
        except RunClaimedError:
            if not wait:
                raise
        while is_claimed(store.checkpoint(spec)):
            time.sleep(POLL)


def _run_claimed(
    spec: Spec, store: Store, keep_weights: bool, device: torch.device, progress: bool | None, before: object
) -> Record:
    store.check_places(spec)
    checkpoint = store.checkpoint(spec)
    with claimed(checkpoint, spec.recipe.epochs):
        # Another process may just have finished; files as they were before the claim have been looked at.
        changed = _stamps(store, spec) != before
        existing = store.load(spec, weights=keep_weights) if changed else None
        if existing is None:
            try:
                existing, peers, channels = _train(spec, store, checkpoint, device, progress)
            except NonFiniteLossError as error:
                write_failure(store, spec, str(error), epochs_done(checkpoint) + 1)
                checkpoint.clear()
                raise
            existing = store.save(existing, peers if keep_weights else None, channels)
        tidy(store, spec)
    return existing


def _stamps(store: Store, spec: Spec) -> list[tuple[int, int, int] | None]:
    """What changes when the record of a spec, or its file of weights, is written."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in (store.path(spec), store.weights_path(spec)):
        try:
            status = path.stat()
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append(None)
    return stamps


def _train(
    spec: Spec, store: Store, checkpoint: Checkpoint, device: torch.device, progress: bool | None
) -> tuple[Record, list[Peer], int]:
    warn_of_emulation(device, spec.recipe.precision)
    pretrained: list[Peer] | None = None
    if spec.objective.needs_frozen:
        pretrained = [peer.to(device) for peer in store.load_peers(spec.stage1())]
        if spec.objective.teacher is not None:
            pretrained = pretrained * len(spec.peers)
    data = spec.data.load(spec.seed).to(device)
    checkpoint.data_digest = data.digest
    if (said := store.data_digest(spec.data)) not in (data.digest, None):
        raise DataError(
            f"{spec.data.name}: load() gave images with the digest {data.digest!r}, digest() says {said!r}; they must "
            "not change while a run begins, and a data set of your own passes its digest to Dataset(..., digest=...)"
        )
    if spec.objective.start == "pretrained" and pretrained is not None:
        peers = [build_peer(n, data.channels, data.num_classes, seed=0).to(device) for n in spec.peers]
        for peer, source in zip(peers, pretrained, strict=True):
            peer.load_state_dict(source.state_dict())
    else:
        peers = initial_peers(spec, data.channels, data.num_classes, device)
    history = train(
        peers,
        spec.objective,
        data,
        spec.recipe,
        derive_seed(spec.seed, "training", spec.stage),
        frozen=frozen_copies(pretrained)
        if pretrained is not None and spec.objective.learns_from_frozen
        else None,
        evaluate_on=spec.evaluate_on,
        checkpoint=checkpoint,
        progress=progress,
    )
    record = Record(
        spec=spec,
        data_digest=data.digest,
        parameters=[count_parameters(peer) for peer in peers],
        metrics=evaluate(peers, data.split(spec.evaluate_on), data, spec.recipe.precision),
        history=history,
        provenance=provenance(device, checkpoint.seconds),
    )
    return record, peers, data.channels


def initial_peers(spec: Spec, channels: int, num_classes: int, device: torch.device | str) -> list[Peer]:
    """The untrained peers of a spec; their weights depend on seed, stage and position, but never on the method.

    Two equal networks with ImageNet weights have the same backbone but different classifiers, so that they do not
    stay equal during training.

    Args:
        spec: names the networks and the seed.
        channels: of the images.
        num_classes: the number of classes.
        device: where to put the peers.
    """
    peers = [
        build_peer(name, channels, num_classes, derive_seed(spec.seed, "weights", spec.stage, k))
        for k, name in enumerate(spec.peers)
    ]
    if spec.initial == "imagenet":
        from ctsl_lib.models.reid import load_imagenet  # with torchvision, which takes a second to import

        for name, peer in zip(spec.peers, peers, strict=True):
            if count_parameters(peer):  # else it comes with weights of its own
                load_imagenet(name, peer)
    return [peer.to(device) for peer in peers]


load_plugins()  # last, as a plugin may import this module
