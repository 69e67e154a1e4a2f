"""Does the range test find a good LRMAX? Accuracy against LRMAX on a grid, each criterion's choice marked.

``python -m benchmarks.range_test_on_trial OUT/lr_grid`` reads a finished study with several LRMAX, one of
them found, and writes ``figures/range_test_on_trial.png`` into its folder.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from harness.analysis.results import Results, read_results
from harness.console import open_streams
from harness.errors import HarnessError, RunError
from harness.report.figures.style import COLOURS, as_percent, as_plain, canvas, house_style, to_png
from harness.store.atomic import atomic_write
from harness.store.folders import StudyFolder
from harness.study_file.load import load_study
from harness.study_file.schedules import RangeTest
from harness.training.range_test.choice import CRITERIA, choose_together
from harness.training.range_test.sweep import Sweep


def choices(results: Results) -> dict[str, float]:
    """Return the LRMAX that each criterion reads from the study's range test.

    Raises:
        RunError: the study has none, or more than one.
    """
    if len(results.range_tests) != 1:
        raise RunError(f"{results.study.name}: {len(results.range_tests)} range tests; one is put on trial")
    (found,) = results.range_tests.values()
    settings = {key: found.record[key] for key in RangeTest.model_fields if key in found.record}
    sweeps = []
    for rows in found.sweeps:
        lrs, losses, accuracies = (
            np.array([row[name] for row in rows], np.float64) for name in ("lr", "loss", "accuracy")
        )
        sweeps.append(Sweep(lrs, losses, accuracies, diverged=found.record["diverged"]))
    return {
        criterion: choose_together(sweeps, RangeTest(**{**settings, "criterion": criterion})).rates.lr_max
        for criterion in CRITERIA
    }


def draw(results: Results) -> bytes:
    """Draw the figure, as PNG."""
    by_rate = defaultdict(list)
    for run in results.finished:
        by_rate[run.number("lr_max") or 0.0].append(run.number("accuracy") or 0.0)
    rates = sorted(by_rate)
    means = [float(np.mean(by_rate[rate])) for rate in rates]
    with house_style():
        figure, (axes,) = canvas(3.6)
        axes.plot(rates, means, color=COLOURS[0], label="mean over seeds", zorder=2)
        for rate in rates:
            axes.plot(
                [rate] * len(by_rate[rate]), by_rate[rate], "o", ms=5, color=COLOURS[0], alpha=0.6, zorder=3
            )
        for place, (criterion, rate) in enumerate(choices(results).items()):
            style = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))[place]
            axes.axvline(rate, color=COLOURS[1 + place], ls=style, lw=1.8, label=f"{criterion}: {rate:.3g}")
        axes.set_xscale("log")
        as_plain(axes.xaxis)
        as_percent(axes.yaxis)
        split = "hold-out" if results.study.data.holdout else "test"
        axes.set_xlabel("LRMAX (log)")
        axes.set_ylabel(f"{split} accuracy of the last epoch, percent")
        figure.legend(loc="outside lower center", ncols=5)
        return to_png(figure)


def main() -> None:
    """Read the named study, draw and write the figure."""
    open_streams()
    if len(sys.argv) != 2:
        sys.exit("error: name one study folder: python -m benchmarks.range_test_on_trial OUT/lr_grid")
    folder = Path(sys.argv[1]).resolve()
    try:
        study = load_study(str(folder / "study.toml"))
        file = folder / "figures" / "range_test_on_trial.png"
        atomic_write(file, draw(read_results(study, StudyFolder(folder.parent, folder.name), (), ())))
    except HarnessError as error:
        sys.exit(f"error: {error}")
    print(file)


if __name__ == "__main__":
    main()
