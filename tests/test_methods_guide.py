"""docs/methods.md and examples/distillation.py: published losses, teachers that are given, a plain loop."""

import doctest
import importlib.util
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ctsl_lib.losses.functional import response_loss
from ctsl_lib.losses.objective import REGISTERED
from ctsl_lib.models.paper import mobilenetv2
from ctsl_lib.models.peer import StridedDepthwise, frozen_copy
from ctsl_lib.models.registry import NETWORKS, build_peer, register
from ctsl_lib.training.checkpoint import read_state
from tests.test_plugins import COMMAND, start

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "distillation.py"
TEACHER, *LOOP = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
COMMANDS = [
    line for line in GUIDE.replace("\\\n", " ").splitlines() if line.startswith(("ctsl run", "ctsl train digits"))
]


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """The plug-in, taken out of the registries again."""
    networks, terms = set(NETWORKS), set(REGISTERED)
    spec = importlib.util.spec_from_file_location("distillation_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for registry, before in ((NETWORKS, networks), (REGISTERED, terms)):
        for name in set(registry) - before:
            del registry[name]


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ctsl(folder: Path, *words: str, plugins: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    return start("-c", COMMAND, *words, folder=folder, plugins=str(plugins))


def test_examples_of_the_docstrings(example: ModuleType) -> None:
    assert doctest.testmod(example).attempted >= 4 and doctest.testmod(example).failed == 0


def test_dkd_is_zero_at_equality_and_blind_to_a_shift(example: ModuleType) -> None:
    z, target, labels = some(6, 5), some(6, 5, seed=1), torch.arange(6) % 5
    assert example.decoupled_loss(z, z, labels).abs() < 1e-12
    loss = example.decoupled_loss(z, target, labels)
    assert loss > 0
    torch.testing.assert_close(example.decoupled_loss(z + 1000, target - 7, labels), loss)


def test_dkd_by_hand(example: ModuleType) -> None:
    # Student (1/2, 1/4, 1/4), teacher (1/4, 1/2, 1/4), label 0, t = 1: TCKD = KL of (1/4, 3/4) from (1/2, 1/2) =
    # 1/4 ln 1/2 + 3/4 ln 3/2; among the others (1/2, 1/2) against (2/3, 1/3): NCKD = 2/3 ln 4/3 + 1/3 ln 2/3.
    ln = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64).log()
    z, target = (torch.tensor([row], dtype=torch.float64).log() for row in ([2, 1, 1], [1, 2, 1]))
    tckd = -ln[0] / 4 + 3 / 4 * (ln[1] - ln[0])
    nckd = 2 / 3 * (ln[2] - ln[1]) + 1 / 3 * (ln[0] - ln[1])
    for alpha, beta in ((1, 0), (0, 1), (2, 3)):
        found = example.decoupled_loss(z, target, torch.tensor([0]), alpha, beta, t=1)
        torch.testing.assert_close(found, alpha * tckd + beta * nckd)


def test_dkd_with_the_teachers_own_weight_is_hintons_loss(example: ModuleType) -> None:
    t = 3.0
    for seed in range(5):
        z, target, label = some(1, 7, seed=seed), some(1, 7, seed=seed + 50), torch.tensor([seed])
        beta = 1 - (target / t).softmax(dim=1)[0, seed].item()
        expected = t**2 * response_loss(z, target, temperature=t)
        torch.testing.assert_close(example.decoupled_loss(z, target, label, 1.0, beta, t), expected)


def test_dkd_is_finite_where_the_teacher_is_sure_and_falls_along_its_gradient(example: ModuleType) -> None:
    z = some(4, 5).float().requires_grad_()
    target, labels = 200 * torch.eye(5)[:4], torch.arange(4)
    loss = example.decoupled_loss(z, target, labels)
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.isfinite() and gradient.isfinite().all()
    assert example.decoupled_loss(z - 0.01 * gradient, target, labels) < loss


def test_attention_by_hand_and_at_every_scale(example: ModuleType) -> None:
    slanted, unit = (
        torch.tensor([[[[2.0, 1.0]]]]),
        torch.tensor([[[[1.0, 0.0]]]]),
    )  # squares (4, 1), length sqrt(17)
    expected = ((1 - 4 / 17**0.5) ** 2 + 1 / 17) / 2
    assert example.attention_loss([slanted], [unit]).item() == pytest.approx(expected)
    here, there = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]], [[0.0, 1.0]]]])
    assert example.attention_loss([here], [there]).item() == pytest.approx(
        1
    )  # (1, 0) against (0, 1), mean of 1 and 1
    assert example.attention_loss([here, here], [there, here]).item() == pytest.approx(1)
    own, target = some(3, 4, 5, 5), some(3, 8, 5, 5, seed=1)
    for scale in (1e-5, 1e5):
        torch.testing.assert_close(
            example.attention_loss([scale * own], [target]), example.attention_loss([own], [target])
        )


def test_attention_says_what_does_not_fit(example: ModuleType) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0, 0"):
        example.attention_loss([], [])
    with pytest.raises(ValueError, match=r"height and width, got \(4, 4\) and \(2, 2\)"):
        example.attention_loss([some(1, 2, 4, 4)], [some(1, 2, 2, 2)])


@pytest.mark.slow
def test_a_teacher_that_hands_over_nothing_is_found_before_it_is_trained(tmp_path: Path) -> None:
    settings = (
        "pairs=[[pocket_with_maps]]",
        "methods=[at]",
        "rows={at: {ce: 1, attention: 1, teacher: wide_cnn}}",
    )
    ended = ctsl(tmp_path, "train", "digits", *(part for value in settings for part in ("-p", value)))
    assert (
        ended.returncode == 1 and "cannot be computed for pocket_with_maps: maps must be as many" in ended.stderr
    )
    assert not list(tmp_path.rglob("*.json")) and "Traceback" not in ended.stderr


def test_watched_layers_survive_copies_and_layers_that_are_replaced(example: ModuleType) -> None:
    register("test_strided")(lambda c, n: example.WithMaps(mobilenetv2(c, n), ("features.4.conv.1.0",)))
    peer = build_peer("test_strided", 3, 10, seed=0)
    assert isinstance(peer.backbone.get_submodule("features.4.conv.1.0"), StridedDepthwise)
    images = some(2, 3, 32, 32).float()
    assert len(peer.train()(images).maps) == 1
    copy = frozen_copy(peer)  # after a step, when maps of it were there
    assert len(copy(images).maps) == 1 and len(peer(images).maps) == 1


def test_watched_layers_hand_over_maps_and_change_nothing(example: ModuleType) -> None:
    watched, plain = (build_peer(name, 1, 10, seed=3) for name in ("pocket_with_maps", "pocket_cnn"))
    images = some(2, 1, 8, 8).float()
    found, expected = watched.eval()(images), plain.eval()(images)
    assert torch.equal(found.logits, expected.logits) and watched.state_dict().keys() == plain.state_dict().keys()
    assert [tuple(one.shape) for one in found.maps] == [(2, 4, 8, 8), (2, 8, 8, 8)] and expected.maps == ()
    assert not any(one.requires_grad for one in found.detach().maps)


@pytest.mark.slow
@pytest.mark.parametrize("padding", [0, 1])
def test_commands_of_the_guide(tmp_path: Path, padding: int) -> None:
    quick = [
        f"{name}={value}"
        for name, value in {"epochs": 1, "seeds": 1, "n_train": 100, "padding": padding, "mirror": False}.items()
    ]
    commands = [shlex.split(line)[1:] for line in COMMANDS]
    assert [words[0] for words in commands] == ["run", "train", "train"]
    for words in commands[1:]:
        ended = ctsl(tmp_path, *words, *(part for value in quick for part in ("-p", value)))
        assert ended.returncode == 0, ended.stderr
    (tmp_path / "one").mkdir()
    ended = ctsl(tmp_path / "one", *commands[0], "--n-train", "100", "--set", "epochs=1")
    assert ended.returncode == 0 and "top1" in ended.stdout, ended.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "records").rglob("*.json")]
    assert len(records) == 2 + 3 + 4  # two teachers; independent, kd, label_smoothing; independent, dkd, rkd, at
    terms = {name for record in records for name in record["history"]["terms"][0]}
    assert terms == {"ce", "self", "dkd", "rkd_teacher", "attention"}


@pytest.mark.slow
def test_a_teacher_that_is_given_does_not_learn_and_teaches(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(TEACHER, encoding="utf-8")
    torch.save(build_peer("wide_cnn", 1, 10, seed=5).state_dict(), tmp_path / "my_teacher.pt")
    settings = (
        "pairs=[[tiny_cnn]]",
        "teacher=my_teacher",
        "methods=[independent, kd]",
        "seeds=2",
        "epochs=2",
        "n_train=100",
    )
    words = [part for value in settings for part in ("-p", value)]
    ended = ctsl(tmp_path, "train", "digits", *words, "--processes", "1", plugins=plugin)
    assert ended.returncode == 0, ended.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "records").rglob("*.json")]
    teachers = [record for record in records if record["spec"]["peers"] == ["my_teacher"]]
    students = [record for record in records if record["spec"]["peers"] == ["tiny_cnn"]]
    assert len(teachers) == 2 and len(students) == 4
    assert [record["parameters"] for record in teachers] == [[0], [0]]
    for teacher in teachers:
        assert len(set(teacher["history"]["accuracy"][0])) == 1 and len(teacher["history"]["terms"][0]["ce"]) == 2
    given = build_peer("wide_cnn", 1, 10, seed=5).state_dict()
    for path in (tmp_path / "records").rglob("*.pt"):
        [kept] = read_state(path, "peers")["peers"]
        assert all(torch.equal(values, given[name]) for name, values in kept.items())
    assert all(min(record["parameters"]) > 0 for record in students)
    [row] = [line for line in ended.stdout.splitlines() if " kd " in line]
    assert row.split()[-2:] == ["2", "2"]  # epochs of the student alone, and seeds


@pytest.mark.slow
def test_the_loop_of_the_guide() -> None:
    place: dict[str, object] = {}
    exec("\n".join(LOOP), place)  # the guide's own code
    terms, both = place["terms"], place["both"]
    assert isinstance(terms, dict) and set(terms) == {"ce", "self"}
    assert isinstance(both, list) and [set(one) for one in both] == [{"ce", "response"}] * 2


def test_the_guide_cites_the_published_values() -> None:
    rows = (ROOT / "data" / "paper" / "others.csv").read_text(encoding="utf-8").splitlines()
    for method, value in (("independent", "69.06"), ("kd", "70.66")):
        assert (
            any(row.startswith(f"cifar100,resnet20,{method},{value}") for row in rows) and f"{value} %" in GUIDE
        )
