"""Tables: their columns, their numbers to the last bit, and the same bytes on every rebuild."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from harness.analysis.findings import analyse
from harness.analysis.results import read_results
from harness.report.tables import build_tables

Lab = Callable[..., Any]

COLUMNS = {
    "runs": "variant,seed,status,epochs,test_accuracy,test_loss,train_accuracy,best_test_accuracy,best_epoch,"
    "epochs_to_target,seconds_to_target,parameters,lr_min,lr_max,seconds,error",
    "history": "variant,seed,epoch,lr,train_loss,train_accuracy,test_loss,test_accuracy,"
    "train_seconds,eval_seconds,images_per_second",
    "summary": "variant,evaluated_on,runs,failed,test_accuracy_mean,test_accuracy_std,test_accuracy_sem,"
    "test_accuracy_ci_low,test_accuracy_ci_high,test_accuracy_min,test_accuracy_max,target,reached",
    "comparisons": "variant,baseline,test,n,difference,ci_low,ci_high,p,p_holm,effect_size,verdict",
    "ranking": "rank,variant,n,mean,std,behind,p,possible,changes",
    "references": "reference,published,runs,variant,n,difference,percentile,prediction_low,prediction_high,"
    "plausible",
    "calibration": "variant,seed,bin_low,bin_high,images,confidence,accuracy",
    "always_missed": "variant,runs,index,label,predicted,votes",
    "per_class": "variant,seed,class,images,correct,accuracy",
    "misclassified": "variant,seed,index,label,predicted,confidence",
    "range_test": "variant,iteration,lr,loss,smoothed_loss,accuracy,smoothed_accuracy",
    "learning_rates": "variant,iteration,epoch,lr",
    "model": "variant,layer,output_shape,parameters,bytes",
}  # fmt: skip


GREW = {"summary", "comparisons", "per_class", "references", "ranking"}


def build(lab: Any) -> dict[str, str]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return build_tables(analyse(results))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def full(lab: Lab) -> Any:
    """Two variants: one with two finished runs and a failed one, one with a finished run."""
    place = lab(variants={"no_cutout": {"augment.train": []}})
    place.finish("base", 0)
    place.finish("base", 1)
    place.fail("base", 2)
    place.finish("no_cutout", 0)
    place.sweep("base")
    return place


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_the_promised_ones(full: Any, name: str) -> None:
    header = build(full)[name].split("\n")[0]
    # the columns that were promised first; what came later stands after them
    assert header == COLUMNS[name] or (name in GREW and header.startswith(COLUMNS[name] + ","))


def test_tables_are_the_same_bytes_on_every_rebuild(full: Any) -> None:
    tables = build(full)
    assert build(full) == tables
    assert not any("\r" in text for text in tables.values())


def test_every_planned_run_has_a_row(full: Any) -> None:
    found = [(row["variant"], row["seed"], row["status"]) for row in rows(build(full)["runs"])]
    assert found == [
        ("base", "0", "finished"),
        ("base", "1", "finished"),
        ("base", "2", "failed"),
        ("no_cutout", "0", "finished"),
        ("no_cutout", "1", "missing"),
        ("no_cutout", "2", "missing"),
    ]


def test_numbers_are_unrounded_and_unknown_ones_empty(full: Any) -> None:
    finished, _, failed = rows(build(full)["runs"])[:3]
    metrics = full.folder.run("base", 0).record().metrics
    assert float(finished["test_loss"]) == metrics["test_loss"]
    assert finished["test_accuracy"] == repr(metrics["test_accuracy"])
    assert (failed["test_accuracy"], failed["epochs"]) == ("", "1")
    assert failed["error"] == "diverged: loss not finite (iteration 12)"


def test_the_summary_counts_failed_runs_and_describes_finished_ones(full: Any) -> None:
    base, other = rows(build(full)["summary"])
    values = [full.folder.run("base", seed).record().metrics["test_accuracy"] for seed in (0, 1)]
    assert (base["runs"], base["failed"], base["evaluated_on"]) == ("3", "1", "test")
    assert float(base["test_accuracy_mean"]) == pytest.approx(np.mean(values), rel=1e-15)
    assert float(base["test_accuracy_std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert int(base["reached"]) == sum(value >= 0.7 for value in values)
    assert (other["runs"], other["test_accuracy_std"], other["test_accuracy_ci_low"]) == ("1", "", "")


def test_per_class_counts_add_up_to_the_accuracy(full: Any) -> None:
    of_run = [row for row in rows(build(full)["per_class"]) if (row["variant"], row["seed"]) == ("base", "1")]
    assert [row["class"] for row in of_run] == [str(digit) for digit in range(10)]
    assert sum(int(row["images"]) for row in of_run) == 360
    accuracy = full.folder.run("base", 1).record().metrics["test_accuracy"]
    assert sum(int(row["correct"]) for row in of_run) / 360 == accuracy


def test_every_error_of_every_finished_run_is_listed(full: Any) -> None:
    found = rows(build(full)["misclassified"])
    for seed in (0, 1):
        with np.load(full.folder.run("base", seed).path / "predictions.npz") as arrays:
            logits, labels = arrays["logits"].astype(np.float64), arrays["labels"]
        wrong = np.flatnonzero(logits.argmax(1) != labels)
        mine = [row for row in found if (row["variant"], row["seed"]) == ("base", str(seed))]
        assert [int(row["index"]) for row in mine] == wrong.tolist()
        assert [int(row["label"]) for row in mine] == labels[wrong].tolist()
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert [float(row["confidence"]) for row in mine] == pytest.approx(softmax.max(1)[wrong], rel=1e-12)


def test_parameters_add_up_to_the_networks(full: Any) -> None:
    found = [row for row in rows(build(full)["model"]) if row["variant"] == "base"]
    assert found[0] == {
        "variant": "base", "layer": "prep.0", "output_shape": "4x32x32", "parameters": "108", "bytes": "432"
    }  # fmt: skip
    from harness.models import build_model
    from harness.models.summary import count_parameters

    assert sum(int(row["parameters"]) for row in found) == count_parameters(
        build_model("custom_resnet", {"width": 4}, 10)
    )


def test_rates_are_those_of_a_variants_first_finished_run(full: Any) -> None:
    found = rows(build(full)["learning_rates"])
    assert [row["variant"] for row in found] == ["base"] * 36 + ["no_cutout"] * 36
    assert (found[0]["iteration"], found[35]["epoch"], float(found[9]["lr"])) == ("1", "4", 0.1)


def test_an_empty_study_has_every_table_with_its_header(lab: Lab) -> None:
    tables = build(lab())
    assert set(tables) == set(COLUMNS)
    assert tables["calibration"] == COLUMNS["calibration"] + "\n"
    assert [row["status"] for row in rows(tables["runs"])] == ["missing"] * 3


# ---- every number again, by other code, from the tables and files that a reader has ------------------------


@pytest.fixture
def compared(lab: Lab) -> Any:
    """Three seeds of two variants, one a failed run, and a published number."""
    place = lab(
        variants={"no_cutout": {"augment.train": []}},
        references={"published": {"test_accuracy": 0.8, "runs": 2}},
    )
    for seed in range(3):
        place.finish("base", seed)
        if seed < 2:
            shifted = place.data.evaluation.labels
            noise = np.random.default_rng(seed).normal(size=(360, 10)) * 3
            place.finish("no_cutout", seed, logits=noise + 6 * np.eye(10)[shifted])
    place.fail("no_cutout", 2)
    return place


def logits_of(place: Any, variant: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(place.folder.run(variant, seed).path / "predictions.npz") as arrays:
        return arrays["logits"].astype(np.float64), arrays["labels"]


def test_comparisons_are_scipys_on_the_accuracies_of_runs_csv(compared: Any) -> None:
    tables = build(compared)
    (row,) = rows(tables["comparisons"])
    of = {
        variant: [float(run["test_accuracy"]) for run in rows(tables["runs"]) if run["variant"] == variant
                  and run["status"] == "finished"]
        for variant in ("base", "no_cutout")
    }  # fmt: skip
    paired = stats.ttest_rel(of["no_cutout"], of["base"][:2])
    welch = stats.ttest_ind(of["no_cutout"], of["base"], equal_var=False)
    assert (row["variant"], row["baseline"], row["test"], row["n"]) == ("no_cutout", "base", "paired t", "2")
    assert float(row["p"]) == float(row["p_holm"]) == pytest.approx(paired.pvalue, rel=1e-9)
    assert float(row["welch_p"]) == pytest.approx(welch.pvalue, rel=1e-9)
    interval = paired.confidence_interval()
    assert float(row["ci_low"]) == pytest.approx(
        max(interval.low, -1), rel=1e-9
    )  # as far as a difference goes
    assert float(row["ci_high"]) == pytest.approx(min(interval.high, 1), rel=1e-9)
    assert float(row["difference"]) == pytest.approx(
        np.mean(of["no_cutout"]) - np.mean(of["base"][:2]), rel=1e-9
    )
    assert float(row["smallest_p"]) == 0.5
    assert row["verdict"] == "cannot tell"


def test_the_summary_is_recomputed_from_runs_and_logits(compared: Any) -> None:
    base, other = rows(build(compared)["summary"])
    outputs = [logits_of(compared, "base", seed) for seed in range(3)]
    labels = outputs[0][1]
    probabilities = np.array([softmax(logits, axis=1) for logits, _ in outputs])
    right = np.array([logits.argmax(axis=1) == labels for logits, _ in outputs]).astype(float)
    expected = {
        "test_accuracy_median": np.median(right.mean(axis=1)),
        "noise_seeds": np.sqrt(right.var(axis=0, ddof=1).sum()) / 360,
        "noise_seeds_plug_in": np.sqrt((right.mean(axis=0) * (1 - right.mean(axis=0))).sum()) / 360,
        "variance_between_runs": (np.cov(right.T).sum() - np.trace(np.cov(right.T))) / 360 / 359,
        "noise_new_images": np.sqrt(right.mean() * (1 - right.mean()) / 360),
        "ensemble_accuracy": np.mean(probabilities.mean(axis=0).argmax(axis=1) == labels),
        "missed_by_every_seed": np.sum(right.sum(axis=0) == 0),
        "brier_mean": ((probabilities - np.eye(10)[labels]) ** 2).sum(axis=2).mean(),
        "images": 360,
    }
    found = {name: float(base[name]) for name in expected}
    assert found == pytest.approx(expected, rel=1e-9)
    interval = stats.binomtest(int(other["reached"]), 3).proportion_ci(0.95, "exact")
    assert (float(other["reached_low"]), float(other["reached_high"])) == pytest.approx(interval, rel=1e-9)
    assert base["bootstrap_low"] == ""  # three seeds are too few for it


def test_the_calibration_error_follows_from_the_table_of_bins(compared: Any) -> None:
    tables = build(compared)
    errors = []
    for seed in range(3):
        bins = [
            row for row in rows(tables["calibration"]) if (row["variant"], row["seed"]) == ("base", str(seed))
        ]
        images = np.array([int(row["images"]) for row in bins])
        gaps = np.abs([float(row["accuracy"]) - float(row["confidence"]) for row in bins])
        assert images.sum() == 360 and images.min() > 0
        errors.append((images * gaps).sum() / 360)
    assert float(rows(tables["summary"])[0]["ece_mean"]) == pytest.approx(np.mean(errors), rel=1e-9)


def test_images_that_every_seed_misses_are_listed_with_what_most_seeds_say(compared: Any) -> None:
    found = [row for row in rows(build(compared)["always_missed"]) if row["variant"] == "base"]
    outputs = [logits_of(compared, "base", seed) for seed in range(3)]
    predicted = np.array([logits.argmax(axis=1) for logits, _ in outputs])
    missed = np.flatnonzero((predicted != outputs[0][1]).all(axis=0))
    assert sorted(int(row["index"]) for row in found) == missed.tolist()
    assert len(found) > 0
    for row in found:
        votes = np.bincount(predicted[:, int(row["index"])])
        assert (int(row["votes"]), int(row["predicted"])) == (votes.max(), votes.argmax())
    assert [int(row["votes"]) for row in found] == sorted((int(row["votes"]) for row in found), reverse=True)


def test_per_class_intervals_are_exact(full: Any) -> None:
    for row in rows(build(full)["per_class"])[:10]:
        interval = stats.binomtest(int(row["correct"]), int(row["images"])).proportion_ci(0.95, "exact")
        assert (float(row["ci_low"]), float(row["ci_high"])) == pytest.approx(interval, abs=1e-12)


def test_a_variant_that_cannot_be_compared_has_a_row_that_says_nothing(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}})
    place.finish("base", 0)
    (row,) = rows(build(place)["comparisons"])
    assert (row["test"], row["n"], row["p"], row["verdict"]) == ("", "", "", "cannot tell")
