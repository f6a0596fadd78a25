"""The commands `ctsl weights export`, `ctsl weights load` and `ctsl export`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctsl_lib.cli.tables import Parameter, TableProfile, plan_of
from ctsl_lib.environment import check_place, expanded, write_atomically

if TYPE_CHECKING:
    from ctsl_lib.experiments.spec import Record
    from ctsl_lib.experiments.store import Store

app = typer.Typer()
weights = typer.Typer(no_args_is_help=True, help="Trained networks as safetensors with a model card, out and in.")
app.add_typer(weights, name="weights")
Run = Annotated[list[str], typer.Argument(metavar="RUN...", help="Keys of records, or their files.")]


@weights.command("export")
def export_command(
    run: Run,
    to: Annotated[Path, typer.Option(help="Folder; of several runs each gets a folder in it, named by its key.")],
    train: Annotated[
        bool, typer.Option("--train", help="Train a run again whose weights were not kept; its record stays.")
    ] = False,
) -> None:
    """Write the trained networks of runs as folders in the layout of the Hugging Face Hub."""
    place = expanded("--to", to)
    check_place("--to", place)  # now, not after the first training

    from ctsl_lib.experiments.store import Store
    from ctsl_share.runs import find_runs
    from ctsl_share.writing import export_weights

    found = find_runs(run, Store())
    for record, store in found:
        folder = place / record.spec.key if len(found) > 1 else place
        made = export_weights(record, store, folder, train=train)
        same = "" if made.metrics == record.metrics else "; trained again, it has other metrics than its record"
        typer.echo(f"{made.spec.key}  {folder}{same}")


@weights.command("load")
def load_command(
    folder: Annotated[Path, typer.Argument(help="That `ctsl weights export` has written.")],
) -> None:
    """Load networks from a folder and, where the images are at hand, compare their metrics with the recorded ones."""
    from ctsl_lib.errors import DataError
    from ctsl_lib.evidence.labels import pair_name
    from ctsl_lib.metrics.evaluation import evaluate
    from ctsl_share.reading import load_weights

    loaded = load_weights(folder)
    config, spec = loaded.config, loaded.config.spec
    typer.echo(f"{pair_name(spec.peers)}, run {config.key} on {spec.data.name}")
    try:
        data = spec.data.load(spec.seed)
        if data.digest != config.data_digest:
            raise DataError(f"the images of {spec.data.name} at hand are others than those of the run")
    except DataError as error:
        typer.echo(f"not evaluated: {error}")
        return
    now = evaluate(loaded.peers, data.split(spec.evaluate_on), data, spec.recipe.precision)
    for name, recorded in config.metrics.items():
        values = "  ".join(f"{value:6.2f}" for value in now.get(name, []))
        said = (
            "as recorded" if now.get(name) == recorded else "recorded " + "  ".join(f"{x:.2f}" for x in recorded)
        )
        typer.echo(f"{name:10} {values}  %  {said}")


@app.command()
def export(
    what: Annotated[
        list[str], typer.Argument(metavar="WHAT...", help="Keys or files of records, or one data set.")
    ],
    profile: TableProfile = None,
    parameter: Parameter = None,
    csv: Annotated[Path, typer.Option(help="The file of the curves.")] = Path("results/histories.csv"),
    tensorboard: Annotated[
        Path | None, typer.Option(help="Also write event files for TensorBoard to this folder.")
    ] = None,
) -> None:
    """Write the curves of runs as one tidy CSV: those of some records, or all of a data set's table."""
    path = expanded("--csv", csv)
    check_place("--csv", path, file=True)
    events = expanded("--tensorboard", tensorboard) if tensorboard is not None else None
    if events is not None:
        check_place("--tensorboard", events)

    from ctsl_share.histories import histories, write_tensorboard

    named = _named(what, profile, parameter)
    frame = histories(named)
    write_atomically(path, lambda temporary: frame.to_csv(temporary, index=False))
    typer.echo(f"{len(named)} runs, {len(frame)} values in {path}")
    if events is not None:
        count = write_tensorboard(frame, events)
        typer.echo(f"the curves of {count} peers for TensorBoard in {events}")


def _named(what: list[str], profile: str | None, parameter: list[str] | None) -> "list[tuple[str, Record]]":
    """(method, record) of the runs that the arguments name."""
    from ctsl_lib.experiments.store import Store
    from ctsl_share.runs import find_runs, method_of, names_a_data_set, names_a_run

    alone, store = len(what) == 1, Store()
    if alone and (names_a_data_set(what[0]) or not names_a_run(what[0])):
        return _table(what[0], profile, parameter, store)
    if profile is not None or parameter:
        raise ValueError(
            "--profile and -p say which table of a data set is meant; WHAT names records, which have their settings"
        )
    for word in what:
        if not names_a_run(word):
            raise ValueError(
                "WHAT must be records, each by its key, four or more of its first digits, or its file, or else a "
                f"single data set; got {word!r} among {len(what)}"
            )
    return [(method_of(record.spec.objective), record) for record, _ in find_runs(what, store)]


def _table(
    dataset: str, profile: str | None, parameter: list[str] | None, store: "Store"
) -> "list[tuple[str, Record]]":
    """(method, record) of the runs of a data set's table that have records."""
    plan = plan_of(dataset, profile, parameter)
    every = [(method, store.load(spec)) for method, spec in plan.runs()]
    there = [(method, record) for method, record in every if record is not None]
    if not there:
        words = ["ctsl", "train", dataset, *(["--profile", profile] if profile is not None else [])]
        words += [word for setting in parameter or [] for word in ("-p", setting)]
        raise ValueError(
            f"no run of {dataset} with this profile has a record in {store.root}; `{shlex.join(words)}` makes them"
        )
    return there
