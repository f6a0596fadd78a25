"""The curves of a training: its terms and accuracies, epoch by epoch."""

from collections.abc import Sequence

from pydantic import BaseModel


class History(BaseModel, frozen=True):
    """The curves of a training: terms have a value for every epoch, accuracies one for every evaluated epoch."""

    terms: list[dict[str, list[float]]]
    """For each peer: term -> its weighted value, averaged over the batches of each epoch."""
    accuracy: list[list[float]]
    """For each peer: top-1 accuracy in percent, or mAP for retrieval."""
    evaluated: list[int]
    """The evaluated epochs, counted from 1: one for each value in `accuracy`."""

    def add_terms(self, means: Sequence[dict[str, float]]) -> None:
        """Append one epoch: for each peer a dict: term -> mean."""
        for means_of_peer, curves in zip(means, self.terms, strict=True):
            for name, mean in means_of_peer.items():
                curves.setdefault(name, []).append(mean)

    def add_accuracy(self, epoch: int, values: Sequence[float]) -> None:
        """Append one evaluation.

        Args:
            epoch: the epoch that has just ended, counted from 1.
            values: for each peer its accuracy, or mAP, in percent.
        """
        self.evaluated.append(epoch)
        for curve, value in zip(self.accuracy, values, strict=True):
            curve.append(value)
