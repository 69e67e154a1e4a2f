"""Spread of a found LRMAX and its cost in accuracy, by rule and number of sweeps.

``python -m benchmarks.range_test_spread STUDY --out DIR`` records sweeps that differ only in their seed, and
runs over a grid of rates, and prints the tables of docs/range-test.md. What is in DIR is not recorded again:
settings are added one by one, by ``--precision float32`` or ``OMP_NUM_THREADS=2``. ``--sweeps 0 --seeds 0``
prints alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from benchmarks.markdown import table
from harness.console import open_streams
from harness.device import threads_for
from harness.errors import HarnessError
from harness.plan import Variant, resolve_variant
from harness.runner import LoadedData
from harness.schedule import Rates
from harness.store.atomic import atomic_write
from harness.store.folders import StudyFolder
from harness.study_file.load import load_study
from harness.training.progress import silent
from harness.training.range_test.choice import CRITERIA
from harness.training.range_test.sweep import Sweep, sweep_variant
from harness.training.run import execute

Array = NDArray[np.float64]
NEAR = 0.25  # the goal: a found rate within 25 % of the median
REPEATS = (1, 3, 5)
DRAWS = 400  # of so many sweeps, from those recorded


# ---- the rules: a sweep -> LRMAX ---------------------------------------------------------------------------


def by_accuracy(share: float) -> Callable[[Sweep], float]:
    """Return the rule of the peak of the accuracy, smoothed by a Gaussian over a share of the sweep."""

    def rule(sweep: Sweep) -> float:
        smoothed = gaussian_filter1d(sweep.accuracy, max(1.0, share * len(sweep.lr)), mode="reflect")
        return float(sweep.lr[np.argmax(smoothed)])

    return rule


def plateau(sweep: Sweep) -> float:
    """Return the smallest rate whose smoothed accuracy is within a batch's standard deviation of the best."""
    smoothed = sweep.smoothed_accuracy
    at = int(np.argmax(smoothed))
    noise = (sweep.accuracy - smoothed)[max(0, at - 20) : at + 20].std()
    return float(sweep.lr[np.flatnonzero(smoothed >= smoothed[at] - noise)[0]])


def criterion(name: str) -> Callable[[Sweep], float]:
    """Return a criterion of the study file as a rule."""
    return lambda sweep: float(sweep.lr[CRITERIA[name](sweep)])


def between(one: Callable[[Sweep], float], other: Callable[[Sweep], float]) -> Callable[[Sweep], float]:
    """Return the geometric mean of two rules."""
    return lambda sweep: float(np.sqrt(one(sweep) * other(sweep)))


RULES: dict[str, Callable[[Sweep], float]] = {
    **{name: criterion(name) for name in CRITERIA},
    **{f"accuracy, smoothed by 1/{share}": by_accuracy(1 / share) for share in (20, 12, 8)},
    "plateau": plateau,
    "accuracy and valley": between(criterion("accuracy"), criterion("valley")),
}


def mean_curve(sweeps: Sequence[Sweep]) -> Sweep:
    """Return the mean of sweeps over the steps that all have."""
    steps = min(len(sweep.lr) for sweep in sweeps)
    loss, accuracy = (
        np.mean([getattr(sweep, name)[:steps] for sweep in sweeps], axis=0) for name in ("loss", "accuracy")
    )
    return Sweep(sweeps[0].lr[:steps], loss, accuracy, any(sweep.diverged for sweep in sweeps))


# ---- recording ---------------------------------------------------------------------------------------------


def read(file: Path) -> list[dict[str, Any]]:
    """Read the records; none without a file."""
    content: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.is_file() else []
    return content


def record_sweeps(variant: Variant, data: Any, file: Path, seeds: int, threads: int) -> None:
    """Record the sweeps of the seeds that are not in the file yet."""
    done, settings = read(file), variant.recipe.range_test_settings
    assert settings is not None
    for seed in sorted(set(range(seeds)) - {one["seed"] for one in done}):
        own = settings.model_copy(update={"seed": seed})
        sweep = sweep_variant(variant, data, own, threads=threads, say=silent)
        curves = {name: getattr(sweep, name).tolist() for name in ("lr", "loss", "accuracy")}
        done.append({"seed": seed, **curves, "diverged": sweep.diverged})
        atomic_write(file, json.dumps(done))


def record_grid(
    variant: Variant, data: Any, file: Path, rates: Sequence[float], seeds: int, threads: int
) -> None:
    """Record the accuracy of runs with each of the rates, of the seeds that are not in the file yet."""
    done, settings = read(file), variant.recipe.range_test_settings
    assert settings is not None
    there = {(one["seed"], one["rate"]) for one in done}
    for seed, rate in [(seed, rate) for seed in range(seeds) for rate in rates]:
        if (seed, rate) in there:
            continue
        with tempfile.TemporaryDirectory() as out:
            run = StudyFolder(Path(out), variant.study).run(variant.name, seed)
            run.path.mkdir(parents=True)
            own = Rates(rate / settings.lr_min_divisor, rate)
            ended = execute(variant, run, data, own, threads=threads, say=silent)
        done.append({"seed": seed, "rate": rate, "accuracy": ended.metrics.get("accuracy")})
        atomic_write(file, json.dumps(done))


# ---- the tables --------------------------------------------------------------------------------------------


def as_sweep(one: dict[str, Any]) -> Sweep:
    """Return a recorded sweep."""
    lr, loss, accuracy = (np.array(one[name]) for name in ("lr", "loss", "accuracy"))
    return Sweep(lr, loss, accuracy, one["diverged"])


def median(rates: Sequence[float] | Array) -> float:
    """Return the median over log(rate)."""
    return float(np.exp(np.median(np.log(rates))))


def grid_means(file: Path) -> tuple[Array, Array, Array]:
    """Return the rates of the grid, with mean and std of the accuracies; of a diverged run that is 0."""
    by_rate: dict[float, list[float]] = defaultdict(list)
    for one in read(file):
        by_rate[one["rate"]].append(one["accuracy"] or 0.0)
    rates = sorted(by_rate)
    return (
        np.array(rates),
        np.array([np.mean(by_rate[rate]) for rate in rates]),
        np.array([np.std(by_rate[rate], ddof=1) if len(by_rate[rate]) > 1 else np.nan for rate in rates]),
    )


def spread_table(settings: dict[str, list[Sweep]], grid: Path) -> str:
    """Compare the rules: how near their LRMAX are to each other, and their loss against the best rate."""
    rates, means, _ = grid_means(grid)
    rng, lines = np.random.default_rng(0), []
    for name, rule in RULES.items():
        found = {where: np.array([rule(sweep) for sweep in sweeps]) for where, sweeps in settings.items()}
        middle = median(np.concatenate(list(found.values())))
        near, lost = [], []
        for repeats in REPEATS:
            draws = [
                median(rng.choice(each, repeats, replace=False))
                for each in found.values()
                for _ in range(DRAWS)
            ]
            near.append(f"{100 * np.mean(np.abs(np.array(draws) / middle - 1) <= NEAR):.0f}")
            if len(rates):
                accuracy = np.interp(np.log(draws), np.log(rates), means)
                lost.append(f"{100 * (means.max() - accuracy).mean():.2f}")
        curves = [
            rule(mean_curve([sweeps[at] for at in rng.choice(len(sweeps), 3, replace=False)]))
            for sweeps in settings.values()
            for _ in range(DRAWS // 4)
        ]
        on_mean = f"{100 * np.mean(np.abs(np.array(curves) / median(curves) - 1) <= NEAR):.0f}"
        each = ", ".join(f"{median(one):.4f}" for one in found.values())
        lines.append([name, each, *near, on_mean, *lost])
    header = [
        "rule", f"median LRMAX: {', '.join(settings)}", *(f"within 25 %, {k} sweeps" for k in REPEATS),
        "of the mean of 3 curves", *([f"lost, {k} sweeps" for k in REPEATS] if len(rates) else []),
    ]  # fmt: skip
    return table(header, lines)


def grid_table(grid: Path) -> str:
    """Return the accuracies over the grid, in percent and points."""
    rows = [
        [f"{rate:g}", f"{100 * mean:.2f}", f"{100 * std:.2f}"]
        for rate, mean, std in zip(*grid_means(grid), strict=True)
    ]
    return table(["LRMAX", "mean accuracy, %", "std over seeds, points"], rows)


def main() -> None:
    """Record the missing runs, and print the tables."""
    open_streams()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sweeps", type=int, default=40, help="seeds of the sweeps")
    parser.add_argument("--rates", default="", help="of the grid, such as 0.01,0.02,0.04")
    parser.add_argument("--seeds", type=int, default=8, help="of the grid's runs")
    given = parser.parse_args()
    try:
        study = load_study(given.study, settings=given.set, precision=given.precision)
        threads = threads_for(1)
        grid = given.out / "grid.json"
        if given.sweeps or (given.seeds and given.rates):
            data = LoadedData(given.data)(study.recipes["base"])
            variant = resolve_variant(study, "base", data)
            name = f"sweeps {given.precision}, {threads} thread{'s' * (threads > 1)}.json"
            record_sweeps(variant, data, given.out / name, given.sweeps, threads)
            rates = [float(rate) for rate in given.rates.split(",") if rate]
            record_grid(variant, data, grid, rates, given.seeds, threads)
    except HarnessError as error:
        sys.exit(f"error: {error}")
    settings = {
        file.stem.removeprefix("sweeps "): [as_sweep(one) for one in read(file)]
        for file in sorted(given.out.glob("sweeps *.json"))
    }
    counts = "; ".join(f"{where}: {len(sweeps)} sweeps" for where, sweeps in settings.items())
    print(f"{counts}\n\n{spread_table(settings, grid)}")
    if grid.is_file():
        print(f"\n{grid_table(grid)}")


if __name__ == "__main__":
    main()
