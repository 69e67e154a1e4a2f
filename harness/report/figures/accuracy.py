"""The target's metric of every run beside the target and published numbers, and each variant's mean ± std."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from harness.analysis.findings import Findings
from harness.analysis.references import claims
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.report.figures import style
from harness.report.figures.style import Picture

LEAST_SPAN = 0.02  # of the axis: two percentage points
MOST_REFERENCES = 6

Line = tuple[float, str, dict[str, Any]]  # value, label, matplotlib's options


@style.house_style()
def draw(findings: Findings) -> Picture | None:
    """Draw each seed's last value, mean ± std, target and references; None without a finished run."""
    drawn = [summary for summary in findings.summaries if summary.score is not None or summary.failed]
    if not any(summary.score for summary in drawn):
        return None
    metric, target = findings.results.metric, findings.results.study.target.level
    units = Units(metric)
    lines: list[Line] = [
        (target, f"target {units.goal(target)}", {"color": style.TARGET_COLOUR, "ls": "--", "lw": 1.2})
    ]
    for name, reference in findings.results.study.references.items():
        if reference.level is not None and reference.of == metric.name and len(lines) <= MOST_REFERENCES:
            look = {"color": style.COLOURS[-len(lines)], "ls": ":", "lw": 1.8}
            label = f"{style.short(name, 24)}: {claims(reference)[0].text}"
            lines.append((reference.level, label, look))
    legend_rows = (len(lines) + 3) // 3
    figure, (axes,) = style.canvas(1.1 + 0.5 * max(len(drawn), 2) + 0.22 * legend_rows)
    texts = []
    for place, summary in enumerate(drawn):
        values, score = summary.scores, summary.score
        colour = style.COLOURS[place % len(style.COLOURS)]
        offsets = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
        axes.plot(values, place + offsets, "o", ms=6, color=colour, alpha=0.6, mec="none")
        if score is None:
            axes.text(
                0.5, place, f"{summary.failed} of {summary.runs} failed", color=style.COLOURS[1], ha="center",
                va="center", fontsize=8, backgroundcolor="white", transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        elif score.std is not None:
            axes.errorbar(
                score.mean, place + 0.32, xerr=score.std, fmt="D", ms=4.5, capsize=3.5, color=colour,
                lw=1.4,
            )  # fmt: skip
        parts = [units.mean_std(score, target)] if score is not None else []
        if summary.failed and score is not None:
            parts.append(f"{summary.failed} of {summary.runs} failed")
        texts.append("\n".join(parts))
    far = _draw_lines(axes, drawn, lines)
    style.as_rows(axes, [style.short(summary.variant, 24) for summary in drawn], texts)
    split = "hold-out" if all(summary.evaluated_on == "holdout" for summary in drawn) else "test"
    axes.set_xlabel(f"{split} {metric.title} of the last epoch{', percent' * metric.share}")
    if metric.share:
        style.as_percent(axes.xaxis)
    figure.legend(loc="outside lower left", ncols=3)
    missed = "left" if metric.higher_is_better else "right"
    caption = f"Each dot is the run of one seed; those {missed} of the dashed line missed the target."
    if any(summary.finished > 1 for summary in drawn):
        caption += (
            " The diamond below the dots is their mean ± 1 std over seeds (divisor n - 1; n: "
            + ", ".join(f"{summary.variant} {summary.finished}" for summary in drawn[:8])
            + ("" if len(drawn) <= 8 else ", …")
            + "; none from one run)."
        )
    if len(lines) > 1:
        caption += " Dotted: published numbers; see whether they fall among the dots."
    if far:
        caption += " A triangle at the border stands for a line far beyond it."
    return style.to_picture(figure, "accuracy", None, caption)


def _draw_lines(axes: Axes, drawn: Sequence[VariantSummary], lines: Sequence[Line]) -> bool:
    """Draw target and references near the dots as lines, others as triangles at the border.

    Returns:
        Whether there are any others.
    """
    values = [value for summary in drawn for value in summary.scores]
    for score in (summary.score for summary in drawn):
        if score is not None and score.std is not None:
            values += [score.mean - score.std, score.mean + score.std]
    low, high = min(values), max(values)
    reach = max(high - low, LEAST_SPAN)
    near = [at for at, _, _ in lines if low - reach <= at <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.08 * max(high - low, LEAST_SPAN)
    if drawn[0].metric.share:
        axes.set_xlim(max(low - margin, -margin / 2), min(high + margin, 1 + margin / 2))
    else:
        axes.set_xlim(low - margin, high + margin)
    for number, (at, label, look) in enumerate(lines):
        if at in near:
            axes.axvline(at, label=label, **look)
            continue
        right = at > high
        axes.plot(
            float(right), 0.92 - 0.14 * number, ">" if right else "<", ms=8, color=look["color"],
            clip_on=False, transform=axes.transAxes, label=f"{label}, far {'right' if right else 'left'}",
        )  # fmt: skip
    return len(near) < len(lines)
