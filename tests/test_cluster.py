"""Runs on the workers of a dask cluster end as they end here, whatever happens to workers and command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest

from ctsl_lib import ROOT
from ctsl_lib.cli.main import main
from ctsl_lib.errors import ClusterError, RunStoppedError
from ctsl_lib.experiments.cluster import _check_job
from ctsl_lib.experiments.provenance import current_commit
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.sharing import NOBODY, stop_runs
from ctsl_lib.experiments.store import Store
from ctsl_lib.training.checkpoint import Checkpoint, read_state, write_state
from ctsl_lib.training.history import History
from scripts.campaign.harness import Command, outcome, outcomes, small_spec, under_way
from scripts.waiting import scheduler_address, until

cluster = pytest.importorskip("ctsl_lib.experiments.cluster", reason="needs the extra `cluster`")
EPOCHS = 30
"""Enough that a signal falls into a run."""
ARGUMENTS = [
    "train", "digits", "-p", "pairs=[[tiny_cnn, tiny_cnn]]", "-p", "n_train=60", "-p", "batch_size=20", "-p", "seeds=2",
    "-p", f"epochs={EPOCHS}", "-p", "methods=[independent, tfkd]", "-p", "evaluate_every=10",
]  # fmt: skip


class Engine:
    """A scheduler and its workers, processes of their own as on a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, []
        self.file = folder / "scheduler.json"
        own = {"CTSL_RECORDS": str(folder / "records"), "CTSL_CACHE": str(folder / "cache"), "CTSL_PROGRESS": "0"}
        self.environment = os.environ | own | {"CTSL_CHECKPOINT": "1000"}  # only what a signal saves is saved
        self.scheduler = self.start("scheduler", "--port", "0", "--dashboard-address", ":0")
        assert until(lambda: scheduler_address(self.file), 60)
        self.address = str(scheduler_address(self.file))

    def start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self.file), *options],
            env=self.environment, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=(self.folder / "said").open("ab"), start_new_session=True,
        )  # fmt: skip

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        given = options or ("--nthreads", "1")
        self.workers.append(
            self.start("worker", *given, "--no-dashboard", "--preload", "ctsl_lib.experiments.cluster")
        )
        return self.workers[-1]

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that a worker's nanny looks after; its resource tracker is none of them."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


def test_a_schedulers_file_is_read_when_all_of_it_is_there(tmp_path: Path) -> None:
    """It exists for a moment before anything stands in it."""
    file, said = tmp_path / "scheduler.json", []
    for text in ("", '{"address": "tcp', '{"address": "tcp://127.0.0.1:8786"}'):
        said.append(scheduler_address(file))
        file.write_text(text)
    assert said == [None] * 3 and scheduler_address(file) == "tcp://127.0.0.1:8786"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    started = Engine(tmp_path)
    yield started
    started.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    command = Command(tmp_path_factory.mktemp("undisturbed"))
    command.finish(*ARGUMENTS, "--processes", "1")
    return outcomes(command.records)


def states(folder: Path) -> list[Path]:
    return list(folder.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_that_are_killed_do_not_change_the_records(engine: Engine, undisturbed: dict[str, str]) -> None:
    workers = [engine.add_worker(), engine.add_worker()]
    command = Command(engine.folder)
    process, killed = command.start(*ARGUMENTS, "--scheduler", engine.address), 0
    while killed < 2 and process.poll() is None:
        if under_way(engine.folder):
            for pid in children(workers[killed]):
                os.kill(pid, signal.SIGKILL)
                killed += 1
            until(lambda: not under_way(engine.folder), 5)
        time.sleep(0.05)
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait() == 0, said
    assert killed == 2 and outcomes(command.records) == undisturbed
    assert not list(command.records.glob(".*.cluster"))


@pytest.mark.slow
def test_ctrl_c_and_a_worker_that_must_go_save_the_states(engine: Engine, undisturbed: dict[str, str]) -> None:
    worker, command = engine.add_worker(), Command(engine.folder)
    process = command.start(*ARGUMENTS, "--scheduler", engine.address)
    assert until(lambda: under_way(engine.folder), 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert until(lambda: states(engine.folder), 60)
    assert worker.poll() is None  # the cluster is not ours to end
    first = states(engine.folder)[0]
    note = first.with_suffix(".running")
    assert until(lambda: json.loads(note.read_text())["pid"] == NOBODY, 60)
    saved = read_state(first, "epoch")["epoch"]
    assert saved == json.loads(note.read_text())["epoch"]

    process = command.start(*ARGUMENTS, "--scheduler", engine.address)
    assert until(lambda: json.loads(note.read_text())["epoch"] > saved, 60)
    worker.terminate()  # as a scheduler does at the end of a job's time
    worker.wait(60)
    assert until(lambda: read_state(first, "epoch")["epoch"] > saved, 60)
    assert process.poll() is None  # the command waits for another worker
    engine.add_worker()
    assert process.wait(300) == 0
    assert outcomes(command.records) == undisturbed


@pytest.mark.slow
def test_another_grid_on_the_same_workers_stops_no_run(engine: Engine) -> None:
    engine.add_worker()
    process = Command(engine.folder).start(*ARGUMENTS, "--scheduler", engine.address)
    assert until(lambda: under_way(engine.folder), 120)
    with cluster.connected(engine.address, engine.folder / "records") as other:
        other.end()
    before = len(outcomes(engine.folder / "records"))
    assert until(lambda: len(outcomes(engine.folder / "records")) > before, 120)
    assert process.poll() is None and not states(engine.folder)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


@pytest.mark.slow
def test_a_worker_with_two_threads_is_refused(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.add_worker("--nthreads", "2")
    with cluster.Client(engine.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        with pytest.raises(ClusterError, match="has 2 threads: start it with --nthreads 1"):
            cluster.Cluster(client, engine.folder / "records")
    assert not list((engine.folder / "records").iterdir())


GOOD = cluster.Seen("node1", 1, True, "", current_commit(), "")


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ({}, "no workers"),
        ({"a": GOOD, "b": GOOD._replace(store=False)}, "the worker b on node1 does not see .*CTSL_RECORDS"),
        ({"a": GOOD._replace(cache="/x cannot be written")}, "/x cannot be written; set CTSL_CACHE"),
        ({"a": GOOD._replace(commit="1234567")}, "another version of the kit, 1234567 instead of"),
        (
            {"a": GOOD._replace(gpu="GPU-1"), "b": GOOD._replace(gpu="GPU-1")},
            "b on node1 and a share the GPU GPU-1",
        ),
    ],
)
def test_what_a_worker_lacks_is_named(workers: dict[str, "cluster.Seen"], words: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=words):
        cluster.check_workers(workers, tmp_path)


def test_good_workers_are_taken(tmp_path: Path) -> None:
    own = {f"w{i}": GOOD._replace(gpu=f"GPU-{i}") for i in range(4)}
    cluster.check_workers(own | {"far": GOOD._replace(host="node2", gpu="")}, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--executor", "ray"], "--executor must be local or dask, got 'ray'"),
        (["--executor", "dask"], "needs either --scheduler ADDRESS or --slurm"),
        (["--slurm", "--scheduler", "tcp://127.0.0.1:1"], "needs either --scheduler ADDRESS or --slurm"),
        (["--executor", "local", "--slurm"], "--executor local cannot go with --slurm"),
        (["--partition", "gpu"], "--partition needs --slurm"),
        (["--sbatch", "--account=a"], "--sbatch needs --slurm"),
        (["--slurm", "--walltime", "4h"], "--walltime must read HH:MM:SS, got '4h'"),
        (["--slurm", "--processes", "2"], "--processes is for this machine"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no dask scheduler answers at 'tcp://127.0.0.1:1'"),
        (["--scheduler", "nonsense"], "--scheduler must end in a port, such as tcp://node7:8786; got 'nonsense'"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["ctsl", *ARGUMENTS, *options])
    monkeypatch.setattr(cluster, "CONNECTS", 1)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and words in said and len(said.strip().splitlines()) == 1


def test_a_run_that_is_told_to_stop_saves_its_state_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_CHECKPOINT", "1000")
    spec, store, reference = small_spec("dml", epochs=6), Store(tmp_path / "a"), Store(tmp_path / "b")
    end_of_epoch = Checkpoint.end_of_epoch

    def stop_in_the_third(self: Checkpoint, state: dict[str, object], done: int, epochs: int) -> None:
        if done == 3:
            stop_runs()
        end_of_epoch(self, state, done, epochs)

    monkeypatch.setattr(Checkpoint, "end_of_epoch", stop_in_the_third)
    with pytest.raises(RunStoppedError, match="after epoch 3"):
        run(spec, store, progress=False)
    assert read_state(store.checkpoint(spec).path, "epoch")["epoch"] == 3
    monkeypatch.undo()
    assert outcome(run(spec, store, progress=False)) == outcome(run(spec, reference, progress=False))
    assert not states(tmp_path)


class StopsWhileItIsCopied:
    """Part of a state; while it is copied another thread tells the run to stop and saves the epoch before."""

    def __init__(self, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing = threading.Event()
        self.other = threading.Thread(target=checkpoint.stop)
        before = checkpoint._unsaved

        def slow_write(path: Path, state: dict[str, object]) -> None:
            self.writing.set()
            until(lambda: checkpoint._unsaved is not before or state is not before, 60)
            write_state(path, state)

        monkeypatch.setattr("ctsl_lib.training.checkpoint.write_state", slow_write)

    def __deepcopy__(self, memo: object) -> str:
        self.other.start()
        assert self.writing.wait(60)
        return "copied"


def test_a_state_that_comes_while_the_one_before_is_saved_is_saved_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "a.ckpt", every=1000, key="a")
    checkpoint.end_of_epoch({"epoch": 1}, 1, 9)
    part = StopsWhileItIsCopied(checkpoint, monkeypatch)
    with pytest.raises(RunStoppedError, match="after epoch 2"):
        checkpoint.end_of_epoch({"epoch": 2, "part": part}, 2, 9)
    part.other.join()
    assert read_state(checkpoint.path, "epoch")["epoch"] == 2


def test_ctrl_c_in_the_middle_of_an_epoch_loses_that_epoch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_CHECKPOINT", "1000")
    spec, store, reference = small_spec("dml", epochs=6), Store(tmp_path / "a"), Store(tmp_path / "b")
    add_terms, epochs = History.add_terms, []

    def interrupted(self: History, terms: list[dict[str, float]]) -> None:
        epochs.append(terms)
        if len(epochs) == 4:  # the networks have changed already, the epoch has not ended
            raise KeyboardInterrupt
        add_terms(self, terms)

    monkeypatch.setattr(History, "add_terms", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(spec, store, progress=False)
    assert read_state(store.checkpoint(spec).path, "epoch")["epoch"] == 3
    monkeypatch.undo()
    assert outcome(run(spec, store, progress=False)) == outcome(run(spec, reference, progress=False))


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:1", "Connection refused"), ("tcp://127.0.0.1:1", "refused"), ("tcp://no-host.invalid:8786", "")],
)
def test_a_scheduler_that_is_not_there_is_told_at_once(
    address: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Client", lambda *_, **__: pytest.fail("dask tries again for 20 s"))
    with (
        pytest.raises(ClusterError, match=rf"no dask scheduler answers at '{address}' \(.*{why}"),
        cluster.connected(address, tmp_path),
    ):
        pass


def test_the_deaths_that_end_a_run_are_all_counted() -> None:
    ours, theirs = Future(), Future()
    theirs.set_exception(cluster.KilledWorker("a run", None, cluster.DEATHS))
    cluster._pass_on(ours, theirs)
    assert str(ours.exception()) == "11 workers died of it, or beside it"
    assert "the eleventh such death ends the run" in (ROOT / "book" / "guides" / "cluster.md").read_text("utf-8")


def test_a_job_gets_the_variables_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"CTSL_RECORDS": "/data/my $runs/it's", "CTSL_PLUGINS": 'a "b".py', "CTSL_DATA": "/é\\n"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    script: list[str] = []

    def no_jobs(**options: list[str]) -> None:
        script.extend(options["job_script_prologue"])
        raise ClusterError("no SLURM")

    monkeypatch.setattr("dask_jobqueue.slurm.SLURMCluster", no_jobs)
    with pytest.raises(ClusterError, match="no SLURM"), cluster.slurm(tmp_path):
        pass
    said = "\n".join([*script, *(f'printf "%s\\n" "${name}"' for name in values)])
    ended = subprocess.run(["sh", "-c", said], env={}, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == list(values.values())


def test_a_job_that_slurm_refuses_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="there is no sbatch on this machine"):
        _check_job("#!/bin/sh")
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpuu' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    with pytest.raises(
        ClusterError, match=r"sbatch refuses such a job: sbatch: error: invalid partition .* gpuu"
    ):
        _check_job("#!/bin/sh")
    sbatch.write_text('#!/bin/sh\nread -r first < "$2"; test "$1 $first" = "--test-only #!/bin/sh"\n')
    _check_job("#!/bin/sh")
