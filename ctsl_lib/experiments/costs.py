"""What runs that are missing would cost, by the times of records that are there."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Record


class Cost(NamedTuple):
    """Of some runs, one after the other in one process."""

    seconds: float
    """Of those that can be estimated."""
    unknown: int
    """Runs that no record is like."""

    def __str__(self) -> str:
        hours = self.seconds / 3600
        said = f"about {hours:.1f} h" if hours >= 1 else f"about {self.seconds / 60:.0f} min"
        if not self.unknown:
            return f"{said} of one process"
        return (f"{said} of one process, and " if self.seconds else "") + f"{self.unknown} runs of unknown cost"


def seconds_of(spec: Spec, records: Iterable[Record], device: str) -> float | None:
    """The median time of like runs on this kind of device, scaled to the epochs; None where there is none.

    Alike are runs of the same networks on the same data in the same batches, precision and order of updates, both
    compiled or not, with frozen copies of the same networks or without. Mutual terms do not count: they cost
    little beside the networks. Rough, since other work and other models of the device are in the times.
    """
    times = [
        record.provenance.wall_time / record.spec.recipe.epochs
        for record in records
        if record.provenance.device == device and _traits(record.spec) == _traits(spec)
    ]
    return median(times) * spec.recipe.epochs if times else None


def cost(specs: Iterable[Spec], records: Sequence[Record], device: str) -> Cost:
    """The sum over these runs."""
    found = [seconds_of(spec, records, device) for spec in specs]
    known = [seconds for seconds in found if seconds is not None]
    return Cost(sum(known), len(found) - len(known))


def _traits(spec: Spec) -> tuple[object, ...]:
    recipe, own = spec.recipe, spec.objective
    frozen = own.needs_frozen, own.teacher
    return spec.data, spec.peers, *frozen, own.update, recipe.batch_size, recipe.precision, recipe.compile
