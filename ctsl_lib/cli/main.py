"""The command `ctsl`: what it can do, and how errors are told.

Heavy imports wait inside the commands, so that help and wrong arguments are answered at once.
"""

import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from ctsl_lib import ROOT, __version__
from ctsl_lib.cli import tables
from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.cli.signals import STATUS, ending_signals
from ctsl_lib.cli.tables import Parameter, Processes, Profile, uncollected
from ctsl_lib.data.specs import Digits
from ctsl_lib.environment import (
    check_place,
    cores,
    expanded,
    keep_memory,
    load_plugins,
    suggestion,
    write_atomically,
)
from ctsl_lib.experiments.profiles import load_profile, parse_assignments
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.losses.methods import ABLATIONS, METHODS, baselines
from ctsl_lib.losses.objective import BUILT_IN, REGISTERED, Objective
from ctsl_lib.models.registry import check_network, network_names

CELL_TIMEOUT = 24 * 3600
"""Seconds that a notebook's cell may take: it may train a table of large networks."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(tables.app)
# Commands of the packages beside the library, where they are installed; it does without them.
for _package in ("ctsl_check", "ctsl_share"):
    if find_spec(_package) is not None:
        app.add_typer(import_module(f"{_package}.command").app)
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A field of the recipe or the objective.")
]


@app.callback()
def prepare() -> None:
    """The runnable paper: collaborative teacher-student learning via multiple knowledge transfer (CTSL-MKT)."""
    if not (ROOT / "notebooks").is_dir():
        raise ValueError(
            f"ctsl {__version__} was installed without its notebooks and records. Clone the repository and run "
            "`make reproduce` there, or `pip install --editable .` in the clone; the library itself works as it is"
        )
    keep_memory()


@app.command()
def reproduce(
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds: 0, 1, ...")] = 10,
    set_: Set = None,
    notebooks: Annotated[bool, typer.Option(help="Execute the notebooks as well.")] = True,
    processes: Processes = None,
    out: Annotated[Path, typer.Option(help="Folder for tables, report and executed notebooks.")] = Path(
        "results"
    ),
    figures: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures/runs"),
) -> None:
    """Compare the methods and run the ablation on the built-in data, execute all notebooks, write the report.

    The runs have a store of their own, OUT/records, and are compared with the committed records at the end.
    Finished runs and notebooks are kept: after Ctrl-C, or a second time, only what is missing is done.
    """
    out, figures = folder("--out", out), folder("--figures", figures)
    changed = parse_assignments(set_ or [])
    [recipe] = _with_fields(changed, Spec().recipe)

    from ctsl_lib.cli.notebooks import find_notebooks
    from ctsl_lib.cli.reproduce import QUICK, REPORT, gather, write_report
    from ctsl_lib.evidence.remade import compare
    from ctsl_lib.evidence.tables import frame_of, readable, summary
    from ctsl_lib.experiments.store import Store

    started = time.perf_counter()
    store = Store(out / "records")
    records = gather(seeds, processes, store, base=QUICK.model_copy(update={"recipe": recipe}))
    paths = [path for path in find_notebooks() if path != REPORT] if notebooks else []
    times = _run_notebooks(
        {path: {} for path in paths}, out / "notebooks", again=False, processes=processes or cores()
    )
    places = {"records": store.root, "tables": out, "figures": figures}
    absolute = {name: str(place.resolve()) for name, place in places.items()}
    report = write_report(out, {"seeds": seeds, "recipe": changed, "seconds": times} | absolute)
    typer.echo(f"\nTest accuracy on the noisy digits, {seeds} seeds:\n")
    typer.echo(readable(summary(frame_of(records, METHODS))).to_string())
    typer.echo("\n± and *: 95 % interval over seeds; * where it excludes zero.")
    typer.echo(compare(records, Store(ROOT / "data" / "records")).in_words() + "\n")
    typer.echo(f"report     {report}\ntables     {out}/*.csv\nfigures    {figures}/*.png")
    if notebooks:
        typer.echo(f"notebooks  {out / 'notebooks'}")
    typer.echo(f"done in {time.perf_counter() - started:.0f} s")


@app.command("run")
def run_command(
    method: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(METHODS)}, kd, label_smoothing, or an ablation such as MLI+SLI."),
    ],
    peer: Annotated[
        list[str] | None, typer.Option(help=f"Network of each peer, repeated: {', '.join(network_names())}.")
    ] = None,
    teacher: Annotated[str, typer.Option(help="Network of the fixed teacher, for kd.")] = "wide_cnn",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    n_train: Annotated[int, typer.Option(help="Training images.")] = Digits().n_train,
    label_noise: Annotated[
        float, typer.Option(help="Share of training images with a random label.")
    ] = Digits().label_noise,
    set_: Set = None,
    keep_weights: Annotated[bool, typer.Option(help="Keep the trained peers beside the record.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; another number may change last digits.")] = 1,
) -> None:
    """Train one pair (or any number of peers) with one method and print where its record is."""
    rows = METHODS | ABLATIONS | baselines(check_network(teacher))
    if method not in rows:
        raise ValueError(f"method must be one of {', '.join(rows)}; got {method!r}{suggestion(method, rows)}")
    recipe, objective = _with_fields(parse_assignments(set_ or []), Spec().recipe, rows[method])
    data = Digits(n_train=n_train, label_noise=label_noise)
    peers = tuple(peer or Spec().peers)
    spec = Spec(data=data, peers=peers, objective=objective, recipe=recipe, seed=seed)

    from ctsl_lib.experiments.run import run
    from ctsl_lib.experiments.store import Store
    from ctsl_lib.experiments.trial import try_runs

    store = Store()
    if not store.path(spec).exists():
        try_runs([spec])
    record = run(spec, store, keep_weights=keep_weights, threads=threads)
    for name, values in record.metrics.items():
        typer.echo(f"{name:10} {'  '.join(f'{value:6.2f}' for value in values)}  %")
    typer.echo(f"record     {store.path(spec)}")
    if keep_weights:
        typer.echo(f"networks   {store.weights_path(spec)}, with the record of these numbers")


@app.command()
@uncollected()
def table(
    metric: Annotated[
        str, typer.Option(help="top1, ece, ..., or one of your own: any that the records have.")
    ] = "top1",
    ablation: Annotated[bool, typer.Option(help="The eight ablation rows instead of the five methods.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Print the table of the records of the main job that are there, of the seeds 0 to 999."""
    from ctsl_lib.cli.reproduce import QUICK, method_rows
    from ctsl_lib.evidence.tables import frame_of, readable, summary
    from ctsl_lib.experiments.grid import grid
    from ctsl_lib.experiments.store import SEEDS, Store
    from ctsl_lib.metrics import COLUMNS

    names = method_rows() if ablation else METHODS
    store = Store()
    found = map(store.load, grid(QUICK, names, range(SEEDS)))
    records = [record for record in found if record is not None]
    frame = frame_of(records, names)
    if not len(frame):
        raise ValueError(
            f"no records of the main job in {store.root}; `ctsl reproduce` writes them to results/records, which "
            "`CTSL_RECORDS=results/records ctsl table` reads"
        )
    known = [str(column) for column in frame if column not in COLUMNS]
    if metric not in known:
        raise ValueError(
            f"--metric must be one that the records have, {', '.join(known)}; got {metric!r}{suggestion(metric, known)}"
        )
    frame = frame.dropna(subset=[metric])  # a record that was made before a metric does not have it
    numbers = summary(frame, metric).reindex([name for name in names if name in set(frame["method"])])
    typer.echo(readable(numbers, metric=f"{metric} (%)").to_string())
    if csv is not None:
        path = expanded("--csv", csv)
        write_atomically(path, lambda temporary: numbers.to_csv(temporary, float_format="%.4f"))


@app.command()
def notebooks(
    number: Annotated[list[str] | None, typer.Argument(help="Which notebooks, by number; default all.")] = None,
    profile: Profile = "quick",
    parameter: Parameter = None,
    out: Annotated[Path, typer.Option(help="Folder for the executed notebooks.")] = Path("results/notebooks"),
    processes: Annotated[int, typer.Option(min=1, help="Notebooks that run side by side.")] = 1,
    cell_timeout: Annotated[int, typer.Option(min=1, help="Seconds that one cell may take.")] = CELL_TIMEOUT,
) -> None:
    """Execute notebooks in order, with a profile's parameters and then those given by -p."""
    from ctsl_lib.cli.notebooks import declared_parameters, find_notebooks, profile_for

    out = folder("--out", out)
    paths = find_notebooks(number or [])
    given = parse_assignments(parameter or [])
    known = {name for path in find_notebooks() for name in declared_parameters(path)}
    unused = set(load_profile(profile)) - known
    if unused:
        raise ValueError(f"profile {profile!r} sets what no notebook has: {', '.join(sorted(unused))}")
    dataset = given.get("dataset")
    parameters = {path: profile_for(path, profile, dataset=dataset) | given for path in paths}
    _run_notebooks(parameters, out, processes=processes, cell_timeout=cell_timeout)


def _run_notebooks(
    parameters: Mapping[Path, Mapping[str, Any]],
    out: Path,
    *,
    again: bool = True,
    processes: int = 1,
    cell_timeout: int = CELL_TIMEOUT,
) -> dict[str, float]:
    """Execute notebooks, with their parameters checked before the first one starts; name -> seconds."""
    from concurrent.futures import as_completed

    from ctsl_lib.cli.notebooks import check_parameters, run_notebook
    from ctsl_lib.experiments.workers import Workers

    for path, given in parameters.items():
        check_parameters(path, given)
    times = {}
    # Processes, not threads: each run sets environment variables for its kernel.
    with Workers(processes) as pool:
        running = {}
        for path, given in parameters.items():
            target = out / path.name
            if not again and target.exists() and target.stat().st_mtime > path.stat().st_mtime:
                typer.echo(f"{path.name}: done before, kept")
                continue
            running[pool.submit(run_notebook, path, target, given, cell_timeout=cell_timeout)] = path
        try:
            for future in as_completed(running):
                times[running[future].name] = future.result()
                typer.echo(f"{running[future].name}: {future.result():.0f} s")
        except Exception:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return times


def folder(option: str, path: Path) -> Path:
    """The folder that an option names, with the home in place of ~.

    Args:
        option: such as --out.
        path: what was written; it need not exist.

    Raises: ValueError if nothing can be written there, such as where a file is in its place or above it.
    """
    path = expanded(option, path)
    check_place(option, path)
    return path


def _with_fields(values: dict[str, Any], *models: BaseModel) -> list[Any]:
    """Copies of the models with these fields set, each where it exists; an objective has a user's own terms, too."""
    own = [name for name in REGISTERED if name not in BUILT_IN]
    fields = [[*type(one).model_fields, *(own if isinstance(one, Objective) else [])] for one in models]
    known = [name for names in fields for name in names]
    for name in values:
        if name not in known:
            raise ValueError(f"--set takes {', '.join(known)}; got {name!r}{suggestion(name, known)}")
    return [
        type(model).model_validate(model.model_dump() | {n: v for n, v in values.items() if n in names})
        for model, names in zip(models, fields, strict=True)
    ]


def main() -> None:
    """Entry point: an error that a user can mend is one line, and the exit status is not zero."""
    try:
        with failures_in_one_line(), ending_signals():
            load_plugins()
            app()
    except SystemExit as ended:
        if ended.code in STATUS:
            typer.echo("stopped; what is finished is kept, and the same command goes on from there", err=True)
        raise
