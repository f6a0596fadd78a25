"""Trained peers -> answers -> metrics."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ctsl_lib.data.types import Dataset, EvaluationSplit, RetrievalSplit, Sightings, Split
from ctsl_lib.metrics.classification import agreement, expected_calibration_error, top_k_accuracy
from ctsl_lib.metrics.retrieval import Labelled, retrieval_metrics
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.precision import Precision, autocast

EVALUATION_BATCH = 1024
EVALUATION_PIXELS = 2**21
"""Of a batch: 1024 images of up to 45x45, 64 of 256x128."""


@torch.no_grad()
def predict(peer: Peer, images: Tensor, data: Dataset, precision: Precision = "fp32") -> PeerOutput:
    """Logits and embeddings of all `images` (uint8) in evaluation mode; the peer's mode is put back after.

    `data` must be the data set that the peer was trained on: its mean and deviation normalise the images.
    """
    size = max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // (images.shape[2] * images.shape[3])))
    was_training = peer.training
    peer.eval()
    try:
        with autocast(images.device, precision):
            parts = [peer(data.normalise(batch)) for batch in images.split(size)]
    finally:
        peer.train(was_training)
    return PeerOutput(torch.cat([p.logits for p in parts]), torch.cat([p.embedding for p in parts]))


def accuracies(peers: Sequence[Peer], split: Split, data: Dataset, precision: Precision = "fp32") -> list[float]:
    """Top-1 accuracy of each peer, in percent."""
    logits = [predict(peer, split.images, data, precision).logits for peer in peers]
    return [top_k_accuracy(z, split.labels) for z in logits]


def scores(
    peers: Sequence[Peer], split: EvaluationSplit, data: Dataset, precision: Precision = "fp32"
) -> list[float]:
    """What each peer is judged by first, in percent: top-1 accuracy, for retrieval mAP."""
    if isinstance(split, RetrievalSplit):
        return evaluate_retrieval(peers, split, data, precision)["mAP"]
    return accuracies(peers, split, data, precision)


def evaluate(
    peers: Sequence[Peer], split: EvaluationSplit, data: Dataset, precision: Precision = "fp32"
) -> dict[str, list[float]]:
    """Final metrics in percent: `top1`, `top5` and `ece` with a value for each peer, `agreement` with one.

    For retrieval see `evaluate_retrieval`.
    """
    if isinstance(split, RetrievalSplit):
        return evaluate_retrieval(peers, split, data, precision)
    logits = [predict(peer, split.images, data, precision).logits for peer in peers]
    metrics = {
        "top1": [top_k_accuracy(z, split.labels) for z in logits],
        "top5": [top_k_accuracy(z, split.labels, k=min(5, data.num_classes)) for z in logits],
        "ece": [expected_calibration_error(z, split.labels) for z in logits],
    }
    if len(peers) > 1:
        metrics["agreement"] = [agreement(logits)]
    return metrics


def evaluate_retrieval(
    peers: Sequence[Peer], split: RetrievalSplit, data: Dataset, precision: Precision = "fp32"
) -> dict[str, list[float]]:
    """`mAP`, `rank1`, `rank5` and `rank10` in percent, a value for each peer; see `retrieval_metrics`."""

    def embedded(peer: Peer, side: Sightings) -> Labelled:
        return Labelled(predict(peer, side.images, data, precision).embedding, side.identity, side.camera)

    found = [
        retrieval_metrics(embedded(peer, split.query), embedded(peer, split.gallery), metric=split.distance)
        for peer in peers
    ]
    return {name: [metrics[name] for metrics in found] for name in ("mAP", "rank1", "rank5", "rank10")}
