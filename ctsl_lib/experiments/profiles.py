"""Profiles: settings of a plan from files, and settings that a person types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ctsl_lib import ROOT
from ctsl_lib.data.catalogue import retrieval_sets

PROFILES = ROOT / "notebooks" / "profiles"


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """The values of assignments such as "epochs=3" or "seeds=[0, 1]", read as YAML; 1e-3 is a number here too."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"a parameter must read NAME=VALUE, got {assignment!r}")
        try:
            values[name] = _number_or(yaml.safe_load(text))
        except yaml.YAMLError as error:
            reason = getattr(error, "problem", None) or "it cannot be read"
            raise ValueError(f"the value of a parameter must be YAML, got {assignment!r}: {reason}") from None
    return values


def _number_or(value: Any) -> Any:
    """The value with texts such as 1e-3, which YAML 1.1 does not take for a number, as numbers."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, list):
        return [_number_or(item) for item in value]
    return value


def load_profile(name: str, folder: Path = PROFILES, *, dataset: str = "") -> dict[str, Any]:
    """The settings of a profile.

    Args:
        name: of the profile: its file is NAME.yaml.
        folder: where the profiles are.
        dataset: for a data set of person re-identification NAME_reid.yaml is read instead, if it exists.

    Returns: setting -> value. Raises: ValueError if there is no such profile.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    names = [stem for stem in paths if not stem.endswith("_reid")]
    if name not in names:
        raise ValueError(f"profile must be one of {', '.join(names)}; got {name!r}")
    path = paths.get(f"{name}_reid", paths[name]) if dataset in retrieval_sets() else paths[name]
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {key: _number_or(value) for key, value in values.items()}
