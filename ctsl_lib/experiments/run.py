"""A spec is run: the peers are trained and leave a record."""

import torch

from ctsl_lib.experiments.provenance import current_commit, default_device, provenance
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.metrics.evaluation import evaluate
from ctsl_lib.models.peer import Peer, count_parameters, frozen_copies
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
) -> Record:
    """Train what `spec` names, or return the record that is there already.

    Args:
        spec: what to run.
        store: where records live; by default the folder data/records, or what CTSL_RECORDS says.
        keep_weights: keep the trained peers beside the record (always done in stage 1).
        device: where to train; by default CUDA where there is one.
        threads: of the CPU. Another number may change the last digits of sums, hence results; many runs are faster
            side by side, one thread each (see `process_pool`).
        progress: show progress bars; see `train`.

    Returns: the record, stored before it is returned. Stage 1 is run first where the objective needs it. What was
        made from other images than those at hand now is named in a warning and made anew.
    """
    store = store if store is not None else Store()
    keep_weights = keep_weights or spec.stage == 1
    checkpoint = store.checkpoint(spec)
    store.data_digest(spec.data, again=True)
    found = store.load(spec, weights=keep_weights)
    if found is not None:
        checkpoint.clear()
        return found
    device = torch.device(device) if device is not None else default_device()
    current_commit()
    if spec.objective.needs_frozen:
        run(spec.stage1(), store, device=device, threads=threads, progress=progress)
    with cpu_threads(threads):
        record, peers, channels = _train(spec, store, checkpoint, device, progress)
    store.save(record, peers if keep_weights else None, channels)
    checkpoint.clear()
    return record


def _train(
    spec: Spec, store: Store, checkpoint: Checkpoint, device: torch.device, progress: bool | None
) -> tuple[Record, list[Peer], int]:
    pretrained: list[Peer] | None = None
    if spec.objective.needs_frozen:
        pretrained = [peer.to(device) for peer in store.load_peers(spec.stage1())]
        if spec.objective.teacher is not None:
            pretrained = pretrained * len(spec.peers)
    data = spec.data.load(spec.seed).to(device)
    checkpoint.data_digest = data.digest
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
        frozen=frozen_copies(pretrained) if pretrained is not None else None,
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
    """Untrained peers; the weights depend on seed, stage and position, never on the method.

    Backbones of ImageNet are the same for equal networks; their classifiers are not, so they do not stay equal.
    """
    peers = [
        build_peer(name, channels, num_classes, derive_seed(spec.seed, "weights", spec.stage, k))
        for k, name in enumerate(spec.peers)
    ]
    if spec.initial == "imagenet":
        from ctsl_lib.models.reid import load_imagenet  # with torchvision, which takes a second to import

        for name, peer in zip(spec.peers, peers, strict=True):
            load_imagenet(name, peer)
    return [peer.to(device) for peer in peers]
