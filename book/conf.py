"""How the book is built: Sphinx, MyST-NB for the notebooks, an API reference from the docstrings."""

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "teaching"))
REPOSITORY = os.environ.get("BOOK_REPOSITORY_URL", "")
"""https://github.com/OWNER/NAME: without it there are no launch buttons."""

project = "The runnable paper"
author = "the authors of the kit"
copyright = "the authors of the kit, MIT licence"
extensions = [
    "myst_nb", "sphinx_copybutton", "sphinx_design", "sphinx.ext.napoleon", "autoapi.extension", "notebook_figures"
]  # fmt: skip
exclude_patterns = ["_build"]
language = "en"

html_theme = "sphinx_book_theme"
html_title = "The runnable paper: CTSL-MKT"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_show_copyright = False
html_last_updated_fmt = None
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": "main",
    "use_repository_button": bool(REPOSITORY),
    "use_download_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"} if REPOSITORY else {},
    "navbar_persistent": [],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 1)]
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "mystnb.unknown_mime_type",
    "ref.python",  # two classes may have a field of the same name
    "autoapi.python_import_resolution",
    "toc.glob",
]

# Everything is on the site itself: no page asks another host for anything.
mathjax_path = "mathjax/es5/tex-chtml.js"

autoapi_dirs = [str(ROOT / package) for package in ("ctsl_lib", "ctsl_share", "ctsl_check")]
autoapi_root = "api"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
autoapi_ignore = ["*/cli/*", "*/__pycache__/*"]
autoapi_python_class_content = "class"
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]

SECTIONS = re.compile(r"^(\s*)(Returns|Raises|Yields): (.+)$")


def sections(lines: list[str]) -> list[str]:
    """The kit writes "Returns: a tensor" on one line; napoleon wants a heading with the text below it."""
    out: list[str] = []
    for line in lines:
        found = SECTIONS.match(line)
        if found:
            indent, name, text = found.groups()
            out += [*([""] if out and out[-1].strip() else []), f"{indent}{name}:", f"{indent}    {text}"]
        else:
            out.append(line)
    return out


def literal(line: str) -> str:
    """A line of plain text for reStructuredText: `names` in code, and no sign that would mean something there."""
    parts = line.split("`")
    escaped = r"(?<![\w*])(\*\w[^*]*\w\*)(?![\w*])|([*|\\]|_\b)"  # *emphasis* stays
    return "``".join(
        part if i % 2 else re.sub(escaped, lambda found: found[1] or "\\" + found[2], part)
        for i, part in enumerate(parts)
    )


def plain_sections(app, what, name, obj, options, lines) -> None:
    """Rewrite one docstring in place, before napoleon sees it."""
    text = "\n".join(lines).replace(" Raises: ", "\nRaises: ")
    examples = re.compile(r"^\s*(>>>|\.\.\. )")
    lines[:] = [line if examples.match(line) else literal(line) for line in sections(text.split("\n"))]


def render_image(renderer: NbElementRenderer, data) -> list[nodes.Element]:
    """An output's picture with the text that the notebook gives for those who cannot see it."""
    rendered = original_render_image(renderer, data)
    about = data.output_metadata.get(data.mime_type) or {}
    for node in rendered:
        for image in node.findall(nodes.image):
            image["alt"] = about.get("alt", "")
            if "width" in about:
                image["width"] = f"{about['width']}px"
    return rendered


original_render_image = NbElementRenderer.render_image
NbElementRenderer.render_image = render_image


def tagged_equations(app, doctree) -> None:
    """Formulas with a number of their own (\\tag) must stand outside of `split`, which MathJax does not allow."""
    for node in doctree.findall(nodes.math_block):
        if "\\tag" in node.astext():
            node["nowrap"] = node["no-wrap"] = True
            if not node.astext().lstrip().startswith("\\begin"):
                text = f"\\begin{{equation}}\n{node.astext().strip()}\n\\end{{equation}}"
                node.children[:] = [nodes.Text(text)]


def setup(app) -> None:
    """What Sphinx calls: connect the functions above."""
    app.connect("autodoc-process-docstring", plain_sections, priority=400)
    app.connect("doctree-read", tagged_equations)
