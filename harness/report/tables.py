"""Finished runs to CSV: pure functions of what was read, byte for byte the same on every rebuild."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from harness.analysis.findings import Findings
from harness.analysis.results import Results
from harness.analysis.summary import Evidence, VariantSummary
from harness.report.columns import columns
from harness.statistics.distribution import Distribution
from harness.statistics.target import Share, clopper_pearson, share
from harness.store import run_files
from harness.store.sealed import canonical

Cells = Iterable[Sequence[Any]]

EVIDENCE = columns("summary")[columns("summary").index("bootstrap_low") :]  # only a finished run fills them
SPREAD = ("mean", "std", "sem", "ci_low", "ci_high", "minimum", "maximum")


def build_tables(findings: Findings) -> dict[str, str]:
    """Name -> CSV text of every table; numbers are unrounded, unknown ones are empty cells."""
    results, summaries = findings.results, findings.summaries
    rows: dict[str, Cells] = {
        "runs": _runs(results),
        "history": _history(results),
        "summary": map(_summary, summaries),
        "comparisons": _comparisons(findings),
        "ranking": _ranking(findings),
        "references": _references(findings),
        "calibration": _calibration(results),
        "always_missed": _always_missed(summaries),
        "per_class": _per_class(results),
        "misclassified": _misclassified(results),
        "range_test": _range_test(results),
        "learning_rates": _learning_rates(results),
        "model": model_rows(findings),
    }
    return {name: csv_text(name, cells) for name, cells in rows.items()}


def csv_text(table: str, rows: Cells) -> str:
    """The CSV of a table with the columns that :mod:`harness.report.columns` names."""
    return run_files.csv_text(columns(table), rows)


def _runs(results: Results) -> Iterator[list[Any]]:
    for run in results.runs:
        row: dict[str, Any] = {column: run.number(column) for column in columns("runs")[3:-2]}
        # the study's present target decides, whatever it was when the run was made
        arrival = run.arrival(results.study.target.test_accuracy)
        row["epochs_to_target"] = arrival and arrival.epochs
        row["seconds_to_target"] = arrival and arrival.seconds
        yield [run.variant, run.seed, run.status, *row.values(), run.number("seconds", "timings"), run.error]


def _history(results: Results) -> Iterator[list[Any]]:
    for run in results.runs:
        for row in run.history:
            yield [run.variant, run.seed, *row.values()]


def _summary(summary: VariantSummary) -> list[Any]:
    return [
        summary.variant,
        summary.evaluated_on,
        summary.runs,
        summary.failed,
        *_spread(summary.test_accuracy, *SPREAD),
        summary.target,
        summary.reached,
        *_spread(summary.test_loss, "mean", "std"),
        *_spread(summary.train_accuracy, "mean", "std"),
        summary.parameters,
        *_spread(summary.seconds, "mean", "std"),
        *_spread(summary.test_accuracy, "median", "iqm"),
        *(
            _no_evidence(summary.runs)
            if summary.evidence is None
            else _evidence(summary.evidence, summary.reached_share)
        ),
    ]


def _no_evidence(runs: int) -> list[Any]:
    """Return what is known of a variant whose runs all failed: none reached the target."""
    if not runs:
        return [None] * len(EVIDENCE)
    none = share(0, runs)
    known = {"reached_low": none.low, "reached_high": none.high, "ever_reached": 0}
    return [known.get(column) for column in EVIDENCE]


def _evidence(found: Evidence, reached: Share | None) -> list[Any]:
    assert reached is not None
    spread = found.spread
    return [
        *(found.bootstrap or (None, None)),
        reached.low,
        reached.high,
        found.p_above,
        found.epochs.median,
        found.steps.median,
        found.seconds.median,
        found.epochs.reached,
        found.images,
        *(
            (None,) * 4
            if spread is None
            else (
                spread.independent_std,
                spread.independent_std_plug_in,
                spread.between_runs,
                spread.p_luck,
            )
        ),
        found.sampling_std,
        found.ensemble_accuracy,
        found.error_consistency,
        None if found.missed is None else len(found.missed),
        *_spread(found.ece, "mean", "std"),
        *_spread(found.brier, "mean", "std"),
        *((None, None) if spread is None else (spread.low, spread.high)),
    ]


def _comparisons(findings: Findings) -> Iterator[list[Any]]:
    for row in findings.comparisons:
        found, failures = row.result, row.failures
        failed = [None] * 5 if failures is None else list(astuple(failures))
        if found is None:
            yield [row.variant, row.baseline, *[None] * 8, "cannot tell", *[None] * 5, *failed]
            continue
        estimate, permutation = found.primary, found.permutation
        yield [
            row.variant,
            row.baseline,
            found.test,
            found.n,
            estimate.difference if found.test != "Fisher" else None,
            estimate.low,
            estimate.high,
            estimate.p,
            found.p_holm,
            estimate.effect_size,
            found.verdict,
            found.n_baseline,
            found.welch_p,
            *((None, None) if permutation is None else (permutation.p, permutation.smallest_p)),
            found.seeds_needed,
            *failed,
        ]


def _ranking(findings: Findings) -> Iterator[list[Any]]:
    for one in findings.ranking:
        place = one.place
        yield [
            one.rank,
            one.variant,
            *([0, *[None] * 4] if place is None else [place.n, place.mean, place.std, place.behind, place.p]),
            None if one.possible is None else "yes" if one.possible else "no",
            canonical(findings.results.study.variants.get(one.variant, {})),
            one.failed,
            " ".join(one.worse_than),
        ]


def _references(findings: Findings) -> Iterator[list[Any]]:
    for row in findings.references:
        found, plausible = row.standing, row.standing.plausible
        yield [
            row.name,
            found.published,
            row.claim.reference.runs,
            row.variant,
            found.n,
            found.difference,
            found.percentile,
            found.low,
            found.high,
            None if plausible is None else "yes" if plausible else "no",
            row.claim.reference.source,
            row.claim.statistic,
            row.claim.reference.at_least if row.claim.statistic == "share" else None,
            found.measured,
        ]


def _calibration(results: Results) -> Iterator[list[Any]]:
    """Every run's bins that hold an image."""
    for run in results.finished:
        assert run.predictions is not None
        found = run.predictions.reliability
        columns = (found.edges[:-1], found.edges[1:], found.counts, found.confidence, found.accuracy)
        for row in zip(*(column.tolist() for column in columns), strict=True):
            if row[2]:
                yield [run.variant, run.seed, *row]


def _always_missed(summaries: list[VariantSummary]) -> Iterator[list[Any]]:
    for summary in summaries:
        for image in (summary.evidence and summary.evidence.missed) or ():
            place = (image.index, image.label, image.predicted, image.votes)
            yield [summary.variant, summary.finished, *place]


def _spread(distribution: Distribution | None, *names: str) -> list[float | None]:
    return [None if distribution is None else getattr(distribution, name) for name in names]


def _per_class(results: Results) -> Iterator[list[Any]]:
    for run in results.finished:
        matrix = run.confusion
        images, correct = matrix.sum(axis=1), matrix.diagonal()
        ends = (end.tolist() for end in clopper_pearson(correct, np.maximum(images, 1)))
        for name, n, k, low, high in zip(run.classes, images.tolist(), correct.tolist(), *ends, strict=True):
            shares = (k / n, low, high) if n else (None, None, None)
            yield [run.variant, run.seed, name, n, k, *shares]


def _misclassified(results: Results) -> Iterator[tuple[Any, ...]]:
    """Every error of every finished run; ``index`` is the image's place in the evaluation split, from 0."""
    for run in results.finished:
        assert run.predictions is not None
        wrong = run.predictions.wrong
        columns = (run.predictions.labels, run.predictions.predicted, run.predictions.confidence)
        for row in zip(wrong.tolist(), *(column[wrong].tolist() for column in columns), strict=True):
            yield run.variant, run.seed, *row


def _range_test(results: Results) -> Iterator[list[Any]]:
    for variant, sweep in results.sweeps.items():
        for row in sweep.rows:
            yield [variant, *row.values()]


def _learning_rates(results: Results) -> Iterator[list[Any]]:
    """Of a variant's first finished run: the rate of a step does not depend on the seed."""
    for variant in results.variants:
        for run in results.of(variant, "finished")[:1]:
            for row in run.rates:
                yield [variant, *row.values()]


def model_rows(findings: Findings) -> list[list[Any]]:
    """The parameter summary of every variant whose network a run recorded."""
    return [
        [variant, row.layer, "x".join(map(str, row.output_shape)), row.parameters, row.bytes]
        for variant, rows in findings.networks.items()
        for row in rows
    ]
