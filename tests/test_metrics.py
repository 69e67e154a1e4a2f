"""The metrics of a run's logits, against scikit-learn's on random and degenerate images, and a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from sklearn import metrics as sk

from harness.errors import RunError, StudyError
from harness.imports import ALLOWED, FOLDERS, allow
from harness.metrics import METRICS, _classification, check_metrics, measure, metric_of

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


def images(n: int = 400, classes: int = 7, seed: int = 0, signal: float = 1.0) -> Arrays:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += signal
    return logits.astype(np.float32), labels


def values(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    found, failed = measure(logits, labels, METRICS.values())
    assert not failed
    return found


def by_hand(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """By scikit-learn; AUROC as the mean over the classes that have images, and others."""
    predicted, classes = logits.argmax(axis=1), logits.shape[1]
    exact = logits.astype(np.float64)
    shares = softmax(exact, axis=1)
    present = np.unique(labels)
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": sk.recall_score(labels, predicted, labels=present, average="macro"),
        "macro_f1": sk.f1_score(labels, predicted, average="macro"),
        "nll": float(np.mean(logsumexp(exact, axis=1) - exact[np.arange(len(labels)), labels])),
    }
    if classes > 5:
        order = np.argsort(-logits, axis=1, kind="stable")[:, :5]  # of equal logits the first classes
        expected["top5_accuracy"] = float(np.mean((order == labels[:, None]).any(axis=1)))
    if len(present) > 1:
        areas = [sk.roc_auc_score(labels == label, shares[:, label]) for label in present]
        expected["auroc"] = float(np.mean(areas))
    return expected


LOGITS, LABELS = images()
ONE_PREDICTED = LOGITS.copy()
ONE_PREDICTED[:, 2] = 30
CASES = {
    "random": (LOGITS, LABELS),
    "two classes": images(classes=2),
    "five classes": images(classes=5),
    "many classes": images(1000, 120),
    "sure": (40 * LOGITS, LABELS),
    "a class without images": (LOGITS, np.where(LABELS == 3, 2, LABELS)),
    "one class predicted": (ONE_PREDICTED, LABELS),
    "ties": (np.round(LOGITS), LABELS),
    "all equal": (np.zeros_like(LOGITS), LABELS),
    "one class": (LOGITS, np.zeros_like(LABELS)),
    "one image": (LOGITS[:1], LABELS[:1]),
    "all right": (100 * np.eye(7, dtype=np.float32)[LABELS], LABELS),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("error")
def test_each_metric_is_scikit_learns(case: str) -> None:
    logits, labels = CASES[case]
    expected = by_hand(logits, labels)
    # equal probabilities differ in their last bit, by the order of the sum, and are no ties then
    tolerance = 1e-5 if case == "ties" else 1e-12
    assert values(logits, labels) == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_balanced_accuracy_and_auroc_are_scikit_learns_own_where_no_class_is_missing() -> None:
    found, shares = values(LOGITS, LABELS), softmax(LOGITS.astype(np.float64), axis=1)
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(LABELS, LOGITS.argmax(axis=1)), abs=1e-14
    )
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(LABELS, shares, multi_class="ovr"), abs=1e-14)


def test_they_are_torchmetrics_own_where_no_class_is_missing_and_nothing_ties() -> None:
    found, both = values(LOGITS, LABELS), (torch.from_numpy(LOGITS), torch.from_numpy(LABELS), 7)
    library = _classification()
    assert found["balanced_accuracy"] == pytest.approx(float(library.multiclass_accuracy(*both)), abs=1e-6)
    assert found["macro_f1"] == pytest.approx(float(library.multiclass_f1_score(*both)), abs=1e-6)
    assert found["auroc"] == pytest.approx(float(library.multiclass_auroc(*both)), abs=1e-6)
    top5 = library.multiclass_accuracy(*both, average="micro", top_k=5)
    assert found["top5_accuracy"] == pytest.approx(float(top5), abs=1e-6)


def test_a_share_is_exact_so_that_a_run_at_the_target_reaches_it() -> None:
    labels = np.arange(100) % 10
    logits = np.eye(10, dtype=np.float32)[np.where(np.arange(100) < 90, labels, (labels + 1) % 10)]
    found = values(logits, labels)
    assert (found["accuracy"], found["balanced_accuracy"]) == (0.9, pytest.approx(0.9, abs=1e-15))
    assert METRICS["accuracy"].reaches(found["accuracy"], 0.9)


def test_of_the_loss_lower_is_better_and_of_all_others_higher() -> None:
    assert [name for name, metric in METRICS.items() if not metric.higher_is_better] == ["nll"]
    nll = METRICS["nll"]
    assert nll.reaches(0.3, 0.3) and nll.reaches(0.2, 0.3) and not nll.reaches(0.31, 0.3)
    assert nll.measured(-0.2, 0.5) == (-0.5, 0.2) and nll.measured(None, 1.0) == (-1.0, None)
    assert METRICS["auroc"].measured(-0.2, 0.5) == (-0.2, 0.5)


# ---- a user's own -----------------------------------------------------------------------------------------

CODE = """
import torch
from torch import Tensor


def error(logits: Tensor, labels: Tensor) -> Tensor:
    assert logits.dtype == torch.float32 and labels.dtype == torch.int64
    return (logits.argmax(1) != labels).float().mean()


error.higher_is_better = False


def confidence(logits, labels):
    return float(logits.softmax(1).amax(1).mean())


class Mean:
    higher_is_better = None

    def __call__(self, logits, labels):
        return logits.mean().item()


mean = Mean()


def spoils(logits, labels):
    logits.zero_(), labels.zero_()
    return 0.5


def raises(logits, labels):
    raise ValueError("no such thing")


def not_a_number(logits, labels):
    return float("nan")


text, number = "text", 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(ALLOWED, "")
    monkeypatch.setenv(FOLDERS, "")
    (tmp_path / "own_metrics.py").write_text(CODE)
    allow(["own_metrics"], [tmp_path])
    yield "own_metrics"


def test_a_users_own_says_which_direction_is_better(own: str) -> None:
    error, confidence, mean = (metric_of(f"{own}:{name}") for name in ("error", "confidence", "mean"))
    assert (error.title, error.higher_is_better, error.share) == ("error", False, False)
    assert confidence.higher_is_better and mean.higher_is_better
    found, failed = measure(LOGITS, LABELS, [error, confidence, mean])
    assert not failed and found[f"{own}:error"] == pytest.approx(1 - values(LOGITS, LABELS)["accuracy"])
    assert found[f"{own}:mean"] == pytest.approx(float(LOGITS.mean()), rel=1e-5)


def test_a_torchmetrics_object_is_one(own: str, tmp_path: Path) -> None:
    name = "MulticlassMatthewsCorrCoef"
    line = f"from torchmetrics.classification import {name}\nmcc = {name}(7)\n"
    (tmp_path / "own_metrics_too.py").write_text(line)
    allow(["own_metrics_too"], [tmp_path])
    metric = metric_of("own_metrics_too:mcc")
    expected = sk.matthews_corrcoef(LABELS, LOGITS.argmax(axis=1))
    for _ in range(2):  # it keeps no images
        assert metric.compute(LOGITS, LABELS) == pytest.approx(expected, rel=1e-5)


def test_a_users_own_cannot_change_what_the_others_see(own: str) -> None:
    before = LOGITS.copy(), LABELS.copy()
    assert measure(LOGITS, LABELS, [metric_of(f"{own}:spoils")])[0] == {f"{own}:spoils": 0.5}
    np.testing.assert_array_equal(LOGITS, before[0])
    np.testing.assert_array_equal(LABELS, before[1])


@pytest.mark.parametrize(
    ("name", "words"),
    [("raises", "ValueError: no such thing"), ("not_a_number", "gave nan")],
)
def test_one_that_fails_is_named_and_the_others_are_there(own: str, name: str, words: str) -> None:
    metrics = [metric_of(f"{own}:{name}"), METRICS["accuracy"]]
    found, failed = measure(LOGITS, LABELS, metrics)
    assert list(found) == ["accuracy"] and failed == [f"metric {own}:{name}: {words}"]
    with pytest.raises(RunError, match=words):
        metrics[0].compute(LOGITS, LABELS)
    with pytest.raises(StudyError, match=f"mine: metric {own}:{name}: {words}"):
        check_metrics([f"{own}:{name}"], 3, "mine")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_metrics:text", "expected a function of logits and labels, not a str"),
        ("own_metrics:Mean", "not a class"),
        ("own_metrics:absent", "no attribute 'absent'"),
        ("elsewhere:metric", "add --allow elsewhere"),
    ],
)
def test_what_is_no_metric_is_refused_in_one_line(own: str, name: str, words: str) -> None:
    with pytest.raises(StudyError, match=words) as refused:
        metric_of(name)
    assert "\n" not in str(refused.value)


def test_top5_of_five_classes_is_refused_as_a_target() -> None:
    with pytest.raises(StudyError, match="mine: target.top5_accuracy: it is not defined for 5 classes"):
        check_metrics(["top5_accuracy"], 5, "mine")
    check_metrics(METRICS, 6, "mine")


def test_the_libraries_generators_are_left_alone() -> None:
    before: Any = torch.get_rng_state()
    values(LOGITS, LABELS)
    assert torch.equal(torch.get_rng_state(), before)
