"""Write the verdict: a line for each variant on the console, one sentence for the whole study."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.comparisons import VariantComparison
from harness.analysis.numbers import several
from harness.analysis.summary import VariantSummary
from harness.messages import listed
from harness.metrics import ACCURACY
from harness.study_file.config import Study

MOST_NAMED = 4  # a sentence names so many variants; of more it gives the number


def variant_line(study: Study, summary: VariantSummary) -> str:
    """Write the metric over the seeds, how many runs reached the target, and which have not finished."""
    name = study.name if list(study.recipes) == [summary.variant] else f"{study.name}/{summary.variant}"
    gone = []
    if summary.failed:
        gone.append(f"{summary.failed} of {summary.runs} failed")
    if summary.missing:
        gone.append(f"{summary.missing} not finished yet")
    if summary.score is None:
        what = f"has {summary.metric.title}" if summary.finished else "finished"
        return f"{name}: no run {what}" + (f" ({', '.join(gone)})" if gone else "")
    where = " on the hold-out" if summary.evaluated_on == "holdout" else ""
    one, n = " (1 seed, no ± from one run)", f" over {summary.score.n} seeds"
    units = summary.units
    what = "" if summary.metric.name == ACCURACY else f"{summary.metric.title} "
    measured = f"{what}{units.mean_std(summary.score, summary.target)}{where}"
    reached = f"{units.goal(summary.target)} reached by {summary.reached} of {summary.runs}"
    return ", ".join([f"{name}: {measured}{one if summary.score.n == 1 else n}; {reached}", *gone])


def gone_text(summaries: Sequence[VariantSummary]) -> str:
    """Write ``1 run failed, 2 not finished yet``; nothing where all have finished."""
    failed, missing = (sum(getattr(summary, what) for summary in summaries) for what in ("failed", "missing"))
    parts = [f"{several(failed, 'run')} failed"] if failed else []
    return ", ".join([*parts, f"{missing} not finished yet"] if missing else parts)


def study_sentence(
    baseline: str, summaries: Sequence[VariantSummary], comparisons: Sequence[VariantComparison]
) -> str:
    """Say whether the target was reached, by how many runs, and whether the variants differ."""
    not_there = f" ({gone})" if (gone := gone_text(summaries)) else ""
    if not any(summary.finished for summary in summaries):
        return f"No verdict: no run has finished{not_there}."
    if not any(summary.score for summary in summaries):
        return f"No verdict: no run has {summaries[0].metric.title}{not_there}."
    reached = _of_one(summaries[0]) if len(summaries) == 1 else _of_several(summaries)
    differences = _differences([comparison for comparison in comparisons if comparison.baseline == baseline])
    return f"{reached}{not_there}{f'; {differences}' if differences else ''}."


def _of_one(summary: VariantSummary) -> str:
    """Write ``Target of 97 % reached by all 3 runs: 99.7 ± 0.1 % test accuracy, mean ± std over 3 seeds``."""
    score, units = summary.score, summary.units
    assert score is not None
    if summary.runs == 1:
        who = "reached" if summary.reached else "missed"
    elif summary.reached in (0, summary.runs):
        who = f"{'reached' if summary.reached else 'missed'} by all {summary.runs} runs"
    else:
        who = f"reached by {summary.reached} of {summary.runs} runs"
    if score.n > 1:
        n = f"mean ± std over {score.n} seeds"
    else:
        n = "from a single run" if summary.runs == 1 else "from the one run that finished"
    what = f"{summary.split} {summary.metric.title}"
    return (
        f"Target of {units.goal(summary.target)} {who}: {units.mean_std(score, summary.target)} {what}, {n}"
    )


def _of_several(summaries: Sequence[VariantSummary]) -> str:
    """Write ``Target of 90 % reached by every run of base and cutout, by no run of reckless``."""
    summaries = [summary for summary in summaries if summary.runs]
    every = [summary.variant for summary in summaries if summary.reached == summary.runs]
    some = [summary for summary in summaries if 0 < summary.reached < summary.runs]
    none = [summary.variant for summary in summaries if not summary.reached]
    parts = []
    if every:
        parts.append(f"by every run of {_names(every, len(summaries))}")
    if len(some) <= MOST_NAMED:
        parts += [f"by {summary.reached} of {summary.runs} runs of {summary.variant}" for summary in some]
    else:
        parts.append(f"by some runs of {len(some)} variants")
    if none:
        parts.append(f"by no run of {_names(none, len(summaries))}")
    first = summaries[0]
    what = "" if first.metric.name == ACCURACY else f"{first.metric.title} "
    return f"Target of {what}{first.units.goal(first.target)} reached {', '.join(parts)}"


def _names(names: Sequence[str], of: int) -> str:
    if len(names) > MOST_NAMED:
        return f"all {of} variants" if len(names) == of else f"{len(names)} of {of} variants"
    return listed(names)


def _differences(comparisons: Sequence[VariantComparison]) -> str:
    """Write ``wide is significantly better than base, cutout does not differ significantly from base``."""
    compared = [comparison for comparison in comparisons if comparison.result is not None]
    if not compared:
        return ""
    baseline, count = compared[0].baseline, len(compared)
    failing = [comparison for comparison in compared if comparison.failures is not None]
    if not failing and all(comparison.test == "McNemar" for comparison in compared):
        return f"one run each, so no test of {'a difference' if count == 1 else 'differences'} over seeds"
    if count > 1 and not failing and all(comparison.verdict == "cannot tell" for comparison in compared):
        return f"no variant differs significantly from {baseline}"
    parts = []
    of_accuracies = [comparison for comparison in compared if comparison.test != "Fisher"]
    for verdict in ("better", "worse"):
        if names := [one.variant for one in of_accuracies if one.verdict == verdict]:
            parts.append(f"{_names(names, count)} {_is(names)} significantly {verdict} than {baseline}")
    unclear = [comparison for comparison in of_accuracies if comparison.verdict == "cannot tell"]
    if single := [one.variant for one in unclear if one.test == "McNemar" and one.failures is None]:
        parts.append(f"{_names(single, count)} {_is(single)} not tested against {baseline} over seeds")
        unclear = [comparison for comparison in unclear if comparison.variant not in single]
    if alike := [comparison.variant for comparison in unclear if comparison.failures is None]:
        parts.append(f"{_names(alike, count)} {_do(alike)} not differ significantly from {baseline}")
    if len(failing) > MOST_NAMED:
        shown = sum(comparison.fails_differently for comparison in failing)
        parts.append(
            f"{len(failing)} comparisons have failed runs, {shown} of them with a significant difference"
        )
    else:
        parts += [_failed(comparison) for comparison in failing]
    return ", ".join(parts)


def _failed(comparison: VariantComparison) -> str:
    """Write ``lost fails more often than base (4 of 4 runs against 0 of 4)``."""
    counts, variant, baseline = comparison.failures, comparison.variant, comparison.baseline
    assert counts is not None
    if counts.verdict == "not shown":
        text = (
            f"{variant} failed in {counts.failed} of {counts.n} runs and {baseline} in "
            f"{counts.failed_baseline} of {counts.n_baseline} (no significant difference)"
        )
    else:
        numbers = (
            f"{counts.failed} of {counts.n} runs against {counts.failed_baseline} of {counts.n_baseline}"
        )
        text = f"{variant} {counts.verdict} than {baseline} ({numbers})"
    if comparison.test != "Fisher" and comparison.verdict == "cannot tell":
        text += ", and its finished runs do not differ significantly"
    return text


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _do(names: Sequence[str]) -> str:
    return "does" if len(names) == 1 else "do"
