"""Specs, records, the store and grids, on real and very short runs."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from ctsl_lib.data.specs import Digits, ImageFolder, Images
from ctsl_lib.environment import write_atomically
from ctsl_lib.experiments import grid as grids
from ctsl_lib.experiments import run as experiments
from ctsl_lib.experiments.grid import grid, process_pool, run_grid
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import NUMERICS, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import Objective
from ctsl_lib.models.peer import Peer, count_parameters
from ctsl_lib.models.precision import bf16_in_hardware
from ctsl_lib.models.registry import NETWORKS, build_peer, register
from ctsl_lib.randomness import OwnGenerator, cpu_threads, seeded
from ctsl_lib.training.checkpoint import read_state, write_state
from ctsl_lib.training.recipe import Recipe

TINY = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=1, batch_size=30))


def with_method(name: str, seed: int = 0) -> Spec:
    return TINY.model_copy(update={"objective": METHODS[name], "seed": seed})


def outcome(record) -> str:
    """All of a record but its provenance, which holds times."""
    return record.model_dump_json(exclude={"provenance"})


def defaults(values: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= defaults(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_no_default_has_changed_since_these_numerics() -> None:
    # Keys leave defaults out: change one only together with NUMERICS, then write it down here.
    assert NUMERICS == 3
    assert GOLDEN_DEFAULTS.items() <= defaults(Spec(data=Digits()).model_dump(mode="json")).items()
    assert Images(name="cifar10").model_dump() == {
        "name": "cifar10", "n_train": None, "n_validation": 0, "label_noise": 0,
    }  # fmt: skip


def test_key_is_stable_and_sensitive() -> None:
    # A golden value: it changes only together with the meaning of a spec (then raise NUMERICS).
    assert Spec(recipe=Recipe(epochs=3)).key == GOLDEN_KEY
    code = "from ctsl_lib.experiments.spec import *; print(Spec(recipe=Recipe(epochs=3)).key)"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == GOLDEN_KEY
    changed = [
        Spec(seed=1),
        Spec(recipe=Recipe(epochs=4)),
        Spec(peers=("tiny_cnn",)),
        Spec(objective=Objective(ce=2)),
        Spec(data=Digits(n_train=300)),
        Spec(stage=1),
        Spec(),
    ]
    assert len({spec.key for spec in changed}) == len(changed)


GOLDEN_KEY = "29f0519ef4244a3c"
GOLDEN_DEFAULTS = {
    "data.name": "digits", "data.n_train": 400, "data.label_noise": 0.4,
    "objective.ce": 1.0, "objective.response": 0.0, "objective.distance": 0.0, "objective.angle": 0.0,
    "objective.self": 0.0, "objective.temperature": 1.0, "objective.label_smoothing": 0.0,
    "objective.teacher": None, "objective.detach_relations": True, "objective.start": "fresh",
    "objective.scale_self_by_t2": False, "objective.update": "simultaneous",
    "recipe.epochs": 12, "recipe.batch_size": 32, "recipe.learning_rate": 0.05, "recipe.momentum": 0.9,
    "recipe.weight_decay": 5e-4, "recipe.schedule": "one_cycle", "recipe.drop_at": [0.3, 0.6, 0.8],
    "recipe.drop": 0.2, "recipe.padding": 1, "recipe.mirror": False, "recipe.precision": "fp32",
    "recipe.compile": False, "recipe.evaluate_every": 1,
    "peers": ["tiny_cnn", "tiny_cnn"], "seed": 0, "stage": 2, "evaluate_on": "test", "numerics": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peers": ["resnet5000"]}, "network must be one of .*tiny_cnn.*got 'resnet5000'"),
        ({"peers": []}, "peers"),
        ({"seed": -1}, "seed"),
        ({"epochs": 3}, "epochs"),
        ({"recipe": {"learning_rate": 0}}, "learning_rate"),
        ({"objective": {"ce": 0}}, "at least one of ce, response, .* must be above 0"),
        ({"objective": {"ce": 0, "response": 1}, "peers": ["tiny_cnn"]}, "ce, self or triplet must be above 0"),
    ],
)
def test_wrong_specs_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Spec.model_validate(change)


def test_run_stores_a_record_once(store: Store) -> None:
    first = run(with_method("dml"), store)
    path = store.path(first.spec)
    written = path.stat().st_mtime_ns
    again = run(with_method("dml"), store)
    assert again == first and path.stat().st_mtime_ns == written
    assert first.spec.key in path.name and json.loads(path.read_text())["spec"]["seed"] == 0
    assert first.parameters == [24058, 24058] and set(first.metrics) == {"top1", "top5", "ece", "agreement"}
    assert first.provenance.versions["torch"] == torch.__version__ and first.provenance.wall_time > 0
    assert first.provenance.cpu.endswith(torch.backends.cpu.get_cpu_capability())
    assert not store.weights_path(first.spec).exists()
    assert [record.spec for record in store] == [first.spec]


def test_stage_1_is_shared_and_differs_from_stage_2(store: Store) -> None:
    self_taught = run(with_method("tfkd"), store)
    stage1 = self_taught.spec.stage1()
    assert stage1 == with_method("ctsl_mkt").stage1()
    written = store.path(stage1).stat().st_mtime_ns
    run(with_method("ctsl_mkt"), store)
    assert store.path(stage1).stat().st_mtime_ns == written
    # Stage 2 starts afresh: from other initial weights than those that became the frozen copies.
    one, two = (experiments.initial_peers(spec, 1, 10, "cpu") for spec in (stage1, self_taught.spec))
    assert not torch.equal(one[0].classifier.weight, two[0].classifier.weight)
    assert not torch.equal(two[0].classifier.weight, two[1].classifier.weight)


def test_start_from_pretrained_weights(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = METHODS["dml"].model_copy(update={"start": "pretrained"})
    slow = Recipe(epochs=1, batch_size=30, learning_rate=1e-12, weight_decay=0)
    spec = TINY.model_copy(update={"objective": objective, "recipe": slow})
    monkeypatch.delattr(experiments, "frozen_copies")  # no term asks them
    run(spec, store, keep_weights=True)
    before, after = store.load_peers(spec.stage1()), store.load_peers(spec)
    assert torch.allclose(before[0].classifier.weight, after[0].classifier.weight)


def test_kept_weights_are_the_trained_ones(store: Store) -> None:
    record = run(with_method("independent"), store)
    kept = run(with_method("independent"), store, keep_weights=True)  # a record without weights is run again
    assert outcome(kept) == outcome(record)
    data = record.spec.data.load(0)
    metrics = experiments.evaluate(store.load_peers(record.spec), data.test, data)
    assert metrics == record.metrics


@pytest.fixture
def dropout_network() -> Iterator[str]:
    """A tiny network whose training draws random numbers at every step."""

    @register("tiny_dropout")
    def tiny_dropout(channels: int, num_classes: int) -> Peer:
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, 32), nn.ReLU(), nn.Dropout(0.5))
        return Peer(backbone, 32, num_classes)

    yield "tiny_dropout"
    del NETWORKS["tiny_dropout"]


def test_a_record_that_says_the_same_keeps_its_provenance(store: Store) -> None:
    record = run(TINY, store)
    before = store.path(TINY).read_bytes()
    again = run(TINY, store, keep_weights=True)  # trained once more, for its weights
    assert again.model_copy(update={"provenance": record.provenance}) == record == store.load(TINY)
    assert store.load_kept(TINY)[0] == again and len(store.load_peers(TINY)) == 2
    assert store.path(TINY).read_bytes() == before
    other = record.model_copy(update={"metrics": record.metrics | {"top1": [1.0, 2.0]}})
    store.save(other)
    assert store.load(TINY) == other


def test_networks_trained_once_more_do_not_change_a_record(store: Store) -> None:
    """Another processor rounds in another way: its networks have a record of their own, and tables stay as they are."""
    here = run(TINY, store)
    elsewhere = here.model_copy(update={"metrics": here.metrics | {"top1": [1.0, 2.0]}})
    store.save(elsewhere)
    committed = store.path(TINY).read_bytes()
    again = run(TINY, store, keep_weights=True)
    assert again.metrics == here.metrics and store.load(TINY, weights=True) == again
    assert store.load(TINY) == elsewhere and store.path(TINY).read_bytes() == committed
    written = store.weights_path(TINY).stat().st_mtime_ns
    assert run_grid([TINY], store, keep_weights=True) == [again] == [run(TINY, store, keep_weights=True)]
    assert run_grid([TINY], store) == [elsewhere] and store.weights_path(TINY).stat().st_mtime_ns == written


def test_a_table_of_first_stages_needs_no_networks(store: Store) -> None:
    record = run(TINY.stage1(), store)
    store.weights_path(TINY.stage1()).unlink()
    assert run_grid([TINY.stage1()], store) == [record] and not store.weights_path(TINY.stage1()).exists()


def test_networks_without_a_record_are_not_used(store: Store) -> None:
    """A file from before networks had records of their own: what lies beside it may be of another processor."""
    run(TINY, store, keep_weights=True)
    state = read_state(store.weights_path(TINY), "record")
    write_state(store.weights_path(TINY), {name: value for name, value in state.items() if name != "record"})
    with pytest.warns(UserWarning, match="is not used"):
        assert store.load(TINY, weights=True) is None


def test_networks_with_the_record_of_another_run_are_not_used(store: Store) -> None:
    run(TINY, store, keep_weights=True)
    other = run(TINY.model_copy(update={"seed": 99}), store)
    path = store.weights_path(TINY)
    write_state(path, read_state(path, "record") | {"record": other.model_dump_json()})
    with pytest.warns(UserWarning, match=f"its record is that of run {other.spec.key}"):
        assert store.load(TINY, weights=True) is None


@pytest.mark.slow
def test_runs_in_threads_of_one_process_are_the_serial_ones(tmp_path: Path, dropout_network: str) -> None:
    peers = (dropout_network, "tiny_cnn")
    specs = [
        TINY.model_copy(update={"objective": METHODS[name], "peers": peers, "seed": seed})
        for seed in range(16)
        for name in ("independent", "ctsl_mkt")
    ]
    threads_before = torch.get_num_threads()
    serial = run_grid(specs, Store(tmp_path / "serial"))
    with ThreadPoolExecutor(6) as executor:
        threaded = run_grid(specs, Store(tmp_path / "threaded"), executor=executor)
    assert len(specs) == 32 and [outcome(a) for a in serial] == [outcome(b) for b in threaded]
    assert torch.get_num_threads() == threads_before


@pytest.mark.parametrize("disturbed", [False, True])
def test_initial_weights_do_not_hang_on_what_other_threads_draw(
    disturbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_layers(channels: int, num_classes: int) -> Peer:
        first = nn.Linear(channels * 64, 8)
        if disturbed:
            thread = threading.Thread(target=torch.rand, args=(10,))
            thread.start()
            thread.join()
        return Peer(nn.Sequential(nn.Flatten(), first, nn.Linear(8, 8)), 8, num_classes)

    monkeypatch.setitem(NETWORKS, "test_two_layers", two_layers)
    before = torch.get_rng_state()
    found = build_peer("test_two_layers", 1, 10, seed=3).state_dict()
    torch.manual_seed(3)
    layers = (nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 10))
    torch.set_rng_state(before)
    for name, layer in zip(("backbone.1", "backbone.2", "classifier"), layers, strict=True):
        assert torch.equal(found[f"{name}.weight"], layer.weight)


DRAWN: dict[str, Callable[[], torch.Tensor]] = {
    "rand": lambda: torch.rand(3),
    "randn": lambda: torch.randn(2, 3),
    "randint": lambda: torch.randint(9, (4,)),
    "randint from": lambda: torch.randint(2, 9, (4,)),
    "randint_like": lambda: torch.randint_like(torch.ones(4), 2, 9),
    "randperm": lambda: torch.randperm(7),
    "uniform_": lambda: torch.empty(3).uniform_(-1, 1),
    "bernoulli": lambda: torch.bernoulli(torch.full((9,), 0.5)),
    "trunc_normal_": lambda: nn.init.trunc_normal_(torch.empty(30)),
    "orthogonal_": lambda: nn.init.orthogonal_(torch.empty(3, 3)),
    "convolution": lambda: nn.Conv2d(3, 4, 3).weight,
    "given": lambda: torch.rand(3, generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=list(DRAWN))
def test_an_own_generator_gives_the_numbers_of_the_global_one_and_leaves_it_alone(
    draw: Callable[[], torch.Tensor],
) -> None:
    with seeded(5):
        expected = draw()
    before = torch.get_rng_state()
    with OwnGenerator(5):
        assert torch.equal(draw(), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_runs_of_one_process_want_the_same_threads() -> None:
    with cpu_threads(1), cpu_threads(1), pytest.raises(ValueError, match=r"threads must be 1, .*; got 2"):
        run(TINY, threads=2)


@pytest.mark.slow
def test_grid_alone_and_in_processes_agree(tmp_path: Path) -> None:
    specs = grid(TINY, {name: METHODS[name] for name in ("independent", "tfkd")}, seeds=range(2))
    assert [spec.seed for spec in specs] == [0, 0, 1, 1]
    alone = run_grid(specs, Store(tmp_path / "alone"))
    with process_pool(2) as executor:
        assert executor is not None
        pooled = run_grid(specs, Store(tmp_path / "pooled"), executor=executor)
    assert [outcome(a) for a in alone] == [outcome(b) for b in pooled]


def test_stage_1_is_not_trained_again_for_runs_that_are_done(store: Store) -> None:
    done, lacking = with_method("tfkd"), with_method("ctsl_mkt")
    run(done, store)
    weights = store.weights_path(done.stage1())
    weights.unlink()  # as in a clone: records are committed, weights are not
    assert [record.spec for record in run_grid([done], store)] == [done] and not weights.exists()
    assert [record.spec for record in run_grid([done, lacking], store)] == [done, lacking] and weights.exists()


def test_grid_keeps_what_finished_when_a_run_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = with_method("independent", seed=1)
    original = grids.run

    def failing(spec: Spec, *args: object, **kwargs: object):
        if spec == broken:
            raise KeyboardInterrupt
        return original(spec, *args, **kwargs)

    monkeypatch.setattr(grids, "run", failing)
    with pytest.raises(KeyboardInterrupt):
        run_grid([with_method("independent"), broken], store)
    assert store.load(with_method("independent")) is not None and store.load(broken) is None


def test_damaged_and_foreign_files_are_named_and_left_out(store: Store) -> None:
    good = run(with_method("independent"), store)
    folder = store.path(good.spec).parent
    (folder / "damaged.json").write_text(store.path(good.spec).read_text()[:200])
    (folder / "foreign.json").write_text('{"colour": "blue"}')
    (folder / "renamed.json").write_text(store.path(good.spec).read_text())
    with pytest.warns(UserWarning) as caught:
        assert [record.spec for record in store] == [good.spec]
    for name in ("damaged", "foreign", "renamed"):
        assert sum(f"{name}.json" in str(warning.message) for warning in caught) == 1


def test_write_atomically_leaves_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def full_disk(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, full_disk)
    assert path.read_text() == "old" and [found.name for found in tmp_path.iterdir()] == ["record.json"]


def test_process_pool_wants_a_number() -> None:
    with pytest.raises(ValueError, match="processes must be 1 or more, got 0"), process_pool(0):
        pass


def test_networks() -> None:
    for name, width in {"tiny_cnn": 64, "tiny_resnet": 32, "pocket_cnn": 16, "wide_cnn": 128}.items():
        peer = build_peer(name, 3, 7, seed=0)
        assert 1_000 < count_parameters(peer) < 100_000 and peer.classifier.in_features == width
        for size in (8, 28, 32):
            output = peer(torch.zeros(2, 3, size, size))
            assert output.logits.shape == (2, 7) and torch.equal(output.logits, peer.classifier(output.embedding))
    state = torch.random.get_rng_state()
    assert torch.equal(
        build_peer("tiny_cnn", 1, 10, 5).classifier.weight, build_peer("tiny_cnn", 1, 10, 5).classifier.weight
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(ValueError, match="registered already"):
        register("tiny_cnn")(NETWORKS["tiny_cnn"])
    with pytest.raises(ValueError, match=r"network must be one of alexnet, .*tiny_resnet"):
        build_peer("huge", 1, 10, seed=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_in_bf16_says_where_the_cpu_has_no_instructions_for_it(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    spec = TINY.model_copy(update={"recipe": TINY.recipe.model_copy(update={"precision": precision})})
    run(spec, Store(tmp_path), device="cpu")
    said = [str(one.message) for one in recwarn if "bf16" in str(one.message)]
    assert len(said) == (precision == "bf16") and all(
        "there are no bf16 instructions on this CPU" in s for s in said
    )


def test_a_run_is_judged_on_the_images_that_its_spec_names(store: Store) -> None:
    spec = TINY.model_copy(update={"evaluate_on": "validation"})
    record = run(spec, store, keep_weights=True)
    data = spec.data.load(0)
    expected = experiments.evaluate(store.load_peers(spec), data.validation, data)
    assert record.metrics == expected
    assert [curve[-1] for curve in record.history.accuracy] == expected["top1"]


def test_a_record_that_does_not_know_its_images_is_not_believed(store: Store) -> None:
    store.save(run(TINY, store).model_copy(update={"data_digest": ""}))
    with pytest.warns(UserWarning, match="digest not known"):
        assert store.load(TINY) is None


def test_a_record_of_images_that_moved_says_why_it_is_left_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of images are written as seen from CTSL_DATA, so under another one the key is another."""
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "elsewhere"))
    record = run(TINY, store)
    images = ImageFolder(path=str(tmp_path / "data" / "birds"))
    store.save(record.model_copy(update={"spec": record.spec.model_copy(update={"data": images})}))
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    with pytest.warns(
        UserWarning, match="its place is .* under this CTSL_DATA, by which paths of images are written"
    ):
        assert list(store) == [record]


def test_where_pytorch_cannot_tell_of_bf16_nobody_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert bf16_in_hardware(torch.device("cpu")) is None
