"""What a check has found, as a table on the screen, as JSON and as Markdown."""

from typing import Literal

from pydantic import BaseModel

from ctsl_lib.errors import plain

Verdict = Literal["ok", "note", "off", "not possible here"]
"""note: worth knowing, and nothing is wrong. off: what the kit promises does not hold here."""


class Row(BaseModel, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    expected: str = ""
    verdict: Verdict = "ok"
    numbers: dict[str, float] = {}
    """What was measured, for programs that read the JSON; a number that is not finite is left out."""


class Part(BaseModel, frozen=True):
    """One part of the check."""

    title: str
    rule: str
    """What is compared with what, and when it is off."""
    rows: list[Row]
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """The worst of its rows; what is not possible here is no fault."""
        verdicts = {row.verdict for row in self.rows}
        order: tuple[Verdict, ...] = ("off", "not possible here", "note")
        return next((one for one in order if one in verdicts), "ok")

    def as_text(self) -> str:
        """The part as a table for a screen."""
        cells = [[row.what, row.found, row.expected, _shown(row.verdict)] for row in self.rows]
        widths = [max((len(line[column]) for line in cells), default=0) for column in range(3)]
        lines = [
            "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[3]])
            for line in cells
        ]
        return "\n".join([f"{self.title}  ({self.seconds:.0f} s)", *(f"  {line.rstrip()}" for line in lines)])

    def as_markdown(self) -> str:
        """The part as a section with its rule and a table."""
        rows = [[row.what, row.found, row.expected, row.verdict] for row in self.rows]
        table = [["what", "found", "expected", "verdict"], ["---"] * 4, *rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
        return "\n".join([f"## {self.title}", "", f"{self.rule} ({self.seconds:.0f} s)", "", *lines])


class Report(BaseModel, frozen=True):
    """The whole check."""

    device: str
    commit: str
    finished: str
    """UTC, ISO 8601."""
    options: dict[str, str | int | list[int]]
    """Those of the command that makes the report, by name; one that is given several times has a list."""
    parts: list[Part]

    @property
    def off(self) -> list[str]:
        """What is off, each as "part: what: found"."""
        return [
            f"{part.title}: {row.what}: {row.found}"
            for part in self.parts
            for row in part.rows
            if row.verdict == "off"
        ]

    def in_words(self) -> str:
        """The verdict in one sentence, then a line for all that is off."""
        looked = sum(len(part.rows) for part in self.parts)
        skipped = sum(row.verdict == "not possible here" for part in self.parts for row in part.rows)
        text = f"{len(self.off)} of {looked} things are off" if self.off else f"nothing of {looked} things is off"
        text += f"; {skipped} were not possible here" if skipped else ""
        return "\n".join([f"{text}.", *self.off])

    @property
    def command(self) -> str:
        """The command that makes this report."""
        given = [
            f"--{name} {one}".rstrip()
            for name, value in self.options.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        return " ".join(["ctsl check", *given])

    def as_markdown(self) -> str:
        """The report for an issue or the appendix of a paper."""
        verdict, *off = self.in_words().splitlines()
        head = [
            "# Reproducibility check", "",
            f"On {self.device}, commit {self.commit}, {self.finished}: **{verdict}**", "",
            *(f"- {line}" for line in off), *[""] * bool(off),
            f"`{self.command}`", "",
        ]  # fmt: skip
        return "\n".join(head) + "\n" + "\n\n".join(part.as_markdown() for part in self.parts) + "\n"


def failure(error: Exception) -> str:
    """An error in one line: its kind, and the first line of what it says."""
    said = (str(error).strip().splitlines() or [""])[0]
    return plain(f"{type(error).__name__}: {said}", 150)


def _shown(verdict: Verdict) -> str:
    return verdict.upper() if verdict == "off" else verdict
