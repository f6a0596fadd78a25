"""Runs that wait in line: for a free worker, and for the stage 1 that they need."""

from collections import defaultdict
from collections.abc import Iterable

from ctsl_lib.experiments.spec import Spec


class Line:
    """Runs in the order in which they begin, but for those whose stage 1 has not ended: others go before them.

    Several runs need the same networks of stage 1 and must not all train them.
    """

    def __init__(self, first: Iterable[Spec], main: Iterable[Spec]) -> None:
        """Line up runs.

        Args:
            first: the runs of stage 1 that some of the others need; each stands before all runs of its peers and seed,
                for the sooner it has ended, the fewer wait.
            main: all others, in their order.
        """
        wanted, order = {spec.key for spec in first}, dict[str, Spec]()
        self._after: dict[str, str] = {}
        blocks: dict[tuple[tuple[str, ...], int], list[Spec]] = defaultdict(list)
        for spec in main:
            blocks[spec.peers, spec.seed].append(spec)
        for block in blocks.values():
            needed = {spec.key: spec.stage1() for spec in block if spec.objective.needs_frozen}
            self._after |= {key: stage1.key for key, stage1 in needed.items()}
            every = [*(stage1 for stage1 in needed.values() if stage1.key in wanted), *block]
            order |= {spec.key: spec for spec in every if spec.key not in order}
        self._left = order
        self._unfinished = set(order)
        self._needed = set(self._after.values())

    def __len__(self) -> int:
        """How many wait."""
        return len(self._left)

    def take(self) -> Spec | None:
        """The first run that may begin, which leaves the line; None if none may."""
        for key, spec in self._left.items():
            if self._after.get(key) not in self._unfinished:
                del self._left[key]
                return spec
        return None

    def put_back(self, spec: Spec) -> None:
        """Have a run that was taken stand first again."""
        self._left = {spec.key: spec} | self._left

    def end(self, spec: Spec) -> None:
        """Say that a run that was taken has ended, so that those which need it may begin."""
        self._unfinished.discard(spec.key)

    def needs_weights_of(self, spec: Spec) -> bool:
        """Whether a run is the stage 1 of another one of the line, which needs its networks."""
        return spec.key in self._needed
