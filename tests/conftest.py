"""Tests draw no progress bars and work with one thread, which is fastest for networks this small."""

import os
from pathlib import Path

import pytest
import torch

from ctsl_lib.experiments.store import Store

os.environ["CTSL_PROGRESS"] = "0"
torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty folder for records."""
    return Store(tmp_path / "records")
