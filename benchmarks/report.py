"""The cost of rebuilding the report of many runs: 24 epochs each, 10,000 test images, a tiny network.

``python -m benchmarks.report`` prints it for the runs of one variant and for as many of several variants.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.markdown import table
from benchmarks.memory import peak_bytes
from harness.data import load_data
from harness.data.arrays import Data, split_of
from harness.models.weights import load_weights, weights_bytes
from harness.plan import make_plan
from harness.report.write import write_report
from harness.schedule import resolve_rates
from harness.store.atomic import atomic_write
from harness.store.folders import ARTEFACTS, StudyFolder
from harness.study_file.config import Recipe, Study
from harness.study_file.load import load_study
from harness.training.run import execute

IMAGES, EPOCHS = 10_000, 24
SHAPES = ((50, 1), (200, 1), (200, 20))  # runs, variants


@dataclass(frozen=True)
class Cost:
    """Of a fresh process, its imports included; the memory is its highest resident set."""

    processor_seconds: float
    seconds: float
    peak_bytes: int


def make_study(out: Path, runs: int, variants: int = 1) -> StudyFolder:
    """One run that is really trained, and copies whose weights, predictions and histories are their own."""
    study = _study(runs, variants)
    folder, few = StudyFolder(out, study.name), load_data("digits", Path(), train_limit=200, test_limit=100)
    plan = make_plan(study, folder, lambda recipe: few, device="cpu")
    (variant, trained), rates = plan.runs()[0], resolve_rates(study.schedule, None)
    record = execute(variant, trained, few, rates, threads=1, say=lambda line: None)
    assert record.status == "finished", record.error
    labels = np.arange(IMAGES) % 10
    artefacts = {name: (trained.path / name).read_bytes() for name in ARTEFACTS}
    record.data.update(sha256=_data(study).sha256, evaluation_images=IMAGES)
    model, network = load_weights(trained.path / "model.safetensors")
    difficulty = np.random.default_rng(0).normal(3.5, 2, IMAGES)
    for number, (variant, run) in enumerate(plan.runs()):
        rng = np.random.default_rng(number)
        logits = rng.normal(size=(IMAGES, 10)).astype(np.float32)
        logits[np.arange(IMAGES), labels] += difficulty
        accuracy = float(np.mean(logits.argmax(axis=1) == labels))
        history = list(csv.DictReader(io.StringIO(artefacts["history.csv"].decode())))
        for row in history:
            row |= {"variant": run.variant, "seed": run.seed, "eval_accuracy": accuracy - rng.random() / 10}
        history[-1]["eval_accuracy"] = accuracy
        content, text = io.BytesIO(), io.StringIO()
        np.savez(content, logits=logits, labels=labels)
        writer = csv.DictWriter(text, history[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        next(model.parameters()).data.mul_(0.999)
        own = {
            "predictions.npz": content.getvalue(),
            "history.csv": text.getvalue().encode(),
            "model.safetensors": weights_bytes(model, network),
        }
        for name, bytes_ in (artefacts | own).items():
            atomic_write(run.path / name, bytes_)
        metrics = {**record.metrics, "accuracy": accuracy, "best_accuracy": accuracy}
        own_record = replace(record, variant=run.variant, seed=run.seed, metrics=metrics)
        run.finish(replace(own_record, digest=variant.digest, identity=variant.identity))
    return folder


def _study(runs: int, variants: int) -> Study:
    settings = [
        f"schedule.epochs={EPOCHS}", "schedule.lr_max=0.1", "schedule.lr_min=0.01", "model.width=2",
        "data.train_limit=200", "data.test_limit=100", "comparisons=all",
        *(f"variants.v{at}.optimizer.momentum={0.5 + at / 1000}" for at in range(1, variants)),
    ]  # fmt: skip
    return load_study("quickstart", settings=settings, seeds=list(range(runs // variants)))


def _data(recipe: Recipe) -> Data:
    """As many test images as the predictions are of, which are the digits over and over."""
    few = load_data("digits", Path(), train_limit=200, test_limit=100)
    images = np.tile(few.evaluation.images, (IMAGES // 100, 1, 1, 1))
    evaluation = split_of(images, np.arange(IMAGES, dtype=np.int64) % 10, few.evaluation.classes)
    return Data(few.train, evaluation, "test")


def rebuild(folder: StudyFolder, runs: int, variants: int, whole: bool) -> Cost:
    """Tables, figures and pages with the images in them; or only the tables. Nothing is in the cache."""
    os.environ["HARNESS_CACHE"] = str(folder.path / "cache")
    study = _study(runs, variants)
    started = time.perf_counter()
    if whole:
        found = write_report(study, folder, study.seeds, list(study.recipes), _data)
        assert not found.failures, found.failures[0]
    else:
        from harness.analysis.findings import analyse
        from harness.analysis.results import read_results
        from harness.report.topics import csv_tables

        results = read_results(study, folder, study.seeds, list(study.recipes))
        csv_tables(analyse(results))
    return Cost(time.process_time(), time.perf_counter() - started, peak_bytes())


def costs(runs: int, variants: int = 1) -> tuple[Cost, Cost]:
    """Of the tables alone and of the whole report."""
    with tempfile.TemporaryDirectory() as out:
        folder = make_study(Path(out), runs, variants)
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
            first, second = (
                pool.submit(rebuild, folder, runs, variants, whole).result() for whole in (False, True)
            )
    return first, second


def seconds(runs: int) -> float:
    """Of rebuilding the whole report of so many runs of one variant."""
    return costs(runs)[1].seconds


if __name__ == "__main__":
    rows = [
        [str(runs), str(variants), what,
         f"{cost.processor_seconds:.1f}", f"{cost.seconds:.1f}", f"{cost.peak_bytes / 1e9:.2f}"]
        for runs, variants in SHAPES
        for what, cost in zip(("tables", "all"), costs(runs, variants), strict=True)
    ]  # fmt: skip
    print(table(("runs", "variants", "", "processor s", "s", "peak memory, GB"), rows, texts=(2,)))
