"""The curves of a training: its terms and accuracies, epoch by epoch."""

import math
from collections.abc import Sequence

from pydantic import BaseModel

from ctsl_lib.errors import shown


class History(BaseModel, frozen=True):
    """The curves of a training: terms have a value for every epoch, accuracies one for every evaluated epoch."""

    terms: list[dict[str, list[float]]]
    """For each peer: term -> its weighted value, averaged over the batches of each epoch."""
    accuracy: list[list[float]]
    """For each peer: top-1 accuracy in percent, or mAP for retrieval."""
    evaluated: list[int]
    """The evaluated epochs, counted from 1: one for each value in `accuracy`."""

    @classmethod
    def empty(cls, peers: int) -> "History":
        """The curves of so many peers before the first epoch."""
        return cls(terms=[{} for _ in range(peers)], accuracy=[[] for _ in range(peers)], evaluated=[])

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

    def check(self, peers: int, epochs: int) -> None:
        """Raise a ValueError that names field, value and what is allowed, unless the curves are those of a training.

        Args:
            peers: the number of peers; terms and accuracies have an entry for each.
            epochs: the number of epochs that are finished; each term has a value for every one.
        """
        check_count("history.terms", self.terms, peers, "peer")
        check_count("history.accuracy", self.accuracy, peers, "peer")
        for k, curves in enumerate(self.terms):
            if not curves:
                raise ValueError(f"history.terms must have one term or more, got none for peer {k}")
            for name, curve in curves.items():
                check_count(f"history.terms.{name}", curve, epochs, "epoch", of=f" for peer {k}")
                check_numbers(f"history.terms.{name}", curve, of=f" for peer {k}")
        before = 0
        for epoch in self.evaluated:
            if not before < epoch <= epochs:
                raise ValueError(
                    f"history.evaluated must increase within 1 to {epochs}, got {shown(self.evaluated)}"
                )
            before = epoch
        for k, curve in enumerate(self.accuracy):
            count = len(self.evaluated)
            check_count("history.accuracy", curve, count, "evaluated epoch", of=f" for peer {k}")
            check_numbers("history.accuracy", curve, 0, 100, of=f" for peer {k}")


def check_count(field: str, values: Sequence[object], count: int, each: str, of: str = "") -> None:
    """Raise a ValueError unless there is one value for each of something.

    Args:
        field: the name of the values.
        values: what to count.
        count: how many there must be.
        each: what there must be one value for, in words.
        of: the end of the message, such as " for peer 1".
    """
    if len(values) != count:
        values_there = "value" if count == 1 else "values"
        raise ValueError(f"{field} must have {count} {values_there}, one for each {each}, got {len(values)}{of}")


def check_numbers(
    field: str, values: Sequence[float], least: float = -math.inf, most: float = math.inf, of: str = ""
) -> None:
    """Raise a ValueError unless all values are finite and within limits.

    Args:
        field: the name of the values.
        values: what to check.
        least, most: the limits, which are allowed themselves.
        of: the end of the message, such as " for peer 1".
    """
    for value in values:
        if not math.isfinite(value) or not least <= value <= most:
            limits = [f"at least {least:g}"] * math.isfinite(least) + [f"at most {most:g}"] * math.isfinite(most)
            raise ValueError(f"{field} must be {' and '.join(['finite', *limits])}, got {value!r}{of}")
