"""The verdict of a whole study in one sentence: what a reader of its report meets first."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.comparisons import VariantComparison, compare_variants
from harness.report.results import Results
from harness.report.summary import VariantSummary, accuracy_text, percent_text

MOST_NAMED = 4  # variants; of more the sentence counts


def headline(results: Results, summaries: Sequence[VariantSummary]) -> str:
    """Whether the target was reached, by how many runs, and whether the variants differ."""
    with_runs = [summary for summary in summaries if summary.runs]
    if not any(summary.finished for summary in summaries):
        failed = sum(summary.failed for summary in summaries)
        waiting = sum(summary.missing for summary in summaries)
        return f"No verdict: no run has finished{_not_there(failed, waiting)}."
    sentence = _one(summaries[0]) if len(summaries) == 1 else _several(with_runs)
    failed = sum(summary.failed for summary in summaries)
    sentence += _not_there(failed, sum(summary.missing for summary in summaries))
    baseline = results.study.baseline
    differences = _differences([one for one in compare_variants(results) if one.baseline == baseline])
    return f"{sentence}; {differences}." if differences else f"{sentence}."


def _one(summary: VariantSummary) -> str:
    """``Target of 97 % reached by all 3 runs: 99.7 ± 0.1 % test accuracy, mean ± std over 3 seeds``."""
    accuracy = summary.test_accuracy
    assert accuracy is not None
    if summary.runs == 1:
        who = "reached" if summary.reached else "missed"
    elif summary.reached in (0, summary.runs):
        who = f"{'reached' if summary.reached else 'missed'} by all {summary.runs} runs"
    else:
        who = f"reached by {summary.reached} of {summary.runs} runs"
    images = "hold-out" if summary.evaluated_on == "holdout" else "test"
    if accuracy.n > 1:
        n = f"mean ± std over {accuracy.n} seeds"
    else:
        n = "from a single run" if summary.runs == 1 else "from the one run that finished"
    measured = f"{accuracy_text(accuracy, summary.target)} {images} accuracy, {n}"
    return f"Target of {percent_text(summary.target)} {who}: {measured}"


def _several(summaries: Sequence[VariantSummary]) -> str:
    """``Target of 90 % reached by every run of base and cutout, by no run of reckless``."""
    every = [one.variant for one in summaries if one.reached == one.runs]
    some = [one for one in summaries if 0 < one.reached < one.runs]
    none = [one.variant for one in summaries if not one.reached]
    parts = []
    if every:
        parts.append(f"by every run of {_names(every, len(summaries))}")
    if len(some) <= MOST_NAMED:
        parts += [f"by {one.reached} of {one.runs} runs of {one.variant}" for one in some]
    else:
        parts.append(f"by some runs of {len(some)} variants")
    if none:
        parts.append(f"by no run of {_names(none, len(summaries))}")
    return f"Target of {percent_text(summaries[0].target)} reached {', '.join(parts)}"


def _names(names: Sequence[str], of: int) -> str:
    if len(names) > MOST_NAMED:
        return f"all {of} variants" if len(names) == of else f"{len(names)} of {of} variants"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _not_there(failed: int, missing: int) -> str:
    parts = []
    if failed:
        parts.append(f"{failed} run{'s' if failed > 1 else ''} failed")
    if missing:
        parts.append(f"{missing} not finished yet")
    return f" ({', '.join(parts)})" if parts else ""


def _differences(compared: Sequence[VariantComparison]) -> str:
    """``wide is better than base, cutout is not shown to differ from base``."""
    judged = [(one.variant, one.found.verdict) for one in compared if one.found is not None]
    if not judged:
        return ""
    baseline = compared[0].baseline
    if len(judged) > 1 and not any(verdict in ("better", "worse") for _, verdict in judged):
        return f"no other variant is shown to differ from {baseline}"
    parts = []
    for verdict in ("better", "worse"):
        names = [variant for variant, found in judged if found == verdict]
        if names:
            parts.append(f"{_names(names, len(judged))} {_is(names)} {verdict} than {baseline}")
    open_ones = [one for one in compared if one.found is not None and one.found.verdict == "cannot tell"]
    alike = [one.variant for one in open_ones if one.found is not None and one.found.test != "Fisher"]
    if alike:
        parts.append(f"{_names(alike, len(judged))} {_is(alike)} not shown to differ from {baseline}")
    if gone := [
        one.variant if one.failures.failed == one.failures.n else baseline
        for one in open_ones
        if one.failures is not None and one.variant not in alike
    ]:
        parts.append(f"no run of {_names(list(dict.fromkeys(gone)), len(judged))} finished")
    return ", ".join(parts)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
