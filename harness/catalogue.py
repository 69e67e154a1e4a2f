"""``--list``: the built-in studies with their targets, published and measured results."""

from __future__ import annotations

import json
import shutil

from harness.analysis.numbers import plus_minus
from harness.analysis.units import target_text
from harness.console import plain, tell
from harness.study_file.builtin import builtin_studies, known_results
from harness.study_file.config import Study
from harness.study_file.load import load_study

WITH_QUESTION = 110  # columns of a terminal that has room for the studies' questions


def list_studies(as_json: bool) -> None:
    """Print each built-in study with its target, the best published and the measured result."""
    studies = [load_study(str(path)) for path in builtin_studies().values()]
    measured = known_results()
    if as_json:
        rows = [
            {
                "name": study.name,
                "question": study.question,
                "target": study.target.level,
                "metric": study.target.of,
                "published": _published(study),
                "measured": measured.get(study.name),
            }
            for study in studies
        ]
        tell(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("study", box=None, header_style="bold", pad_edge=False)
    for column in ("target", "published", "measured"):
        table.add_column(column, justify="right", no_wrap=True)
    width = shutil.get_terminal_size((160, 24)).columns
    with_question = width >= WITH_QUESTION
    if with_question:
        table.add_column("question")
    for study in studies:
        published, ours = _published(study), measured.get(study.name)
        table.add_row(
            study.name,
            target_text(study.target),
            plain("–" if published is None else f"{published:.2%}"),
            plain("–" if ours is None else _result(**ours)),
            *([Text(plain(study.question))] if with_question else []),
        )
    Console(width=max(width, 60), highlight=False).print(table)
    if not with_question:
        tell(f"the studies' questions: on {WITH_QUESTION} columns, or with --json")


def _published(study: Study) -> float | None:
    accuracies = [reference.accuracy for reference in study.references.values()]
    return max((accuracy for accuracy in accuracies if accuracy is not None), default=None)


def _result(mean: float, std: float | None, n: int, variant: str) -> str:
    """Return ``93.99 ± 0.12 % (n = 5)``."""
    return f"{plus_minus(100 * mean, None if std is None else 100 * std, 2)} % (n = {n})"
