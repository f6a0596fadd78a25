"""The main job: method comparison and ablation on the built-in data, all notebooks, one report."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure

from ctsl_lib import plots
from ctsl_lib.evidence.statistics import Interval, factorial_effects
from ctsl_lib.evidence.tables import frame_of, readable, summary
from ctsl_lib.experiments.grid import grid, process_pool, run_grid
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import ABLATIONS, METHOD_NAMES, METHODS
from ctsl_lib.losses.objective import Objective, objective_table
from ctsl_lib.plots.explain import method_diagram
from ctsl_lib.training.recipe import Recipe

QUICK = Spec(recipe=Recipe())
"""The quick profile: a pair of equal tiny networks on the noisy digits."""


@dataclass(frozen=True)
class Evidence:
    """The records of the main job, and the tables made of them."""

    records: list[Record]
    methods: pd.DataFrame
    """A row for each record and peer, by method."""
    ablation: pd.DataFrame
    """The same by row of the factorial."""


def gather(seeds: int, processes: int | None = None, store: Store | None = None, base: Spec = QUICK) -> Evidence:
    """Run what has no record yet: eight rows (which hold the five methods) with `seeds` seeds."""
    if seeds < 2:
        raise ValueError(f"seeds must be 2 or more for an interval, got {seeds}")
    with process_pool(processes) as executor:
        records = run_grid(grid(base, ABLATIONS, range(seeds)), store, executor=executor)
    return Evidence(records, frame_of(records, METHODS), frame_of(records, ABLATIONS))


def write_figures(evidence: Evidence, folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> (file, text for those who cannot see it) of the report's figures."""
    full = METHODS["ctsl_mkt"]
    by_method = {
        name: [record for record in evidence.records if record.spec.objective == objective]
        for name, objective in METHODS.items()
    }
    made: dict[str, tuple[Figure, str]] = {
        "method": (
            method_diagram(full),
            "Diagram: two peers, the labels and frozen copies, and who teaches whom.",
        ),
        "comparison": (
            plots.comparison(evidence.methods),
            "Mean test accuracy of the five methods, and paired differences to independent, with intervals.",
        ),
        "learning_curves": (
            plots.learning_curves(by_method),
            "Test accuracy by epoch for the five methods, with 95 % bands over seeds.",
        ),
        "ablation": (
            plots.main_effects(evidence.ablation),
            "Mean accuracy without and with MLI, MLR and SLI; thin lines join rows that differ in one alone.",
        ),
        "ablation_rows": (
            plots.comparison(evidence.ablation, baseline="none"),
            "Mean test accuracy of the eight ablation rows, and paired differences to labels only.",
        ),
        "ablation_effects": (
            plots.effects(factorial_effects(evidence.ablation)),
            "Main effects and interactions of the three kinds of knowledge, with 95 % intervals.",
        ),
    }
    written = {}
    for name, (figure, alt) in made.items():
        written[name] = (plots.save(figure, name, folder), alt)
        plt.close(figure)
    return written


def sentences(table: pd.DataFrame, effects: pd.DataFrame) -> list[str]:
    """What the tables say, in plain words; nothing here that they do not hold."""
    said = []
    for name, row in table.iterrows():
        if pd.isna(row["difference"]):
            continue
        found = Interval(row["difference"], row["difference_low"], row["difference_high"], int(row["n"]))
        bounds = f"{found.mean:+.2f} points, 95 % interval {found.low:+.2f} to {found.high:+.2f}, n = {found.n}"
        verdict = (
            "cannot be told from" if not found.excludes_zero else "is above" if found.mean > 0 else "is below"
        )
        said.append(f"{plots.label(str(name))} {verdict} independent training ({bounds}).")
    for name, row in effects.iterrows():
        found = Interval(row["effect"], row["low"], row["high"], int(row["n"]))
        kind = "interaction" if "×" in str(name) else "main effect"
        clear = "the interval excludes zero" if found.excludes_zero else "the interval holds zero"
        said.append(f"{name}: {kind} {found.mean:+.2f} points ({found.low:+.2f} to {found.high:+.2f}); {clear}.")
    return said


def with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its row names as readers know them."""
    return table.rename(index=lambda name: plots.label(str(name)))


def write_report(evidence: Evidence, out: Path, figure_folder: Path, notebooks: Mapping[str, float]) -> Path:
    """Tables as CSV, figures as PNG, and one HTML file that holds them all; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    methods, ablation = summary(evidence.methods), summary(evidence.ablation, baseline="none")
    effects = factorial_effects(evidence.ablation)
    calibration = summary(evidence.methods, metric="ece")
    for name, table in {"methods": methods, "ablation": ablation, "effects": effects, "ece": calibration}.items():
        table.to_csv(out / f"{name}.csv", float_format="%.4f")
    drawn = write_figures(evidence, figure_folder)
    pictures = {
        name: {"alt": alt, "data": base64.b64encode(path.read_bytes()).decode()}
        for name, (path, alt) in drawn.items()
    }
    first = evidence.records[0]
    environment = Environment(loader=PackageLoader("ctsl_lib.cli", "."), autoescape=select_autoescape(["jinja"]))
    html = environment.get_template("report.html.jinja").render(
        methods=_html(with_labels(readable(methods))),
        ablation=_html(with_labels(readable(ablation, baseline="labels only"))),
        effects=_html(effects.round(2)),
        calibration=_html(with_labels(readable(calibration, metric="ECE (%)"))),
        weights=_html(
            with_labels(objective_table(METHODS)[["ce", "response", "distance", "angle", "self", "temperature"]])
        ),
        pictures=pictures,
        sentences=sentences(methods, effects),
        spec=first.spec.model_dump(mode="json", exclude={"objective", "seed"}),
        provenance=first.provenance.model_dump(),
        seeds=int(methods["n"].max()),
        minutes=sum(record.provenance.wall_time for record in evidence.records) / 60,
        notebooks=notebooks,
    )
    path = out / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def _html(table: pd.DataFrame) -> str:
    return table.to_html(na_rep="–", border=0)


def method_rows() -> dict[str, Objective]:
    """The ablation rows under the methods' names where they have one, for tables that hold both."""
    names = {row: method for method, row in METHOD_NAMES.items()}
    return {names.get(row, row): objective for row, objective in ABLATIONS.items()}
