"""Differences between variants with their intervals and verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter

from harness.analysis.comparisons import VariantComparison
from harness.analysis.findings import Findings
from harness.analysis.numbers import p_equals
from harness.analysis.results import Results
from harness.analysis.shown import shown_variants
from harness.analysis.units import Units
from harness.metrics import Metric
from harness.report.figures import style
from harness.report.figures.style import Picture, Value
from harness.statistics.comparison import Comparison

MOST_COMPARISONS = 30  # per figure
FEW_ROWS = 8  # up to so many, a row has several lines of text
VERDICT_COLOURS = {"better": style.COLOURS[2], "worse": style.COLOURS[1], "cannot tell": style.FAINT}


@style.house_style()
def draw(findings: Findings) -> Picture | None:
    """Draw each comparison's difference with its interval, or its failed runs; None without a comparison."""
    results, metric = findings.results, findings.results.metric
    compared = [(pair, pair.result) for pair in findings.comparisons if pair.result is not None]
    shown = shown_variants(results, MOST_COMPARISONS + 1)
    drawn = [row for row in compared if {row[0].variant, row[0].baseline} <= {*shown}][:MOST_COMPARISONS]
    if not drawn:
        return None
    values: list[Value] = []
    pairwise, baseline = results.study.comparisons == "all", drawn[0][0].baseline
    figure, (axes,) = style.canvas(1.0 + (0.45 if len(drawn) <= FEW_ROWS else 0.27) * max(len(drawn), 2))
    for place, (pair, comparison) in enumerate(drawn):
        colour = VERDICT_COLOURS[comparison.verdict]
        if comparison.test == "paired t":
            single = list(map(metric.oriented, _paired_differences(results, pair)))
            axes.plot(single, [place + 0.2] * len(single), "o", ms=4, color=style.COLOURS[5], mec="none")
        low, high = metric.measured(*pair.interval)
        seen = low is not None and high is not None and low > -metric.widest and high < metric.widest
        if low is not None and high is not None and seen:
            axes.plot([low, high], [place, place], color=colour, lw=2.2)
        if comparison.test == "Fisher":
            axes.text(
                0.5, place, _failed(pair), color=style.COLOURS[1], ha="center", va="center", fontsize=8,
                backgroundcolor="white", transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        elif pair.difference is not None:
            difference = metric.oriented(pair.difference)
            axes.plot([difference], [place], "D", ms=6, color=colour)
            values.append(Value(axes, difference, place, _words(pair, metric, low, high)))
    axes.axvline(0, color=style.TARGET_COLOUR, ls="--", lw=1.2)
    line = "\n" if len(drawn) <= FEW_ROWS else " "
    names = [
        f"{style.short(pair.variant, 18)}{line}− {style.short(pair.baseline, 18)}"
        if pairwise
        else style.short(pair.variant, 24)
        for pair, _ in drawn
    ]
    style.as_rows(axes, names, [_text(*row).replace("\n", line if line == "\n" else ", ") for row in drawn])
    axes.margins(x=0.08)
    other = "the second" if pairwise else style.short(baseline, 24)
    unit = ", percentage points" if metric.share else ""
    axes.set_xlabel(f"{metric.title} minus that of {other}{unit}")
    scale = Units(metric).scale
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(scale * value)))
    caption = _caption(findings, drawn, len(compared))
    return style.to_picture(figure, "comparisons", None, caption, values)


def _caption(findings: Findings, drawn: Sequence[tuple[VariantComparison, Comparison]], compared: int) -> str:
    metric, pairwise = findings.results.metric, findings.results.study.comparisons == "all"
    other = "the second" if pairwise else drawn[0][0].baseline
    better, worse = ("Right", "left") if metric.higher_is_better else ("Left", "right")
    caption = (
        f"{better} of the dashed line a variant is better than {other}, {worse} of it worse. "
        "Diamonds: difference of the means; bars: its 95 % interval (t over seeds; over images where each "
        "has one run). Small dots: single seeds, where they are paired. "
        "Green: better, orange: worse, grey: no significant difference."
    )
    if any(pair.sequential for pair, _ in drawn):
        caption += " Where n was not fixed in advance, the bar is the interval for all looks together."
    if compared > 1:
        caption += f" p is corrected by Holm over {compared} comparisons; the intervals are not."
    if any(comparison.test == "Fisher" for _, comparison in drawn):
        caption += (
            " Where one of the two has no finished run, no difference is drawn: the numbers of failed runs "
            "stand in its place and are compared (Fisher)."
        )
    if compared > len(drawn):
        caption += f" Drawn: {len(drawn)} of {compared} comparisons, those of the best means."
    return caption


def _words(pair: VariantComparison, metric: Metric, low: float | None, high: float | None) -> str:
    units = Units(metric)
    assert pair.difference is not None
    text = f"{pair.variant} - {pair.baseline}: {units.signed(pair.difference)}{units.of_difference}"
    if low is None or high is None or not math.isfinite(high - low):
        return text
    return f"{text}, 95 % interval {_signed(units.scale * low)} to {_signed(units.scale * high)}"


def _paired_differences(results: Results, pair: VariantComparison) -> list[float]:
    ours, theirs = (
        results.by_seed(results.of(variant, "finished")) for variant in (pair.variant, pair.baseline)
    )
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def _text(pair: VariantComparison, comparison: Comparison) -> str:
    """Write the text beside a row: the verdict, n and p, and which of the two fails more often."""
    n, n_baseline = comparison.n, comparison.n_baseline
    seeds = f"n = {n}" if n == n_baseline else f"n = {n}, {n_baseline}"
    test = f"{comparison.test} " if comparison.test in ("McNemar", "Fisher") else ""
    shown = f"{test}{p_equals(comparison.p_holm)}" if comparison.p_holm is not None else "no spread to test"
    if pair.evidence is not None and pair.evidence.sign is not None:
        shown = pair.evidence.text.replace(": ", "\n", 1)
    verdict = "not significant" if comparison.verdict == "cannot tell" else comparison.verdict
    text = f"{verdict}, {seeds}\n{shown}"
    if comparison.test != "Fisher" and pair.failures is not None:
        text += f"\n{_failed(pair)}"
    return text


def _failed(pair: VariantComparison) -> str:
    """Write ``4 of 4 failed, base 0 of 4``."""
    assert pair.failures is not None
    failed, failed_baseline = pair.failures.failed, pair.failures.failed_baseline
    return (
        f"{failed} of {pair.failures.n} failed, "
        f"{style.short(pair.baseline, 18)} {failed_baseline} of {pair.failures.n_baseline}"
    )


def _signed(value: float) -> str:
    value = float(f"{value:.4g}")
    return f"{value:+g}".replace("-", "−") if value else "0"
