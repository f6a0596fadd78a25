"""What lies on the disk is believed only where it can be: records, kept weights, checkpoints."""

import errno
import json
import os
import random
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from ctsl_lib import ROOT, environment
from ctsl_lib.cli import main as command
from ctsl_lib.data.specs import Digits, SyntheticMarket
from ctsl_lib.environment import write_atomically
from ctsl_lib.errors import StateError
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import Objective
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.checkpoint import Checkpoint, read_state, write_state
from ctsl_lib.training.recipe import Recipe

SPEC = Spec(
    data=Digits(n_train=60),
    peers=("tiny_cnn", "tiny_cnn"),
    objective=METHODS["tfkd"],
    recipe=Recipe(epochs=5, batch_size=20, evaluate_every=2),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Store]:
    """The record of a run that nothing went wrong in, and the store that it lies in."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    return run(SPEC, store, keep_weights=True), store


NAN, INFINITY = float("nan"), float("inf")
WRONG: list[tuple[str, Any, str]] = [
    ("metrics.top1", [250, 80], r"metrics.top1 must be finite and at least 0 and at most 100, got 250"),
    ("metrics.top1", [80, -5], r"metrics.top1 .* got -5"),
    ("metrics.top1", [80, NAN], r"metrics.top1 .* got nan"),
    ("metrics.ece", [INFINITY, 80], r"metrics.ece .* got inf"),
    ("metrics.top1", [80, 81, 82], r"metrics.top1 must have 2 values, one for each peer, got 3"),
    ("metrics.top5", [], r"metrics.top5 must have 2 values, one for each peer, got 0"),
    ("metrics.agreement", [80, 80], r"metrics.agreement must have 1 value, one for each group, got 2"),
    ("metrics.mine", [NAN, 1], r"metrics.mine must be finite, got nan"),
    ("metrics", {"top5": [80, 80]}, r"metrics must have top1, by which digits is judged, got top5"),
    ("metrics", {}, r"metrics must have top1, .* got nothing"),
    ("parameters", [5], r"parameters must have 2 values, one for each peer, got 1"),
    ("parameters", [5, -1], r"parameters must be 0 or more, got \[5, -1\]"),
    ("history.terms", [{"ce": [1.0] * 5}], r"history.terms must have 2 values, one for each peer, got 1"),
    ("history.terms.1", {}, r"history.terms must have one term or more, got none for peer 1"),
    ("history.terms.1.ce", [1.0] * 4, r"history.terms.ce must have 5 values, .* each epoch, got 4 for peer 1"),
    ("history.terms.0.ce", [1.0, 1, NAN, 1, 1], r"history.terms.ce must be finite, got nan for peer 0"),
    ("history.accuracy", [[1, 2, 3]] * 3, r"history.accuracy must have 2 values, one for each peer, got 3"),
    ("history.accuracy.1", [1, 2], r"history.accuracy must have 3 values, .* evaluated epoch, got 2 for peer 1"),
    ("history.accuracy.1", [1, 2, 101], r"history.accuracy .* at most 100, got 101.0 for peer 1"),
    ("history.evaluated", [2, 2, 5], r"history.evaluated must increase within 1 to 5, got \[2, 2, 5\]"),
    ("history.evaluated", [0, 4, 5], r"history.evaluated must increase within 1 to 5"),
    ("history.evaluated", [2, 4, 6], r"history.evaluated must increase within 1 to 5"),
    ("history.evaluated", [1, 2, 4], r"history.evaluated must end with the last epoch, 5, got \[1, 2, 4\]"),
    ("provenance.wall_time", -1, r"provenance.wall_time must be finite and at least 0, got -1"),
    ("provenance.wall_time", NAN, r"provenance.wall_time .* got nan"),
]


def changed(record: Record, place: str, value: Any) -> dict[str, Any]:
    content: Any = json.loads(record.model_dump_json())
    *above, last = (int(part) if part.isdecimal() else part for part in place.split("."))
    inner = content
    for part in above:
        inner = inner[part]
    inner[last] = value
    return dict(content)


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_record_that_cannot_be_right_is_none(
    undisturbed: tuple[Record, Store], place: str, value: Any, message: str
) -> None:
    content = changed(undisturbed[0], place, value)
    with pytest.raises(ValidationError, match=message):
        Record.model_validate(content)
    with pytest.raises(ValidationError, match=message):
        Record.model_validate_json(json.dumps(content))


def test_a_metric_of_the_users_own_may_be_any_finite_number(undisturbed: tuple[Record, Store]) -> None:
    content = changed(undisturbed[0], "metrics.mine", [-3.5, 1e9])
    assert Record.model_validate(content).metrics["mine"] == [-3.5, 1e9]


def test_searches_are_judged_by_their_own_metric(undisturbed: tuple[Record, Store]) -> None:
    content = changed(undisturbed[0], "spec.data", SyntheticMarket().model_dump())
    with pytest.raises(ValidationError, match="metrics must have mAP, by which synthetic_market is judged"):
        Record.model_validate(content)


def put(path: Path, text: str = "new") -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text))


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(tmp_path / "folder" / "record.json")
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "folder" / "record.json").stat().st_mode)
    assert mode == 0o666 & ~umask


def test_remains_of_killed_processes_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from ctsl_lib.environment import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda temporary: (temporary.write_text('half'), os.kill(os.getpid(), 9)))"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")])
    assert ended.returncode == -9
    [killed] = tmp_path.iterdir()
    mine = killed.with_name(killed.name.replace("a.json", "b.json").replace(str(_pid(killed)), str(os.getpid())))
    far = killed.with_name(killed.name.replace(socket.gethostname(), "elsewhere"))
    old = killed.with_name(far.name.replace("a.json", "c.json"))
    foreign = tmp_path / ".notes.tmp"
    for path in (mine, far, old, foreign):
        path.write_text("half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 90_000,) * 2)
    put(tmp_path / "a.json")
    assert set(tmp_path.iterdir()) == {tmp_path / "a.json", mine, far, foreign}


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the age of a process is known on Linux alone")
def test_remains_of_an_earlier_process_with_the_number_of_a_living_one_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / f".a.json~{socket.gethostname()}~{os.getpid()}~01234567.tmp"
    remains.write_text("half")
    os.utime(remains, (time.time() - 80_000,) * 2)
    put(tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def _pid(temporary: Path) -> int:
    return int(temporary.name.split("~")[2])


def test_two_processes_write_one_file_side_by_side(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ctsl_lib.environment import write_atomically\n"
        "for _ in range(300): write_atomically(Path(sys.argv[1]), lambda temporary: temporary.write_text('whole'))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.json")]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_cannot_be_written_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"^.*a\.json cannot be written: No space left on device$") as caught:
        write_atomically(tmp_path / "a.json", full)
    assert caught.value.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/a\.json cannot be written: (Not a directory|File exists)"):
        put(tmp_path / "file" / "a.json")

    def locked(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "temporary")

    with (
        monkeypatch.context() as patched,
        pytest.raises(OSError, match=r"b\.json cannot be written: Permission den"),
    ):
        patched.setattr(os, "open", locked)
        put(tmp_path / "b.json")

    def refused() -> None:
        put(tmp_path / "file" / "a.json")

    monkeypatch.setattr(command, "app", refused)
    with pytest.raises(SystemExit, match="1"):
        command.main()
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "a.json cannot be written" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["records", "data", "cache"])
def test_folders_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable, folder = f"CTSL_{name.upper()}", getattr(environment, f"{name}_root")
    default = ROOT / "data" if name == "data" else ROOT / "data" / name
    monkeypatch.setenv("HOME", "/home/someone")
    for value, expected in {
        "": default,
        " ": default,
        "~/kit": Path("/home/someone/kit"),
        "/x": Path("/x"),
    }.items():
        monkeypatch.setenv(variable, value)
        assert folder() == expected
    monkeypatch.delenv(variable)
    assert folder() == default
    monkeypatch.setenv(variable, "~nobody_of_this_name/kit")
    with pytest.raises(ValueError, match=f"{variable} begins with the home of a user who is not known"):
        folder()


State = dict[str, Any]


class Stop(Exception):
    pass


def stop(*_: object) -> None:
    raise Stop


def stopped(spec: Spec, store: Store) -> Store:
    """The store with the checkpoint of a run that was stopped before its last epoch."""
    if spec.objective.needs_frozen:
        run(spec.stage1(), store)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stop):
        patched.setenv("CTSL_CHECKPOINT", "0")
        patched.setattr("ctsl_lib.experiments.run.evaluate", stop)
        run(spec, store)
    assert read_state(store.checkpoint(spec).path)["epoch"] == spec.recipe.epochs - 1
    return store


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Stage 1 is done, and the run itself was stopped."""
    return stopped(SPEC, Store(tmp_path_factory.mktemp("half")))


@pytest.fixture
def copy(half_done: Store, tmp_path: Path) -> Store:
    """A copy of `half_done` to damage."""
    shutil.copytree(half_done.root, tmp_path / "copy")
    return Store(tmp_path / "copy")


def outcome(store: Store, spec: Spec = SPEC) -> tuple[str, list[torch.Tensor]]:
    record = store.load(spec)
    assert record is not None
    weights = [value for peer in store.load_peers(spec) for value in peer.state_dict().values()]
    return record.model_dump_json(exclude={"provenance"}), weights


def assert_goes_on_as_if_undisturbed(store: Store, reference: Store, names: Path, message: str = "") -> None:
    """Run to the end; one warning, and no more, must name the file and hold the message."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(SPEC, store, keep_weights=True)
    [said] = [str(warning.message) for warning in caught]
    assert said.startswith(f"{names} is not used") and re.search(message, said) and "\n" not in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found, weights), (expected, expected_weights) = outcome(store), outcome(reference)
        assert run(SPEC, store, keep_weights=True) == store.load(SPEC)  # a second call finds nothing wrong
    assert found == expected
    assert all(torch.equal(a, b) for a, b in zip(weights, expected_weights, strict=True))


def flip(path: Path, content: bytes, bit: int) -> None:
    changed_content = bytearray(content)
    changed_content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed_content)


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_a_flipped_bit_is_noticed_wherever_it_is(
    copy: Store, undisturbed: tuple[Record, Store], kind: str
) -> None:
    path = copy.checkpoint(SPEC).path if kind == "checkpoint" else copy.weights_path(SPEC.stage1())
    content = path.read_bytes()
    read_state(path)
    draw = random.Random(0)
    for bit in [*draw.sample(range(8 * len(content)), 60), *range(0, 8 * 78, 13)]:
        flip(path, content, bit)
        with pytest.raises(StateError, match="it is damaged"):
            read_state(path)
    flip(path, content, 8 * len(content) // 2)
    assert_goes_on_as_if_undisturbed(copy, undisturbed[1], path)


def old_format(content: bytes) -> bytes:
    return content.partition(b"\n")[2]


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda c: c[:50],
        lambda c: c[:-1],
        lambda c: c[: len(c) // 2],
        lambda _: b"GIF89a",
        old_format,
    ],
    ids=["empty", "header", "one byte less", "half", "foreign", "old format"],
)
def test_files_that_are_no_states_are_named_and_the_run_is_made_anew(
    copy: Store, undisturbed: tuple[Record, Store], kind: str, damage: Callable[[bytes], bytes]
) -> None:
    path = copy.checkpoint(SPEC).path if kind == "checkpoint" else copy.weights_path(SPEC.stage1())
    path.write_bytes(damage(path.read_bytes()))
    assert_goes_on_as_if_undisturbed(copy, undisturbed[1], path)


def test_pipes_folders_and_links_in_the_place_of_states(copy: Store, undisturbed: tuple[Record, Store]) -> None:
    path, weights = copy.checkpoint(SPEC).path, copy.weights_path(SPEC.stage1())
    for place in (path, weights):
        place.unlink()
    os.mkfifo(path)
    weights.symlink_to(weights)
    with pytest.warns(UserWarning) as caught:
        run(SPEC, copy, keep_weights=True)
    said = [str(warning.message) for warning in caught]
    assert (
        len(said) == 2 and "it cannot be read: Too many levels" in said[0] and "it is a folder, a pipe" in said[1]
    )
    assert outcome(copy)[0] == outcome(undisturbed[1])[0]
    path.mkdir()
    assert run(SPEC, copy) == copy.load(SPEC)


def put_in(state: State, place: str, value: Any) -> State:
    """Change one entry in place, which may lie deeper."""
    *above, last = (int(part) if part.isdecimal() else part for part in place.split("/"))
    inner: Any = state
    for part in above:
        inner = inner[part]
    inner[last] = value
    return state


def weights_of(network: str) -> State:
    return build_peer(network, 1, 10, seed=0).state_dict()


def without_a_weight(state: State) -> State:
    del state["peers"][1]["classifier.weight"]
    return state


def with_another_optimizer(state: State) -> State:
    parameters = [value for peer in state["peers"] for name, value in peer.items() if value.is_floating_point()]
    other = torch.optim.Adam([value.clone().requires_grad_() for value in parameters])
    return state | {"optimizer": other.state_dict()}


def with_state_of_adam(state: State) -> State:
    kept = state["optimizer"]["state"]
    for index, values in kept.items():
        kept[index] = {"step": torch.tensor(1.0), "exp_avg": values["momentum_buffer"]}
    return state


def shorter_history(state: State) -> State:
    for terms in state["history"]["terms"]:
        for curve in terms.values():
            curve.pop()
    return state


def other_terms(state: State) -> State:
    for terms in state["history"]["terms"]:
        terms["angle"] = terms.pop("self")
    return state


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "epoch 99": (lambda s: s | {"epoch": 99}, "epoch must be a whole number from 1 to 4, got 99"),
    "epoch -1": (lambda s: s | {"epoch": -1}, "from 1 to 4, got -1"),
    "epoch 0": (lambda s: s | {"epoch": 0}, "from 1 to 4, got 0"),
    "the last epoch": (lambda s: s | {"epoch": 5}, "from 1 to 4, got 5"),
    "epoch x": (lambda s: s | {"epoch": "x"}, "from 1 to 4, got 'x'"),
    "epoch True": (lambda s: s | {"epoch": True}, "from 1 to 4, got True"),
    "an earlier epoch": (lambda s: s | {"epoch": 3}, "history.terms.ce must have 3 values"),
    "another key": (lambda s: s | {"key": "0" * 16}, "it is of another run: key must be '"),
    "other images": (lambda s: s | {"data_digest": "0" * 32}, "other images"),
    "seconds": (lambda s: s | {"seconds": float("nan")}, "seconds must be finite and at least 0, got nan"),
    "nothing": (lambda _: {}, "it has no key, data_digest, epoch"),
    "a list": (lambda _: [1], "it has no key"),  # type: ignore[arg-type,return-value]
    "one peer": (lambda s: s | {"peers": s["peers"][:1]}, "it must have the weights of 2 peers, got 1"),
    "peers x": (lambda s: s | {"peers": "x"}, "it must have the weights of 2 peers, got 'x'"),
    "other networks": (
        lambda s: put_in(s, "peers/1", weights_of("tiny_resnet")),
        "weights are of another network",
    ),
    "a weight is missing": (without_a_weight, "classifier.weight of peer 1 must be .*, got missing"),
    "a weight of another shape": (
        lambda s: put_in(s, "peers/0/classifier.bias", torch.zeros(11)),
        r"classifier.bias of peer 0 must be \(10,\) torch.float32, got \(11,\) torch.float32",
    ),
    "a weight is text": (lambda s: put_in(s, "peers/0/classifier.bias", "x"), "got str"),
    "history x": (lambda s: s | {"history": "x"}, "Input should be a valid dictionary .* got 'x'"),
    "a shorter history": (shorter_history, "history.terms.ce must have 4 values, one for each epoch, got 3"),
    "other terms": (other_terms, "history.terms must be ce, self, got angle, ce for peer 0"),
    "other evaluations": (lambda s: put_in(s, "history/evaluated", [1, 3]), r"must be \[2, 4\], got \[1, 3\]"),
    "NaN in history": (lambda s: put_in(s, "history/accuracy/0", [1.0, float("nan")]), "got nan"),
    "another optimizer": (with_another_optimizer, "the optimizer must be sgd with the recipe's settings"),
    "another rate": (lambda s: put_in(s, "optimizer/param_groups/0/lr", 1.0), "the optimizer must be sgd"),
    "no optimizer": (lambda s: s | {"optimizer": {}}, "the optimizer must be sgd"),
    "optimizer x": (lambda s: s | {"optimizer": 3}, "its content is not of the right kind .TypeError"),
    "nothing kept": (lambda s: put_in(s, "optimizer/state", {}), "must have kept something of"),
    "what adam keeps": (with_state_of_adam, "must have kept {'momentum_buffer': .* got {'step'"),
    "another scheduler": (lambda s: put_in(s, "scheduler/last_epoch", 3), "the scheduler must be after 12 steps"),
    "no scheduler": (lambda s: s | {"scheduler": None}, "the scheduler must be after 12 steps, got None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_state_under_a_right_hash_is_refused_whole(
    copy: Store, undisturbed: tuple[Record, Store], name: str
) -> None:
    change, message = REFUSED[name]
    path = copy.checkpoint(SPEC).path
    write_state(path, change(read_state(path)))
    assert_goes_on_as_if_undisturbed(copy, undisturbed[1], path, f"and the run starts again: .*{message}")


WRONG_WEIGHTS: dict[str, Callable[[State], State]] = {
    "another key": lambda s: s | {"key": "0" * 16},
    "no key": lambda s: {name: value for name, value in s.items() if name != "key"},
    "other networks": lambda s: put_in(s, "peers/1", weights_of("tiny_resnet")),
    "a weight is missing": without_a_weight,
    "one peer": lambda s: s | {"peers": s["peers"][:1]},
    "channels x": lambda s: s | {"channels": "x"},
    "three channels": lambda s: s | {"channels": 3},
    "a trillion classes": lambda s: s | {"num_classes": 10**12},
    "nine classes": lambda s: s | {"num_classes": 9},
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_wrong_weights_of_stage_1_are_trained_again(
    copy: Store, undisturbed: tuple[Record, Store], name: str
) -> None:
    path = copy.weights_path(SPEC.stage1())
    write_state(path, WRONG_WEIGHTS[name](read_state(path)))
    assert_goes_on_as_if_undisturbed(copy, undisturbed[1], path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": Objective(ce=1, response=1, distance=1, update="sequential")},
        {"objective": Objective(ce=0, distance=1, self=1)},
        {"objective": METHODS["ctsl_mkt"], "peers": ("tiny_cnn", "tiny_resnet", "tiny_cnn")},
        {"objective": Objective(ce=1, response=1), "peers": ("tiny_cnn",)},
        {"recipe": Recipe(epochs=4, batch_size=25, momentum=0, schedule="cosine", precision="bf16")},
        {"recipe": Recipe(epochs=4, batch_size=20, optimizer="amsgrad", schedule="steps", evaluate_every=3)},
    ],
)
def test_a_right_state_is_used(changes: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPEC.model_copy(update=changes)
    stopped(spec, store)
    started: list[int] = []
    original = Checkpoint.end_of_epoch

    def counted(self: Checkpoint, state: State, done: int, epochs: int) -> None:
        started.append(done)
        original(self, state, done, epochs)

    monkeypatch.setattr(Checkpoint, "end_of_epoch", counted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = run(spec, store)
    assert started == [spec.recipe.epochs]
    whole = run(spec, Store(store.root / "whole"))
    assert again.metrics == whole.metrics and again.history == whole.history


def listed(store: Store) -> tuple[list[Spec], list[str]]:
    """The specs of all records, and all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        specs = [record.spec for record in store]
    return specs, [str(warning.message) for warning in caught]


def put_strange_things(folder: Path, good: str) -> dict[str, str]:
    """Everything but a record, under names of records; name -> a part of what must be said of it."""
    content = good.encode()
    files = {
        "byte.json": content[:200] + b"\xff" + content[200:],
        "start.json": b"\xff\xfe" + content,
        "empty.json": b"",
        "list.json": b"[1, 2]",
        "number.json": b"3",
        "null.json": b"null",
        "deep.json": b"[" * 100_000,
        "surrogate.json": b'{"spec": "\\ud800"}',
        "unhashable.json": b'{"spec": {"data": {"name": []}}}',
        "nothing.json": b"{}",
        "250.json": good.replace('"top1":[', '"top1":[250.0,').encode(),
        f"{'0' * 16}.json": content,
    }
    for name, text in files.items():
        (folder / name).write_bytes(text)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "nowhere.json").symlink_to("not there")
    (folder / "unreadable.json").symlink_to("/proc/self/mem")
    with (folder / "huge.json").open("wb") as file:
        file.truncate(2**40)
    said = dict.fromkeys(files, "is not a record and is left out: ")
    said |= {"empty.json": "it is empty", "250.json": "metrics.top1 must", f"{'0' * 16}.json": "its place is"}
    return said | {
        "folder.json": "it is a folder, a pipe or the like",
        "pipe.json": "it is a folder, a pipe or the like",
        "loop.json": "Too many levels of symbolic links",
        "nowhere.json": "No such file",
        "unreadable.json": "it cannot be read",
        "huge.json": "it is larger than",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/mem is a file that cannot be read")
@pytest.mark.timeout(60)
def test_a_store_names_and_leaves_out_whatever_is_no_record(
    undisturbed: tuple[Record, Store], store: Store
) -> None:
    good = undisturbed[0]
    store.save(good)
    place = store.path(SPEC)
    expected = {
        str(place.parent / name): part
        for name, part in put_strange_things(place.parent, good.model_dump_json()).items()
    }
    for name in ("._x.json", ".x.json", f".{place.name}"):
        (place.parent / name).write_bytes(b"\0")
    other = store.root / "cifar10"
    other.mkdir()
    shutil.copy(place, other)
    shutil.copy(place, store.root)
    shutil.copytree(other, store.root / ".hidden")
    (store.root / "loop").symlink_to("loop")
    (store.root / "again").symlink_to(".")
    (store.root / "notes.md").write_text("")
    expected |= {str(other / place.name): f"its place is {place}", str(store.root / place.name): "records lie in"}
    specs, said = listed(store)
    assert specs == [SPEC]  # once
    assert sorted(message.split(" is ")[0] for message in said if "again" not in message) == sorted(expected)
    for path, part in expected.items():
        [message] = [message for message in said if message.startswith(f"{path} is ")]
        assert part in message and "\n" not in message and len(message) < 500


def test_a_store_that_is_no_folder_is_named_or_empty(tmp_path: Path) -> None:
    assert listed(Store(tmp_path / "not there")) == ([], [])
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for name, part in {"file": "Not a directory", "loop": "Too many levels"}.items():
        specs, [said] = listed(Store(tmp_path / name))
        assert specs == [] and said.startswith(f"{tmp_path / name} is left out") and part in said


def test_a_folder_of_records_may_be_a_link(
    undisturbed: tuple[Record, Store], store: Store, tmp_path: Path
) -> None:
    store.root.mkdir()
    (tmp_path / "large disk").mkdir()
    (store.root / "digits").symlink_to(tmp_path / "large disk")
    store.save(undisturbed[0])
    assert listed(store) == ([SPEC], [])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "loop", "nowhere", "byte", "empty"])
def test_a_run_whose_record_is_none_is_made_anew(
    undisturbed: tuple[Record, Store], store: Store, kind: str
) -> None:
    place = store.path(SPEC)
    place.parent.mkdir(parents=True)
    put_strange_things(place.parent, undisturbed[0].model_dump_json())
    (place.parent / f"{kind}.json").rename(place)
    with pytest.warns(UserWarning, match=f"{place} is not a record and is left out"):
        assert store.load(SPEC) is None
    with pytest.warns(UserWarning, match=f"{place} is not a record and is left out"):
        again = run(SPEC, store)
    assert again.metrics == undisturbed[0].metrics and store.load(SPEC) == again


def test_no_change_of_one_value_ends_the_listing(undisturbed: tuple[Record, Store], store: Store) -> None:
    content = json.loads(undisturbed[0].model_dump_json())
    places: list[str] = []

    def collect(value: Any, above: str) -> None:
        for name, inner in value.items() if isinstance(value, dict) else ():
            places.append(f"{above}{name}")
            collect(inner, f"{above}{name}.")

    collect(content, "")
    folder = store.path(SPEC).parent
    folder.mkdir(parents=True)
    for number, place in enumerate(places):
        for kind, value in enumerate([None, [], {}, "~nobody_of_this_name\0", NAN, -(10**30), True, {"a": [{}]}]):
            (folder / f"{number}-{kind}.json").write_text(json.dumps(changed(undisturbed[0], place, value)))
    specs, said = listed(store)
    assert specs == [] and len(said) == 8 * len(places)
