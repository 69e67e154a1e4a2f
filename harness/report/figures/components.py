"""The std that each source of randomness gives, with its interval."""

from __future__ import annotations

import math

from harness.analysis.components import SourceVariance
from harness.analysis.findings import Findings
from harness.report.figures import style
from harness.report.figures.style import Picture

MOST_ROWS = 30


@style.house_style()
def draw(findings: Findings) -> Picture | None:
    """Draw a bar for each source of each variant; None where every variant varies by the default."""
    rows = [row for row in findings.sources.components if row.component is not None]
    if not rows:
        return None
    drawn = rows[:MOST_ROWS]
    figure, (axes,) = style.canvas(1.0 + 0.35 * max(len(drawn), 2))
    for place, row in enumerate(drawn):
        component = row.component
        assert component is not None
        colour = style.colour_of(findings.results, row.variant)
        axes.barh(place, component.std, height=0.6, color=colour, alpha=0.7)
        if component.low is not None and component.high is not None:
            ends = [math.sqrt(component.low), math.sqrt(component.high)]
            axes.plot(ends, [place, place], color=style.INK, lw=1.5)
            axes.plot(ends, [place, place], "|", color=style.INK, ms=7)
        if row.images_std is not None:
            axes.plot([row.images_std], [place], "o", mfc="none", color=style.INK, ms=6)
    names = [f"{style.short(row.variant, 18)}: {style.short(row.source, 30)}" for row in drawn]
    style.as_rows(axes, names, [_text(row) for row in drawn])
    axes.set_xlim(left=0)
    metric = findings.results.metric
    if metric.share:
        style.as_percent(axes.xaxis)
    axes.set_xlabel(f"std of the {metric.title}{', percentage points' * metric.share}")
    caption = (
        "Bars: the std that each source of randomness gives, 0 where its variance is estimated below 0; "
        "lines: 95 % interval. The percentage is its share of the variance."
    )
    if any(row.images_std is not None for row in drawn):
        caption += " Circles: expected from sampling noise alone, with independent errors on these images."
    if len(rows) > len(drawn):
        caption += f" The first {len(drawn)} of {len(rows)}."
    return style.to_picture(figure, "variance_components", None, caption)


def _text(row: SourceVariance) -> str:
    return f"n = {row.runs}" if row.share is None else f"{100 * row.share:.0f} %, n = {row.runs}"
