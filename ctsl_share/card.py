"""The model card beside shared weights, in the layout of the Hugging Face Hub."""

import json
import textwrap

import yaml

from ctsl_lib.evidence.labels import metric_label, pair_name
from ctsl_lib.evidence.statistics import Interval
from ctsl_lib.experiments.spec import Spec
from ctsl_share.config import WeightsConfig
from ctsl_share.runs import method_of

TINY = {"pocket_cnn": 4, "tiny_cnn": 16, "wide_cnn": 32}
"""Networks that a few lines of plain PyTorch can write down -> width of their first layer."""

PLAIN = """\
import torch
from safetensors.torch import load_file
from torch import nn


def convolution(inputs, outputs):
    layer = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


backbone = nn.Sequential(
    convolution({channels}, {width}),
    convolution({width}, {width2}),
    nn.MaxPool2d(2),
    convolution({width2}, {width4}),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
)
network = nn.ModuleDict({{"backbone": backbone, "classifier": nn.Linear({width4}, {classes})}})
state = load_file("model.safetensors")  # all peers; the names of peer {number} begin with "{number}."
network.load_state_dict({{n.removeprefix("{number}."): v for n, v in state.items() if n.startswith("{number}.")}})
network.eval().to(memory_format=torch.channels_last)  # the layout that it was trained in, for equal last digits


def answer(images):  # (N, {channels}, {height}, {width_of_images}) pixels, 0 to {largest}
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in ({mean}, {std}))
    with torch.no_grad():
        return network["classifier"](network["backbone"]((images.float() - mean) / std))
"""

BODY = """\
# {method}: {pair} on {data}

{about}

| | |
|---|---|
| key | `{key}` |
| seed | {seed} |
| commit | `{commit}` |
| digest of the images | `{digest}` |
| made on | {device}, PyTorch {torch} |

## Metrics

After the last epoch on {split} images, in percent; no epoch was chosen on them. The interval is a 95 % Student-t
interval over the seeds of the same setting that have records, each the mean over its peers.

| metric | of these peers | over seeds |
|---|---|---|
{metrics}

## Use

With the kit, logits equal to those of the trained peers bit for bit on one machine:

```python
from ctsl_share import load_weights

pair = load_weights("FOLDER")  # this folder
peers, spec = pair.peers, pair.config.spec
```

`ctsl weights load FOLDER` answers the test images again and compares.

{plain}
## Spec

```json
{spec}
```

## Limits

The networks were trained to compare methods of training. Other images than those of the data set were not tried, nor
was anything but the accuracy and the calibration above. One seed says little about a method: see the interval.

## Licence

MIT, as the kit. The images are not part of these files; their own terms hold for them.
"""


def card(config: WeightsConfig, intervals: dict[str, Interval]) -> str:
    """The text of the card.

    Args:
        config: what the networks are.
        intervals: metric -> mean and interval over seeds.
    """
    spec, made = config.spec, config.provenance
    about = {
        "license": "mit",
        "library_name": "pytorch",
        "tags": ["knowledge-distillation", "arxiv:2101.08471"],
        "datasets": [spec.data.name],
        "metrics": ["accuracy"],
    }
    rows = [
        f"| {metric_label(name)} | {', '.join(f'{value:.2f}' for value in values)} | "
        f"{intervals[name]} (n = {intervals[name].n}) |"
        for name, values in config.metrics.items()
    ]
    body = BODY.format(
        method=method_of(spec.objective), pair=pair_name(spec.peers), data=spec.data.name, key=config.key,
        about=textwrap.fill(_about(spec), width=120, break_long_words=False), seed=spec.seed,
        commit=made.commit, digest=config.data_digest, device=made.cpu if "cpu" in made.device else made.device,
        torch=made.versions.get("torch", "unknown"), split=spec.evaluate_on, metrics="\n".join(rows),
        plain=_plain(config), spec=json.dumps(spec.model_dump(mode="json"), indent=1),
    )  # fmt: skip
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n{body}"


def _about(spec: Spec) -> str:
    """What was trained, on what, by what."""
    count = f"{len(spec.peers)} peers" if len(spec.peers) > 1 else "One network"
    stage = " in stage 1, to be frozen" if spec.stage == 1 else ""
    settings = ", ".join(f"{name} {value}" for name, value in spec.data.model_dump(exclude={"name"}).items())
    data = f"{spec.data.name} ({settings})" if settings else spec.data.name
    return (
        f"{count} trained with the objective {spec.objective.in_words}{stage} on {data}. Made by the kit "
        '"The runnable paper: CTSL-MKT"; '
        "the paper is [arXiv 2101.08471](https://arxiv.org/abs/2101.08471)."
    )


def _plain(config: WeightsConfig) -> str:
    """How one of the networks is used without the kit, where that takes a few lines."""
    spec = config.spec
    found = next((k for k, name in enumerate(spec.peers) if name in TINY), None)
    if found is None:
        names = ", ".join(dict.fromkeys(spec.peers))
        return (
            f"Without the kit: the networks ({names}) are defined in its `ctsl_lib/models`, in plain PyTorch.\n"
        )
    width = TINY[spec.peers[found]]
    height, width_of_images = config.image_size
    code = PLAIN.format(
        channels=config.channels, width=width, width2=2 * width, width4=4 * width, classes=len(config.classes),
        number=found, mean=config.mean, std=config.std, height=height, width_of_images=width_of_images,
        largest=16 if spec.data.name == "digits" else 255,
    )  # fmt: skip
    return f"Without the kit, peer {found} in plain PyTorch, in this folder:\n\n```python\n{code}```\n"
