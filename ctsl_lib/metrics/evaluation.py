"""From trained peers to their answers, and from answers to metrics."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ctsl_lib.data.types import Dataset, EvaluationSplit, RetrievalSplit, Sightings, Split
from ctsl_lib.errors import NonFiniteInputError
from ctsl_lib.metrics import COLUMNS
from ctsl_lib.metrics.classification import agreement, expected_calibration_error, top_k_accuracy
from ctsl_lib.metrics.retrieval import Labelled, retrieval_metrics
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.precision import Precision, autocast

EVALUATION_BATCH = 1024
EVALUATION_PIXELS = 2**21
"""A batch has at most this many pixels: 1024 images of up to 45x45, or 64 of 256x128."""


Compute = Callable[[PeerOutput, Tensor], float]
METRICS: dict[str, Compute] = {}
"""Name -> function (answers of a peer, labels) -> percent, for every metric that a record has for each peer."""


def metric(name: str) -> Callable[[Compute], Compute]:
    """Add a metric to all records of classification: decorate a function (output, labels) -> percent.

    `output` holds (N, C) logits and (N, D) embeddings of one peer for all test images, `labels` (N,) class indices.
    Records that were made before stay valid; they do not have the metric.

    >>> @metric("confidence")
    ... def confidence(output, labels):
    ...     return 100 * output.logits.softmax(dim=1).amax(dim=1).mean().item()
    >>> list(METRICS)
    ['top1', 'top5', 'ece', 'confidence']

    Raises: ValueError if the name is taken, by a metric or by a column of the tables.
    """

    def add(compute: Compute) -> Compute:
        if name in (*METRICS, "agreement", *COLUMNS):
            raise ValueError(f"the name of a metric must be new, {name!r} is taken")
        METRICS[name] = compute
        return compute

    return add


@metric("top1")
def top1(output: PeerOutput, labels: Tensor) -> float:
    """Top-1 accuracy."""
    return top_k_accuracy(output.logits, labels)


@metric("top5")
def top5(output: PeerOutput, labels: Tensor) -> float:
    """Top-5 accuracy; with fewer than five classes, 100."""
    return top_k_accuracy(output.logits, labels, k=min(5, output.logits.shape[1]))


@metric("ece")
def ece(output: PeerOutput, labels: Tensor) -> float:
    """Expected calibration error."""
    return expected_calibration_error(output.logits, labels)


@torch.no_grad()
def predict(peer: Peer, images: Tensor, data: Dataset, precision: Precision = "fp32") -> PeerOutput:
    """A peer's answers to all images, in evaluation mode; afterwards each layer is in the mode it was in before.

    Args:
        peer: a network, on the device of the images.
        images: (N, channels, H, W) uint8.
        data: the data set that the peer was trained on; its mean and deviation normalise the images.
        precision: of the layers before the embedding.

    Returns: (N, C) logits and (N, D) embeddings.
    """
    size = max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // (images.shape[2] * images.shape[3])))
    was_training = {layer: layer.training for layer in peer.modules()}
    peer.eval()
    try:
        with autocast(images.device, precision):
            parts = [peer(data.normalise(batch)) for batch in images.split(size)]
    finally:
        for layer, mode in was_training.items():  # one by one, as some layers may have been frozen by hand
            layer.training = mode
    return PeerOutput(torch.cat([p.logits for p in parts]), torch.cat([p.embedding for p in parts]))


def _answers(peers: Sequence[Peer], split: Split, data: Dataset, precision: Precision) -> list[PeerOutput]:
    """What each peer answers. Raises: NonFiniteInputError where it is no number: the largest would still be found."""
    outputs = [predict(peer, split.images, data, precision) for peer in peers]
    for k, output in enumerate(outputs):
        if not torch.isfinite(output.logits).all():
            raise NonFiniteInputError(f"answers of peer {k} hold values that are not finite")
    return outputs


def accuracies(peers: Sequence[Peer], split: Split, data: Dataset, precision: Precision = "fp32") -> list[float]:
    """Top-1 accuracy of each peer, in percent.

    Args:
        peers: trained networks.
        split: the images to answer and their labels.
        data, precision: see `predict`.
    """
    return [top_k_accuracy(z.logits, split.labels) for z in _answers(peers, split, data, precision)]


def scores(
    peers: Sequence[Peer], split: EvaluationSplit, data: Dataset, precision: Precision = "fp32"
) -> list[float]:
    """The main metric of each peer, in percent: top-1 accuracy, or mAP for retrieval.

    Args:
        peers: trained networks.
        split: the images to answer and their labels, or queries and gallery.
        data, precision: see `predict`.
    """
    if isinstance(split, RetrievalSplit):
        return evaluate_retrieval(peers, split, data, precision)["mAP"]
    return accuracies(peers, split, data, precision)


def evaluate(
    peers: Sequence[Peer], split: EvaluationSplit, data: Dataset, precision: Precision = "fp32"
) -> dict[str, list[float]]:
    """All metrics of trained peers, as a record holds them.

    Args:
        peers: trained networks.
        split: the images to answer and their labels; for queries and a gallery see `evaluate_retrieval`.
        data, precision: see `predict`.

    Returns: name -> values in percent: one for each peer for the METRICS (`top1`, `top5`, `ece` and a user's own), a
        single one for `agreement`, which a single peer does not have.
    """
    if isinstance(split, RetrievalSplit):
        return evaluate_retrieval(peers, split, data, precision)
    outputs = _answers(peers, split, data, precision)
    metrics = {name: [compute(z, split.labels) for z in outputs] for name, compute in METRICS.items()}
    if len(peers) > 1:
        metrics["agreement"] = [agreement([z.logits for z in outputs])]
    return metrics


def evaluate_retrieval(
    peers: Sequence[Peer], split: RetrievalSplit, data: Dataset, precision: Precision = "fp32"
) -> dict[str, list[float]]:
    """The retrieval metrics of trained peers; see `retrieval_metrics`.

    Args:
        peers: trained networks.
        split: queries and gallery.
        data, precision: see `predict`.

    Returns: `mAP`, `rank1`, `rank5` and `rank10` in percent, each with one value for each peer.
    """

    def embedded(peer: Peer, pictures: Sightings) -> Labelled:
        embedding = predict(peer, pictures.images, data, precision).embedding
        return Labelled(embedding, pictures.identity, pictures.camera)

    of_peers = [
        retrieval_metrics(embedded(peer, split.query), embedded(peer, split.gallery), metric=split.distance)
        for peer in peers
    ]
    return {name: [metrics[name] for metrics in of_peers] for name in ("mAP", "rank1", "rank5", "rank10")}
