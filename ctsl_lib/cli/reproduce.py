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
from ctsl_lib.evidence.conclusions import table_in_words
from ctsl_lib.evidence.labels import label
from ctsl_lib.evidence.statistics import factorial_effects
from ctsl_lib.evidence.tables import frame_of, readable, summary
from ctsl_lib.experiments.grid import grid, process_pool, run_grid
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Record, Store
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
            "Mean test accuracy of the five methods, and paired differences from independent training.",
        ),
        "learning_curves": (
            plots.learning_curves(by_method),
            "Test accuracy by epoch for the five methods: a thin line for each seed, a bold one for their mean.",
        ),
        "ablation": (
            plots.main_effects(evidence.ablation),
            "Mean accuracy without and with MLI, MLR and SLI; thin lines join rows that differ in one.",
        ),
        "ablation_rows": (
            plots.comparison(evidence.ablation, baseline="none"),
            "Mean test accuracy of the eight ablation rows, and paired differences from labels only.",
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
        methods=_html(readable(methods)),
        ablation=_html(readable(ablation, baseline="none")),
        effects=_html(effects.round(2)),
        calibration=_html(readable(calibration, metric="ECE (%)")),
        weights=_html(
            objective_table(METHODS)[["ce", "response", "distance", "angle", "self", "temperature"]].rename(
                index=label
            )
        ),
        pictures=pictures,
        sentences=table_in_words(methods, effects),
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
