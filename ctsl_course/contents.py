"""What there is to read: the notebooks of the course and the folders of the library, from the files themselves."""

import importlib
import pkgutil
import re
from pathlib import Path

import nbformat
import pandas as pd

import ctsl_lib

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TITLE = re.compile(r"# (?P<number>\d\d[a-z]?) · (?P<title>.+)")
TIME = re.compile(r"\*\*Time\*\*:? *(?P<time>.+?)\.?(?:\.\s|\n\n|\Z)", re.DOTALL)


def notebook_map(folder: Path = NOTEBOOKS) -> pd.DataFrame:
    """The notebooks in their order: title and time, as the first cell of each says; of the time only one sentence.

    Args:
        folder: where the notebooks are.

    Returns: a row for each notebook whose first cell has a title such as "# 02 · Response knowledge"; the columns
        are `notebook`, a Markdown link, and `time`.
    """
    rows = []
    for path in sorted(folder.glob("[0-9]*.ipynb"), key=lambda path: path.name.split("_")[0]):
        first = nbformat.read(path, as_version=4).cells[0].source.strip()
        title, time = TITLE.match(first), TIME.search(first)
        if title:
            link = f"[{title['number']} {title['title']}]({path.name})"
            rows.append({"notebook": link, "time": " ".join(time["time"].split()) if time else "–"})
    return pd.DataFrame(rows, columns=["notebook", "time"])


def library_map() -> pd.DataFrame:
    """The folders of the library, in the order of their names, each with the first line of its documentation.

    Returns: a row for each folder; the columns are `folder` and `what is in it`.
    """
    rows = []
    for module in pkgutil.iter_modules(ctsl_lib.__path__):
        if module.ispkg:
            said = importlib.import_module(f"ctsl_lib.{module.name}").__doc__ or "–"
            rows.append({"folder": f"`{module.name}`", "what is in it": said.splitlines()[0]})
    return pd.DataFrame(rows, columns=["folder", "what is in it"])


def as_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, without its index; links in it can be followed in a notebook.

    Args:
        table: of texts.
    """
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
