"""Profiles: files of notebook parameters, and values that a person types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ctsl_lib import ROOT
from ctsl_lib.data.catalogue import retrieval_sets

PROFILES = ROOT / "notebooks" / "profiles"


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """["epochs=3", "seeds=[0, 1]"] -> values as YAML reads them, numbers like 1e-3 included."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"a parameter must read NAME=VALUE, got {assignment!r}")
        values[name] = _number_or(yaml.safe_load(text))
    return values


def _number_or(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; a person means a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, list):
        return [_number_or(item) for item in value]
    return value


def load_profile(name: str, folder: Path = PROFILES, *, dataset: str = "") -> dict[str, Any]:
    """Parameters of a profile, from notebooks/profiles/NAME.yaml; for person re-identification NAME_reid.yaml."""
    paths = {found.stem: found for found in sorted(folder.glob("*.yaml"))}
    names = [found for found in paths if not found.endswith("_reid")]
    if name not in names:
        raise ValueError(f"profile must be one of {', '.join(names)}; got {name!r}")
    path = paths.get(f"{name}_reid", paths[name]) if dataset in retrieval_sets() else paths[name]
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {key: _number_or(value) for key, value in values.items()}
