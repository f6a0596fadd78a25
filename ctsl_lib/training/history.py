"""What a training went through, epoch by epoch."""

from collections.abc import Sequence

from pydantic import BaseModel


class History(BaseModel, frozen=True):
    """What training went through, a value for every epoch (accuracies: for every evaluated epoch)."""

    terms: list[dict[str, list[float]]]
    """For each peer: term -> weighted mean over the epoch's batches."""
    accuracy: list[list[float]]
    """For each peer: top-1 in percent, for retrieval mAP."""
    evaluated: list[int]
    """The epochs, counted from 1, that `accuracy` belongs to."""

    def add_terms(self, means: Sequence[dict[str, float]]) -> None:
        """Append an epoch's mean of every term, for each peer."""
        for found, curves in zip(means, self.terms, strict=True):
            for name, mean in found.items():
                curves.setdefault(name, []).append(mean)

    def add_accuracy(self, epoch: int, values: Sequence[float]) -> None:
        """Append the accuracy of each peer after this epoch."""
        self.evaluated.append(epoch)
        for curve, value in zip(self.accuracy, values, strict=True):
            curve.append(value)
