"""The metrics of a run's final logits: those that every run has, and a user's own by import path."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError, StudyError
from harness.imports import import_allowed
from harness.messages import one_line
from harness.statistics.classification import accuracy_from_logits, cross_entropy_from_logits, log_softmax

if TYPE_CHECKING:
    from torch import Tensor

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]

ACCURACY = "accuracy"
TOP = 5


@dataclass(frozen=True)
class Metric:
    """A number of one run's logits.

    Attributes:
        name: in run.json and in tables; of a user's own its import path.
        title: in sentences and headings.
        compute: a function from logits (N, C) and labels (N,); None where the metric is not defined.
        share: whether it is a fraction in [0, 1], which people read in percent.
        history: the column of history.csv that has it after each epoch; None without one.
    """

    name: str
    title: str
    compute: Callable[[Logits, Labels], float | None]
    higher_is_better: bool = True
    share: bool = True
    history: str | None = None

    @property
    def heading(self) -> str:
        """The title as a heading begins with it."""
        return self.title[0].upper() + self.title[1:]

    def oriented(self, value: float) -> float:
        """Turn a value, or a difference, so that higher is better; and back."""
        return value if self.higher_is_better else -value

    def measured(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Turn the ends of an interval of oriented values back into those of the metric."""
        if self.higher_is_better:
            return low, high
        return None if high is None else -high, None if low is None else -low

    def reaches(self, value: float, level: float) -> bool:
        """Tell whether a value is at the level or better."""
        return self.oriented(value) >= self.oriented(level)

    @property
    def widest(self) -> float:
        """The largest difference that there can be."""
        return 1.0 if self.share else math.inf


def _balanced_accuracy(logits: Logits, labels: Labels) -> float:
    """Return the mean over the classes that have images of the share that is right.

    Brodersen et al., "The balanced accuracy and its posterior distribution" (ICPR 2010).
    """
    true, _, _, _, images = _counts(logits, labels)
    there = images > 0
    return float((true[there].double() / images[there]).mean())


def _macro_f1(logits: Logits, labels: Labels) -> float:
    """Return the mean of 2 TP / (2 TP + FP + FN) over the classes that have images or are predicted.

    Opitz and Burst, "Macro F1 and Macro F1" (arXiv 1911.03347): the mean of the classes' F1.
    """
    true, false_positive, _, false_negative, _ = _counts(logits, labels)
    whole = 2 * true + false_positive + false_negative
    return float((2 * true[whole > 0].double() / whole[whole > 0]).mean())


def _top5_accuracy(logits: Logits, labels: Labels) -> float | None:
    """Return the share of images whose class is among the five largest logits; None without a sixth class.

    Of equal logits those of the first classes count, as for accuracy.
    """
    import torch

    if logits.shape[1] <= TOP:
        return None
    # torch.topk, and torchmetrics with it, leave the order of ties open
    order = torch.from_numpy(logits).argsort(dim=1, descending=True, stable=True)
    return float((order[:, :TOP].numpy() == labels[:, None]).any(axis=1).mean())


def _auroc(logits: Logits, labels: Labels) -> float | None:
    """Return the mean over the classes of the area under the ROC curve of one class against the rest.

    Hand and Till, "A simple generalisation of the area under the ROC curve" (Machine Learning 45, 2001),
    section 2, and Fawcett, "An introduction to ROC analysis" (2006), without weights. An area is the
    Mann-Whitney U of the class's softmax over its number of pairs, ties counting half (Hanley and McNeil,
    Radiology, 1982). Classes without images are left out.

    Returns:
        None where all images are of one class.
    """
    from scipy.stats import mannwhitneyu

    there = np.unique(labels)
    if len(there) < 2:
        return None
    probabilities, areas = np.exp(log_softmax(logits)), []
    for label in there:
        ours, values = labels == label, probabilities[:, label]
        # U / (n m), in float64; torchmetrics has float32, and scikit-learn takes a minute for 1,000 classes
        wins = mannwhitneyu(values[ours], values[~ours], method="asymptotic").statistic
        areas.append(wins / (ours.sum() * (~ours).sum()))
    return float(np.mean(areas))


def _counts(logits: Logits, labels: Labels) -> tuple[Tensor, ...]:
    """Return each class's true and false positives, true and false negatives, and images: whole numbers (C,).

    Shares are divided from them in float64: torchmetrics' own are float32, whose 0.9 is below 0.9.
    """
    import torch

    scores: Tensor = _classification().multiclass_stat_scores(
        torch.from_numpy(logits.argmax(axis=1)), torch.from_numpy(labels), logits.shape[1], average=None
    )
    return scores.unbind(dim=1)


def _classification() -> Any:
    """Import torchmetrics' functions, which import torchvision where it is installed."""
    from importlib import import_module

    from harness.vision import with_torchvision

    return with_torchvision(lambda: import_module("torchmetrics.functional.classification"))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(ACCURACY, "accuracy", accuracy_from_logits, history="eval_accuracy"),
        Metric("balanced_accuracy", "balanced accuracy", _balanced_accuracy),
        Metric("top5_accuracy", "top-5 accuracy", _top5_accuracy),
        Metric("macro_f1", "macro F1", _macro_f1),
        Metric("auroc", "AUROC", _auroc),
        Metric(
            "nll", "NLL", cross_entropy_from_logits, higher_is_better=False, share=False, history="eval_loss"
        ),
    )
}


def title_of(name: str) -> str:
    """Return a metric's title, without importing a user's own."""
    return METRICS[name].title if name in METRICS else name.rpartition(":")[2]


def metric_of(name: str) -> Metric:
    """Return a metric by its name, or by the import path of a user's own.

    A user's own is a function from logits ``(N, C)`` and labels ``(N,)``, two tensors, to a number, or an
    object that can be called so, such as an instance of a torchmetrics class. Its attribute
    ``higher_is_better`` says which direction is better; without it higher is.

    Raises:
        StudyError: the import path is not allowed, or names nothing that can be called.
    """
    if name in METRICS:
        return METRICS[name]
    function = import_allowed(name, f"metric {name}")
    if not callable(function) or isinstance(function, type):
        kind = "a class" if isinstance(function, type) else f"a {type(function).__name__}"
        raise StudyError(f"metric {name}: expected a function of logits and labels, not {kind}")
    higher = getattr(function, "higher_is_better", None)
    return Metric(
        name, title_of(name), _own(name, function), higher_is_better=higher is not False, share=False
    )


def _own(name: str, function: Callable[[Tensor, Tensor], Any]) -> Callable[[Logits, Labels], float]:
    def compute(logits: Logits, labels: Labels) -> float:
        import torch

        try:
            value = float(function(torch.from_numpy(logits.copy()), torch.from_numpy(labels.copy())))
        except Exception as error:  # a user's code may raise anything
            raise RunError(f"metric {name}: {type(error).__name__}: {one_line(error, 160)}") from None
        if not math.isfinite(value):
            raise RunError(f"metric {name}: gave {value}")
        return value

    return compute


def measure(logits: Logits, labels: Labels, metrics: Iterable[Metric]) -> tuple[dict[str, float], list[str]]:
    """Compute metrics of a run's logits.

    Returns:
        Name -> value, of those that are defined; and a line for each of a user's own that failed.
    """
    values: dict[str, float] = {}
    failed: list[str] = []
    for metric in metrics:
        try:
            value = metric.compute(logits, labels)
        except RunError as error:
            failed.append(str(error))
            continue
        if value is not None:
            values[metric.name] = value
    return values, failed


def check_metrics(names: Iterable[str], classes: int, where: str) -> None:
    """Try metrics on a few images of each class, before any work.

    Raises:
        StudyError: one cannot be imported, fails, or is not defined for so few classes; in one line.
    """
    logits = np.random.default_rng(0).normal(size=(4 * classes, classes)).astype(np.float32)
    for name in dict.fromkeys(names):
        try:
            value = metric_of(name).compute(logits, np.arange(4 * classes) % classes)
        except (StudyError, RunError) as error:
            raise StudyError(f"{where}: {error}") from None
        if value is None:
            raise StudyError(f"{where}: target.{name}: it is not defined for {classes} classes")
