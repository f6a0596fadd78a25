"""Count the lines of the library, room by room (`python -m scripts.size`, or with other folders).

A line of code holds a token other than a comment and is not part of the docstring of a module, class or function.
Strings below a constant or a field, which document it, are code by this count; the second column says how many
lines of the code they are.
"""

import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent.parent / "ctsl_lib"
KINDS = ("code", "of it on fields", "docstrings", "comments, blank", "total")
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def line_counts(source: str) -> Counter[str]:
    """How many lines of each kind a module has.

    >>> dict(line_counts('x = 1  # one\\n"The number."\\n\\ndef f(a):\\n    "Nothing."\\n    return a\\n'))
    {'code': 4, 'of it on fields': 1, 'docstrings': 1, 'comments, blank': 1, 'total': 6}
    """
    docstrings: set[int] = set()
    strings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                docstrings |= _lines(node.body[0])
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            strings |= _lines(node) if isinstance(node.value.value, str) else set()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spans = [range(token.start[0], token.end[0] + 1) for token in tokens if token.type not in NO_CODE]
    code = {line for span in spans for line in span} - docstrings
    total = len(source.splitlines())
    rest = total - len(code) - len(docstrings)
    counts = (len(code), len(strings - docstrings), len(docstrings), rest, total)
    return Counter(dict(zip(KINDS, counts, strict=True)))


def _lines(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def room_counts(package: Path) -> dict[str, Counter[str]]:
    """The counts of each room of a package; modules that lie beside the rooms are one room."""
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0] if path.parent != package else "beside the rooms"
        rooms[room].update(line_counts(path.read_text(encoding="utf-8")))
    return rooms


def main() -> None:
    """Print a table for each folder; by default for the library."""
    for package in [Path(name) for name in sys.argv[1:]] or [LIBRARY]:
        rooms = room_counts(package)
        print(f"{package.name:18}" + "".join(f"{kind:>18}" for kind in KINDS))
        for room, counts in [*rooms.items(), ("all", sum(rooms.values(), Counter()))]:
            print(f"{room:18}" + "".join(f"{counts[kind]:18,}" for kind in KINDS))


if __name__ == "__main__":
    main()
