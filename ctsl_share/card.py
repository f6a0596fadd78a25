"""The model card beside shared weights, in the layout of the Hugging Face Hub."""

import json
import textwrap

import yaml

from ctsl_lib.evidence.labels import metric_label, pair_name
from ctsl_lib.evidence.statistics import NO_INTERVAL, Interval
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.models.registry import HOME
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
# {title}

{about}

| | |
|---|---|
| key | `{key}` |
| seed | {seed} |
| commit | `{commit}` |
| digest of the images | `{digest}` |
| made on | {device}, PyTorch {torch} |

## Metrics

{measured}

| metric | of these peers | over seeds |
|---|---|---|
{metrics}

## Use

With the kit, logits equal to those of these peers bit for bit on one machine:

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

{limits}

## Licence

{licence} The images are not part of these files; their own terms hold for them.
"""

TRAINED = {
    "measured": """\
After the last epoch on {split} images, in percent; no epoch was chosen on them. The interval is a 95 % Student-t
interval over the seeds of the same setting that have records, each the mean over its peers.""",
    "limits": """\
The networks were trained to compare methods of training. Other images than those of the data set were not tried, nor
was anything but the accuracy and the calibration above. One seed says little about a method: see the interval.""",
    "licence": "MIT, as the kit.",
}
"""What the card says of networks that the kit has trained, by its place in the text."""

GIVEN = {
    "measured": """\
On {split} images, in percent. The interval is a 95 % Student-t interval over the seeds of the data set that have
records.""",
    "limits": """\
What it was trained on is not known here, nor whether these images were part of it. Other images than those of
the data set were not tried, nor was anything but the accuracy and the calibration above.""",
    "licence": "The network's own terms hold; they are not known here.",
}
"""The same of networks that were handed in and did not learn."""


def card(config: WeightsConfig, intervals: dict[str, Interval], *, given: bool = False) -> str:
    """The text of the card.

    Args:
        config: what the networks are.
        intervals: metric -> mean and interval over seeds; a metric that has none gets a dash.
        given: whether the networks were handed in and did not learn, rather than trained by the kit.
    """
    spec, made = config.spec, config.provenance
    words, method = (GIVEN, "given") if given else (TRAINED, method_of(spec.objective))
    about = {
        "license": "other" if given else "mit",
        "library_name": "pytorch",
        "tags": ["knowledge-distillation", "arxiv:2101.08471"],
        "datasets": [spec.data.name],
        "metrics": ["accuracy"],
    }
    rows = [
        f"| {metric_label(name)} | {', '.join(f'{value:.2f}' for value in values)} | "
        f"{_with_count(intervals.get(name, NO_INTERVAL))} |"
        for name, values in config.metrics.items()
    ]
    body = BODY.format(
        title=f"{method}: {pair_name(spec.peers)} on {spec.data.name}", key=config.key, seed=spec.seed,
        about=textwrap.fill(_about(spec, given), width=120, break_long_words=False),
        commit=made.commit, digest=config.data_digest, device=made.cpu if "cpu" in made.device else made.device,
        torch=made.versions.get("torch", "unknown"), metrics="\n".join(rows),
        plain=_plain(config), spec=json.dumps(spec.model_dump(mode="json"), indent=1),
        measured=words["measured"].format(split=spec.evaluate_on), limits=words["limits"], licence=words["licence"],
    )  # fmt: skip
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n{body}"


def _with_count(interval: Interval) -> str:
    return f"{interval} (n = {interval.n})" if interval.n else str(interval)


def _about(spec: Spec, given: bool) -> str:
    """What was trained, or given, on what, by what."""
    count = f"{len(spec.peers)} peers" if len(spec.peers) > 1 else "One network"
    stage = " in stage 1, to be frozen" if spec.stage == 1 else ""
    settings = ", ".join(f"{name} {value}" for name, value in spec.data.model_dump(exclude={"name"}).items())
    data = f"{spec.data.name} ({settings})" if settings else spec.data.name
    kit = 'by the kit "The runnable paper: CTSL-MKT"; the paper is [arXiv 2101.08471](https://arxiv.org/abs/2101.08471).'
    if given:
        return f"{count}, given as it is, not trained here; evaluated on {data} {kit}"
    trained = f"{spec.recipe.epochs} epochs with the objective {spec.objective.in_words}{stage}"
    return f"{count} trained on {data} for {trained}. Made {kit}"


def _plain(config: WeightsConfig) -> str:
    """How one of the networks is used without the kit, where that takes a few lines."""
    spec = config.spec
    found = next((k for k, name in enumerate(spec.peers) if name in TINY), None)
    if found is None:
        names = ", ".join(dict.fromkeys(spec.peers))
        place = "its `ctsl_lib/models`" if HOME.keys() >= set(spec.peers) else "a file that `CTSL_PLUGINS` named"
        return f"Without the kit: the networks ({names}) are defined in {place}, in plain PyTorch.\n"
    width = TINY[spec.peers[found]]
    height, width_of_images = config.image_size
    code = PLAIN.format(
        channels=config.channels, width=width, width2=2 * width, width4=4 * width, classes=len(config.classes),
        number=found, mean=config.mean, std=config.std, height=height, width_of_images=width_of_images,
        largest=16 if spec.data.name == "digits" else 255,
    )  # fmt: skip
    return f"Without the kit, peer {found} in plain PyTorch, in this folder:\n\n```python\n{code}```\n"
