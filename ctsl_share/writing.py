"""Trained peers as a folder that others can use: safetensors, a configuration, a model card."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save
from torch import nn

from ctsl_lib.data.types import RetrievalSplit
from ctsl_lib.environment import check_place, write_atomically
from ctsl_lib.errors import DataError
from ctsl_lib.evidence.statistics import Interval, mean_interval
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import NUMERICS, Record
from ctsl_lib.experiments.store import SEEDS, Store
from ctsl_lib.models.peer import Peer
from ctsl_share.card import card
from ctsl_share.config import CARD, CONFIG, WEIGHTS, WeightsConfig


def export_weights(record: Record, store: Store, folder: Path, *, train: bool = False) -> Record:
    """Write the trained peers of a run to a folder.

    Args:
        record: of the run.
        store: where its weights were kept.
        folder: made if it is missing; files of the same names are replaced.
        train: train the run again if its weights were not kept, in a store of its own and in today's numerics.

    Returns: the record of the weights that were written: `record`, or that of the training made for them, which on
        another processor may differ.
    Raises: ValueError if nothing can be written to the folder or if it holds files of others, before anything is
        trained, and one that says what to do if no weights were kept; DataError if they, or the images, cannot be used.
    """
    _check_target(folder)
    try:
        made, peers = store.load_kept(record.spec)
    except FileNotFoundError:
        if not train:
            raise ValueError(_advice(record, store)) from None
        if record.data_digest:
            _check_images(record, record.spec.data.digest())
        made, peers = _trained(record)
    config, tensors = _config(made, peers), nn.ModuleList(peers).state_dict()
    content = _ordered(
        save({name: value.contiguous() for name, value in tensors.items()}, {"format": "pt", "key": config.key})
    )
    text = card(config, over_seeds(record, store), given=not any(made.parameters))
    settings = config.model_dump_json(indent=1) + "\n"
    # The configuration comes first: by it the next export knows the folder of one that was killed in between.
    write_atomically(folder / CONFIG, lambda temporary: temporary.write_text(settings, encoding="utf-8"))
    write_atomically(folder / WEIGHTS, lambda temporary: temporary.write_bytes(content))
    write_atomically(folder / CARD, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return made


def _ordered(content: bytes) -> bytes:
    """The same file with its metadata in one order, which the library changes from call to call."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(size) + content[8 + size :]


def _check_target(folder: Path) -> None:
    """Raise a ValueError if no export can be written there, or if it would replace files of others."""
    check_place("folder", folder)
    there = [name for name in (WEIGHTS, CONFIG, CARD) if (folder / name).exists()]
    if not there:
        return
    try:
        WeightsConfig.model_validate_json((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        raise ValueError(
            f"{folder} has files of its own that an export would replace: {', '.join(there)}; name another folder"
        ) from None


def _advice(record: Record, store: Store) -> str:
    key = record.spec.key
    return (
        f"no weights of run {key} were kept: {store.weights_path(record.spec)} does not exist. With --train the run is "
        "trained again for this export; --keep-weights of `ctsl run` and `ctsl train`, or run(spec, "
        "keep_weights=True), keeps those of new runs"
    )


def _trained(record: Record) -> tuple[Record, list[Peer]]:
    spec = record.spec.model_copy(update={"numerics": NUMERICS})
    with tempfile.TemporaryDirectory(prefix="ctsl-weights-") as folder:
        own = Store(folder)
        run(spec, own, keep_weights=True)
        return own.load_kept(spec)


def _check_images(record: Record, digest: str) -> None:
    if digest != record.data_digest:
        raise DataError(
            f"the images of {record.spec.data.name} at hand (digest {digest}) are not those that run {record.spec.key} "
            f"was trained on (digest {record.data_digest})"
        )


def _config(record: Record, peers: Sequence[Peer]) -> WeightsConfig:
    spec = record.spec
    data = spec.data.load(spec.seed)
    _check_images(record, data.digest)
    split = data.split(spec.evaluate_on)
    images = split.query.images if isinstance(split, RetrievalSplit) else split.images
    return WeightsConfig(
        key=spec.key,
        spec=spec,
        channels=data.channels,
        image_size=(images.shape[2], images.shape[3]),
        classes=list(data.class_names),
        mean=list(data.mean),
        std=list(data.std),
        data_digest=record.data_digest,
        metrics=record.metrics,
        provenance=record.provenance,
    )


def over_seeds(record: Record, store: Store) -> dict[str, Interval]:
    """Metric -> mean and interval over the seeds of a setting, the mean over peers each; of seeds below `SEEDS`.

    Args:
        record: one of these runs.
        store: where the others are.
    """
    specs = [record.spec.model_copy(update={"seed": seed}) for seed in range(SEEDS) if seed != record.spec.seed]
    runs = [record, *(one for one in map(store.load, specs) if one is not None)]
    return {
        name: mean_interval([float(np.mean(one.metrics[name])) for one in runs if name in one.metrics])
        for name in record.metrics
    }
