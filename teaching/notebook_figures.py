"""A directive for Sphinx: pictures of the executed notebooks, found by their alternative text."""

import json
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


class NotebookFigure(SphinxDirective):
    """A picture of an executed notebook: number of the notebook, then the beginning of the picture's alt text.

    With the option "large" it fills a slide that has nothing else.
    """

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"large": directives.flag}

    def run(self) -> list[nodes.Node]:
        """The picture as part of the page; exactly one picture must fit."""
        number, _, beginning = self.arguments[0].partition(" ")
        (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
        self.env.note_dependency(str(path))
        found = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                about = output.get("metadata", {}).get("image/png", {})
                if about.get("alt", "").startswith(beginning):
                    found.append((about["alt"], output["data"]["image/png"]))
        if len(found) != 1:
            where = f"{self.env.docname}.md, line {self.lineno}"
            raise ExtensionError(f"{where}: {len(found)} pictures of notebook {number} begin with {beginning!r}")
        alt, png = found[0]
        classes = ["large"] if "large" in self.options else []
        return [nodes.image(uri=f"data:image/png;base64,{''.join(png.split())}", alt=alt, classes=classes)]


def setup(app) -> None:
    """What Sphinx calls."""
    app.add_directive("notebook-figure", NotebookFigure)
