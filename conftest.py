"""Tests draw no progress bars and work with one thread, which is fastest for networks this small."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ctsl_lib.data.specs import DATA_SETS
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.objective import BUILT_IN, REGISTERED
from ctsl_lib.metrics.evaluation import METRICS
from ctsl_lib.models.registry import HOME, NETWORKS

os.environ["CTSL_PROGRESS"] = "0"
torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty folder for records."""
    return Store(tmp_path / "records")


@pytest.fixture(autouse=True)
def examples_leave_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take out again what the examples in docstrings register under a name."""
    registries = (DATA_SETS, REGISTERED, NETWORKS, METRICS)
    before = [set(registry) for registry in registries]
    yield
    if isinstance(request.node, pytest.DoctestItem):
        for registry, names in zip(registries, before, strict=True):
            for name in (
                set(registry) - names - {*HOME, *BUILT_IN}
            ):  # the kit's own may have been imported meanwhile
                del registry[name]
