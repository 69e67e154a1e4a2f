"""Figures of a variant's classes: the accuracy of each class, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.colors import PowerNorm

from harness.analysis.findings import Findings
from harness.analysis.runs import Run
from harness.report.figures import style
from harness.report.figures.style import Picture, Value
from harness.statistics.classification import row_shares
from harness.statistics.distribution import std_of
from harness.statistics.target import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CLASSES = 50  # per figure; more are no longer readable
NAMED_CLASSES = 26  # names beside the confusion matrix; of more classes every second is named
NUMBERED_CLASSES = 12  # up to so many classes the cells show their numbers


@style.house_style()
def per_class(findings: Findings, variant: str) -> Picture | None:
    """Draw the accuracy of each class over the variant's finished runs; None without one."""
    runs = findings.results.of(variant, "finished")
    if not runs:
        return None
    names = runs[0].classes
    matrices = [run.confusion for run in runs]
    shares = np.array([row_shares(matrix).diagonal() for matrix in matrices])  # (runs, classes)
    images = matrices[0].sum(axis=1)
    means = shares.mean(axis=0)
    chosen = np.flatnonzero(images)
    if len(chosen) > MOST_CLASSES:
        chosen = np.sort(chosen[np.argsort(means[chosen], kind="stable")[:MOST_CLASSES]])
    figure, (axes,) = style.canvas(1.0 + 0.24 * len(chosen))
    colour, values = style.colour_of(findings.results, variant), []
    for place, index in enumerate(chosen):
        single = shares[:, index]
        if len(single) > 1:
            below = np.full(len(single), place + 0.3)
            axes.plot(single, below, "o", ms=3.5, color=style.FILL, alpha=0.7, mec="none", clip_on=False)
        low, high = _ends(single, int(matrices[0][index, index]), int(images[index]))
        mean = float(means[index])
        whiskers = [[mean - low], [high - mean]]
        axes.errorbar(mean, place, xerr=whiskers, fmt="D", ms=4, capsize=3, color=colour, clip_on=False)
        text = f"{names[index]}: {100 * mean:.2f} %, {100 * low:.2f} to {100 * high:.2f} %"
        values.append(Value(axes, mean, place, text))
    overall = np.mean([run.number("accuracy") for run in runs])
    axes.axvline(float(overall), color=style.TARGET_COLOUR, ls="--", lw=1)
    axes.set_yticks(
        range(len(chosen)), [f"{style.short(names[index])} ({images[index]})" for index in chosen]
    )
    axes.set_ylim(len(chosen) - 0.4, -0.5)
    axes.margins(x=0.05)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0), min(high, 1))
    axes.set_xlabel("accuracy, percent of the class's images")
    style.as_percent(axes.xaxis)
    worst = chosen[np.argmin(means[chosen])]
    what = (
        f"Diamonds and whiskers: mean ± 1 std over {len(runs)} seeds (divisor n - 1), cut at 0 and 100 %; "
        "dots below: single runs."
        if len(runs) > 1
        else f"Diamonds: the run with seed {runs[0].seed}; whiskers: 95 % Clopper-Pearson interval over the "
        "class's images."
    )
    caption = (
        f"{what} Dashed: accuracy over all classes. In brackets: images of the class. "
        f"Lowest: {style.short(names[worst], 40)}, {100 * means[worst]:.1f} %."
    )
    if len(names) > MOST_CLASSES:
        caption += f" Drawn: the {MOST_CLASSES} classes with the lowest accuracy, of {len(names)}."
    return style.to_picture(figure, "per_class", variant, caption, values)


def of_runs(runs: Sequence[Run]) -> str:
    """Describe in a caption which runs are drawn."""
    return f"Pooled over {len(runs)} seeds" if len(runs) > 1 else f"One run (seed {runs[0].seed})"


def _ends(shares: NDArray[np.float64], correct: int, images: int) -> tuple[float, float]:
    """Return mean ± 1 std over several runs; for one run, the exact interval over the images of the class."""
    if len(shares) > 1:
        mean, std = float(shares.mean()), std_of(shares.tolist()) or 0.0
        return max(mean - std, 0.0), min(mean + std, 1.0)
    interval = share(correct, images)
    return interval.low, interval.high


@style.house_style()
def confusion(findings: Findings, variant: str) -> Picture | None:
    """Draw the confusion matrix, pooled over the variant's finished runs; None without one."""
    runs = findings.results.of(variant, "finished")
    if not runs:
        return None
    names = runs[0].classes
    percent = 100 * row_shares(sum(run.confusion for run in runs))
    numbered = len(names) <= NUMBERED_CLASSES
    texts = np.vectorize(lambda value: "" if value == 0 else f"{value:.1f}" if value < 99.95 else "100")(
        percent
    )
    figure, (axes,) = style.canvas(5.6)
    # With a square root, errors of one percent are visible beside a diagonal of ninety.
    sns.heatmap(
        percent,
        ax=axes,
        cmap="Blues",
        norm=PowerNorm(0.5, vmin=0, vmax=100),
        square=True,
        annot=texts if numbered else False,
        fmt="",
        annot_kws={"fontsize": 8},
        linewidths=0.6 if numbered else 0,
        linecolor="white",
        cbar_kws={"label": "percent of the row's images (square-root colour scale)", "shrink": 0.8},
    )
    axes.set_xticks([])
    axes.set_yticks([])
    if len(names) <= MOST_CLASSES:
        every = -(-len(names) // NAMED_CLASSES)
        ticks = [style.short(name, 14) for name in names[::every]]
        middle = np.arange(0, len(names), every) + 0.5
        axes.set_xticks(middle, ticks, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(middle, ticks, rotation=0, fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("actual class")
    caption = (
        "Rows: actual classes; columns: predicted ones. Cells off the diagonal are errors. "
        f"{of_runs(runs)}; each row adds up to 100 %; empty cells are 0."
    )
    errors = np.array(percent)
    np.fill_diagonal(errors, 0)
    if errors.max():
        actual, predicted = np.unravel_index(int(errors.argmax()), errors.shape)
        caption += (
            f" Most frequent error: {style.short(names[actual], 40)} predicted as "
            f"{style.short(names[predicted], 40)}, {percent[actual, predicted]:.1f} % of its images."
        )
    return style.to_picture(figure, "confusion", variant, caption)
