"""The command as a user types it, with very short runs."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from ctsl_lib.cli import main as cli
from ctsl_lib.cli.reproduce import QUICK
from ctsl_lib.cli.tables import TABLES
from ctsl_lib.data.synthetic_market import write_synthetic_market
from ctsl_lib.experiments.spec import Record
from ctsl_lib.experiments.store import Store, read_record
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import REGISTERED, Term
from scripts.campaign.harness import CODE, MAIN


@pytest.fixture
def ctsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call `ctsl` with arguments in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CTSL_DATA", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ctsl", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_help_says_what_an_option_is_by_default(ctsl) -> None:
    for command, default in (("train", "[default: one a core"), ("check", "[default: cuda if there")):
        _, said, _ = ctsl(command, "--help")
        assert default in " ".join(said.replace("│", " ").split())


def test_help_of_every_command(ctsl) -> None:
    status, top, _ = ctsl("--help")
    assert status == 0
    for command in (
        "reproduce",
        "run",
        "table",
        "notebooks",
        "data",
        "train",
        "status",
        "claims",
        "check",
        "export",
        "weights",
    ):
        assert command in top
        status, detail, _ = ctsl(command, "--help")
        assert status == 0 and "Usage" in detail


@pytest.mark.slow
def test_reproduce_writes_everything_and_a_second_call_keeps_it(ctsl, tmp_path: Path) -> None:
    arguments = ("reproduce", "--seeds", "2", "--set", "epochs=1", "--no-notebooks", "--processes", "1")
    status, first, error = ctsl(*arguments)
    assert status == 0, error
    assert "CTSL-MKT" in first and "results/report.html" in first
    assert "None of these 16 runs is among the committed records." in first
    report = (tmp_path / "results" / "report.html").read_text()
    assert report.count("<img ") == len(set(re.findall('<img alt="([^"]{20,})"', report))) == 6
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#|["'])|url\(["']?https?:""", report)  # nothing to fetch
    for said in ("2 seeds", "CTSL-MKT", "interaction of", "ECE (%)", "temperature", "commit", "n_train"):
        assert said in report, said
    assert "ABLATIONS" not in report  # the code is hidden
    tables = {path.stem for path in (tmp_path / "results").glob("*.csv")}
    assert tables == {"methods", "ablation", "effects", "ece"}
    pictures = {path.stem for path in (tmp_path / "figures" / "runs").glob("*.png")}
    assert pictures == {
        "ablation",
        "ablation_effects",
        "ablation_rows",
        "comparison",
        "learning_curves",
        "method",
    }
    methods = pd.read_csv(tmp_path / "results" / "methods.csv", index_col="method")
    assert list(methods.index) == ["independent", "dml", "rkd", "tfkd", "ctsl_mkt"] and set(methods["n"]) == {2}
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "records").glob("*/*.json")}
    assert len(records) == 8 * 2 + 2
    _, second, _ = ctsl(*arguments)
    assert second.split("report")[0] == first.split("report")[0]
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_run_prints_metrics_and_where_the_record_is(ctsl, tmp_path: Path) -> None:
    status, output, error = ctsl(
        "run", "--method", "dml", "--peer", "tiny_cnn", "--peer", "tiny_resnet", "--set", "epochs=1"
    )
    assert status == 0, error
    path = Path(output.split()[-1])
    assert path.exists() and '"tiny_resnet"' in path.read_text() and "top1" in output


def test_run_sets_a_term_of_a_users_own(ctsl, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Term(lambda step, k: step.outputs[k].logits.square().mean(), "labels")
    monkeypatch.setitem(REGISTERED, "test_size", size)
    given = ("run", "--method", "dml", "--n-train", "60", "--set", "epochs=1")
    status, said, error = ctsl(*given, "--set", "test_size=0.5")
    assert status == 0, error
    record = read_record(Path(said.split()[-1]))
    assert list(record.spec.objective.active) == ["ce", "response", "test_size"]
    status, _, error = ctsl(*given, "--set", "test_sise=0.5")
    assert status == 1 and "did you mean 'test_size'?" in error
    status, _, error = ctsl("reproduce", "--set", "test_size=0.5")
    assert status == 1 and "--set takes epochs" in error  # the recipe alone has no terms


def record_of_main_job(method: str, seed: int, metrics: dict[str, float]) -> Record:
    spec = QUICK.model_copy(update={"objective": METHODS[method], "seed": seed})
    epochs = spec.recipe.epochs
    return Record.model_validate(
        {
            "spec": spec,
            "data_digest": spec.data.digest(),
            "parameters": [5, 5],
            "metrics": {name: [value, value] for name, value in metrics.items()},
            "history": {
                "terms": [{"ce": [1.0] * epochs}] * 2,
                "accuracy": [[50.0]] * 2,
                "evaluated": [epochs],
            },
            "provenance": {
                "device": "none", "commit": "none", "versions": {}, "threads": 1, "finished": "", "wall_time": 1.0,
            },
        }
    )  # fmt: skip


def test_a_table_of_any_metric_that_the_records_have(ctsl, tmp_path: Path) -> None:
    store = Store(tmp_path / "records")
    for seed in range(3):
        store.save(record_of_main_job("independent", seed, {"top1": 80.0 + seed, "confidence": -3.0 + seed}))
        store.save(record_of_main_job("dml", seed, {"top1": 82.0 + seed, "confidence": 5.0 + seed}))
    store.save(record_of_main_job("tfkd", 0, {"top1": 90.0}))  # from before the metric was there
    status, said, error = ctsl("table", "--metric", "confidence", "--csv", "numbers.csv")
    assert status == 0, error
    assert "confidence (%)" in said and "-2.00 ± 2.48" in said and "+8.00" in said and "Tf-KD" not in said
    numbers = pd.read_csv(tmp_path / "numbers.csv", index_col="method")
    assert numbers["mean"].to_dict() == {"independent": -2, "dml": 6}
    _, said, _ = ctsl("table")
    assert "81.00" in said and "Tf-KD" in said
    status, _, error = ctsl("table", "--metric", "confidance")
    assert status == 1 and len(error.strip().splitlines()) == 1
    assert "the records have, top1, confidence; got 'confidance'; did you mean 'confidence'?" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--method", "magic"), "method must be one of independent, dml"),
        (("run", "--method", "dml", "--peer", "huge"), "network must be one of alexnet, alexnet_bn"),
        (("run", "--method", "dml", "--label-noise", "40"), "label_noise"),
        (("run", "--method", "dml", "--set", "epoch=3"), "--set takes epochs"),
        (("run", "--method", "dml", "--set", "epochs=many"), "epochs"),
        (
            ("run", "--method", "dml", "--set", "teacher=tiny_cnn"),
            "teacher 'tiny_cnn' needs a term that learns from it",
        ),
        (("table",), "`CTSL_RECORDS=results/records ctsl table` reads"),
        (("notebooks", "77"), "NUMBER must be among 00"),
        (
            ("notebooks", "--profile", "huge"),
            "must be one of digits, overnight, paper, quick, short, small, teacher, or the path",
        ),
        (("notebooks", "00", "-p", "colour=blue"), "has no parameter 'colour'"),
        (("notebooks", "00", "-p", "epochs=0"), "epochs must be int in 00_start_here.ipynb, got 0"),
        (("data", "mnist"), "NAME must be one of cifar10, cifar100"),
        (("train", "digits", "-p", "n_train=60", "-p", "seeds=0"), "seeds"),
        (("status", "digits", "-p", "n_train=60", "-p", "methods=[magic]"), "methods must be among independent"),
        (("status", "cifer10"), "got 'cifer10'; did you mean 'cifar10'?"),
        (("claims", "--dataset", "cifar-10"), "got 'cifar-10'; did you mean 'cifar10'?"),
        (("status", "-p", "epocs=3"), "a plan has no setting 'epocs'; did you mean 'epochs'?"),
        (("status", "cifar10", "-p", "epocs=3"), "a plan has no setting 'epocs'; did you mean 'epochs'?"),
        (
            ("status", "cifar10", "-p", "dataset=cifar100"),
            "dataset is a parameter of notebooks; this",
        ),
        (("run", "--method", "DML"), "got 'DML'; did you mean 'dml'?"),
        (("run", "--method", "CTSL-MKT"), "got 'CTSL-MKT'; did you mean 'ctsl_mkt'?"),
        (("run", "--method", "dml", "--peer", "vgg11"), "vgg11 cannot learn from batches of 4 images of 1x8x8"),
        (("train", "digits", "-p", "epoch=3"), "a plan has no setting 'epoch'; did you mean 'epochs'?"),
        (("data", "market1501", "--download"), "given out by its authors"),
        (("data", "market1501"), "Put the folder Market-1501-v15.09.15"),
        (("train", "market1501"), "Put the folder Market-1501-v15.09.15"),
        (("train", "synthetic_market", "-p", "batch_size=33", "-p", "images_per_class=4"), "got 33 and 4"),
        (
            ("train", "synthetic_market", "-p", "n_validation=29"),
            "must leave 2 or more of the 30 training persons, got 29",
        ),
    ],
)
def test_errors_are_one_line_and_a_bad_exit_status(ctsl, arguments: tuple[str, ...], message: str) -> None:
    status, _, error = ctsl(*arguments)
    assert status != 0 and message in error
    assert "Traceback" not in error and len(error.strip().splitlines()) == 1


def test_train_status_and_claims_of_a_table(ctsl, tmp_path: Path) -> None:
    small = ("pairs=[[tiny_cnn, tiny_cnn]]", "seeds=2", "epochs=1", "n_train=60", "methods=[independent, tfkd]")
    given = [part for value in (*small, "batch_size=30") for part in ("-p", value)]
    _, before, _ = ctsl("status", "digits", *given)
    assert before.strip().endswith("digits: 6 missing; left: 6 runs of unknown cost")
    assert before.count("stage 1") == 2
    status, table, error = ctsl("train", "digits", *given, "--processes", "1")
    assert status == 0, error
    assert "Tf-KD" in table and (tmp_path / "results" / "tables" / "digits.tex").exists()
    _, after, _ = ctsl("status", "digits", *given)
    assert after.strip().endswith("digits: 6 done")
    _, more, _ = ctsl("status", "digits", *given, "-p", "seeds=4", "-p", "epochs=1200")
    assert "12 missing; left: about " in more and more.strip().endswith("of one process")
    status, every, _ = ctsl("status")
    assert status == 0 and [line.split(":")[0] for line in every.splitlines()] == list(TABLES)
    for profile in ("small", "short", "paper"):
        status, every, error = ctsl("status", "--profile", profile)
        assert status == 0 and every.splitlines()[-1].startswith("market1501: "), error
    status, every, error = ctsl("status", "--profile", "digits")
    assert status == 0, error
    said = dict(line.split(": ", 1) for line in every.splitlines())
    assert list(said) == list(TABLES) and "missing; left: " in said["digits"]
    assert said["market1501"] == "no such table: market1501 has no setting for n_train = 400"
    status, every, _ = ctsl("status", "-p", "n_train=100")
    assert status == 0 and [line.split(": ")[0] for line in every.splitlines() if "no such" in line] == [
        "synthetic_market",
        "market1501",
    ]
    status, judged, _ = ctsl("claims")
    assert status == 0 and "Not tested: market1501 (all)." in judged
    assert judged.startswith("no comparison is tested\n")
    said = [line for line in judged.splitlines() if line.endswith(": not tested.")]
    assert [line[:2] for line in said] == ["C1", "C2", "C3", "C4", "C5", "C6", "E1", "E2"]
    assert judged.count("\n- Not tested: ") == len(said)
    status, judged, error = ctsl("claims", "--profile", "digits")
    reason = "market1501: no such table: market1501 has no setting for n_train = 400"
    assert status == 0 and judged.startswith(f"{reason}\n"), error
    status, _, error = ctsl("claims", "--profile", "digits", "--dataset", "cifar10", "--dataset", "market1501")
    assert status == 1 and reason in error
    _, every, _ = ctsl("claims", "--all", "--profile", "small")
    rows = [line for line in every.splitlines() if line.endswith("not tested")]
    assert len(rows) == 10 * (4 + 7 + 2 + 2 + 1 + 1 + 1) + 3  # ten places; C5 has as many; C6


def test_market_1501_is_described_and_trained(ctsl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path))
    write_synthetic_market(tmp_path / "Market-1501", identities=8, cameras=2, images_per_camera=4)
    with pytest.warns(UserWarning, match="not quite Market-1501 as published"):
        status, said, error = ctsl("data", "market1501")
    assert status == 0, error
    assert "training images  32 of 4 persons" in said and "query images     8" in said
    assert "deviation        query identities: 4, published 750" in said
    small = ("epochs=1", "seeds=2", "batch_size=16", "methods=[independent, tfkd]")
    given = [part for value in small for part in ("-p", value)]
    with pytest.warns(UserWarning, match="not quite Market-1501 as published"):  # of another size
        status, table, error = ctsl("train", "market1501", *given, "--processes", "1")
    assert status == 0, error
    assert "mAP, last epoch (%)" in table and "rank-1 (%)" in table
    _, after, _ = ctsl("status", "market1501", *given)
    assert after.strip().endswith("6 done")


@pytest.mark.slow
def test_notebooks_side_by_side(ctsl, tmp_path: Path) -> None:
    status, _, error = ctsl("notebooks", "10", "20", "--out", str(tmp_path / "done"), "--processes", "2")
    assert status == 0, error
    assert {path.name for path in (tmp_path / "done").iterdir()} == {"10_tables.ipynb", "20_claims.ipynb"}


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_the_next_call_goes_on(ctsl, tmp_path: Path) -> None:
    small = ("pairs=[[tiny_cnn, tiny_cnn]]", "seeds=8", "epochs=8", "n_train=60", "methods=[independent, dml]")
    given = [part for value in (*small, "batch_size=30") for part in ("-p", value)]
    command = ["train", "digits", *given, "--processes", "2"]
    records = tmp_path / "records" / "digits"
    # A session of its own: the signal reaches the workers too, as Ctrl-C in a terminal does.
    process = subprocess.Popen(
        [sys.executable, "-c", CODE + MAIN, *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(records.glob("*.json"))) < 2 and process.poll() is None:
        threading.Event().wait(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130 and "the same command goes on from there" in error
    assert "Traceback" not in error
    kept = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 2 <= len(kept) < 16
    status, _, error = ctsl(*command[:-1], "1")
    assert status == 0, error
    assert len(list(records.glob("*.json"))) == 16
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.parametrize("arguments", [("--help",), ("status", "cifer10"), ("run", "--method", "dlm")])
def test_help_and_wrong_arguments_need_no_torch(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from ctsl_lib.cli.main import main; sys.argv = ['ctsl', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_images_in_the_folder_that_one_is_in_are_named_in_full(ctsl, tmp_path: Path) -> None:
    """A relative path means the data folder; the message says what to write in its place."""
    (tmp_path / "my_images").mkdir()
    status, _, error = ctsl("train", "my_images")
    assert status == 1 and f"got 'my_images'; did you mean {tmp_path / 'my_images'}?" in error
