"""A plan in words, within 80 columns, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

from harness.analysis.numbers import several
from harness.messages import duration
from harness.metrics import ACCURACY, metric_of
from harness.planning.needs import Need, StudyPlan
from harness.statistics.comparison import ALPHA
from harness.statistics.power import MOST_SEEDS, POWER

LARGE = 0.1  # a fraction that may have been meant as a number of points


def as_json(plans: Sequence[StudyPlan]) -> str:
    """Return a JSON array for scripts: one object a study; fractions, not percent."""
    return json.dumps([{**asdict(plan), "power": POWER, "alpha": ALPHA} for plan in plans], indent=2)


def as_text(plans: Sequence[StudyPlan]) -> str:
    """Return the same for people, within 80 columns."""
    return "\n".join(line for plan in plans for line in _lines(plan))


def _lines(plan: StudyPlan) -> list[str]:
    power, write = f"{100 * POWER:.0f} %", _writer(plan)
    of = "" if plan.metric == ACCURACY else f" of {metric_of(plan.metric).title}"
    lines = [
        f"{plan.name}: to detect a difference{of} of {write(plan.difference)} with {power} power",
        *_of_spread(plan),
        f"  {_of_comparisons(plan)}",
    ]
    if write is _points and max(plan.difference, plan.spread.std) >= LARGE:
        lines.append("  (values are fractions: 0.003 is 0.3 points)")
    shown = "1 seed detects" if plan.planned == 1 else f"{plan.planned:,} seeds detect"
    rows = [("", "seeds", "runs", "time", shown), *(_row(need, write) for need in plan.needs)]
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    lines += [
        "  " + "  ".join([row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, 5))])
        for row in rows
    ]
    lines.append(f"  seeds: of each variant. Last column: the smallest true difference, {power} power")
    lines.append(f"  {_of_time(plan)}")
    if not plan.independent:
        lines += [
            "  its runs share levels or images (vary, data.holdout_draws), so they carry less",
            "  information than independent ones: more runs are needed than these numbers",
        ]
    if plan.looks:
        shown = "nothing" if plan.shown_at_last_look is None else write(plan.shown_at_last_look)
        lines += [
            f"  the last look, at {plan.looks[-1]} seeds, detects {shown} (paired, correlation 0),",
            "  without earlier looks; with them the difference must be slightly larger",
        ]
    return lines


def _of_comparisons(plan: StudyPlan) -> str:
    if plan.variants == 1:
        return "one variant: counted as one comparison with another recipe, at 5 %"
    if plan.comparisons == 1:
        return "one comparison, at 5 %"
    count = f"{plan.comparisons:,}"
    return f"{count} comparisons of {plan.variants:,} variants: each at 5 % / {count} (Holm)"


def _of_spread(plan: StudyPlan) -> list[str]:
    spread, correlation, write = plan.spread, plan.correlation, _writer(plan)
    if spread.estimate is None:
        lines = [f"  std over seeds: {write(spread.std)}, as given"]
    else:
        lines = [
            f"  std over seeds: {write(spread.std)}, the upper 80 % bound of {write(spread.estimate)}",
            f"  from {several(spread.runs, 'finished run')}",
        ]
    if correlation is not None:
        lines.append(
            f"  correlation of equal seeds: {correlation.low:.2f}, the lower 80 % bound of "
            f"{correlation.value:.2f} (n = {correlation.n})"
        )
    return lines


def _row(need: Need, write: Callable[[float], str]) -> tuple[str, str, str, str, str]:
    name = need.test if need.correlation is None else f"{need.test}, correlation {need.correlation:.2f}"
    return (
        name.replace("Welch t", "Welch t, unpaired"),
        f"> {MOST_SEEDS:,}" if need.seeds is None else f"{need.seeds:,}",
        "–" if need.runs is None else f"{need.runs:,}",
        "–" if need.hours is None else duration(3600 * need.hours),
        "nothing" if need.shown is None else write(need.shown),
    )


def _of_time(plan: StudyPlan) -> str:
    if plan.seconds is None:
        return f"time: {plan.time_from}"
    return f"time: {duration(plan.seconds)} a run, {plan.time_from}"


def _writer(plan: StudyPlan) -> Callable[[float], str]:
    """Return how a difference of the plan's metric is written: in points, or plainly."""
    return _points if metric_of(plan.metric).share else lambda value: f"{value:.3g}"


def _points(fraction: float) -> str:
    """Write ``0.3 points``: three digits, so that the given number is readable."""
    points = 100 * fraction
    digits = max(0, 2 - math.floor(math.log10(points))) if points else 0
    return f"{float(f'{points:.{digits}f}'):,g} points"
