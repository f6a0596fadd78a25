"""Profiles: settings of a plan from files, and settings that a person types."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ctsl_lib import ROOT
from ctsl_lib.data.catalogue import retrieval_sets
from ctsl_lib.errors import shown

PROFILES = ROOT / "notebooks" / "profiles"
STANDARD = {"digits": "digits", "cifar10": "overnight", "cifar100": "overnight"}
"""Data set -> the profile that is meant where none is named; for any other data set it is `small`."""


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """The values of assignments such as "epochs=3" or "seeds=[0, 1]", read as YAML; 1e-3 is a number here too."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"a parameter must read NAME=VALUE, got {assignment!r}")
        try:
            values[name] = _read_yaml(text)
        except ValueError as error:
            raise ValueError(f"the value of a parameter must be YAML, got {shown(assignment)}: {error}") from None
    return values


class _Yaml(yaml.SafeLoader):
    """YAML in which texts such as 1e-3 are numbers, as they are since YAML 1.2."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"),
    list("-+.0123456789"),
)


def _read_yaml(content: str | bytes) -> Any:
    """What YAML says; raises a ValueError with the reason in one line if it says nothing."""
    try:
        return yaml.load(content, _Yaml)
    except yaml.YAMLError as error:
        raise ValueError(getattr(error, "problem", None) or "it cannot be read") from None
    except Exception as error:  # a date that is none, lists within lists: what may come is written nowhere
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None


def load_profile(name: str | None, folder: Path = PROFILES, *, dataset: str = "") -> dict[str, Any]:
    """The settings of a profile.

    Args:
        name: of the profile: its file is NAME.yaml; or the path of a .yaml file; None for the data set's standard one.
        folder: where the profiles are.
        dataset: for a data set of person re-identification NAME_reid.yaml is read instead, if it exists.

    Returns: setting -> value. Raises: ValueError if there is no such profile, or if it cannot be read.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    names = [stem for stem in paths if not stem.endswith("_reid")]
    name = name if name is not None else STANDARD.get(dataset, "small")
    if name.endswith(".yaml"):
        path = Path(name)
    elif name in names:
        path = paths.get(f"{name}_reid", paths[name]) if dataset in retrieval_sets() else paths[name]
    else:
        raise ValueError(f"profile must be one of {', '.join(names)}, or the path of a .yaml file; got {name!r}")
    try:
        values = _read_yaml(path.read_bytes()) or {}
    except OSError as error:
        raise ValueError(f"the profile {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path} must be YAML: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{path} must give names values, such as `epochs: 3`; got {shown(values)}")
    return values
