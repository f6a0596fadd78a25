"""`ctsl check`: each part says ok where all is well, and names what is not."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ctsl_check.losses import TOLERANCE, judged, losses
from ctsl_check.machine import device_from, machine, versions
from ctsl_check.parts import check
from ctsl_check.records import candidates, rows_of, sampled
from ctsl_check.repeat import a_step, first_difference, row, small_spec
from ctsl_check.report import Part, Report, Row
from ctsl_check.resume import kill_after, resume
from ctsl_check.speed import Rate, measured, product_rate, run_seconds, table_cost
from ctsl_lib import ROOT
from ctsl_lib.cli.main import main
from ctsl_lib.data.specs import Digits, Images
from ctsl_lib.evidence.remade import Agreement
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import NETWORKS, register
from ctsl_lib.training.recipe import Recipe

CPU = torch.device("cpu")
QUICK = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=1, batch_size=20))


@pytest.fixture
def committed(store: Store) -> Store:
    """Seven seeds of one setting."""
    for seed in range(7):
        run(QUICK.model_copy(update={"seed": seed}), store)
    return store


# --- the report -----------------------------------------------------------------------------------------------


def report_of(*rows: Row) -> Report:
    part = Part(title="1 a part", rule="What is compared.", rows=list(rows))
    return Report(device="cpu", commit="abc", finished="now", options={"seed": 0}, parts=[part])


def test_a_report_as_text_markdown_and_json() -> None:
    good, bad = Row(what="a | b", found="1"), Row(what="c", found="2", expected="1", verdict="off")
    skipped = Row(what="d", found="no compiler", verdict="not possible here")
    report = report_of(good, bad, skipped)
    assert report.in_words() == "1 of 3 things are off; 1 were not possible here.\n1 a part: c: 2"
    assert report_of(good, skipped).in_words() == "nothing of 2 things is off; 1 were not possible here."
    text = report.parts[0].as_text().splitlines()
    assert text[2].split() == ["c", "2", "1", "OFF"]
    markdown = report.as_markdown()
    assert "| a \\| b | 1 |  | ok |" in markdown and "**1 of 3 things are off" in markdown
    assert "`ctsl check --seed 0`" in markdown and "What is compared." in markdown
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert [part.verdict for part in (report.parts[0], report_of(good).parts[0])] == ["off", "ok"]


# --- 1 environment --------------------------------------------------------------------------------------------


def test_other_versions_than_the_pinned_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=1", "torch>=2", "no-such-package"]'
    )
    torch_version = torch.__version__.partition("+")[0]
    pinned = f"numpy==0.1\ntorch=={torch_version}\nno-such-package==1\nabsl-py==0.1\n"
    (tmp_path / "constraints.txt").write_text(pinned)
    found = versions(tmp_path)
    assert found.verdict == "note" and re.fullmatch(
        r"numpy \S+ \(==0\.1\), no-such-package missing \(==1\)", found.found
    )
    assert not [one for one in machine(CPU).rows if one.verdict == "off"]


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match=rf"device must be one of cpu.* on this machine, got '{name}'"):
        device_from(name)


# --- 2 losses -------------------------------------------------------------------------------------------------


def test_every_loss_agrees_with_its_reference() -> None:
    part = losses(CPU, compiled=False)
    assert [one.what for one in part.rows if one.verdict != "ok"] == []
    assert {one.what.split(",")[0] for one in part.rows} == {
        "cross entropy", "response", "self", "triplet", "distance", "angle"
    }  # fmt: skip
    assert len(part.rows) == 2 * 6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("side", [0, 1])
def test_an_error_above_the_tolerance_is_off(precision: str, side: int) -> None:
    exact = [torch.tensor(2.0, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)]
    bound = TOLERANCE[precision][side]

    def verdict(error: float) -> str:
        found = list(exact)
        found[side] = exact[side] * (1 + error)
        return judged("a loss", (found[0], found[1]), (exact[0], exact[1]), precision).verdict

    assert [verdict(0), verdict(0.9 * bound), verdict(1.1 * bound), verdict(float("nan"))] == [
        "ok", "ok", "off", "off"
    ]  # fmt: skip


@pytest.mark.slow
def test_where_nothing_can_be_compiled_the_report_says_so(tmp_path: Path) -> None:
    code = (
        "import torch; from ctsl_check.losses import losses\nprint(losses(torch.device('cpu')).model_dump_json())"
    )
    own = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    skipped = [one for one in rows if one["verdict"] == "not possible here"]
    assert [one["what"] for one in skipped] == ["all losses, fp32, compiled", "all losses, bf16, compiled"]
    assert len(rows) == 2 * 6 + 2 and all(one["found"] for one in skipped)


# --- 3 the same twice -----------------------------------------------------------------------------------------


@pytest.fixture
def restless():
    """A network whose dropout ignores every seed."""
    draws = itertools.count()

    class Restless(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(next(draws)))
            return images + 0.1 * noise

    @register("test_restless")
    def build(channels: int, num_classes: int) -> Peer:
        pooled = nn.Sequential(nn.Conv2d(channels, 8, 3), Restless(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Peer(pooled, width=8, num_classes=num_classes)

    yield "test_restless"
    del NETWORKS["test_restless"]


def test_the_first_operation_that_is_not_the_same_is_named(restless: str) -> None:
    training = a_step((restless, "tiny_cnn"), CPU, "fp32", seed=0)
    assert "aten.rand.generator" in first_difference(training)
    said = row("a step", False, training)
    assert said.verdict == "off" and "not the same: operation" in said.found
    assert said.found.endswith("with deterministic algorithms: not the same either")
    assert not torch.are_deterministic_algorithms_enabled()


def test_no_operation_is_named_where_all_are_the_same() -> None:
    assert first_difference(a_step(("tiny_cnn", "tiny_resnet"), CPU, "bf16", seed=0)) == ""


# --- 4 kill and resume ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result() -> None:
    [found] = resume(CPU, seed=1).rows
    assert found.verdict == "ok" and re.fullmatch(r"killed after epoch \d+ of 12", found.what)


@pytest.mark.slow
def test_a_run_that_ends_before_it_is_killed_is_told(store: Store) -> None:
    assert kill_after(small_spec("fp32", 0, epochs=1), store, 1, CPU) is None


@pytest.mark.slow
def test_a_run_that_fails_before_it_is_killed_is_no_good_sign(store: Store) -> None:
    with pytest.raises(RuntimeError, match="the run that was to be killed failed by itself, with exit status 1"):
        kill_after(small_spec("fp32", 0, epochs=1), store, 1, torch.device("meta"))


# --- 5 records ------------------------------------------------------------------------------------------------


def test_records_made_again_are_identical_and_one_that_is_off_is_named(committed: Store) -> None:
    part = sampled(CPU, 7, committed=committed, processes=1)
    assert [one.found for one in part.rows] == ["7 of 7 records that took at most 60 s each", *["identical"] * 7]
    spec = QUICK.model_copy(update={"seed": 2})
    record = committed.load(spec)
    assert record is not None
    wrong = {"top1": [100.0 if value < 50 else 0.0 for value in record.metrics["top1"]]}
    committed.save(record.model_copy(update={"metrics": record.metrics | wrong}))
    part = sampled(CPU, 7, committed=committed, processes=1)
    [named] = [one for one in part.rows if one.verdict == "off"]
    assert spec.key in named.what and named.found.startswith("off, ")
    assert [one.found for one in part.rows].count("identical") == 6


def test_records_that_are_shifted_together_are_off() -> None:
    assert rows_of(Agreement([], 0, 1.0, 0.001))[-1].verdict == "off"
    assert rows_of(Agreement([], 0, 1.0, 0.2))[-1].verdict == "ok"


def test_only_records_that_can_be_made_again_are_drawn(committed: Store, tmp_path: Path) -> None:
    assert len(candidates(committed)) == 7
    assert candidates(committed, longest=0) == []
    record = committed.load(QUICK)
    assert record is not None
    lost = record.model_copy(
        update={"spec": QUICK.model_copy(update={"data": Images(name="cifar10", n_train=60)})}
    )
    other = record.model_copy(update={"spec": QUICK.model_copy(update={"seed": 9}), "data_digest": "0" * 32})
    for one in (lost, other):
        committed.save(one)
    assert {one.spec.seed for one in candidates(committed)} == set(range(7))
    [none] = sampled(CPU, 4, committed=Store(tmp_path / "empty")).rows
    assert none.verdict == "not possible here" and none.found.startswith("no record of at most 60 s")


def test_a_sample_follows_from_its_seed(committed: Store) -> None:
    first, second = (
        [sampled(CPU, 1, seed, committed=committed).rows[1].what for seed in range(5)] for _ in range(2)
    )
    assert first == second and len(set(first)) > 1


# --- 6 speed --------------------------------------------------------------------------------------------------


def test_the_time_of_a_run_by_hand() -> None:
    recipe = Recipe(epochs=10, evaluate_every=4)
    spec = Spec(data=Images(name="cifar10"), peers=("resnet8", "resnet14"), recipe=recipe)
    rates = {("resnet8", "fp32"): Rate(1000, 5000, 1e9), ("resnet14", "fp32"): Rate(500, 2000, 1e9)}
    # 500,000 images trained on and 3 x 10,000 answered by each network: 500 + 6 and 1000 + 15 seconds.
    assert run_seconds(spec, rates) == pytest.approx(1521)
    frozen = spec.model_copy(update={"objective": METHODS["tfkd"]})
    assert run_seconds(frozen, rates) == pytest.approx(1521 + 100 + 250)  # 500,000 answers of each frozen copy
    larger = spec.model_copy(update={"data": Images(name="tiny_imagenet", n_train=50_000)})
    assert run_seconds(larger, rates) == pytest.approx(4 * 1521)  # four times the pixels
    in_bf16 = spec.model_copy(update={"recipe": recipe.model_copy(update={"precision": "bf16"})})
    assert run_seconds(in_bf16, rates) is None and run_seconds(QUICK, rates) is None
    assert table_cost([spec, in_bf16, spec], rates) == (pytest.approx(2 * 1521), 1)


def test_a_network_is_measured() -> None:
    rate = measured("resnet8", CPU, "fp32")
    # 12.5 million products an image, layer by layer; each is two operations, and there are twice as many back.
    assert rate.answer > 0 and rate.train == pytest.approx(rate.operations / (3 * 2 * 12.5e6), rel=0.01)
    assert product_rate(CPU, "fp32") > 0


def test_a_part_that_fails_is_off_and_the_others_are_there(
    committed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_CHECKPOINT", "soon")  # every run refuses it
    report = check(CPU, 1, parts=[1, 3, 6], networks=["resnet8"], committed=committed)
    [row] = report.parts[1].rows
    assert row.verdict == "off" and "CTSL_CHECKPOINT must be a number of seconds, got 'soon'" in row.found
    assert report.parts[0].verdict != "off" and report.parts[2].rows[1].what == "resnet8, fp32"


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ctsl(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ctsl", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    parts = ("--part", "1", "--part", "5", "--sample", "1", "--seed", "3", "--longest", "12")
    status, said, error = ctsl(*parts, "--json", "a/check.json", "--markdown", "check.md", "--device", "cpu")
    report = Report.model_validate_json((tmp_path / "a" / "check.json").read_bytes())
    assert status == (1 if report.off else 0), error
    assert report.in_words() in said and "5 committed records made again" in said
    assert [part.title[0] for part in report.parts] == ["1", "5"]
    assert (tmp_path / "check.md").read_text() == report.as_markdown()
    given = "--device cpu --sample 1 --seed 3 --longest 12 --part 1 --part 5"
    assert f"`ctsl check {given}`" in report.as_markdown()
    with monkeypatch.context() as patched:  # no number is as exact as that
        patched.setitem(TOLERANCE, "fp32", (0.0, 0.0))
        status, said, _ = ctsl("--part", "2", "--no-compiled", "--markdown", "eager.md")
    assert "--part 2 --no-compiled`" in (tmp_path / "eager.md").read_text()
    assert status == 1 and "6 of 12 things are off" in said and "2 losses: angle, fp32, eager: value" in said
    for option in ("--json", "--markdown"):
        with monkeypatch.context() as patched:
            patched.setattr("ctsl_check.parts.check", lambda *_, **__: pytest.fail("it checks"))
            status, _, error = ctsl("--part", "1", option, "check.md/deep")
        assert status == 1 and error == f"error: {option} must name a file in a folder, but check.md is a file\n"
    status, _, error = ctsl("--part", "1", "--json", "a")
    assert status == 1 and error == "error: --json must name a file, but a is a folder\n"
    status, _, error = ctsl("--part", "7")
    assert status == 1 and error == "error: part must be among 1, 2, 3, 4, 5, 6, got 7\n"
    status, _, error = ctsl("--device", "tpu")
    assert status == 1 and "device must be one of cpu" in error and len(error.splitlines()) == 1


def test_the_committed_report_is_whole() -> None:
    folder = ROOT / "data" / "check"
    for path in folder.glob("*.json"):
        report = Report.model_validate_json(path.read_bytes())
        assert [part.title[0] for part in report.parts] == ["1", "2", "3", "4", "5", "6"]
        assert path.with_suffix(".md").read_text(encoding="utf-8") == report.as_markdown()


def test_the_guide_says_what_another_processor_gave() -> None:
    guide = " ".join((ROOT / "docs" / "check.md").read_text(encoding="utf-8").split())
    report = (ROOT / "data" / "check" / "cpu-intel-xeon-amx.md").read_text(encoding="utf-8")
    runs = re.findall(r"seed \d+\) \| (identical|within the spread|off)", report)
    [(shift, chance)] = re.findall(r"all together \| shift of (\S+) points, p = (\S+) \|", report)
    assert runs.count("identical") == 1 and "off" not in runs and f"one of {len(runs)} records comes out" in guide
    assert f"shifted by {shift} points (p = {chance})" in guide
