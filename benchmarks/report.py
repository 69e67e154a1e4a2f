"""Seconds to rebuild the report of many runs: 24 epochs each, 10,000 test images, a tiny network."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.data import load_data
from harness.plan import make_plan
from harness.report import write_report
from harness.schedule import resolve_rates
from harness.store import StudyFolder, atomic_write
from harness.study_file import load_study
from harness.training.run import execute

IMAGES, EPOCHS = 10_000, 24


def make_runs(folder: StudyFolder, count: int) -> None:
    """One run that is really trained, and copies of it whose predictions and histories are their own."""
    settings = [
        f"schedule.epochs={EPOCHS}", "schedule.lr_max=0.1", "schedule.lr_min=0.01", "model.width=2",
        "data.train_limit=200", "data.test_limit=100",
    ]  # fmt: skip
    study = load_study("quickstart", settings=settings, seeds=[0])
    data = load_data("digits", Path(), train_limit=200, test_limit=100)
    plan = make_plan(study, folder, lambda recipe: data, device="cpu")
    (variant, run), rates = plan.runs()[0], resolve_rates(study.schedule, None)
    record = execute(variant, run, data, rates, threads=1, say=lambda line: None)
    assert record["status"] == "finished", record["error"]
    record = run.record() or {}
    labels = np.arange(IMAGES) % 10
    difficulty = np.random.default_rng(0).normal(3.5, 2, IMAGES)
    for seed in range(count):
        copy, rng = folder.run("base", seed), np.random.default_rng(seed)
        logits = rng.normal(size=(IMAGES, 10)).astype(np.float32)
        logits[np.arange(IMAGES), labels] += difficulty
        copy.path.mkdir(parents=True, exist_ok=True)
        with (copy.path / "predictions.npz").open("wb") as file:
            np.savez(file, logits=logits, labels=labels)
        for name in ("model.safetensors", "learning_rates.csv", "history.csv"):
            atomic_write(copy.path / name, (run.path / name).read_bytes())
        accuracy = float(np.mean(logits.argmax(axis=1) == labels))
        metrics = {**record["metrics"], "test_accuracy": accuracy, "best_test_accuracy": accuracy}
        copy.finish({**record, "seed": seed, "metrics": metrics})


def seconds(count: int) -> float:
    """Of rebuilding tables, figures and pages of so many runs, without the images."""
    with tempfile.TemporaryDirectory() as out:
        study = load_study("quickstart", seeds=list(range(count)))
        folder = StudyFolder(Path(out), study.name)
        make_runs(folder, count)
        started = time.perf_counter()
        summary = write_report(study, folder, list(range(count)), ["base"], None)
        assert not summary.failures, summary.failures[0]
        return time.perf_counter() - started


if __name__ == "__main__":
    for runs in map(int, sys.argv[1:] or ("50", "200")):
        print(f"{runs} runs: {seconds(runs):.1f} s")
