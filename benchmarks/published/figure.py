"""``docs/results/overview.png``: every study's seeds beside the published numbers, a small panel each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from benchmarks.published.read import Published, Variant, device_name
from benchmarks.published.web import small_png
from harness.report.figures.style import (
    COLOURS,
    FAINT,
    INK,
    TARGET_COLOUR,
    as_percent,
    canvas,
    house_style,
    short,
    to_png,
)
from harness.statistics.distribution import describe

MOST_ROWS = 6  # variants of a panel
LEAST_SPAN, MOST_SPAN = 0.02, 0.06  # of an axis; equal for all, so that equal lengths mean equal differences
SEED, MEAN, PUBLISHED, OTHER = "a seed", "mean, 95 % interval", "published", "on another device"


def overview(published: Sequence[Published]) -> bytes:
    """Draw it as a PNG."""
    with house_style():
        png = to_png(draw(published))
    with Image.open(io.BytesIO(png)) as picture:
        return small_png(picture)


def draw(published: Sequence[Published]) -> Figure:
    """Draw a panel a study; each kind of mark carries its name as its label."""
    drawn = [
        (one, [variant for variant in one.variants if variant.records or variant.other][:MOST_ROWS])
        for one in published
    ]
    spans = [1.15 * (max(values) - min(values)) for one, rows in drawn if (values := _values(one, rows))]
    span = max([LEAST_SPAN, *(one for one in spans if one <= MOST_SPAN)])
    most = max((len(rows) for _, rows in drawn), default=1)
    lines = max(1, -(-len(drawn) // 2))
    with house_style():
        figure, panels = canvas(0.5 + lines * (0.75 + 0.24 * most), lines, 2)
        for axes, (one, rows) in zip(panels, drawn, strict=False):
            _panel(axes, one, rows, span)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        for axes in panels[max(0, len(drawn) - 2) : len(drawn)]:
            axes.set_xlabel("accuracy of the last epoch, percent", fontsize=8)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5)
    return figure


def _values(one: Published, rows: Sequence[Variant]) -> list[float]:
    """All values of a panel except the target."""
    published = [reference.accuracy for reference in one.study.references.values()]
    measured = [value for variant in rows for value in (*variant.accuracies, *_others(variant))]
    intervals = [
        end
        for variant in rows
        if (accuracy := describe(variant.accuracies, shares=True))
        for end in (accuracy.ci_low, accuracy.ci_high)
    ]
    return [value for value in (*published, *measured, *intervals) if value is not None]


def _others(variant: Variant) -> list[float]:
    return [record.metrics["accuracy"] for record in variant.other]


def _panel(axes: Axes, one: Published, rows: Sequence[Variant], span: float) -> None:
    for row, variant in enumerate(rows):
        accuracies, other = variant.accuracies, _others(variant)
        axes.plot(
            accuracies,
            [row] * len(accuracies),
            "o",
            ms=5,
            color=COLOURS[0],
            alpha=0.55,
            mec="none",
            label=SEED,
        )
        axes.plot(other, [row] * len(other), "o", ms=5, mfc="none", mec=FAINT, label=OTHER)
        accuracy = describe(accuracies, shares=True)
        if accuracy and accuracy.ci_low is not None and accuracy.ci_high is not None:
            ends = [accuracy.ci_low, accuracy.mean, accuracy.ci_high]
            axes.plot(
                ends, [row + 0.25] * 3, "|-", ms=7, mew=1.6, lw=1.4, color=INK, markevery=[1], label=MEAN
            )
        for reference in one.study.references.values():
            if reference.accuracy is not None and reference.is_of(variant.name):
                axes.plot([reference.accuracy], [row - 0.25], "v", ms=6, color=COLOURS[1], label=PUBLISHED)
    values = _values(one, rows)
    middle, span = (max(values) + min(values)) / 2, max(span, 1.15 * (max(values) - min(values)))
    axes.set_xlim(middle - span / 2, middle + span / 2)
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.axvline(one.study.target.level, color=TARGET_COLOUR, ls="--", lw=1)
    axes.set_yticks(range(len(rows)), [_label(variant) for variant in rows], fontsize=7.5)
    axes.grid(axis="y", visible=False)
    as_percent(axes.xaxis)
    axes.set_title(one.name, pad=4)
    axes.set_title(_subtitle(one, rows), loc="right", fontsize=7.5, fontweight="normal", color=FAINT, pad=4)


def _label(variant: Variant) -> str:
    n, runs = len(variant.finished), len(variant.records)
    counts = ([f"n = {n}"] if n else []) + ([f"{runs - n} of {runs} failed"] if runs > n else [])
    return "\n".join([short(variant.name), *([", ".join(counts)] if counts else [])])


def _subtitle(one: Published, rows: Sequence[Variant]) -> str:
    finished = [variant for variant in rows if variant.finished]
    parts = list(dict.fromkeys(device_name(record) for variant in finished for record in variant.finished))
    if any(variant.evaluated_on == "holdout" for variant in finished):
        parts.append("hold-out")
    if len(one.variants) > len(rows):
        parts.append(f"{len(rows)} of {len(one.variants)} variants")
    return " · ".join(parts)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], ls="", marker="o", color=COLOURS[0], alpha=0.55, mec="none", label=SEED),
        Line2D([], [], color=INK, lw=1.4, marker="|", ms=7, label=MEAN),
        Line2D([], [], ls="", marker="v", color=COLOURS[1], label=PUBLISHED),
        Line2D([], [], ls="", marker="o", mfc="none", mec=FAINT, label=OTHER),
        Line2D([], [], color=TARGET_COLOUR, ls="--", lw=1, label="target, where near"),
    ]
