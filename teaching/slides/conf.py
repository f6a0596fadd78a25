"""How the slides are built: MyST, sphinx-revealjs, figures from the executed notebooks, numbers from the records."""

import json
import sys
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from cited import fill  # noqa: E402

project = "The runnable paper: slides"
author = "the authors of the kit"
extensions = ["myst_parser", "sphinx.ext.mathjax", "sphinx_revealjs"]
exclude_patterns = ["_build"]
language = "en"
smartquotes = False
myst_enable_extensions = ["dollarmath", "colon_fence"]
nitpicky = True

revealjs_static_path = ["_static", "../../book/_static"]
revealjs_style_theme = "white"
revealjs_css_files = ["slides.css"]
revealjs_js_files = ["slides.js"]
revealjs_script_plugins = [{"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"}]
revealjs_script_conf = {
    "width": 1280,
    "height": 720,
    "margin": 0.04,
    "hash": True,
    "center": False,
    "transition": "none",
    "slideNumber": "c/t",
    "pdfMaxPagesPerSlide": 1,
    "pdfSeparateFragments": False,
}
# Everything is beside the slides: no page asks another host for anything. Slides that are hidden while MathJax works
# have no font size to match.
mathjax_path = "mathjax/es5/tex-chtml.js"
mathjax3_config = {"chtml": {"matchFontHeight": False}, "options": {"enableMenu": False}}


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
        (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
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


def cite(app, docname, source) -> None:
    """Put the numbers of the records in the place of citations."""
    source[0] = fill(source[0])


def setup(app) -> None:
    """What Sphinx calls."""
    app.add_directive("notebook-figure", NotebookFigure)
    app.connect("source-read", cite)
