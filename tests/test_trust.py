"""What lies on the disk is believed only where it can be: records, kept weights, checkpoints."""

import errno
import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ctsl_lib import ROOT, environment
from ctsl_lib.cli import main as command
from ctsl_lib.data.specs import Digits, SyntheticMarket
from ctsl_lib.environment import write_atomically
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
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
    ("parameters", [5, 0], r"parameters must be above 0, got \[5, 0\]"),
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
