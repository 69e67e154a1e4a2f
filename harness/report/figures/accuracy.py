"""The target's metric of every run, and each variant's mean ± std, with target and published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from harness.analysis.findings import Findings
from harness.analysis.references import claims
from harness.analysis.shown import best_first, shown_rule, shown_variants
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.report.figures import style
from harness.report.figures.style import Picture, Value

LEAST_SPAN = 0.004  # of the axis: 0.4 percentage points
ROOM = 0.5  # a line is drawn where it is no farther from the runs than this part of their span
MOST_REFERENCES = 6
MOST_ROWS = 32  # variants
FEW_ROWS = 8  # up to so many variants, a row has two lines of text

Line = tuple[float, str, dict[str, Any]]  # value, label, matplotlib's options


@style.house_style()
def draw(findings: Findings) -> Picture | None:
    """Draw each seed's last value, mean ± std, target and references; None without a finished run."""
    drawn, left_out = _rows(findings)
    if not any(summary.score for summary in drawn):
        return None
    metric = findings.results.metric
    lines = _lines(findings)
    two_lines = len(drawn) <= FEW_ROWS
    figure, (axes,) = style.canvas(1.3 + (0.5 if two_lines else 0.27) * max(len(drawn), 1.5))
    low, high = _limits(drawn, lines)
    axes.set_xlim(low, high)
    values, cut = [], False
    for place, summary in enumerate(drawn):
        values += _draw_runs(axes, findings, summary, place)
        cut |= metric.share and summary.score is not None and _cut(summary)
    outside = _draw_lines(axes, lines)
    texts = [_text(summary, "\n" if two_lines else ", ") for summary in drawn]
    style.as_rows(axes, [style.short(summary.variant, 24) for summary in drawn], texts)
    split = "hold-out" if all(summary.evaluated_on == "holdout" for summary in drawn) else "test"
    axes.set_xlabel(f"{split} {metric.title} of the last epoch{', percent' * metric.share}")
    if metric.share:
        style.as_percent(axes.xaxis)
    style.legend(figure, axes, 2)
    caption = _caption(findings, drawn, lines, outside)
    if cut:
        caption += " A bar that would pass 0 or 100 % ends there."
    if len(drawn) > style.MOST_COLOURS:
        caption += " Coloured: the variants whose curves are drawn."
    if left_out:
        caption += f" Drawn: {shown_rule(findings.results, [row.variant for row in drawn], left_out)}."
    return style.to_picture(figure, "accuracy", None, caption, values)


def _rows(findings: Findings) -> tuple[list[VariantSummary], int]:
    """Return the variants to draw, the best first; and of how many, 0 where all are drawn."""
    rows = [summary for summary in findings.summaries if summary.score is not None or summary.failed]
    shown = shown_variants(findings.results, MOST_ROWS)
    by_name = {row.variant: row for row in rows}
    drawn = [by_name[name] for name in best_first(findings.results) if name in by_name and name in shown]
    return drawn, len(rows) if len(drawn) < len(rows) else 0


def _lines(findings: Findings) -> list[Line]:
    """Return the target, then the published numbers of its metric."""
    metric, target = findings.results.metric, findings.results.study.target.level
    text = f"target {Units(metric).goal(target)}"
    lines: list[Line] = [(target, text, {"color": style.TARGET_COLOUR, "ls": "--", "lw": 1.2})]
    for name, reference in findings.results.study.references.items():
        if reference.level is not None and reference.of == metric.name and len(lines) <= MOST_REFERENCES:
            look = {"color": style.COLOURS[-len(lines)], "ls": ":", "lw": 1.8}
            lines.append((reference.level, f"{style.short(name, 24)}: {claims(reference)[0].text}", look))
    return lines


def _limits(drawn: Sequence[VariantSummary], lines: Sequence[Line]) -> tuple[float, float]:
    """Return the ends of the axis: all runs and bars, and the lines that are near them."""
    values = [value for summary in drawn for value in summary.scores]
    for score in (summary.score for summary in drawn):
        if score is not None and score.std is not None:
            values += [score.mean - score.std, score.mean + score.std]
    share = drawn[0].metric.share
    least = LEAST_SPAN if share else 0.01 * max(map(abs, values))
    low, high = min(values), max(values)
    reach = ROOM * max(high - low, least)
    near = [at for at, _, _ in lines if low - reach <= at <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = max(0.06 * (high - low), (least - (high - low)) / 2, 1e-9)
    low, high = low - margin, high + margin
    return (max(low, 0.0), min(high, 1.0)) if share else (low, high)


def _draw_runs(axes: Axes, findings: Findings, summary: VariantSummary, place: int) -> list[Value]:
    """Draw a variant's runs and their mean ± std; return these values."""
    score, units, scores = summary.score, summary.units, summary.scores
    if score is None:
        axes.text(
            0.5, place, f"{summary.failed} of {summary.runs} failed", color=style.COLOURS[1], ha="center",
            va="center", fontsize=8, backgroundcolor="white", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        return []
    colour = style.colour_of(findings.results, summary.variant)
    at = place + (np.linspace(-0.24, 0.12, len(scores)) if len(scores) > 1 else np.zeros(1))
    axes.plot(scores, at, "o", ms=5.5, color=colour, alpha=0.6, mec="none", clip_on=False)
    seeds = [
        run.seed
        for run in findings.results.of(summary.variant, "finished")
        if run.number(summary.metric.name) is not None
    ]
    values = [
        Value(axes, x, y, f"{summary.variant}, seed {seed}: {units.value(x)}{units.of_value}")
        for seed, x, y in zip(seeds, scores, at.tolist(), strict=True)
    ]
    if score.std is not None:
        low, high = _bar(summary)
        axes.errorbar(
            score.mean, place + 0.34, xerr=[[score.mean - low], [high - score.mean]], fmt="D", ms=4.5,
            capsize=3, color=colour, lw=1.4,
        )  # fmt: skip
        text = f"{summary.variant}: mean ± std {units.mean_std(score)} (n = {score.n})"
        values.append(Value(axes, score.mean, place + 0.34, text))
    return values


def _bar(summary: VariantSummary) -> tuple[float, float]:
    """Return the ends of mean ± 1 std; a share's end at 0 and 1."""
    score = summary.score
    assert score is not None and score.std is not None
    low, high = score.mean - score.std, score.mean + score.std
    return (max(low, 0.0), min(high, 1.0)) if summary.metric.share else (low, high)


def _cut(summary: VariantSummary) -> bool:
    score = summary.score
    if score is None or score.std is None:
        return False
    return score.mean - score.std < 0 or score.mean + score.std > 1


def _draw_lines(axes: Axes, lines: Sequence[Line]) -> list[bool]:
    """Draw target and references; name those outside the frame at the border where they lie.

    Returns:
        Whether each lies outside.
    """
    low, high = axes.get_xlim()
    for at, label, options in lines:
        if low <= at <= high:
            axes.axvline(at, label=label, **options)
    left = [f"◀ {label}" for at, label, _ in lines if at < low]
    right = [f"{label} ▶" for at, label, _ in lines if at > high]
    look: dict[str, Any] = {"fontsize": 8, "weight": "normal", "color": style.TARGET_COLOUR}
    axes.set_title("\n".join(left), loc="left", **look)
    axes.set_title("\n".join(right), loc="right", **look)
    return [not low <= at <= high for at, _, _ in lines]


def _text(summary: VariantSummary, separator: str) -> str:
    """Write what stands beside a row: ``93.8 ± 0.2 %``, ``n = 5`` and the failed runs."""
    if summary.score is None:
        return ""
    parts = [summary.units.mean_std(summary.score, summary.target), f"n = {summary.score.n}"]
    if summary.failed:
        parts[1] += f", {summary.failed} of {summary.runs} failed"
    return separator.join(parts)


def _caption(
    findings: Findings, drawn: Sequence[VariantSummary], lines: Sequence[Line], outside: Sequence[bool]
) -> str:
    metric = findings.results.metric
    goal = Units(metric).goal(lines[0][0])
    caption = "Each dot is one run (one seed), the variant with the best mean on top."
    if len(drawn) == 1:
        caption = "Each dot is one run (one seed)."
    if any(summary.finished > 1 for summary in drawn):
        caption += " Diamond and bar: mean ± 1 std over the n seeds (divisor n - 1)."
    missed = "left" if metric.higher_is_better else "right"
    if outside[0]:
        values = [value for summary in drawn for value in summary.scores]
        side = "left" if lines[0][0] < min(values) else "right"
        caption += f" The axis shows the spread of the runs; the target, {goal}, lies to the {side} of it."
    else:
        caption += f" Dashed: the target, {goal}; runs {missed} of it missed it."
    if len(lines) > 1:
        where = ["Dotted"] * (not all(outside[1:])) + ["Named at the border"] * any(outside[1:])
        caption += f" {' or '.join(where).capitalize()}: published numbers."
    return caption
