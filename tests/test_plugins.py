"""A user's own network, data set, term and metric: known to the command and to worker processes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ctsl_lib.data.specs import Digits
from ctsl_lib.environment import load_plugins
from ctsl_lib.errors import PlanError
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.objective import REGISTERED, Objective, term
from ctsl_lib.losses.terms import Step
from ctsl_lib.metrics.evaluation import METRICS, evaluate, metric
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import NETWORKS, build_peer, register
from ctsl_lib.training.recipe import Recipe

GUIDE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLUGIN = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)) + "\nfrom ctsl_lib import run\n"
[PROFILE] = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
SCRIPT = """
import sys

from ctsl_lib import Objective, Recipe, Spec, Store, grid, process_pool, run_grid

if __name__ == "__main__":
    base = Spec(data={"name": "ramps"}, peers=("wide_mlp", "wide_mlp"), recipe=Recipe(epochs=2))
    rows = {"mine": Objective(ce=1, feature=0.5)}
    with process_pool(2) as pool:
        for record in run_grid(grid(base, rows, range(2)), Store(sys.argv[1]), executor=pool):
            print(record.model_dump_json())
"""


COMMAND = "import sys; from ctsl_lib.cli.main import main; sys.argv[0] = 'ctsl'; main()"


def start(*arguments: str, folder: Path, plugins: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a plug-in; records are kept in the folder."""
    variables = {"CTSL_PLUGINS": plugins, "CTSL_RECORDS": str(folder / "records"), "CTSL_PROGRESS": "0"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=os.environ | variables, cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_term_without_its_code_is_told_before_stage_1(store: Store) -> None:
    spec = Spec(objective=Objective(self=1, extra=(("feature", 0.5),)), recipe=Recipe(epochs=1))
    with pytest.raises(
        ValueError, match=r"term must be one of .*; got feature\. A term of your own must be in a"
    ):
        run(spec, store)
    assert list(store) == []


@pytest.mark.slow
def test_workers_know_plugins(tmp_path: Path) -> None:
    plugin, script = tmp_path / "my_plugin.py", tmp_path / "script.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    script.write_text(SCRIPT, encoding="utf-8")
    ended = start(str(script), str(tmp_path / "records"), folder=tmp_path, plugins=str(plugin))
    assert ended.returncode == 0, ended.stderr
    records = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [record["spec"]["seed"] for record in records] == [0, 1]
    for record in records:
        assert list(record["history"]["terms"][0]) == ["ce", "feature"]
        assert all(50 <= value <= 100 for value in record["metrics"]["confidence"])
        assert min(record["metrics"]["top1"]) > 90 and len(record["metrics"]["confidence"]) == 2
        assert record["parameters"] == [6702, 6702] and record["spec"]["data"]["name"] == "ramps"


@pytest.mark.slow
def test_the_command_knows_plugins(tmp_path: Path) -> None:
    plugin = tmp_path / "my_plugin.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    rows = [f"{name}={value}" for name, value in (line.split(": ", 1) for line in PROFILE.splitlines())]
    given = [*rows, "pairs=[[wide_mlp, wide_mlp]]", "n_train=100", "n_validation=null", "epochs=1", "seeds=1"]
    options = ["train", "ramps", *(word for value in given for word in ("-p", value)), "--processes", "1"]
    ended = start("-c", COMMAND, *options, folder=tmp_path, plugins=str(plugin))
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "records" / "ramps").glob("*.json"))) == 3
    ended = start("-c", COMMAND, *options, folder=tmp_path, plugins="nowhere.py")
    assert ended.returncode == 1
    assert ended.stderr == "error: CTSL_PLUGINS names nowhere.py, which does not exist\n"


def test_plugins_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("json.py", "test_broken_plugin.py"):
        (tmp_path / name).write_text("import no_such_module\n", encoding="utf-8")
    monkeypatch.setenv("CTSL_PLUGINS", str(tmp_path / "json.py"))
    with pytest.raises(ValueError, match="json is another module: rename the file"):
        load_plugins()
    monkeypatch.setenv("CTSL_PLUGINS", str(tmp_path / "test_broken_plugin.py"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_plugins()
    for name in ("no_such_module", "no_such_package.part"):
        monkeypatch.setenv("CTSL_PLUGINS", f"json, {name}")
        with pytest.raises(ValueError, match=f"names {name}, which does not exist"):
            load_plugins()
    (tmp_path / "my.terms.py").touch()
    monkeypatch.setenv("CTSL_PLUGINS", str(tmp_path / "my.terms.py"))
    with pytest.raises(ValueError, match=r"my\.terms\.py, .* its name must be like a variable's"):
        load_plugins()


def test_a_metric_is_evaluated_for_each_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctsl_lib.metrics.evaluation.METRICS", dict(METRICS))
    metric("test_width")(lambda output, labels: float(output.embedding.shape[1] + 0 * len(labels)))
    data = Digits().load(0)
    peers = [build_peer(name, 1, 10, seed=0) for name in ("tiny_cnn", "tiny_resnet")]
    metrics = evaluate(peers, data.test, data)
    assert list(metrics) == ["top1", "top5", "ece", "test_width", "agreement"]
    assert metrics["test_width"] == [64, 32]
    for taken in ("top1", "agreement", "test_width", "seconds", "best"):
        with pytest.raises(ValueError, match=f"the name of a metric must be new, {taken!r} is taken"):
            metric(taken)(lambda output, labels: torch.nan)


def test_a_network_must_be_a_peer_with_an_answer_for_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctsl_lib.models.registry.NETWORKS", dict(NETWORKS))
    register("plain")(lambda channels, num_classes: torch.nn.Flatten())  # type: ignore[arg-type, return-value]
    register("thousand")(lambda channels, num_classes: Peer(torch.nn.Flatten(), width=64, num_classes=1000))
    with pytest.raises(ValueError, match=r"'plain' must be a Peer\(backbone, width, num_classes\), got Flatten"):
        build_peer("plain", 1, 10, seed=0)
    with pytest.raises(ValueError, match="'thousand' must answer for 10 classes, got 1000"):
        build_peer("thousand", 1, 10, seed=0)


@pytest.fixture
def own_terms() -> Iterator[None]:
    before = set(REGISTERED)

    @term("feature", needs="peers")  # the example of CONTRIBUTING.md, for embeddings of one width
    def feature(step: Step, k: int) -> torch.Tensor:
        own = step.outputs[k].embedding
        return torch.stack([(own - other.embedding).square().mean() for other in step.others(k)]).mean()

    @term("each_image")
    def each_image(step: Step, k: int) -> torch.Tensor:
        return step.outputs[k].logits.square().mean(dim=1)

    yield
    for name in set(REGISTERED) - before:
        del REGISTERED[name]


def test_terms_and_metrics_are_tried_before_the_first_run(
    own_terms: None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"n_train": 60, "epochs": 1, "batch_size": 20, "seeds": 1}
    mixed = {"pairs": [["tiny_cnn", "tiny_resnet"]], "methods": ["independent", "mine"]}
    for row, words in (
        (
            {"ce": 1, "feature": 1},
            r"1 ce \+ 1 feature cannot be computed for tiny_cnn \+ tiny_resnet: The size of tensor",
        ),
        ({"ce": 1, "each_image": 1}, "1 each_image cannot be computed for tiny_cnn"),
    ):
        with pytest.raises(PlanError, match=words):
            plan_from(short | mixed | {"rows": {"mine": row}}, "digits").train(store)
    assert not list(store)
    every = {"ce": 1, "response": 1, "distance": 1, "angle": 1, "self": 1, "triplet": 1}
    plan_from(short | mixed | {"rows": {"mine": every}}, "digits").check(store)
    monkeypatch.setattr("ctsl_lib.experiments.trial.METRICS", {"odd": lambda output, labels: output.nothing})
    with pytest.raises(PlanError, match=r"the metric 'odd' cannot be computed: .* has no attribute 'nothing'"):
        plan_from(short | mixed | {"methods": ["independent"]}, "digits").train(store)
    with pytest.raises(ValueError, match="needs must be one of labels, peers, frozen, got 'froze'"):
        term("typo", needs="froze")(lambda step, k: step.labels.sum())  # type: ignore[arg-type]
