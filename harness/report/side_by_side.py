"""Results that were compared with each other: as a page, as text for a terminal, and as data."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.analysis.numbers import several
from harness.analysis.parameters import Difference, digest_of
from harness.analysis.side_by_side import SideBySide
from harness.analysis.sides import Side
from harness.analysis.summary import VariantSummary
from harness.messages import listed
from harness.report.blocks import Block, Report, Section, explained
from harness.report.figures import accuracy
from harness.report.topics import comparisons
from harness.report.topics.comparisons import COMPARISONS
from harness.report.topics.figures import Figures
from harness.report.topics.table import records
from harness.study_file.seeds import seeds_text

if TYPE_CHECKING:
    import pandas as pd

NARROWEST, WIDEST = 60, 160  # characters of a terminal
HEADINGS = {
    "parameters": "parameters that differ",
    "environment": "environment that differs",
    "data": "data that differ",
}
SAME = {
    "parameters": "No parameter differs.",
    "environment": "Machine, versions and precision are the same.",
    "data": "The data are the same.",
}
HOW_TO_READ = (
    "The first result is the baseline. The tests and their words are those of a study's report: the paired t "
    "test over the seeds that both have, where these are at least two and the data are the same; else "
    "Welch's; for one run each McNemar's test of the two networks on the same images; Fisher's exact test of "
    "failed runs; and Holm's correction over several comparisons. Seeds that were added after somebody could "
    "see results are judged by e-values. Whatever differs below, of parameters, environment and data, may be "
    "the cause of a difference."
)


def compose(compared: SideBySide) -> Report:
    """Return the page of a comparison, without any markup."""
    labels = compared.labels
    return Report(
        title=listed(labels),
        question=f"{several(len(labels), 'result')} compared; {labels[0]} is the baseline.",
        verdict=compared.sentence if len(labels) == 2 else compared.sentences[0],
        met=False,
        sections=[
            Section("Results", _results(compared)),
            Section("Parameters that differ", _differences(compared, "parameters")),
            Section("Environment that differs", _differences(compared, "environment")),
            Section("Data", [*_differences(compared, "data"), *_checksums(compared)]),
        ],
        alone=True,
    )


def _results(compared: SideBySide) -> list[Block]:
    blocks = [Block("warning", note) for note in compared.notes]
    if len(compared.labels) > 2:
        blocks.append(Block("list", items=compared.sentences[1:]))
    blocks.append(results_table(compared))
    picture = accuracy.draw(compared.findings)
    if picture is not None:
        blocks.append(Block("figure", title="All runs", picture=replace(picture, figure=None)))
    tests = tests_table(compared)
    blocks += [] if tests is None else [tests]
    return [*blocks, explained(HOW_TO_READ), Block("code", compared.sentence, title="Text to copy")]


def results_table(compared: SideBySide) -> Block:
    """Return a row for each result: where it is, its runs, mean ± std, and interval."""
    summaries = {summary.variant: summary for summary in compared.findings.summaries}
    metric = compared.findings.results.metric
    return Block(
        "table",
        header=(
            "result", f"{metric.title}, mean ± std", "95 % t interval", "target", "reached", "failed",
            "seeds", "folder and variant",
        ),
        rows=[_row(side, summaries[side.label]) for side in compared.sides],
        numeric=frozenset(range(1, 6)),
    )  # fmt: skip


def _row(side: Side, summary: VariantSummary) -> tuple[str, ...]:
    units, score = summary.units, summary.score
    return (
        side.label,
        "–" if score is None else units.mean_std(score, summary.target, decimals=2),
        "–" if score is None else units.interval(score.ci_low, score.ci_high),
        units.goal(summary.target),
        f"{summary.reached} of {summary.runs}",
        str(summary.failed),
        seeds_text([run.seed for run in side.finished]) or "–",
        side.place,
    )


def tests_table(compared: SideBySide) -> Block | None:
    """Return the report's table of comparisons; None where nothing could be compared."""
    blocks = comparisons.section(compared.findings, Figures({})).blocks
    table = next((block for block in blocks if block.kind == "table"), None)
    if table is None or not compared.findings.compared:
        return None
    header = [f"against {compared.labels[0]}", *table.header[1:]]
    return replace(table, header=header, files=())


def _differences(compared: SideBySide, what: str) -> list[Block]:
    rows: Sequence[Difference] = getattr(compared, what)
    if not rows:
        return [Block("text", SAME[what])]
    header = ("key" if what == "parameters" else "property", *compared.labels)
    return [Block("table", header=header, rows=[(row.key, *row.values) for row in rows])]


def _checksums(compared: SideBySide) -> list[Block]:
    """Show the checksum that all data have; nothing where they differ."""
    found = {run.data.get("sha256") for side in compared.sides for run in side.finished}
    if compared.data or len(found) != 1 or None in found:
        return []
    return [Block("text", f"SHA-256 of both splits: {found.pop()}")]


# ---- for a terminal ---------------------------------------------------------------------------------------


def as_text(compared: SideBySide) -> str:
    """Return the comparison as text, as wide as the terminal."""
    from rich.console import Console
    from rich.text import Text

    from harness.console import plain

    width = shutil.get_terminal_size((80, 24)).columns
    console = Console(
        width=min(max(width, NARROWEST), WIDEST), file=io.StringIO(), highlight=False, no_color=True
    )
    with console.capture() as captured:
        for what in ("parameters", "environment", "data"):
            rows: Sequence[Difference] = getattr(compared, what)
            if rows:
                console.print(_table(what, compared.labels, rows))
            else:
                console.print(Text(SAME[what]))
            console.print()
        for note in compared.notes:
            console.print(Text(plain(f"note: {note}")))
        console.print(Text(plain(compared.sentence)))
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _table(what: str, labels: Sequence[str], rows: Sequence[Difference]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from harness.console import plain

    table = Table(box=None, header_style="bold", pad_edge=False)
    longest = max(len(row.key) for row in rows)
    table.add_column(Text(HEADINGS[what]), overflow="fold", min_width=min(longest, 34))
    for name in labels:
        table.add_column(Text(plain(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in (row.key, *row.values)))
    return table


# ---- for programs -----------------------------------------------------------------------------------------


def as_data(compared: SideBySide) -> dict[str, Any]:
    """Return the comparison for programs: results, differences, tests as in ``comparisons.csv``, sentence."""
    summaries = {summary.variant: summary for summary in compared.findings.summaries}
    return {
        "results": [_result(side, summaries[side.label]) for side in compared.sides],
        "metric": compared.findings.results.metric.name,
        "parameters": _by_label(compared.labels, compared.parameters),
        "environment": _by_label(compared.labels, compared.environment),
        "data": _by_label(compared.labels, compared.data),
        "tests": records(COMPARISONS, compared.comparisons),
        "notes": compared.notes,
        "sentence": compared.sentence,
    }


def _result(side: Side, summary: VariantSummary) -> dict[str, Any]:
    score = summary.score
    return {
        "result": side.label,
        "folder": str(side.folder.path),
        "variant": side.variant,
        "digest": digest_of(side),
        "evaluated_on": summary.evaluated_on,
        "seeds": [run.seed for run in side.finished],
        "finished": summary.finished,
        "failed": summary.failed,
        "missing": summary.missing,
        "mean": score and score.mean,
        "std": score and score.std,
        "ci_low": score and score.ci_low,
        "ci_high": score and score.ci_high,
        "target": summary.target,
        "reached": summary.reached,
    }


def _by_label(labels: Sequence[str], rows: Sequence[Difference]) -> list[dict[str, Any]]:
    return [{"key": row.key, "values": dict(zip(labels, row.values, strict=True))} for row in rows]


def frames(compared: SideBySide) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the parameters that differ, a row a key, and the tests, a row a comparison."""
    import pandas as pd

    parameters = pd.DataFrame(
        [row.values for row in compared.parameters],
        index=pd.Index([row.key for row in compared.parameters], name="key"),
        columns=list(compared.labels),
    )
    columns = {column.name: column.read for column in COMPARISONS.columns}
    tests = pd.DataFrame(
        [[read(one) for read in columns.values()] for one in compared.comparisons], columns=list(columns)
    )
    return parameters, tests
