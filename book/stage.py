"""Gather the sources of the book in one folder: its own pages, the executed notebooks, the kit's documents.

Links between files of the repository become links between pages; a link to a file that is no page leads to the
repository where its address is known (BOOK_REPOSITORY_URL), and is plain text otherwise.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "teaching"))

from cited import fill  # noqa: E402

PAGES = {
    "docs/real-images.md": "guides/real-images.md",
    "docs/methods.md": "guides/methods.md",
    "docs/trust.md": "guides/trust.md",
    "docs/speed.md": "guides/speed.md",
    "docs/scale.md": "guides/scale.md",
    "docs/check.md": "guides/check.md",
    "CONTRIBUTING.md": "guides/add.md",
    "data/reference/README.md": "evidence/reference.md",
    "data/records/PLAN.md": "evidence/plan.md",
    "data/check/cpu-amd-epyc.md": "evidence/check.md",
    "data/check/cpu-intel-xeon-amx.md": "evidence/check-another-processor.md",
    "data/search/README.md": "evidence/search.md",
    "data/paper/README.md": "evidence/paper.md",
    "teaching/plan.md": "teaching/plan.md",
    "teaching/quiz.md": "teaching/quiz.md",
    "teaching/project.md": "teaching/project.md",
    "teaching/grading.md": "teaching/grading.md",
}
"""Files of the repository that are pages of the book: where they are -> where they go."""
SLIDES = "teaching/slides/"
EXERCISES = ROOT / "book" / "_build" / "exercises"
"""Pages that `python -m ctsl_course.exercises pages` has written: it needs the kit, the book does not."""
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def pages() -> dict[str, str]:
    """Every file that becomes a page, relative to the repository -> its place in the book."""
    found = [
        path for path in (ROOT / "notebooks").rglob("[0-9]*.ipynb") if ".ipynb_checkpoints" not in path.parts
    ]
    notebooks = {name: name for name in sorted(path.relative_to(ROOT).as_posix() for path in found)}
    return {source: place for source, place in PAGES.items() if (ROOT / source).exists()} | notebooks


def relink(text: str, source: str, places: dict[str, str], repository: str) -> str:
    """The text of one file with each link to another file of the repository set right.

    Args:
        text: Markdown.
        source: where the text is, relative to the repository.
        places: from `pages`.
        repository: address of the repository's files, or nothing.
    """

    def new(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in target or target.startswith("mailto:"):
            return match.group()
        file = os.path.normpath(PurePosixPath(source).parent / path)
        if file.startswith(SLIDES):  # built beside the book, not by it
            return f'<a href="../slides/{PurePosixPath(file).stem}.html">{words}</a>'
        if file in places:
            here = PurePosixPath(places[source]).parent
            return f"[{words}]({os.path.relpath(places[file], here)}{'#' + anchor if anchor else ''})"
        if not (ROOT / file).exists():
            raise FileNotFoundError(f"{source} links to {target}, which does not exist")
        return f"[{words}]({repository}/{file})" if repository else words

    return LINK.sub(new, text)


def stage(out: Path, repository: str = "") -> list[str]:
    """Write the book's sources.

    Args:
        out: a folder, emptied first.
        repository: address under which the repository's files are found, such as
            https://github.com/OWNER/NAME/blob/main; links to files that are no pages need it.

    Returns: the places of all pages that were copied.
    """
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "book", out, ignore=shutil.ignore_patterns("_*", "*.py", "*.txt", out.name))
    for page in out.rglob("*.md"):
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
    for extra in ("_static", "_templates"):
        if (ROOT / "book" / extra).exists():
            shutil.copytree(ROOT / "book" / extra, out / extra)
    shutil.copytree(ROOT / "figures" / "reference", out / "figures" / "reference")
    places = pages()
    for source, place in places.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".ipynb"):
            notebook = json.loads(text)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = relink("".join(cell["source"]), source, places, repository)
            text = json.dumps(notebook, ensure_ascii=False, indent=1)
        else:
            text = relink(fill(text) if source.startswith("teaching/") else text, source, places, repository)
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_text(text, encoding="utf-8")
    shutil.copytree(EXERCISES, out / "exercises")
    return list(places.values())


if __name__ == "__main__":
    address = os.environ.get("BOOK_REPOSITORY_URL", "")
    stage(Path(sys.argv[1]), f"{address}/blob/main" if address else "")
