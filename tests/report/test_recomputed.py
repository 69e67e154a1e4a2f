"""Every number of every table again, from the runs' own files, by code that shares nothing with the report's.

Where the harness has its own arithmetic, scipy, statsmodels and scikit-learn answer here, or plain loops.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import stats
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
    top_k_accuracy_score,
)
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from harness.report.write import write_report

Row = dict[str, str]
Lab = Callable[..., Any]

TARGET = 0.55
SEEDS = {
    "base": [*range(52)],  # enough for the bootstrap
    "paired": [0, 1, 2, 3, 4],  # and a failed seed 5
    "close": [0, 1, 2],
    "apart": [100, 101],  # no seed of the baseline's
    "single": [7],
    "bad": [0, 1, 2, 3, 4, 5, 6, 7],  # of which seed 3 lies apart
}
BAD_SEED, MARGIN = 3, 0.02
FAILED = {"paired": 1}
LOST = 3  # runs of a variant that has no finished one
RESAMPLING = 20_230_401, 9_999  # the documented seed and number of every resampling
# What is no statistic of runs: attributions have their own independent recomputation.
ELSEWHERE = {"attributions", "variance_components", "pairing"}
TEXT = {
    "variant", "status", "error", "evaluated_on", "baseline", "test", "verdict", "reference", "plausible",
    "statistic", "class", "layer", "output_shape", "source", "possible", "changes", "worse_than",
    "failed_verdict", "margin_verdict",
    "lr_max_per", "metric", "better",
}  # fmt: skip


class Tables:
    """The written tables, which note what was checked in them."""

    def __init__(self, folder: Path) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.checked: set[tuple[str, str]] = set()
        for path in folder.glob("*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                self.rows[path.stem] = list(csv.DictReader(file))

    def of(self, table: str, variant: str) -> list[Row]:
        """A variant's rows."""
        return [row for row in self.rows[table] if row["variant"] == variant]

    def check(self, table: str, row: Row, **expected: Any) -> None:
        """Hold a row's cells against numbers; None is an empty cell."""
        for column, value in expected.items():
            self.checked.add((table, column))
            if value is None:
                assert row[column] == "", (table, column, row)
            else:
                found = float(row[column])
                assert found == pytest.approx(float(value), rel=1e-9, abs=1e-12), (table, column, row)

    def check_rows(self, table: str, rows: list[Row], expected: Iterable[dict[str, Any]]) -> None:
        """Hold all rows against as many dicts of numbers."""
        for row, values in zip(rows, expected, strict=True):
            self.check(table, row, **values)


class Runs:
    """What the run folders hold, read with numpy and json alone."""

    def __init__(self, folder: Path, variant: str) -> None:
        self.paths = [folder / f"runs/{variant}/seed-{seed}" for seed in SEEDS[variant]]
        found = [np.load(path / "predictions.npz") for path in self.paths]
        self.logits = [one["logits"].astype(np.float64) for one in found]
        self.labels = found[0]["labels"]
        self.shares = [softmax(logits, axis=1) for logits in self.logits]
        self.predicted = np.array([logits.argmax(axis=1) for logits in self.logits])
        self.correct = self.predicted == self.labels
        self.counts = [int(row.sum()) for row in self.correct]
        self.images = len(self.labels)
        self.accuracy = [count / self.images for count in self.counts]
        self.loss = [
            float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(self.images), self.labels]))
            for logits in self.logits
        ]
        every = [*range(10)]
        self.metrics: dict[str, list[float]] = {
            "accuracy": self.accuracy,
            "balanced_accuracy": [balanced_accuracy_score(self.labels, row) for row in self.predicted],
            "top5_accuracy": [
                top_k_accuracy_score(self.labels, one, k=5, labels=every) for one in self.logits
            ],
            "macro_f1": [f1_score(self.labels, row, average="macro") for row in self.predicted],
            "auroc": [roc_auc_score(self.labels, one, multi_class="ovr") for one in self.shares],
            "nll": self.loss,
        }
        self.history = [rows(path / "history.csv") for path in self.paths]
        self.reached = [
            next((int(row["epoch"]) for row in history if float(row["eval_accuracy"]) >= TARGET), None)
            for history in self.history
        ]
        self.records = [json.loads((path / "run.json").read_text()) for path in self.paths]

    def seconds(self, epochs: int | None = None) -> list[float]:
        """Seconds of training to the end of an epoch, or of everything."""
        if epochs is None:
            return [
                sum(float(row["train_seconds"]) + float(row["eval_seconds"]) for row in history)
                for history in self.history
            ]
        return [sum(float(row["train_seconds"]) for row in history[:epochs]) for history in self.history]


def rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def logits_of(labels: NDArray[np.int64], variant: str, seed: int) -> NDArray[np.float32]:
    """Logits that are right on some images more often than on others, and on a few never."""
    rng = np.random.default_rng([list(SEEDS).index(variant), seed])
    difficulty = np.linspace(0.2, 3.4, len(labels))
    difficulty[:4] = -9
    signal = np.zeros((len(labels), 10))
    shift = {"paired": 0.6, "apart": -0.2}.get(variant, 0.0) + rng.normal(0, 0.1)
    shift -= 2.0 * (variant == "bad" and seed == BAD_SEED)
    signal[np.arange(len(labels)), labels] = difficulty + shift
    return (signal + rng.normal(size=signal.shape)).astype(np.float32)


def clusters_of(images: int, variant: str) -> NDArray[np.int64] | None:
    """Return the images' clusters, of one to nine images, which two of the variants know."""
    sizes = np.random.default_rng(5).integers(1, 10, images)
    return np.repeat(np.arange(images), sizes)[:images] if variant in ("close", "apart") else None


@pytest.fixture(scope="module")
def place(shared_lab: Lab) -> Any:
    made = shared_lab(
        target={"accuracy": TARGET},
        seeds=[0],
        margin=MARGIN,
        variants={name: {"loss.label_smoothing": 0.1} for name in [*SEEDS, "lost"] if name != "base"},
        references={
            "paper": {"accuracy": 0.9, "source": "a paper"},
            "mean": {"accuracy": 0.56, "runs": 4, "source": "another"},
            "both": {"accuracy": 0.57, "statistic": "median", "at_least": 0.55, "count": 6, "runs": 9},
        },
    )
    labels = made.data.evaluation.labels
    for variant, seeds in SEEDS.items():
        for seed in seeds:
            # some reach the target early, some lose it again
            before = np.random.default_rng(seed).uniform(0.3, 0.65, 3).tolist()
            made.finish(variant, seed, logits=logits_of(labels, variant, seed), before=before,
                        clusters=clusters_of(len(labels), variant))  # fmt: skip
    made.fail("paired", 5)
    for seed in range(LOST):
        made.fail("lost", seed)
    made.sweep(peaks=(0.6, 0.7, 0.65))
    write_report(made.study, made.folder, [0], list(made.study.recipes), None)
    return made


@pytest.fixture(scope="module")
def tables(place: Any) -> Tables:
    return Tables(place.folder.tables)


@pytest.fixture(scope="module")
def runs(place: Any) -> dict[str, Runs]:
    return {variant: Runs(place.folder.path, variant) for variant in SEEDS}


# ---- by hand ----------------------------------------------------------------------------------------------


def spread(values: list[float], **names: str) -> dict[str, float | None]:
    """Statistics of values under their columns' names."""
    n = len(values)
    sem = stats.sem(values) if n > 1 else None
    low, high = stats.t.interval(0.95, n - 1, np.mean(values), sem) if sem else (None, None)
    known = {
        "mean": np.mean(values),
        "std": np.std(values, ddof=1) if n > 1 else None,
        "sem": sem,
        "low": None if low is None else max(low, 0),
        "high": None if high is None else min(high, 1),
        "min": min(values),
        "max": max(values),
        "median": np.median(values),
        "iqm": stats.trim_mean(values, 0.25),
    }
    return {column: known[what] for column, what in names.items()}


def median_time(reached: list[float], missed: int) -> float | None:
    """Of all runs, those that missed it being infinitely late."""
    median = float(np.median([*reached, *[np.finfo(float).max / 4] * missed]))
    return median if median < 1e100 else None


def bins(runs: Runs, at: int) -> Iterator[tuple[float, float, int, float, float]]:
    """(low, high, images, confidence, accuracy) of a run's 15 bins that hold an image."""
    sure = runs.shares[at].max(axis=1)
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = (sure > low) & (sure <= high)
        if inside.any():
            yield low, high, int(inside.sum()), sure[inside].mean(), runs.correct[at][inside].mean()


def two_sided(observed: int, totals: list[int]) -> float:
    """Twice the smaller tail of all arrangements' totals."""
    above = sum(total >= observed for total in totals) / len(totals)
    below = sum(total <= observed for total in totals) / len(totals)
    return min(1.0, 2 * min(above, below))


def fisher(failed: int, n: int, failed_baseline: int, n_baseline: int) -> float:
    """Two-sided: all tables of these margins that are no likelier than the one that was found."""
    whole, both = math.comb(n + n_baseline, n), failed + failed_baseline
    chances = [
        math.comb(both, count) * math.comb(n + n_baseline - both, n - count) / whole
        for count in range(max(0, both - n_baseline), min(n, both) + 1)
    ]
    found = math.comb(both, failed) * math.comb(n + n_baseline - both, n - failed) / whole
    return sum(chance for chance in chances if chance <= found * (1 + 1e-9))


def flagged(variant: str, accuracy: Sequence[float]) -> int | None:
    """The seed that lies apart by Grubbs's test at 5 %, by its p: Bonferroni over the seeds' t tests."""
    n, values = len(accuracy), np.array(accuracy)
    if n < 5:
        return None
    at = int(np.abs(values - values.mean()).argmax())
    # a value against the mean of the others, by their own std, is a t test with n - 2 degrees of freedom
    others = np.delete(values, at)
    t = abs(values[at] - others.mean()) / (np.std(others, ddof=1) * math.sqrt(n / (n - 1)))
    return SEEDS[variant][at] if 2 * n * stats.t.sf(t, n - 2) < 0.05 else None


def smallest(upper: float, n: int, alpha: float, paired: bool) -> float:
    """The difference with a power of 80 %."""
    return upper * float(
        brentq(lambda d: power(d, n, alpha, paired) - 0.8, 1e-3, 1e3, xtol=1e-14, rtol=1e-14)
    )


def power(effect: float, n: int, alpha: float, paired: bool) -> float:
    free, shift = (n - 1, math.sqrt(n)) if paired else (2 * n - 2, math.sqrt(n / 2))
    critical = stats.t.ppf(1 - alpha / 2, free)
    away = stats.nct(free, abs(effect) * shift)
    return float(np.nan_to_num(away.sf(critical)) + np.nan_to_num(away.cdf(-critical)))


# ---- the tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", SEEDS)
def test_runs(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine = runs[variant]
    found = [row for row in tables.of("runs", variant) if row["status"] == "finished"]
    assert [int(row["seed"]) for row in found] == SEEDS[variant]
    for at, row in enumerate(found):
        history, record = mine.history[at], mine.records[at]
        last = float(history[-1]["eval_accuracy"])
        epoch = mine.reached[at]
        tested = [float(row["eval_accuracy"]) for row in history]
        tables.check(
            "runs",
            row,
            seed=SEEDS[variant][at],
            epochs=len(history),
            accuracy=mine.accuracy[at],
            test_accuracy=mine.accuracy[at],
            loss=mine.loss[at],
            test_loss=mine.loss[at],
            ties=sum(np.sort(logits)[-1] == np.sort(logits)[-2] for logits in mine.logits[at]),
            **{name: values[at] for name, values in mine.metrics.items() if name != "accuracy"},
            train_accuracy=history[-1]["train_accuracy"],
            best_accuracy=max(tested),
            best_test_accuracy=max(tested),
            best_epoch=int(np.argmax(tested)) + 1,
            epochs_to_target=epoch,
            seconds_to_target=epoch and mine.seconds(epoch)[at],
            parameters=record["metrics"]["parameters"],
            lr_min=record["metrics"]["lr_min"],
            lr_max=record["metrics"]["lr_max"],
            seconds=mine.seconds()[at],
            raw_accuracy=history[-1]["raw_accuracy"] or None,
            raw_loss=history[-1]["raw_loss"] or None,
        )
        assert last == mine.accuracy[at]
        assert (row["flagged"] == "yes") == (SEEDS[variant][at] == flagged(variant, mine.accuracy))
    tables.checked.add(("runs", "flagged"))


@pytest.mark.parametrize(("table", "file"), [("history", "history.csv"), ("learning_rates",) * 2])
def test_rows_of_the_runs_are_theirs(
    place: Any, tables: Tables, runs: dict[str, Runs], table: str, file: str
) -> None:
    for variant, mine in runs.items():
        paths = mine.paths if table == "history" else mine.paths[:1]
        own = [
            {**row, "seed": path.name.removeprefix("seed-")}
            for path in paths
            for row in rows(path / Path(file).with_suffix(".csv"))
        ]
        numbers = ({name: cell or None for name, cell in row.items() if name != "variant"} for row in own)
        tables.check_rows(table, tables.of(table, variant), numbers)


def test_range_test(place: Any, tables: Tables) -> None:
    tables.check_rows(
        "range_test", tables.of("range_test", "base"), rows(place.folder.range_test_csv("base"))
    )
    choices = json.loads(place.folder.range_test_json("base").read_text())["choices"]
    for variant in SEEDS:  # each leaves its rates to a range test; one has left its files
        (row,) = tables.of("summary", variant)
        low, high = (min(choices), max(choices)) if variant == "base" else (None, None)
        assert row["lr_max_per"] == "variant"
        tables.check("summary", row, lr_max_low=low, lr_max_high=high)


@pytest.mark.parametrize("variant", SEEDS)
def test_summary(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine, (row,) = runs[variant], tables.of("summary", variant)
    n, failed, images = len(mine.accuracy), int(variant == "paired"), mine.images
    reached = sum(accuracy >= TARGET for accuracy in mine.accuracy)
    low, high = proportion_confint(reached, n + failed, method="beta")
    names = {"mean": "mean", "std": "std", "sem": "sem", "ci_low": "low", "ci_high": "high", "min": "min",
             "max": "max", "median": "median", "iqm": "iqm"}  # fmt: skip
    trained = [float(history[-1]["train_accuracy"]) for history in mine.history]
    tables.check(
        "summary",
        row,
        runs=n + failed,
        failed=failed,
        target=TARGET,
        reached=reached,
        reached_low=low,
        reached_high=high,
        parameters=mine.records[0]["metrics"]["parameters"],
        p_above_target=stats.ttest_1samp(mine.accuracy, TARGET, alternative="greater").pvalue
        if n > 1
        else None,
        ever_reached=sum(epoch is not None for epoch in mine.reached),
        flagged=flagged(variant, mine.accuracy),
        images=images,
        **spread(mine.accuracy, **{f"accuracy_{name}": what for name, what in names.items()}),
        **spread(mine.accuracy, **{f"test_accuracy_{name}": what for name, what in names.items()}),
        **spread(mine.accuracy, **{f"metric_{name}": what for name, what in list(names.items())[:7]}),
        **spread(mine.loss, loss_mean="mean", loss_std="std"),
        **spread(mine.loss, test_loss_mean="mean", test_loss_std="std"),
        **spread(trained, train_accuracy_mean="mean", train_accuracy_std="std"),
        **spread(mine.seconds(), seconds_mean="mean", seconds_std="std"),
    )
    bootstrap = None, None
    if n >= 50:
        seed, resamples = RESAMPLING
        bootstrap = stats.bootstrap(
            (np.sort(mine.accuracy),), np.mean, n_resamples=resamples, rng=np.random.default_rng(seed)
        ).confidence_interval
    tables.check("summary", row, bootstrap_low=bootstrap[0], bootstrap_high=bootstrap[1])


@pytest.mark.parametrize("variant", SEEDS)
def test_metrics(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    names = {"mean": "mean", "std": "std", "sem": "sem", "ci_low": "low", "ci_high": "high", "min": "min",
             "max": "max", "median": "median"}  # fmt: skip
    found = {row["metric"]: row for row in tables.of("metrics", variant)}
    assert list(found) == list(runs[variant].metrics)
    for name, values in runs[variant].metrics.items():
        expected = spread(values, **names)
        if name == "nll" and expected["ci_high"] is not None:  # no fraction: not cut
            low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
            expected |= {"ci_low": low, "ci_high": high}
        tables.check("metrics", found[name], **expected, n=len(values),
                     target=TARGET if name == "accuracy" else None)  # fmt: skip
        assert found[name]["better"] == ("lower" if name == "nll" else "higher")


def test_a_variant_that_only_failed_has_reached_nothing(tables: Tables) -> None:
    (row,) = tables.of("summary", "lost")
    low, high = proportion_confint(0, LOST, method="beta")
    tables.check("summary", row, runs=LOST, failed=LOST, reached=0, ever_reached=0, reached_low=low,
                 reached_high=high, test_accuracy_mean=None, epochs_to_target_median=None)  # fmt: skip


@pytest.mark.parametrize("variant", SEEDS)
def test_times_to_the_target(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine, (row,) = runs[variant], tables.of("summary", variant)
    reached: dict[str, list[float]] = {"epochs": [], "steps": [], "seconds": []}
    for at, (epoch, path) in enumerate(zip(mine.reached, mine.paths, strict=True)):
        if epoch:
            steps = sum(int(step["epoch"]) <= epoch for step in rows(path / "learning_rates.csv"))
            for unit, time in zip(reached, (epoch, steps, mine.seconds(epoch)[at]), strict=True):
                reached[unit].append(time)
    missed = mine.reached.count(None) + FAILED.get(variant, 0)
    for unit, times in reached.items():
        tables.check("summary", row, **{f"{unit}_to_target_median": median_time(times, missed)})


@pytest.mark.parametrize("variant", SEEDS)
def test_where_the_spread_comes_from(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine, (row,) = runs[variant], tables.of("summary", variant)
    n, images, mean = len(mine.accuracy), mine.images, float(np.mean(mine.accuracy))
    tables.check("summary", row, noise_new_images=math.sqrt(mean * (1 - mean) / images))
    names = ("noise_seeds", "noise_seeds_plug_in", "variance_between_runs", "p_luck", "error_consistency",
             "ensemble_accuracy", "missed_by_every_seed", "between_runs_low",
             "between_runs_high")  # fmt: skip
    if n == 1:
        tables.check("summary", row, **dict.fromkeys(set(names) - {"ensemble_accuracy"}))
    else:
        plug_in = sum(p * (1 - p) for p in mine.correct.mean(axis=0)) / images**2
        unbiased, measured = plug_in * n / (n - 1), np.var(mine.accuracy, ddof=1)
        ends = [
            ((n - 1) * measured / stats.chi2.ppf(level, n - 1) - unbiased) * images / (images - 1)
            for level in (0.975, 0.025)
        ]
        low, high = (None, None) if ends[1] < 0 else (math.sqrt(min(max(end, 0), 0.25)) for end in ends)
        kappas = [cohen_kappa_score(one, two) for one, two in itertools.combinations(mine.correct, 2)]
        tables.check(
            "summary",
            row,
            noise_seeds=math.sqrt(unbiased),
            noise_seeds_plug_in=math.sqrt(plug_in),
            variance_between_runs=images / (images - 1) * (measured - unbiased),
            p_luck=stats.chi2.sf((n - 1) * measured / unbiased, n - 1),
            between_runs_low=low,
            between_runs_high=high,
            error_consistency=np.mean(kappas),
            missed_by_every_seed=sum(not column.any() for column in mine.correct.T),
        )
    together = np.mean(np.mean(mine.shares, axis=0).argmax(axis=1) == mine.labels)
    tables.check("summary", row, ensemble_accuracy=together if n > 1 else row["ensemble_accuracy"] or None)


@pytest.mark.parametrize("variant", SEEDS)
def test_calibration(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine, (row,) = runs[variant], tables.of("summary", variant)
    found = [list(bins(mine, at)) for at in range(len(mine.accuracy))]
    ece = [sum(k * abs(right - sure) for _, _, k, sure, right in one) / mine.images for one in found]
    truth = np.eye(10)[mine.labels]
    brier = [float(((shares - truth) ** 2).sum(axis=1).mean()) for shares in mine.shares]
    tables.check(
        "summary",
        row,
        **spread(ece, ece_mean="mean", ece_std="std"),
        **spread(brier, brier_mean="mean", brier_std="std"),
    )
    columns = ("seed", "bin_low", "bin_high", "images", "confidence", "accuracy")
    expected = [
        dict(zip(columns, (seed, *values), strict=True))
        for seed, one in zip(SEEDS[variant], found, strict=True)
        for values in one
    ]
    tables.check_rows("calibration", tables.of("calibration", variant), expected)


def test_comparisons(tables: Tables, runs: dict[str, Runs]) -> None:
    base, p_values = runs["base"], {}
    found = {row["variant"]: row for row in tables.rows["comparisons"]}
    assert {name: row["test"] for name, row in found.items()} == {
        "paired": "paired t", "close": "paired t", "apart": "Welch t", "single": "McNemar",
        "bad": "paired t", "lost": "Fisher",
    }  # fmt: skip
    effects, failures = {}, {}
    for variant, row in found.items():
        failed, finished = FAILED.get(variant, 0), len(SEEDS.get(variant, []))
        if variant == "lost":
            failed = LOST
            p = fisher(LOST, LOST, 0, 52)
            tables.check("comparisons", row, n=LOST, n_baseline=52, p=p, difference=None, effect_size=None,
                         ci_low=None, ci_high=None, welch_p=None, permutation_p=None,
                         smallest_p=None)  # fmt: skip
        counts = (failed, failed + finished, 0, 52) if failed else (None,) * 4
        if failed:
            failures[variant] = fisher(*counts)
        names = ("failed", "failed_of", "failed_baseline", "failed_of_baseline")
        tables.check("comparisons", row, **dict(zip(names, counts, strict=True)),
                     failed_p=fisher(failed, failed + finished, 0, 52) if failed else None)  # fmt: skip
        if variant == "lost":
            continue
        mine = runs[variant]
        n = len(mine.accuracy)
        if variant == "single":
            only = [
                int((a & ~b).sum())
                for a, b in ((mine.correct[0], base.correct[7]), (base.correct[7], mine.correct[0]))
            ]
            seed, resamples = RESAMPLING
            shares = np.array([*only, mine.images - sum(only)]) / mine.images
            drawn = np.random.default_rng(seed).multinomial(mine.images, shares, size=resamples)
            low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / mine.images, [0.025, 0.975])
            p = mcnemar([[0, only[0]], [only[1], 0]], exact=True).pvalue
            difference, effect = (only[0] - only[1]) / mine.images, only[0] / sum(only) - 0.5
            tables.check("comparisons", row, n=1, n_baseline=1, welch_p=None, permutation_p=None,
                         smallest_p=None)  # fmt: skip
        elif variant == "apart":
            test = stats.ttest_ind(mine.accuracy, base.accuracy, equal_var=False)
            low, high = test.confidence_interval()
            p, difference = test.pvalue, float(np.mean(mine.accuracy) - np.mean(base.accuracy))
            effect = difference / math.sqrt(
                (np.var(mine.accuracy, ddof=1) + np.var(base.accuracy, ddof=1)) / 2
            )
            pool = mine.counts + base.counts
            totals = [sum(chosen) for chosen in itertools.combinations(pool, n)]
            tables.check("comparisons", row, n=n, n_baseline=52, welch_p=None,
                         permutation_p=two_sided(sum(mine.counts), totals),
                         smallest_p=2 / math.comb(n + 52, n))  # fmt: skip
        else:
            test = stats.ttest_rel(mine.accuracy, base.accuracy[:n])
            low, high = test.confidence_interval()
            gaps = [one - two for one, two in zip(mine.counts, base.counts, strict=False)]
            totals = [
                sum(sign * gap for sign, gap in zip(signs, gaps, strict=True))
                for signs in itertools.product((1, -1), repeat=n)
            ]
            p, difference = test.pvalue, float(np.mean(gaps)) / mine.images
            effect = float(np.mean(gaps) / np.std(gaps, ddof=1))
            welch = stats.ttest_ind(mine.accuracy, base.accuracy, equal_var=False).pvalue
            tables.check("comparisons", row, n=n, n_baseline=n, welch_p=welch,
                         permutation_p=two_sided(sum(gaps), totals), smallest_p=2 / 2**n)  # fmt: skip
        tables.check("comparisons", row, difference=difference, ci_low=low, ci_high=high, p=p,
                     effect_size=effect)  # fmt: skip
        p_values[variant], effects[variant] = p, effect
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    common = common_spread(runs, found)
    careful = {variant: common.get(variant, (0, 0, 0, p))[3] for variant, p in p_values.items()}
    also = multipletests(list(careful.values()), method="holm")[1]
    for variant, p, p_common in zip(p_values, corrected, also, strict=True):
        row = found[variant]
        tables.check("comparisons", row, p_holm=p, p_common=None if variant == "single" else p_common)
        told = max(p, p_common) <= 0.05 and variant != "single"
        assert row["verdict"] == (("better" if effects[variant] > 0 else "worse") if told else "cannot tell")
        if told or variant == "single":
            assert row["seeds_needed"] == ""
        else:
            alpha, needed = 0.05 / len(p_values), int(row["seeds_needed"])
            at, before = (power(effects[variant], n, alpha, variant != "apart") for n in (needed, needed - 1))
            assert before < 0.8 <= at
        tables.checked.add(("comparisons", "seeds_needed"))
    assert {row["verdict"] for row in found.values()} >= {"better", "cannot tell"}
    of_failures = multipletests(list(failures.values()), method="holm")[1]
    for (variant, _), p in zip(failures.items(), of_failures, strict=True):
        tables.check("comparisons", found[variant], failed_p_holm=p)
        assert found[variant]["failed_verdict"] == ("fails more often" if p <= 0.05 else "not shown")
    tables.check("comparisons", found["lost"], p_holm=of_failures[list(failures).index("lost")])
    assert found["lost"]["verdict"] == "worse"


def common_spread(
    runs: dict[str, Runs], variants: Iterable[str]
) -> dict[str, tuple[float, float, float, float]]:
    """Difference, error, degrees of freedom and p, with the median spread where that is larger."""
    own = {}
    base = np.array(runs["base"].accuracy)
    for variant in variants:
        if variant in ("single", "lost"):
            continue
        mine = np.array(runs[variant].accuracy)
        n = len(mine)
        if variant == "apart":
            test = stats.ttest_ind(mine, base, equal_var=False)
            difference, pairs = mine.mean() - base.mean(), stats.hmean([n, 52])
            error, free = difference / test.statistic, test.df
        else:
            gaps = mine - base[:n]
            difference, error, free, pairs = gaps.mean(), stats.sem(gaps), n - 1, n
        own[variant] = difference, error, free, pairs
    median = np.median([error * math.sqrt(pairs) for _, error, _, pairs in own.values()])
    found = {}
    for variant, (difference, error, free, pairs) in own.items():
        error = max(error, median / math.sqrt(pairs))
        found[variant] = difference, error, free, 2 * stats.t.sf(abs(difference) / error, free)
    return found


def test_what_stands_beside_a_comparison(tables: Tables, runs: dict[str, Runs]) -> None:
    rows_of = {row["variant"]: row for row in tables.rows["comparisons"]}
    common, base = common_spread(runs, rows_of), runs["base"].accuracy
    kinds: dict[str, list[float]] = {"p_equivalent": [], "p_not_worse": [], "p_better_by_margin": [],
                                     "p_worse_by_margin": []}  # fmt: skip
    for difference, error, free, _ in common.values():
        t = stats.t(free, difference, error)  # of the true difference, seen from the measured one
        kinds["p_not_worse"].append(t.cdf(-MARGIN))
        kinds["p_better_by_margin"].append(t.cdf(MARGIN))
        kinds["p_worse_by_margin"].append(t.sf(-MARGIN))
        kinds["p_equivalent"].append(max(t.cdf(-MARGIN), t.sf(MARGIN)))
    holm = {kind: multipletests(values, method="holm")[1] for kind, values in kinds.items()}
    for at, variant in enumerate(common):
        row, mine = rows_of[variant], runs[variant].accuracy
        p = {kind: float(values[at]) for kind, values in holm.items()}
        tables.check("comparisons", row, margin=MARGIN, **p)
        assert row["margin_verdict"] == (
            "better by at least the margin" if p["p_better_by_margin"] <= 0.025
            else "worse by at least the margin" if p["p_worse_by_margin"] <= 0.025
            else "equivalent" if p["p_equivalent"] <= 0.05
            else "not worse" if p["p_not_worse"] <= 0.025
            else "not shown"
        )  # fmt: skip
        n, alpha = len(mine), 0.05 / 5
        if variant == "apart":
            both = np.array(mine)[:, None] - np.array(base)
            share = np.mean((both > 1e-9) + (abs(both) < 1e-9) / 2)
            error = (share - 0.5) / stats.brunnermunzel(base, mine).statistic
            placed = [np.mean((np.array(base) < x) + (np.array(base) == x) / 2) for x in mine]
            others = [np.mean((np.array(mine) < x) + (np.array(mine) == x) / 2) for x in base]
            parts = np.var(placed, ddof=1) / n, np.var(others, ddof=1) / 52
            free = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / 51)
            logit, half = (
                math.log(share / (1 - share)),
                stats.t.ppf(0.975, free) * error / (share * (1 - share)),
            )
            low, high = (1 / (1 + math.exp(-end)) for end in sorted((logit - half, logit + half)))
            std = stats.ttest_ind(mine, base, equal_var=False)
            spread_of = (np.mean(mine) - np.mean(base)) / std.statistic * math.sqrt(stats.hmean([n, 52]) / 2)
            free = math.floor(std.df)
        else:
            gaps = np.array(mine) - np.array(base[:n])
            wins, ties = int((gaps > 1e-9).sum()), int((abs(gaps) < 1e-9).sum())
            share = (wins + ties / 2) / n
            low = proportion_confint(wins, n, method="beta")[0]
            high = proportion_confint(wins + ties, n, method="beta")[1]
            spread_of, free = np.std(gaps, ddof=1), n - 1
        upper = spread_of * math.sqrt(free / stats.chi2.ppf(0.2, free))
        tables.check("comparisons", row, probability_better=share, probability_low=low, probability_high=high,
                     smallest_difference=smallest(upper, n, alpha, variant != "apart"),
                     flagged=flagged(variant, mine), flagged_baseline=flagged("base", base))  # fmt: skip
        if variant == "bad":
            left = [at for at, seed in enumerate(SEEDS["bad"]) if seed != BAD_SEED]
            gaps = np.array(mine)[left] - np.array(base)[left]
            tables.check("comparisons", row, difference_without=gaps.mean(),
                         p_without=stats.ttest_1samp(gaps, 0).pvalue)  # fmt: skip
        else:
            tables.check("comparisons", row, difference_without=None, p_without=None)
    assert flagged("bad", runs["bad"].accuracy) == BAD_SEED and flagged("base", base) is None


def test_what_holds_at_any_n(tables: Tables, runs: dict[str, Runs]) -> None:
    needed = 20.0 * len(tables.rows["comparisons"])
    for row in tables.rows["comparisons"]:
        tested = row["test"] in ("paired t", "Welch t")
        assert row["answer"] == ("fixed n" if tested else "")
        tables.checked.add(("comparisons", "answer"))
        tables.check("comparisons", row, look_t=None, look_t_needed=None, failed_e_value=None,
                     e_needed=needed if tested else None)  # fmt: skip
        if row["test"] != "paired t":
            tables.check("comparisons", row, e_value=None, all_looks_low=None, all_looks_high=None)
            continue
        one, base = runs[row["variant"]], runs["base"]
        of_base = dict(zip(SEEDS["base"], base.accuracy, strict=True))
        gaps = [ours - of_base[seed] for seed, ours in zip(SEEDS[row["variant"]], one.accuracy, strict=True)]
        n = len(gaps)

        def e_value(mean: float, gaps: list[float] = gaps, n: int = n) -> float:
            squared = (stats.ttest_1samp(gaps, mean).statistic ** 2) / (n - 1)
            return float((1 + n) ** -0.5 * ((1 + squared) / (1 + squared / (1 + n))) ** (n / 2))

        tables.check("comparisons", row, e_value=e_value(0.0))
        mean = float(np.mean(gaps))
        ends = [
            float(brentq(lambda end: e_value(end) - 20, mean + side * 1e-9, side, xtol=1e-14, rtol=1e-14))
            if e_value(side) > 20 else side
            for side in (-1.0, 1.0)
        ]  # fmt: skip
        tables.check("comparisons", row, all_looks_low=ends[0], all_looks_high=ends[1])


def test_ranking(tables: Tables, runs: dict[str, Runs]) -> None:
    order = sorted(runs, key=lambda variant: -np.mean(runs[variant].accuracy))
    best = np.mean(runs[order[0]].accuracy)
    *finished, lost = tables.rows["ranking"]
    assert (lost["variant"], lost["possible"], lost["worse_than"]) == ("lost", "no", "base")
    tables.check("ranking", lost, rank=len(order) + 1, n=0, mean=None, std=None, behind=None, p=None,
                 failed=LOST)  # fmt: skip
    rivals = {variant: dict[str, float]() for variant in order}
    tests = {
        pair: _difference(runs, *pair) for pair in itertools.combinations(order, 2) if "single" not in pair
    }
    median = np.median([error * math.sqrt(pairs) for _, error, _, pairs in tests.values()])
    compared = {row["variant"]: row for row in tables.rows["comparisons"]}
    for (one, other), (difference, error, free, pairs) in tests.items():
        if "base" in (one, other):
            row = compared[other if one == "base" else one]
            p = max(float(row["p_holm"]), float(row["p_common"]))
        else:
            error = max(error, median / math.sqrt(pairs))
            p = min(1.0, 4 * 2 * stats.t.sf(abs(difference) / error, free))  # five have several runs
        winner, loser = (one, other) if difference > 0 else (other, one)
        rivals[loser][winner] = p
    for rank, (variant, row) in enumerate(zip(order, finished, strict=True), start=1):
        accuracy, against = runs[variant].accuracy, rivals[variant]
        assert row["variant"] == variant
        tables.check("ranking", row, rank=rank, n=len(accuracy), mean=np.mean(accuracy),
                     std=np.std(accuracy, ddof=1) if len(accuracy) > 1 else None,
                     behind=best - np.mean(accuracy), p=min(against.values(), default=None),
                     failed=FAILED.get(variant, 0))  # fmt: skip
        assert set(row["worse_than"].split()) == {name for name, p in against.items() if p <= 0.05}
        assert row["possible"] == ("no" if row["worse_than"] else "yes")
    assert {row["possible"] for row in finished} == {"yes", "no"}


def _difference(runs: dict[str, Runs], one: str, other: str) -> tuple[float, float, float, float]:
    """Difference of means, its error and degrees of freedom, and the number of pairs."""
    first, second = (dict(zip(SEEDS[name], runs[name].accuracy, strict=True)) for name in (one, other))
    shared = sorted(first.keys() & second.keys())
    if len(shared) > 1:
        gaps = [first[seed] - second[seed] for seed in shared]
        return float(np.mean(gaps)), float(stats.sem(gaps)), len(gaps) - 1, len(gaps)
    test = stats.ttest_ind(list(first.values()), list(second.values()), equal_var=False)
    difference = float(np.mean(list(first.values())) - np.mean(list(second.values())))
    return difference, difference / test.statistic, test.df, stats.hmean([len(first), len(second)])


def _standard_errors(tables: Sequence[NDArray[Any]], groups: list[NDArray[np.intp]]) -> dict[str, Any]:
    """Of the mean of one recipe's answers, or of the difference of two with other seeds, by definition."""
    images, count = tables[0].shape[1], len(groups)

    def clustered(values: NDArray[np.float64]) -> float:
        excess = values - values.mean()
        return sum(excess[group].sum() ** 2 for group in groups) * count / (count - 1) / images**2

    shares = [table.mean(axis=0) for table in tables]
    over_images = clustered(shares[0] - (shares[1] if len(tables) > 1 else 0))
    found: dict[str, Any] = {"se_images": math.sqrt(over_images)}
    if len(tables[0]) == 1:
        return found
    seeds = [stats.sem(table.mean(axis=1)) ** 2 for table in tables]
    rests = []
    for table in tables:
        residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        rests.append(sum(clustered(row) for row in residual) / len(table) / (len(table) - 1))
    both = max(sum(seeds), sum(rests)) + max(over_images, sum(rests)) - sum(rests)
    terms = [over_images**2 / (count - 1)]
    for table, seed, rest in zip(tables, seeds, rests, strict=True):
        terms += [seed**2 / (len(table) - 1), rest**2 / (len(table) - 1) / (count - 1)]
    free = both**2 / sum(terms)
    mean = tables[0].mean() - (tables[1].mean() if len(tables) > 1 else 0)
    low, high = stats.t.interval(0.95, free, mean, math.sqrt(both))
    found |= {"se_seeds": math.sqrt(sum(seeds)), "se_both": math.sqrt(both), "df": free, "low": low,
              "high": high}  # fmt: skip
    if len(tables) == 1:
        n = len(tables[0])
        found |= {"var_seeds": n * (seeds[0] - rests[0]), "var_images": images * (over_images - rests[0]),
                  "var_residual": n * images * rests[0]}  # fmt: skip
    return found


def test_noise(tables: Tables, runs: dict[str, Runs]) -> None:
    assert [(row["variant"], row["baseline"]) for row in tables.rows["noise"]] == [
        *((variant, "") for variant in SEEDS),
        *((variant, "base") for variant in SEEDS if variant != "base"),
    ]
    empty = dict.fromkeys(
        ("se_seeds", "se_both", "df", "low", "high", "var_seeds", "var_images", "var_residual")
    )
    for row in tables.rows["noise"]:
        variant = row["variant"]
        mine, base = runs[variant].correct.astype(float), runs["base"].correct.astype(float)
        images, other = runs[variant].images, None
        clusters = clusters_of(images, variant)
        places = np.arange(images) if clusters is None else clusters
        groups = [np.flatnonzero(places == one) for one in np.unique(places)]
        compared, mean = [mine], mine.mean()
        if row["baseline"] and variant == "apart":
            compared, other, mean = [mine, base], 52, mine.mean() - base.mean()
        elif row["baseline"]:
            compared = [mine - base[SEEDS[variant]]]
            mean = compared[0].mean()
        tables.check("noise", row, n=len(mine), n_baseline=other, images=images, clusters=len(groups),
                     mean=mean, **(empty | _standard_errors(compared, groups)))  # fmt: skip
        if not row["baseline"]:
            (summary,) = tables.of("summary", variant)
            found = empty | _standard_errors(compared, groups)
            tables.check(
                "summary", summary, **{name: found[name] for name in ("se_seeds", "se_images", "se_both")}
            )


PUBLISHED = {
    ("paper", "mean"): (0.9, 1),
    ("mean", "mean"): (0.56, 4),
    ("both", "median"): (0.57, 9),
    ("both", "share"): (6 / 9, 9),
}


def test_references(place: Any, tables: Tables, runs: dict[str, Runs]) -> None:
    found = tables.rows["references"]
    p_values: dict[int, float] = {}
    for at, row in enumerate(found):
        published, among = PUBLISHED[row["reference"], row["statistic"]]
        accuracies = [] if row["variant"] == "lost" else runs[row["variant"]].accuracy
        n = len(accuracies)
        low = high = percentile = at_least = p = None
        if row["statistic"] == "share":
            at_least, n = 0.55, n + {**FAILED, "lost": LOST}.get(row["variant"], 0)
            reached = sum(accuracy >= 0.55 for accuracy in accuracies)
            measured = reached / n
            shares = [count / 9 for count in range(10) if _alike(reached, n, count, 9) > 0.025]
            low, high = min(shares), max(shares)
            p = min(1.0, 2 * _alike(reached, n, 6, 9))
        else:
            measured = float((np.median if row["statistic"] == "median" else np.mean)(accuracies))
            if n > 1:
                if among == 1:
                    percentile = stats.percentileofscore(accuracies, published, kind="mean") / 100
                part = 1 / among if row["statistic"] == "mean" else math.pi / 2 / (among + math.pi / 2 - 1)
                error = np.std(accuracies, ddof=1) * math.sqrt(part + 1 / n)
                low, high = np.clip(stats.t.interval(0.95, n - 1, np.mean(accuracies), error), 0, 1)
                p = 2 * stats.t.sf(abs(published - np.mean(accuracies)) / error, n - 1)
        if p is not None:
            p_values[at] = p
        tables.check("references", row, published=published, runs=among, n=n, at_least=at_least, p=p,
                     measured=measured, difference=published - measured, percentile=percentile,
                     prediction_low=low, prediction_high=high)  # fmt: skip
    corrected = dict(zip(p_values, multipletests(list(p_values.values()), method="holm")[1], strict=True))
    for at, row in enumerate(found):
        tables.check("references", row, p_holm=corrected.get(at))
        assert row["plausible"] == ("" if at not in corrected else "yes" if corrected[at] > 0.05 else "no")
    assert {row["plausible"] for row in found} == {"yes", "no", ""}
    assert len(found) == 4 * len(SEEDS) + 1  # a variant that only failed has the share


def _alike(ours: int, n: int, theirs: int, among: int) -> float:
    """The smaller p of Fisher's one-sided tests of two shares."""
    table = [[ours, n - ours], [theirs, among - theirs]]
    return float(min(stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")))


@pytest.mark.parametrize("variant", SEEDS)
def test_classes_and_errors(place: Any, tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine, per_class, missed = runs[variant], [], []
    for seed, predicted, shares in zip(SEEDS[variant], mine.predicted, mine.shares, strict=True):
        for label in range(10):
            right = predicted[mine.labels == label] == label
            low, high = proportion_confint(right.sum(), len(right), method="beta")
            per_class.append({"seed": seed, "images": len(right), "correct": right.sum(),
                              "accuracy": right.mean(), "ci_low": low, "ci_high": high})  # fmt: skip
        for index in np.flatnonzero(predicted != mine.labels):
            missed.append({"seed": seed, "index": index, "label": mine.labels[index],
                           "predicted": predicted[index], "confidence": shares[index].max()})  # fmt: skip
    found = tables.of("per_class", variant)
    assert [row["class"] for row in found] == list(place.data.train.classes) * len(SEEDS[variant])
    tables.check_rows("per_class", found, per_class)
    tables.check_rows("misclassified", tables.of("misclassified", variant), missed)


@pytest.mark.parametrize("variant", SEEDS)
def test_images_that_every_seed_misses(tables: Tables, runs: dict[str, Runs], variant: str) -> None:
    mine, expected = runs[variant], []
    for index in np.flatnonzero(~mine.correct.any(axis=0)):
        votes = np.bincount(mine.predicted[:, index], minlength=10)
        expected.append({"runs": len(mine.accuracy), "index": index, "label": mine.labels[index],
                         "predicted": votes.argmax(), "votes": votes.max()})  # fmt: skip
    expected.sort(key=lambda row: (-row["votes"], row["index"]))
    tables.check_rows(
        "always_missed", tables.of("always_missed", variant), expected if variant != "single" else []
    )


def test_parameters(tables: Tables, runs: dict[str, Runs]) -> None:
    weights = load_file(runs["base"].paths[0] / "model.safetensors")
    trainable = {
        name: array for name, array in weights.items() if "running" not in name and "num_" not in name
    }
    for row in tables.of("model", "base"):
        size = sum(array.size for name, array in trainable.items() if name.startswith(f"{row['layer']}."))
        tables.check("model", row, parameters=size, bytes=4 * size, frozen=0)
    total = sum(int(row["parameters"]) for row in tables.of("model", "base"))
    assert total == sum(array.size for array in trainable.values())


def test_no_number_is_left_unchecked(tables: Tables, request: pytest.FixtureRequest) -> None:
    """Runs last: every numeric column of every table was held against a recomputation above."""
    chosen = {item.originalname for item in request.session.items if item.path == request.path}  # type: ignore[attr-defined]
    workers = getattr(request.config, "workerinput", {"workercount": 1})["workercount"]
    if workers > 1 or chosen != {name for name in globals() if name.startswith("test_")}:
        pytest.skip("takes all tests of this file in one process")
    numeric = {
        (table, column)
        for table, found in tables.rows.items()
        if table not in ELSEWHERE
        for row in found
        for column, cell in row.items()
        if cell and column not in TEXT
    }
    assert numeric - tables.checked == set()
