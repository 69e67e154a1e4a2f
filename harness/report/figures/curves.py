"""Loss and accuracy over the epochs, a line a variant with a band of one standard deviation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from harness.analysis.findings import Findings
from harness.analysis.results import Results
from harness.analysis.shown import best_first, shown_rule, shown_variants
from harness.analysis.units import Units
from harness.report.figures import style
from harness.report.figures.style import Picture, Value
from harness.statistics.distribution import mean_of, std_of

MEASURES = (("loss", "nats per image"), ("accuracy", "percent"))  # a row of panels each
LAST = 4  # the last panel shows one epoch of so many
FEWEST_LAST = 3  # epochs in it; a history without twice as many has no such panel
LARGEST_SPAN = 3.0  # of that panel, times the span of the best variant
MOST_MARKS = 30  # epochs of a line that a reader can point at


@dataclass(frozen=True)
class Curve:
    """A variant's measure over E epochs: mean over its runs, and the band; all (E,)."""

    variant: str
    label: str
    colour: str
    runs: int
    epochs: np.ndarray
    means: np.ndarray
    stds: np.ndarray
    bottom: np.ndarray
    top: np.ndarray


@style.house_style()
def draw(findings: Findings) -> Picture | None:
    """Draw train and test loss and accuracy, and the last epochs; None without a finished run."""
    results = findings.results
    finished = {summary.variant: summary for summary in findings.summaries if summary.finished}
    shown = shown_variants(results, style.MOST_COLOURS)
    drawn = [finished[name] for name in shown if name in finished]
    if not drawn:
        return None
    epochs = max(len(run.history) for row in drawn for run in results.of(row.variant, "finished"))
    last = max(FEWEST_LAST, -(-epochs // LAST))
    zoomed = epochs >= 2 * last
    split = "Hold-out" if all(summary.evaluated_on == "holdout" for summary in drawn) else "Test"
    figure, axes = style.canvas(4.8, 2, 3 if zoomed else 2)
    values: list[Value] = []
    cut = raw_drawn = False
    for row, (measure, unit) in enumerate(MEASURES):
        panels = axes[row * len(axes) // 2 :][: len(axes) // 2]
        panels[1].sharey(panels[0])
        for panel, part in zip(panels, ("train", "eval", "eval"), strict=False):
            curves = list(_curves(findings, [row.variant for row in drawn], f"{part}_{measure}"))
            values += _draw(panel, curves, findings, f"{part}_{measure}", split.lower())
            if part == "eval" and _draw_raw(panel, findings, curves, f"raw_{measure}"):
                raw_drawn = True
            panel.set_title(f"{'Train' if part == 'train' else split} {measure}")
            panel.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
            panel.set_xlabel("epoch" if measure == "accuracy" else "")
            if unit == "percent":
                style.as_percent(panel.yaxis)
        panels[0].set_ylabel(unit)
        _log_where_needed(panels[:2])
        if zoomed:
            panels[2].set_title(f"Last {last} epochs", fontsize=9, weight="normal")
            cut |= _zoom(panels[2], curves, best_first(results), last)
    spread = "mean ± 1 std over n seeds" if any(row.finished > 1 for row in drawn) else None
    style.legend(figure, axes[0], 3, spread)
    caption = _caption(findings, max(row.finished for row in drawn), last if zoomed else 0, cut, raw_drawn)
    if len(drawn) < len(finished):
        rule = shown_rule(results, [row.variant for row in drawn], len(finished))
        caption += f" Drawn: {rule}."
    return style.to_picture(figure, "curves", None, caption, _in_frame(values))


def _curves(findings: Findings, variants: Sequence[str], column: str) -> Iterator[Curve]:
    for variant in variants:
        by_epoch = _by_epoch(findings.results, variant, column)
        epochs = sorted(by_epoch)
        means = np.array([mean_of(by_epoch[epoch]) for epoch in epochs])
        stds = np.array([std_of(by_epoch[epoch]) or 0.0 for epoch in epochs])
        lowest = np.array([min(by_epoch[epoch]) for epoch in epochs])
        # a band ends at the lowest run, because a logarithmic axis has no zero, and an accuracy at 100 %
        bottom = np.where(means - stds > 0, means - stds, lowest)
        top = np.minimum(means + stds, 1.0) if column.endswith("accuracy") else means + stds
        runs = len(findings.results.of(variant, "finished"))
        label = f"{style.short(variant, 24)} (n = {runs})"
        colour = style.colour_of(findings.results, variant)
        yield Curve(variant, label, colour, runs, np.array(epochs), means, stds, bottom, top)


def _draw(axes: Axes, curves: Sequence[Curve], findings: Findings, column: str, split: str) -> list[Value]:
    """Draw the lines, their bands and the target; return the values of the lines."""
    part, _, measure = column.partition("_")
    values = []
    for curve in curves:
        marker = "o" if len(curve.epochs) <= 12 else ""
        axes.plot(curve.epochs, curve.means, color=curve.colour, marker=marker, ms=3, label=curve.label)
        axes.fill_between(curve.epochs, curve.bottom, curve.top, color=curve.colour, alpha=0.2, lw=0)
        name = f"{split if part == 'eval' else 'train'} {measure}"
        for epoch, mean, std in zip(curve.epochs, curve.means, curve.stds, strict=True):
            written = _written(mean, std if curve.runs > 1 else None, measure)
            text = f"{curve.variant}, epoch {epoch:g}: {name} {written} (n = {curve.runs})"
            values.append(Value(axes, float(epoch), float(mean), text))
    metric = findings.results.metric
    if column == metric.history:
        target = findings.results.study.target.level
        axes.axhline(target, color=style.TARGET_COLOUR, lw=1, ls="--", zorder=1)
    return values


def _written(mean: float, std: float | None, measure: str) -> str:
    scale, decimals, unit = (100, 2, " %") if measure == "accuracy" else (1, 4, "")
    spread = "" if std is None else f" ± {scale * std:.{decimals}f}"
    return f"{scale * mean:.{decimals}f}{spread}{unit}"


def _in_frame(values: Sequence[Value]) -> list[Value]:
    """Return of each line at most ``MOST_MARKS`` values, equally far apart, the last one among them."""
    by_line: dict[tuple[Axes, str], list[Value]] = {}
    for value in values:
        by_line.setdefault((value.axes, value.text.partition(", epoch ")[0]), []).append(value)
    return [
        value for line in by_line.values() for value in line[:: -(-(len(line) // -MOST_MARKS) or 1)][::-1]
    ]


def _draw_raw(axes: Axes, findings: Findings, curves: Sequence[Curve], column: str) -> bool:
    """Draw the weights as trained beside their average; return whether there are any."""
    drawn = False
    for curve in curves:
        by_epoch = sorted(_by_epoch(findings.results, curve.variant, column).items())
        if by_epoch:
            epochs, means = zip(*((epoch, mean_of(each)) for epoch, each in by_epoch), strict=True)
            axes.plot(epochs, means, color=curve.colour, lw=0.8, ls="-", zorder=3)
            drawn = True
    return drawn


def _zoom(axes: Axes, curves: Sequence[Curve], best: Sequence[str], last: int) -> bool:
    """Show the last epochs of the best variant and of those near it; return whether others lie outside."""
    first = max(curve.epochs[-1] for curve in curves if len(curve.epochs)) - last + 1
    ends = {}
    for curve in curves:
        at = curve.epochs >= first
        if at.any():
            ends[curve.variant] = (float(curve.bottom[at].min()), float(curve.top[at].max()))
    names = [name for name in best if name in ends]
    low, high = ends[names[0]]
    limit = LARGEST_SPAN * max(high - low, 1e-4)
    outside = False
    for name in names[1:]:
        wider = min(low, ends[name][0]), max(high, ends[name][1])
        if wider[1] - wider[0] <= limit:
            low, high = wider
        else:
            outside = True
    margin = 0.06 * max(high - low, 1e-4)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(first - 0.1 * last / 2, first + last - 1 + 0.1 * last / 2)
    return outside


def _caption(findings: Findings, most_runs: int, last: int, cut: bool, raw_drawn: bool) -> str:
    results = findings.results
    metric = results.metric
    if most_runs == 1:
        caption = "One run (n = 1): no band."
    else:
        caption = "Lines: mean over the n finished runs; bands: ± 1 std over seeds (divisor n - 1)."
    if last:
        caption += f" On the right: the last {last} epochs, enlarged."
        if cut:
            caption += " Variants far from the best one lie outside its frame."
    caption += (
        " Train accuracy is the mean over augmented batches while the weights change: it can lie below the "
        "accuracy on the untouched evaluation images."
    )
    if metric.history is not None:
        goal = Units(metric).goal(results.study.target.level)
        caption += f" Dashed: the target, {goal}, which is judged on the last epoch alone."
    if raw_drawn:
        caption += " Thin: the weights as trained; thick: their average, which is evaluated."
    first = (run for variant in results.variants for run in results.of(variant, "finished")[:1])
    if any(run.recipe.get("augment", {}).get("batch") for run in first):
        caption += " Where batches are mixed, train accuracy counts the class with the largest share."
    return caption


def _by_epoch(results: Results, variant: str, column: str) -> Mapping[float, list[float]]:
    """Return the finite values of the finished runs at each epoch."""
    by_epoch: dict[float, list[float]] = {}
    for run in results.of(variant, "finished"):
        for row in run.history:
            epoch, value = row["epoch"], row[column]
            if epoch is not None and value is not None and np.isfinite(value):
                by_epoch.setdefault(epoch, []).append(value)
    return by_epoch


def _log_where_needed(panels: Sequence[Axes]) -> None:
    """Use a logarithmic axis for a loss that falls by far; else its line would look flat."""
    values = np.concatenate([line.get_ydata() for panel in panels for line in panel.get_lines()])
    if len(values) and values.min() > 0 and values.max() > 50 * np.median(values):
        for panel in panels:
            panel.set_yscale("log")
            style.as_plain(panel.yaxis)
        panels[0].set_ylabel("nats per image (log)")
