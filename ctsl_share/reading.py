"""From a folder of shared weights back to the trained peers. Nothing in such a folder is run."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ctsl_lib.environment import expanded, open_file, read_whole
from ctsl_lib.errors import DataError, explained, plain, shown
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.checkpoint import check_weights
from ctsl_share.config import CONFIG, WEIGHTS, WeightsConfig

LARGEST = 2**22
"""Bytes that a configuration may have: names of 100,000 classes."""


@dataclass(frozen=True)
class Weights:
    """Trained peers in evaluation mode, and what is known of them."""

    config: WeightsConfig
    peers: list[Peer]


def load_weights(folder: Path | str) -> Weights:
    """The peers of a folder that `ctsl weights export` has written, on the CPU; their logits are those of the trained
    peers bit for bit.

    Raises: DataError in one line if a file is missing, damaged, or does not fit the other one.
    """
    place = expanded("FOLDER", folder)
    config = read_config(place / CONFIG)
    path = place / WEIGHTS
    try:
        open_file(path).close()  # a pipe would be waited for
        peers = _peers(path, config)
    except (SafetensorError, OSError) as error:
        reason = explained(error) if isinstance(error, OSError) else plain(str(error))
        raise DataError(f"{path} cannot be used: {reason}") from None
    except Exception as error:  # a plugin's network may raise anything
        raise DataError(f"{path} cannot be used: {explained(error)}") from None
    return Weights(config, peers)


def read_config(path: Path) -> WeightsConfig:
    """The configuration in a file; raises a DataError that names what is wrong."""
    try:
        return WeightsConfig.model_validate_json(read_whole(path, LARGEST))
    except Exception as error:  # a plugin's checks may raise anything
        raise DataError(f"{path} cannot be used: {explained(error)}") from None


def _peers(path: Path, config: WeightsConfig) -> list[Peer]:
    with safe_open(path, framework="pt") as file:
        key = (file.metadata() or {}).get("key")
        if key != config.key:
            raise ValueError(f"it is of another run: key must be {config.key!r}, got {shown(key)}")
        names = set(file.keys())
        # Looked at before networks are built: a file of a few bytes shall not ask for millions of classes.
        for k in range(len(config.spec.peers)):
            last = f"{k}.classifier.weight"
            rows = file.get_slice(last).get_shape()[0] if last in names else 0
            if rows != len(config.classes):
                raise ValueError(f"{last} must have {len(config.classes)} rows, one for each class, got {rows}")
        states: list[dict[str, Tensor]] = [{} for _ in config.spec.peers]
        for name in sorted(names):
            number, _, rest = name.partition(".")
            if not number.isdecimal() or int(number) >= len(states):
                raise ValueError(f"it must hold {len(states)} networks, got a tensor {shown(name)}")
            states[int(number)][rest] = file.get_tensor(name)
    peers = [build_peer(name, config.channels, len(config.classes), seed=0) for name in config.spec.peers]
    check_weights(peers, states)
    nn.ModuleList(peers).load_state_dict(
        {f"{k}.{name}": value for k, state in enumerate(states) for name, value in state.items()}
    )
    return [peer.eval() for peer in peers]
