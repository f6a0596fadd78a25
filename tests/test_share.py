"""Weights that go out and come back, and curves of runs for other programs."""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctsl_lib import METHODS, ROOT
from ctsl_lib.cli.main import main
from ctsl_lib.data.specs import Digits
from ctsl_lib.data.types import Split
from ctsl_lib.errors import DataError
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.profiles import load_profile
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store, read_record
from ctsl_lib.losses.methods import baselines
from ctsl_lib.metrics.evaluation import evaluate, predict
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import NETWORKS, build_peer
from ctsl_lib.training.recipe import Recipe
from ctsl_share import export_weights, load_weights, writing
from ctsl_share.card import card
from ctsl_share.histories import histories, write_tensorboard
from ctsl_share.writing import over_seeds

REFERENCE = ROOT / "data" / "weights"
QUICK = Spec(data=Digits(n_train=60), peers=("tiny_cnn", "tiny_resnet"), recipe=Recipe(epochs=2, batch_size=20))


@pytest.fixture
def ctsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call `ctsl` in an empty folder whose records are in records/: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "records"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ctsl", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


# --- weights out and in ---------------------------------------------------------------------------------------


def test_logits_are_the_same_bit_for_bit(store: Store, tmp_path: Path) -> None:
    record = run(QUICK, store, keep_weights=True)
    run(QUICK.model_copy(update={"seed": 1}), store)
    assert export_weights(record, store, tmp_path / "out") == record
    data = QUICK.data.load(QUICK.seed)
    assert isinstance(data.test, Split)
    loaded = load_weights(tmp_path / "out")
    for peer, other in zip(store.load_peers(QUICK), loaded.peers, strict=True):
        assert not other.training
        expected, found = (predict(one, data.test.images, data) for one in (peer, other))
        assert torch.equal(expected.logits, found.logits)
    assert loaded.config.spec == QUICK and loaded.config.metrics == record.metrics
    assert loaded.config.mean == list(data.mean) and loaded.config.data_digest == record.data_digest
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n") and QUICK.key in card and record.provenance.commit in card
    assert "(n = 2)" in card  # two seeds have records
    for heading in ("## Metrics", "## Use", "## Spec", "## Limits", "## Licence"):
        assert heading in card


def test_weights_that_were_not_kept_and_the_advice_that_works(ctsl, tmp_path: Path) -> None:
    store = Store()
    record = run(QUICK, store)
    before = store.path(QUICK).read_bytes()
    status, _, error = ctsl("weights", "export", QUICK.key[:8], "--to", "out")
    assert status == 1 and len(error.splitlines()) == 1 and not (tmp_path / "out").exists()
    assert f"no weights of run {QUICK.key} were kept" in error and "With --train" in error
    status, said, error = ctsl("weights", "export", str(store.path(QUICK)), "--to", "out", "--train")
    assert status == 0, error
    assert said.split() == [QUICK.key, "out"]
    assert load_weights("out").config.metrics == record.metrics
    assert store.path(QUICK).read_bytes() == before and not store.weights_path(QUICK).exists()


def test_several_runs_get_a_folder_each_and_load_compares(ctsl, tmp_path: Path) -> None:
    specs = [QUICK, QUICK.model_copy(update={"seed": 1})]
    for spec in specs:
        run(spec, Store(), keep_weights=True)
    status, _, error = ctsl("weights", "export", *(spec.key for spec in specs), "--to", "out")
    assert status == 0, error
    assert {path.name for path in (tmp_path / "out").iterdir()} == {spec.key for spec in specs}
    status, said, _ = ctsl("weights", "load", f"out/{QUICK.key}")
    assert status == 0 and said.count("as recorded") == 4 and "tiny_cnn + tiny_resnet" in said


@pytest.mark.parametrize(
    ("run_name", "message"),
    [
        ("zzzz", "RUN must be the key of a record, four or more of its first digits, or its file; got 'zzzz'"),
        ("abcd", "has it"),
        ("gone.json", "is not a record: it cannot be read"),
    ],
)
def test_a_run_that_is_not_there(ctsl, run_name: str, message: str) -> None:
    status, _, error = ctsl("weights", "export", run_name, "--to", "out")
    assert status == 1 and message in error and len(error.splitlines()) == 1


# --- folders that somebody else may have written --------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a committed pair, to be damaged."""
    return shutil.copytree(REFERENCE / "dml", tmp_path / "pair")


def change(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def resave(folder: Path, **tensors: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    key = json.loads((folder / "config.json").read_text())["key"]
    named = {name.replace("__", "."): value for name, value in tensors.items()}
    save_file(load_file(path) | named, path, {"format": "pt", "key": key})


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lie_about_the_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")


def make_it_a_pickle(folder: Path) -> None:
    torch.save({"0.classifier.weight": torch.zeros(10, 64)}, folder / "model.safetensors")


def other_network(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    spec = Spec.model_validate(config["spec"] | {"peers": ["tiny_resnet", "tiny_cnn"]})
    change(folder, spec=spec.model_dump(mode="json"), key=spec.key)
    resave(folder)


HOSTILE = {
    "a cut file": (cut, "model.safetensors cannot be used"),
    "a header that lies": (lie_about_the_header, "model.safetensors cannot be used"),
    "a pickle": (make_it_a_pickle, "model.safetensors cannot be used"),
    "no file": (lambda f: (f / "model.safetensors").unlink(), "cannot be read"),
    "a folder": (lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()), "not a file"),
    "a pipe": (
        lambda f: ((f / "model.safetensors").unlink(), os.mkfifo(f / "model.safetensors")), "cannot be used"
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json cannot be used: it cannot be read"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be used: Invalid JSON"),
    "another key": (lambda f: change(f, key="0" * 16), "key must be that of the spec"),
    "an unknown field": (lambda f: change(f, code="import os"), "code: Extra inputs are not permitted"),
    "too few means": (lambda f: change(f, mean=[]), "mean must have 1 values"),
    "no deviation": (lambda f: change(f, std=[0.0]), "std must be above 0"),
    "too many channels": (lambda f: change(f, channels=10**9), "less than or equal to 100000"),
    "other classes": (lambda f: change(f, classes=["one"]), "must have 1 rows, one for each class, got 10"),
    "another network": (other_network, "the weights are of another network"),
    "another shape": (lambda f: resave(f, **{"0__classifier__bias": torch.zeros(11)}), "classifier.bias of peer 0"),
    "another type": (
        lambda f: resave(f, **{"0__classifier__bias": torch.zeros(10).double()}), "classifier.bias of peer 0"
    ),
    "a third network": (lambda f: resave(f, **{"2__classifier__bias": torch.zeros(10)}), "must hold 2 networks"),
    "a nameless tensor": (lambda f: resave(f, weights=torch.zeros(1)), "must hold 2 networks"),
    "weights of another run": (
        lambda f: shutil.copy(REFERENCE / "rkd" / "model.safetensors", f), "it is of another run"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HOSTILE))
def test_what_cannot_be_used_ends_in_one_line(ctsl, folder: Path, name: str) -> None:
    damage, message = HOSTILE[name]
    damage(folder)
    with pytest.raises(DataError, match=re.escape(message)):
        load_weights(folder)
    status, _, error = ctsl("weights", "load", str(folder))
    assert status == 1 and len(error.splitlines()) == 1 and error.startswith("error: ")


# --- the committed pairs --------------------------------------------------------------------------------------


def test_the_committed_pairs_are_those_of_the_records_and_small() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == {*METHODS, "cifar100"}
    sizes = {path: path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file()}
    assert sum(size for path, size in sizes.items() if "cifar100" not in path.parts) <= 2**20
    assert sum(sizes.values()) <= 6 * 2**20
    store = Store(ROOT / "data" / "records")
    for method, objective in METHODS.items():
        config = load_weights(REFERENCE / method).config
        record = store.load(Spec(objective=objective))
        assert record is not None and config.key == record.spec.key and config.metrics == record.metrics
        assert (REFERENCE / method / "README.md").read_text() == card(config, over_seeds(record, store))


@pytest.mark.parametrize("method", ["independent_2x", "dml", "ctsl_mkt"])
def test_the_committed_pairs_of_real_images_are_those_of_the_records(method: str) -> None:
    store, folder = Store(ROOT / "data" / "records"), REFERENCE / "cifar100" / method
    values = load_profile("overnight", dataset="cifar100") | {"methods": [method], "seeds": 2}
    plan = plan_from(values, "cifar100")
    config, spec = load_weights(folder).config, plan.specs()[plan.pairs[0], method][1]
    record = read_record(store.path(spec))
    assert config.key == record.spec.key and config.metrics == record.metrics
    assert (folder / "README.md").read_text() == card(config, over_seeds(record, store))


def test_a_committed_pair_has_its_recorded_accuracy() -> None:
    loaded = load_weights(REFERENCE / "ctsl_mkt")
    spec = loaded.config.spec
    data = spec.data.load(spec.seed)
    found = evaluate(loaded.peers, data.test, data)
    # Elsewhere the last digits of a logit may decide about one image of 797.
    assert found["top1"] == pytest.approx(loaded.config.metrics["top1"], abs=100 / 797 + 1e-6)


def test_the_card_of_a_pair_works_without_the_kit(tmp_path: Path) -> None:
    folder = shutil.copytree(REFERENCE / "ctsl_mkt", tmp_path / "pair")
    loaded = load_weights(folder)
    data = loaded.config.spec.data.load(loaded.config.spec.seed)
    assert isinstance(data.test, Split)
    torch.save(data.test.images, tmp_path / "images.pt")
    snippet = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[-1]
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('ctsl_lib', 'ctsl_share', 'ctsl_check', 'ctsl_course')))\n"  # no import
        f"{snippet}\n"
        "torch.set_num_threads(1)\n"
        "torch.save(answer(torch.load('../images.pt')), '../logits.pt')\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, check=True)
    expected = predict(loaded.peers[0], data.test.images, data).logits
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected, rtol=1e-5, atol=1e-5)


# --- histories ------------------------------------------------------------------------------------------------


def test_curves_as_one_tidy_table(ctsl, tmp_path: Path) -> None:
    spec = QUICK.model_copy(update={"objective": METHODS["dml"]})
    record = run(spec, Store())
    status, said, error = ctsl("export", spec.key, "--csv", "curves.csv")
    assert status == 0, error
    assert said == "1 runs, 12 values in curves.csv\n"  # two peers, two epochs, three quantities
    frame = pd.read_csv(tmp_path / "curves.csv")
    assert list(frame) == list(histories([]).columns)
    assert set(frame["method"]) == {"dml"} and set(frame["key"]) == {spec.key} and set(frame["stage"]) == {2}
    last = frame[(frame["quantity"] == "top1") & (frame["epoch"] == 2)].set_index("peer")["value"]
    assert last.to_dict() == {1: record.metrics["top1"][0], 2: record.metrics["top1"][1]}
    second = frame[(frame["peer"] == 2) & (frame["quantity"] == "loss.response")]
    assert second["value"].tolist() == record.history.terms[1]["response"]
    assert second["epoch"].tolist() == [1, 2] and second["network"].unique() == ["tiny_resnet"]


def test_the_table_of_a_data_set_and_tensorboard(ctsl, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = (
        "pairs=[[tiny_cnn, tiny_cnn]]", "seeds=2", "epochs=2", "n_train=60", "batch_size=20", "methods=[tfkd]"
    )  # fmt: skip
    given = [part for value in settings for part in ("-p", value)]
    status, _, error = ctsl("export", "digits", *given)
    assert status == 1 and "no run of digits with this profile has a record" in error
    assert "`ctsl train digits -p 'pairs=[[tiny_cnn, tiny_cnn]]' -p seeds=2 -p epochs=2" in error
    status, _, error = ctsl("train", "digits", *given, "--processes", "1")
    assert status == 0, error
    status, said, error = ctsl("export", "digits", *given, "--tensorboard", "events")
    assert status == 0, error
    assert "the curves of 8 peers for TensorBoard in events" in said and "4 runs" in said
    frame = pd.read_csv(tmp_path / "results" / "histories.csv")
    assert set(frame["method"]) == {"stage 1", "tfkd"}
    [folder] = (tmp_path / "events" / "digits" / "tiny_cnn+tiny_cnn" / "tfkd").glob("seed1-peer2-*")
    events = EventAccumulator(str(folder))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss/self")]
    chosen = frame[(frame["method"] == "tfkd") & (frame["seed"] == 1) & (frame["peer"] == 2)]
    expected = chosen[chosen["quantity"] == "loss.self"]
    assert found == [
        (epoch, pytest.approx(value)) for epoch, value in zip(expected["epoch"], expected["value"], strict=True)
    ]
    assert events.Tags()["scalars"] == ["loss/ce", "loss/self", "top1"]
    status, _, error = ctsl("export", "digits", *given, "--tensorboard", "events")
    assert status == 1 and "must name an empty folder or a new one" in error


def test_a_run_that_is_named_twice_counts_once(ctsl, tmp_path: Path) -> None:
    run(QUICK, Store(), keep_weights=True)
    words = (QUICK.key, QUICK.key[:6], f"records/digits/{QUICK.key}.json")
    status, said, error = ctsl("export", *words)
    assert status == 0 and said.startswith("1 runs, 8 values in "), error
    status, said, error = ctsl("weights", "export", *words, "--to", "out")
    assert status == 0 and said.split() == [QUICK.key, "out"], error


@pytest.mark.parametrize("name", ["2024", "face", "my imägés"])
def test_a_folder_of_images_is_a_data_set_whatever_its_name(
    ctsl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / name).mkdir(parents=True)
    status, _, error = ctsl("export", name, "--profile", "small", "-p", "seeds=2")
    assert status == 1 and f"no run of {name} with this profile has a record" in error
    assert f"`{shlex.join(['ctsl', 'train', name])} --profile small -p seeds=2` makes them" in error


def test_a_place_for_curves_is_tried_first(ctsl, tmp_path: Path) -> None:
    run(QUICK, Store())
    (tmp_path / "taken").mkdir()
    status, _, error = ctsl("export", QUICK.key, "--csv", "taken", "--tensorboard", "events")
    assert status == 1 and error.startswith("error: --csv must name a file, but taken is a folder")
    assert not (tmp_path / "events").exists()


def test_several_words_are_runs(ctsl) -> None:
    run(QUICK, Store())
    status, _, error = ctsl("export", "digits", QUICK.key)
    assert status == 1 and error.startswith("error: WHAT must be records, each by its key,")
    assert error.endswith("or else a single data set; got 'digits' among 2\n") and len(error.splitlines()) == 1
    for given in (("--profile", "digits"), ("-p", "seeds=2")):
        status, _, error = ctsl("export", QUICK.key, *given)
        assert status == 1 and error.startswith("error: --profile and -p say which table of a data set is meant")


@pytest.mark.slow
def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path) -> None:
    run(QUICK, Store(tmp_path / "records"))
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"  # importing it fails, as where it is not installed
        "from ctsl_lib.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", QUICK.key, "--tensorboard", "events"],
        cwd=tmp_path, env=os.environ | {"CTSL_RECORDS": str(tmp_path / "records")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "--tensorboard needs the package tensorboard, which is not installed" in done.stderr
    assert not (tmp_path / "events").exists()


def test_runs_that_differ_in_their_epochs_have_curves_of_their_own(tmp_path: Path) -> None:
    records = [
        run(QUICK.model_copy(update={"recipe": QUICK.recipe.model_copy(update={"epochs": n})}), Store(tmp_path))
        for n in (1, 2)
    ]
    count = write_tensorboard(histories([("independent", record) for record in records]), tmp_path / "events")
    assert count == 4 == len({path.parent for path in (tmp_path / "events").rglob("events.out.*")})


def test_an_export_has_the_numbers_of_its_networks(store: Store, tmp_path: Path) -> None:
    """A record that another processor has made stays beside the networks; it is not theirs."""
    own = run(QUICK, store, keep_weights=True)
    committed = own.model_copy(update={"metrics": own.metrics | {"top1": [1.0, 2.0]}})
    store.save(committed)
    assert store.load(QUICK) == committed and export_weights(committed, store, tmp_path / "out") == own
    assert load_weights(tmp_path / "out").config.metrics == own.metrics


def test_a_metric_that_the_record_lacks_has_a_dash(store: Store, tmp_path: Path) -> None:
    """One's own metric is in the networks' record, and not in the one that was committed before it existed."""
    own = run(QUICK, store, keep_weights=True)
    before = {name: values for name, values in own.metrics.items() if name != "top5"}
    committed = own.model_copy(update={"metrics": before})
    store.save(committed)
    export_weights(committed, store, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert re.search(r"\| top-1 \|.*\(n = 1\) \|\n\| top5 \|.*\| – \|\n", text)


def test_the_same_networks_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    record = run(QUICK, store, keep_weights=True)
    for name in "abcdef":
        export_weights(record, store, tmp_path / name)
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in "abcdef"}) == 1


def test_an_export_that_was_killed_can_be_repeated(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(QUICK, store, keep_weights=True)
    write, written = writing.write_atomically, []

    def killed(path: Path, content: Callable[[Path], object]) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(writing, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        export_weights(record, store, tmp_path / "out")
    monkeypatch.setattr(writing, "write_atomically", write)
    assert export_weights(record, store, tmp_path / "out") == record
    assert load_weights(tmp_path / "out").config.key == QUICK.key


def test_a_run_is_not_trained_again_on_other_images(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(QUICK, store).model_copy(update={"data_digest": "0" * 32})
    monkeypatch.setattr(writing, "run", lambda *_, **__: pytest.fail("it trains"))
    with pytest.raises(DataError, match="are not those that run"):
        export_weights(record, store, tmp_path / "out", train=True)


@pytest.mark.parametrize("to", ["taken", "taken/deep", "locked/deep"])
def test_a_folder_that_cannot_be_written_is_told_before_the_training(
    ctsl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    run(QUICK, Store())
    (tmp_path / "taken").touch()
    (tmp_path / "locked").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and allowed(path, mode))
    monkeypatch.setattr("ctsl_share.writing.run", lambda *_, **__: pytest.fail("it trains"))
    status, _, error = ctsl("weights", "export", QUICK.key, "--to", to, "--train")
    assert status == 1 and len(error.splitlines()) == 1
    assert error.startswith("error: --to must name a folder, but ")
    with pytest.raises(ValueError, match="folder must name a folder, but "):
        export_weights(run(QUICK, Store()), Store(), Path(to), train=True)


def test_the_card_of_a_network_that_was_given_calls_it_that(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def my_teacher(channels: int, classes: int) -> Peer:
        return build_peer("wide_cnn", channels, classes, seed=5).requires_grad_(False)

    monkeypatch.setitem(NETWORKS, "my_teacher", my_teacher)
    objective = baselines("my_teacher")["kd"]
    spec = QUICK.model_copy(update={"objective": objective, "peers": ("tiny_cnn",)})
    run(spec, store, keep_weights=True)
    for one, folder in ((spec, "student"), (spec.stage1(), "teacher")):
        record = store.load(one)
        assert record is not None
        export_weights(record, store, tmp_path / folder)
    text = (tmp_path / "teacher" / "README.md").read_text()
    assert "# given: my_teacher on digits" in text and "license: other" in text
    assert "One network, given as it is, not trained here; evaluated on digits" in text
    for wrong in ("epoch", "objective", "frozen", "trained peers", "to compare", "MIT", "ctsl_lib/models"):
        assert wrong not in text.partition("## Spec")[0] + text.partition("## Limits")[2]
    student = (tmp_path / "student" / "README.md").read_text()
    assert "# 0.1 ce + 0.9 self, teacher my_teacher, t = 4, self times t²: tiny_cnn on digits" in student
    assert "for 2 epochs with the objective 0.1 ce + 0.9 self" in " ".join(student.split())
    assert "license: mit" in student


def test_an_export_replaces_no_files_of_others(tmp_path: Path) -> None:
    record, store = run(QUICK, Store(tmp_path), keep_weights=True), Store(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("my project")
    with pytest.raises(ValueError, match=r"mine has files of its own that an export would replace: README\.md"):
        export_weights(record, store, mine)
    assert (mine / "README.md").read_text() == "my project"
    for _ in range(2):  # an earlier export may be replaced
        export_weights(record, store, tmp_path / "wt")
