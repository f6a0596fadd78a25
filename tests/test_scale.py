"""What docs/scale.md says was computed or measured as it says."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import big_store, scale
from benchmarks.scale import Job, forward_operations, one_command, operations
from ctsl_check.speed import Rate, run_seconds
from ctsl_lib.evidence.tables import frame_of
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.profiles import load_profile
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers
from ctsl_lib.losses.methods import METHODS

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "data" / "reference" / "bench_scale"


def test_runs_go_to_the_gpu_that_is_free_first() -> None:
    runs = [Job(1, None), Job(2, 0), Job(2, 0), Job(4, None)]
    # Who needs no stage 1 does not wait for it.
    assert [one_command(runs, gpus) for gpus in (1, 2, 3)] == [9, 5, 4]


def test_no_number_of_gpus_is_faster_than_the_longest_chain() -> None:
    runs = [Job(3, None), Job(1, None), *[Job(5, 0)] * 7, Job(9, 1)]
    for gpus in (1, 2, 5, 100):
        assert one_command(runs, gpus) >= max(sum(run.work for run in runs) / gpus, 1 + 9)
    assert one_command(runs, 100) == 1 + 9


def specs_by_method(**changes: object) -> dict[str, Spec]:
    values = load_profile("paper", dataset="cifar100") | {"pairs": [["resnet8", "resnet8"]], "seeds": 1} | changes
    return {method: specs[0] for (_, method), specs in plan_from(values, "cifar100").specs().items()}


def test_operations_are_those_of_the_check() -> None:
    forward = forward_operations("resnet8", 100, 32, 32)
    rates = {("resnet8", "fp32"): Rate(train=1 / (3 * forward), answer=1 / forward, operations=0)}
    for spec in specs_by_method().values():
        assert operations(spec) == pytest.approx(run_seconds(spec, rates))


def test_operations_grow_with_epochs_and_with_frozen_copies() -> None:
    specs = {method: operations(spec) for method, spec in specs_by_method().items()}
    assert specs["independent_2x"] == pytest.approx(2 * specs["independent"])
    assert 1.2 < specs["tfkd"] / specs["independent"] < 4 / 3
    assert specs["dml"] == specs["independent"]
    assert forward_operations("resnet8", 100, 64, 32) == pytest.approx(
        2 * forward_operations("resnet8", 100, 32, 32), rel=0.01
    )


def test_jobs_have_every_run_of_the_plan_once() -> None:
    values = load_profile("paper", dataset="cifar100") | {"pairs": [["resnet8", "resnet8"]]}
    plan = plan_from(values, "cifar100")
    jobs = scale.jobs(plan)
    assert len(jobs) == len(plan.runs())
    first = {job.after for job in jobs} - {None}
    assert len(first) == plan.seeds and all(jobs[place].after is None for place in first)


@pytest.mark.slow
def test_the_guide_has_the_table_of_the_paper() -> None:
    for line in scale.table(10.0):
        assert line in GUIDE


def test_the_guide_has_what_the_check_measured() -> None:
    [name] = re.findall(r"`ctsl check`, \[report\]\(\.\./data/check/(.*)\)\)", GUIDE)
    report = (ROOT / "data" / "check" / name).read_text(encoding="utf-8")
    networks = {network for pair in load_profile("paper", dataset="cifar100")["pairs"] for network in pair}
    assert all(f"| {network}, fp32 |" in report for network in networks)
    [load] = re.findall(r"load before the check \| ([\d.]+ processes on) 2 cores", report)
    assert f"{load} its two cores before the check" in GUIDE
    for dataset in ("cifar10", "cifar100", "tiny_imagenet"):
        [hours] = re.findall(rf"table {dataset}, profile paper \| about ([\d,]+) h", report)
        assert f"{hours} h" in GUIDE


def test_the_guide_has_what_was_measured() -> None:
    engines = pytest.importorskip("benchmarks.engines", reason="needs the extra `cluster`")
    store = json.loads((REFERENCE / "store.json").read_text())["rows"]
    rows = json.loads((REFERENCE / "engines.json").read_text())["rows"]
    for line in (*big_store.lines(store), *engines.lines(rows)):
        assert line in GUIDE
    assert f"{rows['shared folder']['MiB of a state']:.0f} MiB" in GUIDE


def test_a_synthetic_store_holds_what_the_table_looks_for(tmp_path: Path) -> None:
    size = big_store.fill(tmp_path, 16)
    store = Store(tmp_path)
    records = list(store)
    assert len(records) == 16 and sum(path.stat().st_size for path in tmp_path.rglob("*.json")) == size
    rows = {method: len(part) for method, part in frame_of(records, METHODS).groupby("method")}
    assert set(rows) == set(METHODS) and len(set(rows.values())) == 1
    assert {record.spec.seed for record in records} == {0, 1}


@pytest.mark.slow
def test_tasks_and_claims_are_measured(tmp_path: Path) -> None:
    engines = pytest.importorskip("benchmarks.engines", reason="needs the extra `cluster`")
    with Workers(1) as workers:
        row = engines.tasks(workers, 20)
    assert set(row) < set(engines.COLUMNS) and all(value > 0 for name, value in row.items() if "CPU" not in name)
    found = engines.sharing(tmp_path, 5)
    assert all(value > 0 for value in found.values())
    parameters_and_momentum = 2 * 2 * 4 * 11_220_132
    assert found["MiB of a state"] == pytest.approx(parameters_and_momentum / 2**20, rel=0.01)


@pytest.mark.slow
def test_a_scheduler_and_a_worker_are_measured_and_ended(tmp_path: Path) -> None:
    engines = pytest.importorskip("benchmarks.engines", reason="needs the extra `cluster`")
    psutil = pytest.importorskip("psutil")
    with engines.dask(tmp_path) as cluster:
        processes = [p for p in psutil.Process().children() if "distributed.cli" in " ".join(p.cmdline())]
        row = engines.tasks(cluster, 20) | engines.runs(cluster, Store(tmp_path / "records"), 1)
    assert len(processes) == 2 and not any(process.is_running() for process in processes)
    assert set(row) == set(engines.COLUMNS)
    assert len(list(Store(tmp_path / "records"))) == 3
