"""Parts of a notebook by themselves: its parameters, functions and classes, without running its other cells."""

import ast
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nbformat

from ctsl_lib import ROOT
from ctsl_lib.cli.notebooks import declared_parameters
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store

A_RECORD = json.loads(Store(ROOT / "data" / "records").path(Spec()).read_text(encoding="utf-8"))


def parameters_of(path: Path) -> dict[str, Any]:
    """Parameter -> default value."""
    return {name: value for name, (_, value) in declared_parameters(path).items()}


def definitions(path: Path, constants: Collection[str] = ()) -> dict[str, Any]:
    """Imports, functions and classes of a notebook.

    Args:
        path: of the notebook.
        constants: names that are assigned to at the top level and are wanted, too.
    """
    cells = nbformat.read(path, as_version=4).cells
    sources = [c.source for c in cells if c.cell_type == "code" and "exercise" not in c.metadata]
    kept = [
        node
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in constants)
    ]
    place: dict[str, Any] = {}
    exec(compile(ast.Module(kept, type_ignores=[]), str(path), "exec"), place)
    if missing := set(constants) - place.keys():
        raise LookupError(f"{path.name} does not assign {', '.join(missing)}")
    return place


def made_up(spec: Spec, top1: float) -> Record:
    """A record of a spec; what is not made up is that of a committed record.

    Args:
        spec: the run.
        top1: the accuracy of all peers, from the first evaluation on.
    """
    evaluated = [epoch for epoch in range(1, spec.recipe.epochs + 1) if epoch % spec.recipe.evaluate_every == 0]
    evaluated = [*evaluated, *([] if evaluated[-1:] == [spec.recipe.epochs] else [spec.recipe.epochs])]
    count = len(spec.peers)
    history = {
        "terms": [{"ce": [1.0] * spec.recipe.epochs}] * count,
        "accuracy": [[top1] * len(evaluated)] * count,
        "evaluated": evaluated,
    }
    metrics = {"top1": [top1] * count, "top5": [90.0] * count, "ece": [10.0] * count, "agreement": [80.0]}
    made = {"spec": spec.model_dump(by_alias=True), "metrics": metrics, "history": history}
    return Record.model_validate(A_RECORD | made | {"parameters": [1000] * count})
