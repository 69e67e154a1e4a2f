"""Tables of the benchmarks' pages."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int] = (0,)) -> str:
    """Markdown; all columns except those in ``texts`` are numbers, aligned to the right."""
    marks = ["---" if column in texts else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, marks, *rows])
