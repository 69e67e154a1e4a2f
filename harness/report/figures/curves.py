"""Loss and accuracy over the epochs, a line a variant with a band of one standard deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from harness.analysis.findings import Findings
from harness.analysis.results import Results
from harness.analysis.units import Units
from harness.report.figures import style
from harness.report.figures.style import Picture
from harness.statistics.distribution import mean_of, std_of

PANELS = (
    ("train_loss", "Train loss", "nats per image"),
    ("eval_loss", "{} loss", "nats per image"),
    ("train_accuracy", "Train accuracy", "percent"),
    ("eval_accuracy", "{} accuracy", "percent"),
)


@style.house_style()
def draw(findings: Findings) -> Picture | None:
    """Draw train and test loss and accuracy of each variant; None without a finished run."""
    chosen = [summary for summary in findings.summaries if summary.finished]
    drawn = chosen[: len(style.COLOURS)]
    if not drawn:
        return None
    results = findings.results
    metric, target = results.metric, results.study.target.level
    split = "Hold-out" if all(summary.evaluated_on == "holdout" for summary in drawn) else "Test"
    raw_drawn = False
    figure, axes = style.canvas(5.6, 2, 2, sharex=True, sharey="row")
    for panel, (column, title, unit) in zip(axes, PANELS, strict=True):
        for summary, colour in zip(drawn, style.COLOURS, strict=False):
            _draw_curve(panel, results, summary.variant, column, colour)
            raw = column.replace("eval_", "raw_")
            if raw != column and _by_epoch(results, summary.variant, raw):
                _draw_raw(panel, results, summary.variant, raw, colour)
                raw_drawn = True
        panel.set_title(title.format(split))
        panel.set_ylabel(unit)
        panel.tick_params(labelleft=True)
        if unit == "percent":
            style.as_percent(panel.yaxis)
            panel.set_xlabel("epoch")
        if column == metric.history:
            panel.axhline(target, color=style.TARGET_COLOUR, lw=1, ls="--", zorder=1)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _log_where_needed(axes[:2])
    if len(drawn) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(drawn)))
    counts = sorted({summary.finished for summary in drawn})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        what = "One finished run: no band."
    else:
        what = f"Lines are means, bands ± 1 std over seeds (divisor n - 1), n = {n} finished runs a variant."
        what += " A band that would reach zero ends at the lowest run."
    caption = (
        f"How the training went. {what} Train accuracy is taken over augmented batches while the weights "
        "change, so it can lie below that of the untouched images evaluated on."
    )
    if metric.history is not None:
        caption += f" Dashed: the target of {Units(metric).goal(target)}, judged on the last epoch alone."
    if raw_drawn:
        caption += " Thin: the weights as trained, whose average is evaluated."
    first = (results.of(summary.variant, "finished")[0] for summary in drawn)
    if any(run.recipe.get("augment", {}).get("batch") for run in first):
        caption += " Where batches are mixed, train accuracy counts the class with the largest share."
    if len(drawn) < len(chosen):
        caption += f" The first {len(drawn)} variants of {len(chosen)} are drawn."
    return style.to_picture(figure, "curves", None, caption)


def _draw_curve(axes: Axes, results: Results, variant: str, column: str, colour: str) -> None:
    by_epoch = _by_epoch(results, variant, column)
    epochs = sorted(by_epoch)
    means = np.array([mean_of(by_epoch[epoch]) for epoch in epochs])
    stds = np.array([std_of(by_epoch[epoch]) or 0.0 for epoch in epochs])
    marker = "o" if len(epochs) <= 12 else ""
    axes.plot(epochs, means, color=colour, marker=marker, ms=3, label=style.short(variant, 24))
    lowest = np.array([min(by_epoch[epoch]) for epoch in epochs])
    bottom = np.where(means - stds > 0, means - stds, lowest)  # on a logarithmic axis zero is nowhere
    axes.fill_between(epochs, bottom, means + stds, color=colour, alpha=0.2, lw=0)


def _draw_raw(axes: Axes, results: Results, variant: str, column: str, colour: str) -> None:
    means = {epoch: mean_of(values) for epoch, values in sorted(_by_epoch(results, variant, column).items())}
    axes.plot(list(means), list(means.values()), color=colour, lw=0.8, ls="-", zorder=3)


def _by_epoch(results: Results, variant: str, column: str) -> dict[float, list[float]]:
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
            panel.set_ylabel("nats per image (log)")
