"""How the slides are built: MyST, sphinx-revealjs, figures from the executed notebooks, numbers from the records."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cited import fill  # noqa: E402

project = "The runnable paper: slides"
author = "the authors of the kit"
extensions = ["myst_parser", "sphinx.ext.mathjax", "sphinx_revealjs", "notebook_figures"]
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


def cite(app, docname, source) -> None:
    """Put the numbers of the records in the place of citations."""
    source[0] = fill(source[0])


def setup(app) -> None:
    """What Sphinx calls."""
    app.connect("source-read", cite)
