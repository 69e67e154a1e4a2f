"""The claim of a study: the ranked variants, the rule that decides, and a sentence to copy into a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.analysis.changes import changes_text
from harness.analysis.comparisons import VariantComparison
from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text, several
from harness.analysis.ranking import Ranked
from harness.analysis.results import Results
from harness.analysis.sentences import test_text
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.analysis.verdict import gone_text
from harness.messages import listed, one_line

NONE = "–"
MOST_NAMED = 3  # variants in a cell or sentence; of more it gives the number
DATA_TITLES = {"cifar10": "CIFAR-10", "digits": "scikit-learn's digits"}


class RankedRow(NamedTuple):
    """A row of the ranked table as text; a dash where there is nothing.

    Attributes:
        rank: ``1`` for the top; equal means share one.
        changes: what the variant changes of the study file.
        score: ``94.07 ± 0.18``, mean and std over seeds of the target's metric, without its unit.
        n: finished runs, and how many failed or are not finished.
        reached: ``5 of 5``: runs that reached the target.
        behind: the difference to the top, as it was measured.
        p: the smallest corrected p of the tests in which another variant was better.
        decision: the verdict in words.
    """

    rank: str = NONE
    variant: str = NONE
    changes: str = NONE
    score: str = NONE
    n: str = NONE
    reached: str = NONE
    behind: str = NONE
    p: str = NONE
    decision: str = NONE


NUMERIC = frozenset({"rank", "score", "n", "reached", "behind", "p"})


def headings(findings: Findings) -> RankedRow:
    """Return the headings of the ranked table, with units."""
    units = Units(findings.results.metric)
    return RankedRow(
        "rank",
        "variant",
        "changes",
        units.heading(f"{units.metric.title}, mean ± std"),
        "n",
        f"reached {units.goal(findings.results.study.target.level)}",
        units.heading("difference from the top", difference=True),
        "p",
        "decision",
    )


def ranked_rows(findings: Findings) -> list[RankedRow]:
    """Return a row for every variant that has a run, planned or on disk, the best mean first."""
    ranked = [_row(findings, one) for one in findings.ranking]
    placed = {one.variant for one in findings.ranking}
    return [
        *ranked,
        *(_unranked(findings, each) for each in findings.summaries if each.variant not in placed),
    ]


def shown_columns(rows: Sequence[RankedRow]) -> list[str]:
    """Return the columns that say something: of a single variant there is nothing to compare."""
    single = len(rows) < 2
    compared = {"rank", "changes", "behind", "p", "decision"}
    return [
        name
        for at, name in enumerate(RankedRow._fields)
        if not (single and name in compared) and (name != "p" or any(row[at] != NONE for row in rows))
    ]


def decision_rule(findings: Findings) -> str:
    """Say in one sentence what decides that a variant is below another; empty of a single variant."""
    if len(findings.summaries) < 2:
        return ""
    parts = [
        "Decision rule: a variant is significantly below another one if p ≤ 0.05 in the paired t test over "
        "the seeds of both (Welch's t test where they share fewer than two), corrected for the number of "
        "comparisons"
    ]
    if any(one.sequential for one in findings.comparisons):
        parts.append("where n was not fixed in advance, the planned looks or an e-value decide instead of p")
    if any(one.test == "Fisher" for one in findings.comparisons):
        parts.append("where no run of a variant finished, Fisher's exact test compares how many runs failed")
    return f"{'; '.join(parts)}."


def claim_sentence(findings: Findings) -> str:
    """Write what was found in one to three sentences, to copy: numbers, n, images, and the test."""
    leader = next((one for one in findings.ranking if one.place is not None), None)
    study = findings.results.study
    if leader is None:
        return f"{study.title} has no result: {_nothing(findings)}."
    measured = _measured(findings, _summary(findings, leader.variant))
    placed, others = [one for one in findings.ranking if one.place is not None], len(findings.summaries)
    if others == 1:
        both = "{0}/{1}" if study.trial is None else "{1} of {0}"
        name = study.title if leader.variant == "base" else both.format(study.title, leader.variant)
        return f"{name} reached {measured}."
    if len(placed) == 1:
        only = f"Of {others} variants of {study.title}, only {leader.variant} has"
        return f"{only} finished runs that are compared: it reached {measured}."
    tied = [one.variant for one in placed if one.rank == 1]
    best = "highest" if findings.results.metric.higher_is_better else "lowest"
    shared = f", with the same mean as {listed(tied[1:], MOST_NAMED)}," if len(tied) > 1 else ""
    text = f"Of {others} variants of {study.title}, {leader.variant}{shared} has the {best} mean: {measured}."
    compared = _compared(findings, leader.variant)
    below = "" if len(placed) < 3 or (compared and _untested(placed)) else below_sentence(findings)
    return " ".join(part for part in (text, compared, below) if part)


def score_text(findings: Findings, summary: VariantSummary) -> str:
    """Write ``94.07 ± 0.18``; two decimals where variants are compared, as their differences have."""
    if summary.score is None:
        return NONE
    decimals = 1 if len(findings.summaries) == 1 else 2
    text = summary.units.mean_std(summary.score, summary.target, decimals)
    return text.removesuffix(summary.units.of_value)


def _row(findings: Findings, ranked: Ranked) -> RankedRow:
    place, units, row = ranked.place, Units(ranked.metric), _base(findings, ranked.variant)
    if place is None:
        return row._replace(decision=_decision(findings, ranked))
    return row._replace(
        rank=str(ranked.rank),
        behind=NONE if place.rank == 1 else units.signed(-place.behind),
        p=p_text(place.p),
        decision=_decision(findings, ranked),
    )


def _unranked(findings: Findings, summary: VariantSummary) -> RankedRow:
    """Return the row of a variant without a place: nothing of it has ended, or it saw other images."""
    if summary.score is not None:
        why = "not compared: evaluated on other images"
    elif summary.finished:
        why = f"not compared: no run has {summary.metric.title}"
    else:
        why = _no_run(summary)
    return _base(findings, summary.variant)._replace(decision=why)


def _base(findings: Findings, variant: str) -> RankedRow:
    """Return what a row says without a comparison."""
    summary = _summary(findings, variant)
    return RankedRow(
        variant=variant,
        changes=changes_text(findings.results.study.variants.get(variant) or {}) or NONE,
        score=score_text(findings, summary),
        n=_n(summary),
        reached=f"{summary.reached} of {summary.runs}" if summary.runs else NONE,
    )


def _n(summary: VariantSummary) -> str:
    """Write ``5``, or ``3 (1 failed, 1 not finished)``."""
    gone = [
        f"{count} {what}"
        for count, what in ((summary.failed, "failed"), (summary.missing, "not finished"))
        if count
    ]
    return f"{summary.finished} ({', '.join(gone)})" if gone else str(summary.finished)


def _decision(findings: Findings, ranked: Ranked) -> str:
    """Write the verdict of a variant in words, by the one rule."""
    place = ranked.place
    if place is None:
        return _no_run(_summary(findings, ranked.variant))
    top = [one.variant for one in findings.ranking if one.place is not None and one.rank == 1]
    if ranked.worse_than:
        below_top = set(top) & set(ranked.worse_than)
        return f"significantly below {'the top' if below_top else listed(ranked.worse_than, MOST_NAMED)}"
    if sum(one.place is not None for one in findings.ranking) == 1:
        return "nothing to compare with"
    if place.rank == 1:
        best = "highest" if ranked.metric.higher_is_better else "lowest"
        return f"top: {best} mean"
    if place.n == 1 or all(_summary(findings, name).finished == 1 for name in top):
        return "not tested: one run has no spread"
    if no_spread(findings, ranked):
        return "not tested: the same difference with every seed"
    return f"not significantly below the top (n = {place.n})"


def _no_run(summary: VariantSummary) -> str:
    if summary.failed:
        return f"no finished run: {summary.failed} of {summary.runs} failed"
    return "not finished yet"


def _summary(findings: Findings, variant: str) -> VariantSummary:
    return next(summary for summary in findings.summaries if summary.variant == variant)


def _nothing(findings: Findings) -> str:
    return gone_text(findings.summaries) or f"no run has {findings.results.metric.title}"


def _measured(findings: Findings, summary: VariantSummary) -> str:
    """Write ``94.1 ± 0.2 % accuracy (mean ± std, 5 seeds; ...) on the test split of CIFAR-10 ...``."""
    units = summary.units
    parts = [_seeds(summary)]
    if summary.failed:
        parts.append(f"{summary.failed} of {summary.runs} runs failed")
    if summary.missing:
        parts.append(f"{several(summary.missing, 'planned run')} not finished")
    parts.append(_target(summary))
    value = f"{score_text(findings, summary)}{units.of_value} {summary.metric.title}"
    return f"{value} ({'; '.join(parts)}) {_images(findings.results, summary)}"


def _seeds(summary: VariantSummary) -> str:
    n = len(summary.scores)  # a run may lack the metric
    return "one run, so no ±" if n == 1 else f"mean ± std, {n} seeds"


def _target(summary: VariantSummary) -> str:
    goal = summary.units.goal(summary.target)
    if summary.runs == 1:
        return f"target {goal} {'reached' if summary.reached else 'missed'}"
    return f"target {goal} reached by {summary.reached} of {summary.runs}"


def _images(results: Results, summary: VariantSummary) -> str:
    """Write ``on the test split of CIFAR-10 (10,000 images), after 24 epochs``."""
    run = results.of(summary.variant, "finished")[0]
    title = data_title(results, summary.variant)
    evaluated, trained, epochs = (
        run.data.get("evaluation_images"),
        run.data.get("train_images"),
        run.number("epochs"),
    )
    held, count = summary.evaluated_on == "holdout", ""
    if isinstance(evaluated, int):
        count = f"{evaluated:,} " if held else f" ({several(evaluated, 'image')})"
    where = (
        f"on {count}images held out of the train split of {title}"
        if held
        else f"on the test split of {title}{count}"
    )
    after = f", after {several(int(epochs), 'epoch')}" if epochs is not None else ""
    recipe = results.study.recipes.get(summary.variant)
    if after and recipe is not None and recipe.data.train_limit is not None and isinstance(trained, int):
        after += f" on {trained:,} train images"
    return f"{where}{after}"


def data_title(results: Results, variant: str) -> str:
    """Return the name of a variant's data set: ``CIFAR-10``, ``FashionMNIST``, a folder's name."""
    recipe = results.study.recipes.get(variant)
    run = next(iter(results.of(variant, "finished")), None)
    recorded = run.data.get("source") if run is not None else None
    source = str(recorded or (recipe.data.source if recipe is not None else "its data"))
    if source in DATA_TITLES:
        return DATA_TITLES[source]
    if recipe is not None and recipe.data.path:
        return one_line(re.split(r"[/\\]", recipe.data.path.rstrip("/\\"))[-1], 80)
    return source.removeprefix("torchvision:")


def _compared(findings: Findings, leader: str) -> str:
    """Compare the top with the baseline, or where it is the baseline with the next variant."""
    baseline = findings.results.study.baseline
    placed = [one.variant for one in findings.ranking if one.place is not None]
    other = baseline if leader != baseline else next((name for name in placed if name != leader), None)
    pair = {leader, other}
    found = next((one for one in findings.compared if {one.variant, one.baseline} == pair), None)
    if found is None or found.test == "Fisher":
        return ""
    summary = _summary(findings, str(other))
    scored = len(summary.scores)
    n = "one run" if scored == 1 else several(scored, "seed")
    of_other = f"{other} ({score_text(findings, summary)}{summary.units.of_value}, {n})"
    tested = test_text(found, len(findings.compared) > 1, turned=found.variant != leader)
    return f"{_difference(found, leader, of_other)} ({tested})."


def _difference(comparison: VariantComparison, leader: str, other: str) -> str:
    """Write ``wide is significantly better than base (...) by 0.24 points``."""
    sign = 1 if comparison.variant == leader else -1
    result, units = comparison.result, comparison.units
    assert result is not None
    difference = sign * (
        result.primary.difference if comparison.difference is None else comparison.difference
    )
    if comparison.verdict == "cannot tell":
        tested = "not significant"
        if comparison.test == "McNemar" or result.primary.p is None:
            tested = "not tested over seeds"
        return f"Its difference from {other} is {tested}: {units.signed(difference)}{units.of_difference}"
    better = (comparison.verdict == "better") == (sign > 0)
    return f"It is significantly {'better' if better else 'worse'} than {other} by {units.amount(difference)}"


def below_sentence(findings: Findings) -> str:
    """Say how many of the other variants are significantly below the top."""
    placed = [one for one in findings.ranking if one.place is not None]
    top = {one.variant for one in placed if one.rank == 1}
    others = [one for one in placed if one.rank > 1]
    below = sum(bool(top & {*one.worse_than}) for one in others)
    if not others:
        return ""
    if _untested(placed):
        return "This is not tested: one run has no spread."
    if len(others) < 2 and not below and no_spread(findings, others[0]):
        return "This is not tested: the difference is the same with every seed."
    if len(others) < 2:
        return f"This difference is {'' if below else 'not '}significant."
    who = "None" if not below else "All" if below == len(others) else str(below)
    return f"{who} of the {len(others)} others {'is' if below < 2 else 'are'} significantly below the top."


def _untested(placed: Sequence[Ranked]) -> bool:
    """Tell whether no variant was tested against the top, as one run has no spread."""
    single = {one.variant for one in placed if one.place is not None and one.place.n == 1}
    top, others = ({one.variant for one in placed if (one.rank == 1) == first} for first in (True, False))
    return (top <= single or others <= single) and not any(one.worse_than for one in placed)


def no_spread(findings: Findings, ranked: Ranked) -> bool:
    """Tell whether a variant's difference is the same with every seed, so that no test is possible."""
    sequential = any(one.sequential for one in findings.comparisons)
    return ranked.place is not None and ranked.place.p is None and not sequential
