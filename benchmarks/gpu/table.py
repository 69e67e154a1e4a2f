"""The results of all parts so far: as text, as Markdown, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.gpu.shared import LATE, Row
from benchmarks.markdown import table
from harness.store.atomic import atomic_write

HEADER = ("what", "result", "n", "notes")


@dataclass
class Section:
    """A part's rows.

    Args:
        seconds: that it took.
    """

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    seconds: float | None = None

    def text(self) -> str:
        """Lines for a terminal."""
        widths = [max((len(cell(row)) for row in self.rows), default=0) for cell in _CELLS[:3]]
        lines = [f"== {self._heading()} =="]
        for row in self.rows:
            cells = [cell(row).ljust(width) for cell, width in zip(_CELLS, widths, strict=False)]
            lines.append("  ".join([*cells, row.notes]).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        """A heading and a table."""
        cells = [[cell(row).replace("|", "\\|") for cell in _CELLS] for row in self.rows]
        head, line, *rest = table(HEADER, cells).splitlines()
        notes_are_text = line.removesuffix("---: |") + "--- |"
        return "\n".join([f"## {self._heading()}\n", head, notes_are_text, *rest])

    def _heading(self) -> str:
        return self.title if self.seconds is None else f"{self.title} ({self.seconds:.0f} s)"


_CELLS: tuple[Callable[[Row], str], ...] = (
    lambda row: row.what,
    lambda row: row.result,
    lambda row: row.n,
    lambda row: row.notes,
)


@dataclass
class Report:
    """Everything measured so far.

    Args:
        file: of the Markdown; the JSON lies beside it. None: nothing is written.
    """

    file: Path | None
    about: dict[str, str]
    sections: list[Section] = field(default_factory=list)

    def markdown(self) -> str:
        """The page."""
        about = "; ".join(f"{name} {value}" for name, value in self.about.items())
        head = f"# GPU benchmark\n\nMade by `python -m benchmarks.gpu`; not written by hand.\n\n{about}"
        return "\n\n".join([head, *(section.markdown() for section in self.sections)]) + "\n"

    def late(self) -> list[str]:
        """Name the parts that time was not enough for."""
        return [each.name for each in self.sections if any(row.result == LATE for row in each.rows)]

    def write(self) -> None:
        """Replace both files by what is known now."""
        if self.file is None:
            return
        parts = {
            section.name: {"seconds": section.seconds, "rows": [asdict(row) for row in section.rows]}
            for section in self.sections
        }
        atomic_write(self.file, self.markdown())
        content = json.dumps({"about": self.about, "parts": parts}, indent=2, ensure_ascii=False)
        atomic_write(self.file.with_suffix(".json"), content + "\n")
