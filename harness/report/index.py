"""``index.html``: all studies of an output folder on one page, from their ``report.json`` files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.claim import claim_sentence, decision_rule, ranked_rows
from harness.analysis.findings import Findings
from harness.analysis.numbers import percent_text
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.errors import RunError
from harness.metrics import ACCURACY
from harness.report.render.html import render
from harness.report.topics.comparisons import COMPARISONS
from harness.report.topics.ranking import RANKING
from harness.report.topics.references import REFERENCES
from harness.report.topics.repeat import commands
from harness.report.topics.table import records
from harness.store.atomic import atomic_write
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed
from harness.study_file.values import NAME_PATTERN

REPORT = "report.json"
LARGEST = 10_000_000  # bytes; a larger report.json is not read
MOST_VARIANTS = 8  # of a study, named on the page


def entry(findings: Findings) -> dict[str, Any]:
    """Return the content of ``report.json``: the findings for programs, and for the page of all studies."""
    results = findings.results
    ends = [str(run.provenance.get("finished") or "") for run in results.finished]
    return {
        "study": results.study.name,
        "title": results.study.title,
        "question": results.study.asked,
        "verdict": findings.verdict,
        "sentence": claim_sentence(findings),
        "met": findings.met,
        "metric": results.metric.name,
        "target": results.study.target.level,
        "target_text": Units(results.metric).goal(results.study.target.level),
        "last_finished": max(ends, default="") or None,
        "variants": [
            _variant(summary, [run.seed for run in results.of(summary.variant, "finished")])
            for summary in findings.summaries
        ],
        "ranked": [row._asdict() for row in ranked_rows(findings)],
        "decision_rule": decision_rule(findings),
        "ranking": records(RANKING, findings.ranking),
        "comparisons": records(COMPARISONS, findings.comparisons),
        "references": records(REFERENCES, findings.references),
        "repeat": commands(results),
    }


def _variant(summary: VariantSummary, seeds: list[int]) -> dict[str, Any]:
    accuracy, score, units = summary.accuracy, summary.score, summary.units
    what = "" if summary.metric.name == ACCURACY else f"{summary.metric.title} "
    return {
        "variant": summary.variant,
        "evaluated_on": summary.evaluated_on,
        "seeds": seeds,
        "finished": summary.finished,
        "failed": summary.failed,
        "missing": summary.missing,
        "reached": summary.reached,
        "accuracy_mean": accuracy and accuracy.mean,
        "accuracy_std": accuracy and accuracy.std,
        "metric_mean": score and score.mean,
        "metric_std": score and score.std,
        "text": score and f"{what}{units.mean_std(score, summary.target)}",
        "test_accuracy_mean": accuracy and accuracy.mean,  # the old names, until version 0.4
        "test_accuracy_std": accuracy and accuracy.std,
    }


@dataclass(frozen=True)
class Line:
    """A study on the page; ``note`` stands in place of its numbers where its report cannot be read."""

    name: str
    has_page: bool
    note: str = ""
    question: str = ""
    verdict: str = ""
    met: bool = False
    metric: str = ACCURACY
    target: str = ""
    accuracies: Sequence[str] = ()
    accuracy: float | None = None
    finished: int = 0
    failed: int = 0
    missing: int = 0
    last: str = ""


def write_index(folder: StudyFolder) -> None:
    """Rebuild ``<out>/index.html``; under its lock, so that the last writer has read every report.

    Raises:
        RunError: the folder cannot be written.
    """
    with folder.index_lock():
        atomic_write(folder.out / "index.html", render("index.html.j2", lines=read_lines(folder.out)))


def read_lines(out: Path) -> list[Line]:
    """Return a line for every study's folder, sorted by name; other folders are ignored."""
    folders = sorted(
        path for path in out.iterdir() if re.fullmatch(NAME_PATTERN, path.name) and path.is_dir()
    )
    return [line for folder in folders if (line := _line(folder)) is not None]


def _line(folder: Path) -> Line | None:
    has_page, file = (folder / "report.html").is_file(), folder / REPORT
    if not file.is_file():
        study = (folder / "study.toml").is_file() and (folder / "runs").is_dir()
        note = "There is no report.json yet: --report-only makes one."
        return Line(folder.name, has_page, note) if study else None
    try:
        if file.stat().st_size > LARGEST:
            raise RunError("too large")
        return _read(folder.name, has_page, read_sealed(file) or {})
    except (RunError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return Line(folder.name, has_page, "Its report.json is damaged: --report-only writes it anew.")


def _read(name: str, has_page: bool, entry: dict[str, Any]) -> Line:
    variants = entry["variants"]
    # a report of an earlier version is of accuracy; other metrics are not sorted among accuracies
    metric = str(entry.get("metric", ACCURACY))
    # reports of version 0.2 have the old name alone
    named = (
        variant.get("accuracy_mean", variant.get("test_accuracy_mean"))
        for variant in variants
        if variant["text"]
    )
    first = next(named, None)
    last = str(entry["last_finished"] or "")
    finished, failed, missing = (
        sum(int(variant[key]) for variant in variants) for key in ("finished", "failed", "missing")
    )
    return Line(
        name,
        has_page,
        question=str(entry["question"]),
        verdict=str(entry["verdict"]),
        met=bool(entry["met"]),
        metric=metric,
        target=str(entry.get("target_text", percent_text(float(entry["target"])))),
        accuracies=_accuracies(variants),
        accuracy=float(first) if first is not None and metric == ACCURACY else None,
        finished=finished,
        failed=failed,
        missing=missing,
        last=last[:16].replace("T", " "),
    )


def _accuracies(variants: Sequence[dict[str, Any]]) -> list[str]:
    """Write ``98.9 ± 0.5 % (n = 4)`` or ``4 of 4 failed``; with the variant's name if there are several."""
    texts = []
    for variant in variants[:MOST_VARIANTS]:
        failed = (
            f"{variant['failed']} of {variant['failed'] + variant['finished']} failed"
            if variant["failed"]
            else "–"
        )
        measured = f"{variant['text']} (n = {variant['finished']})" if variant["text"] else failed
        texts.append(f"{variant['variant']}: {measured}" if len(variants) > 1 else measured)
    more = len(variants) - MOST_VARIANTS
    return [*texts, f"and {more} more variants"] if more > 0 else texts
