"""The headline of a report: which variant leads, by how much, and who reached the target."""

from __future__ import annotations

from harness.analysis.claim import below_sentence, score_text
from harness.analysis.findings import Findings
from harness.analysis.numbers import several
from harness.analysis.ranking import Ranked
from harness.analysis.verdict import gone_text


def headline(findings: Findings) -> str:
    """Say which variant leads and by how much; of one variant, whether it reached the target."""
    placed = [one for one in findings.ranking if one.place is not None]
    if len(placed) < 2:
        return findings.verdict
    said = (_leads(findings, placed), below_sentence(findings), _reached(findings))
    return " ".join(part for part in said if part)


def _leads(findings: Findings, placed: list[Ranked]) -> str:
    """Write ``wide has the highest mean: 94.10 ± 0.20 % test accuracy (n = 5), 0.24 points better ...``."""
    leader = placed[0]
    summary = next(each for each in findings.summaries if each.variant == leader.variant)
    units, best = summary.units, "highest" if summary.metric.higher_is_better else "lowest"
    value = (
        f"{score_text(findings, summary)}{units.of_value} {summary.split} {summary.metric.title} "
        f"(n = {len(summary.scores)})"
    )
    tied = [one.variant for one in placed if one.rank == 1]
    if len(tied) > 1:
        who = " and ".join(tied) if len(tied) == 2 else f"{tied[0]} and {len(tied) - 1} others"
        return f"{who} have the same {best} mean: {value}."
    second = placed[1]
    assert second.place is not None
    behind = units.amount(second.place.behind)
    return f"{leader.variant} has the {best} mean: {value}, {behind} better than {second.variant}."


def _reached(findings: Findings) -> str:
    """Write ``Target of 90 % reached by 9 of 10 runs (1 run failed).``."""
    ended = [summary for summary in findings.summaries if summary.runs]
    units, target = ended[0].units, ended[0].target
    runs, reached = sum(each.runs for each in ended), sum(each.reached for each in ended)
    not_there = f" ({gone})" if (gone := gone_text(findings.summaries)) else ""
    return f"Target of {units.goal(target)} reached by {reached} of {several(runs, 'run')}{not_there}."
