"""Tables of the pages that benchmarks write."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int] = (0,)) -> str:
    """Markdown; all columns but those in ``texts`` are numbers, and stand at the right."""
    marks = ["---" if column in texts else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, marks, *rows])
