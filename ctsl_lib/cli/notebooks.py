"""Run the kit's notebooks through papermill, strictly: what it would let pass is an error here."""

import ast
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import nbformat
import papermill
from pydantic import BaseModel, TypeAdapter, ValidationError
from traitlets.config import Config

from ctsl_lib import ROOT
from ctsl_lib.data.catalogue import check_data_set, data_class
from ctsl_lib.environment import shows_progress
from ctsl_lib.errors import NotebookError
from ctsl_lib.experiments.plan import plan_names
from ctsl_lib.experiments.profiles import PROFILES, load_profile
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.losses.objective import Objective
from ctsl_lib.training.recipe import Recipe

NOTEBOOKS = ROOT / "notebooks"
SPECIFIED: tuple[type[BaseModel], ...] = (Recipe, Objective, Spec)
"""Where the range of a parameter is stated, once; that of a setting of the data is stated by the data set."""
NUMBERED = re.compile(r"[0-9]{2}[a-z]?_")
"""How the name of a notebook begins; a letter puts it between two numbers."""
LONGEST = 103
"""Bytes that the path of a socket may have on every system; Linux allows 107."""
WIDGET = "application/vnd.jupyter.widget-view+json"


def find_notebooks(numbers: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks with these numbers, or all, in order.

    Args:
        numbers: such as "3" or "03", "1b" or "01b"; none of them for all.
        folder: where the notebooks are.

    Raises: ValueError that lists the numbers there are.
    """
    paths = [path for path in sorted(folder.glob("*.ipynb")) if NUMBERED.match(path.name)]
    available = {path.name.split("_")[0]: path for path in paths}
    wanted = {given: given.lower() if given[1:2].isdigit() else f"0{given.lower()}" for given in numbers}
    unknown = [given for given, number in wanted.items() if number not in available]
    if unknown:
        raise ValueError(f"NUMBER must be among {', '.join(available)}; got {', '.join(unknown)}")
    return [available[number] for number in wanted.values()] if wanted else paths


def declared_parameters(path: Path) -> dict[str, tuple[Any, Any]]:
    """Name -> (type, default) of the annotated assignments in the cell tagged `parameters`.

    Raises: NotebookError if there is no such cell, or something else in it.
    """
    cells = [c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise NotebookError(f"{path.name} must have one cell tagged 'parameters', it has {len(cells)}")
    declared = {}
    for statement in ast.parse(cells[0].source).body:
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            text = ast.unparse(statement)
            raise NotebookError(f"{path.name}: each parameter must read `name: type = value`, got {text}")
        kind = _type(statement.annotation)
        declared[ast.unparse(statement.target)] = (kind, ast.literal_eval(statement.value))
    return declared


def _type(node: ast.expr) -> Any:
    """The type that an annotation spells: parsed, never evaluated, since anyone may write a notebook."""
    plain: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict}
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(quoted)):
            return _type(ast.parse(quoted, mode="eval").body)
        case ast.Name(id=name) if name in plain:
            return plain[name]
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):  # papermill cannot read `int | None`
            return _type(inner) | None
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return list[_type(inner)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            return dict[_type(key), _type(value)]  # type: ignore[misc]
    raise NotebookError(
        f"a parameter's type must be made of {', '.join(plain)} and None, got {ast.unparse(node)}"
    )


def check_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters as the types that the notebook declares.

    A parameter named like a field of a spec (epochs, label_noise, ...) must be in that field's range as well. For
    settings of the data that is the range of the notebook's parameter `dataset`; a notebook without one has the digits.

    Args:
        path: the notebook.
        given: parameter -> value, as a person or a profile gives it.

    Returns: parameter -> value of the declared type; a data set's path in its one spelling.
    Raises: ValueError on a parameter that the notebook does not have, on a value that does not fit, and on a data set
        that does not exist.
    """
    declared = declared_parameters(path)
    if "dataset" in given and "dataset" in declared:
        given = dict(given) | {"dataset": check_data_set(str(given["dataset"]))}
    models = (*SPECIFIED, data_class(str(given.get("dataset", _default_data_set(declared)))))
    checked = {}
    for name, value in given.items():
        if name not in declared:
            known = ", ".join(declared)
            raise ValueError(f"{path.name} has no parameter {name!r}; it has {known}")
        kind = declared[name][0]
        try:
            checked[name] = TypeAdapter(kind).validate_python(value, strict=kind is bool)
            for model in models:
                field = model.model_fields.get(name)
                if field is not None:
                    ranged: Any = Annotated[field.annotation, None, *field.metadata]  # at least one is needed
                    TypeAdapter(ranged).validate_python(checked[name])
        except ValidationError as error:
            wanted = getattr(kind, "__name__", kind) if not hasattr(kind, "__args__") else kind
            reason = error.errors()[0]["msg"]
            raise ValueError(f"{name} must be {wanted} in {path.name}, got {value!r}: {reason}") from None
    return checked


def _default_data_set(declared: Mapping[str, tuple[Any, Any]]) -> str:
    _, dataset = declared.get("dataset", (str, "digits"))
    return str(dataset)


def profile_for(path: Path, name: str, folder: Path = PROFILES, *, dataset: str | None = None) -> dict[str, Any]:
    """The part of a profile that a notebook has parameters for; one profile serves several notebooks.

    Args:
        path: the notebook.
        name: of the profile.
        folder: where the profiles are.
        dataset: that the notebook is given; by default its own.

    Returns: parameter -> value.
    Raises: ValueError if the notebook shows a table and lacks a setting of it: it would show, or train, another one.
    """
    declared = declared_parameters(path)
    settings = load_profile(name, folder, dataset=dataset or _default_data_set(declared))
    known = plan_names()
    lost = [setting for setting in settings if setting in known and setting not in declared]
    if "pairs" in declared and lost:
        raise ValueError(
            f"{path.name} has no parameter for {', '.join(lost)}, which the profile {name!r} sets, so its table would "
            "be another one; `ctsl train` takes the whole profile"
        )
    return {name: value for name, value in settings.items() if name in declared}


def run_notebook(
    source: Path, target: Path, parameters: Mapping[str, Any], *, cell_timeout: int = 24 * 3600
) -> float:
    """Execute a notebook and write it with its outputs.

    It runs in the folder that the caller is in, so that records and figures are found from the kit's root.

    Args:
        source: the notebook.
        target: where to write it; its folder is created.
        parameters: parameter -> value; see `check_parameters`.
        cell_timeout: seconds that one cell may take.

    Returns: seconds.
    Raises: NotebookError with the failing cell; `target` is then as it was before, and the notebook as far as it
        came stands beside it, in a hidden file: a half-run notebook must not pass for a finished one. OSError that
        names `target` and the reason if something cannot be written.
    """
    started = time.perf_counter()
    checked = check_parameters(source, parameters)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _execute(source, target, checked, cell_timeout)
    except OSError as error:
        raise OSError(f"{target} cannot be made: {error.strerror or error}") from error
    return time.perf_counter() - started


def _execute(source: Path, target: Path, parameters: Mapping[str, Any], cell_timeout: int) -> None:
    partial = target.with_name(f".{target.stem}.part.ipynb")
    bar = {"desc": source.stem, "leave": False} if shows_progress(None) else False
    folder = tempfile.TemporaryDirectory(prefix="ctsl-")
    with folder, _environment(CTSL_PROGRESS="0", PYTHONWARNINGS="default", JUPYTER_PATH=_own_kernel(folder.name)):
        settings = _transport(Path(folder.name))
        settings.NotebookClient.store_widget_state = False  # it dies with the kernel
        try:
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters=parameters,
                kernel_name="python3",
                progress_bar=bar,
                log_output=False,
                execution_timeout=cell_timeout,
                start_timeout=120,
                config=settings,
            )
        except papermill.PapermillExecutionError as error:
            cell = f"In [{error.exec_count}]:\n{error.source}\n\n{error.ename}: {error.evalue}"
            raise NotebookError(f"{source.name} failed in this cell:\n{cell}") from None
        except (RuntimeError, TimeoutError) as error:
            raise NotebookError(f"{source.name} did not finish: {type(error).__name__}: {error}") from None
    unrun = first_unrun(partial)
    if unrun is not None:  # a kernel that ends early (sys.exit) leaves later cells unrun without any error
        raise NotebookError(f"{source.name} ended before {unrun}")
    _tidy(partial)
    partial.replace(target)


def _own_kernel(folder: str) -> str:
    """A Jupyter path on which `python3` is this interpreter, whatever else is installed on the machine."""
    spec = Path(folder) / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    # Below CRITICAL a kernel would log the interrupt that ends it as an error; a cell's errors come another way.
    command = [sys.executable, "-m", "ctsl_lib.cli.kernel", "-f", "{connection_file}", "--log-level=CRITICAL"]
    spec.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    return os.pathsep.join([folder, *filter(None, [os.environ.get("JUPYTER_PATH")])])


def _transport(folder: Path) -> Config:
    """Talk to the kernel through files of its own: quieter than TCP, and safe where users share a machine.

    The path of a socket has a limit; where TMPDIR is too long for it, TCP must do.
    """
    place = folder / "kernel"
    if sys.platform == "win32" or len(os.fsencode(place.absolute())) + len("-12") > LONGEST:
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": str(place)}})


@contextmanager
def _environment(**values: str) -> Any:
    """Environment variables for the kernel that is started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def first_unrun(path: Path) -> str | None:
    """The first cell of a notebook that was never run, by its number and source; None if all code was run."""
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            return f"cell {number}, which was never run:\n{cell.source}"
    return None


def _tidy(path: Path) -> None:
    """Drop what papermill notes of time and place, so that a notebook changes only where its results do.

    A widget without its kernel shows nothing; the other forms of the same output stay.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            cell.metadata.pop("tags")
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    nbformat.write(notebook, path)
