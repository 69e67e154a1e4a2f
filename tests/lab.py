"""Finished, failed and missing runs of small studies: real digits, really trained small networks."""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.analysis.findings import Findings, analyse
from harness.analysis.results import Results, read_results
from harness.data.arrays import Data, SourceRequest, mean_std
from harness.data.augment import resolve as resolve_augment
from harness.data.digits import load
from harness.models import build_model
from harness.models.network import NetworkConfig
from harness.models.weights import weights_bytes
from harness.report.blocks import Block
from harness.report.topics import Topic
from harness.report.topics.figures import Figures
from harness.seeding import global_seed
from harness.statistics.classification import accuracy_from_logits, cross_entropy_from_logits
from harness.store.atomic import atomic_write, sha256_file
from harness.store.folders import ARTEFACTS, StudyFolder
from harness.store.run_files import (
    HISTORY,
    LEARNING_RATES,
    OLD_HISTORY,
    OLD_METRICS,
    RANGE_TEST,
    csv_text,
    with_old_names,
)
from harness.store.sealed import write_sealed
from harness.study_file.config import Recipe, Study
from harness.study_file.load import resolve

EPOCHS, STEPS = 4, 9
MODEL: dict[str, Any] = {"width": 4, "bn_momentum": 0.5}

STUDY: dict[str, Any] = {
    "name": "digits",
    "question": "Does a tiny network read digits?",
    "seeds": [0, 1, 2],
    "target": {"accuracy": 0.7},
    "data": {"source": "digits", "batch_size": 160},
    "augment": {
        "train": [
            {"transform": "PadIfNeeded", "min_height": 40, "min_width": 40, "border_mode": "constant"},
            {"transform": "RandomCrop", "height": 32, "width": 32},
            {
                "transform": "CoarseDropout",
                "num_holes_range": [1, 1],
                "hole_height_range": [8, 8],
                "hole_width_range": [8, 8],
                "fill": 90,
                "p": 1.0,
            },
        ]
    },
    "model": {"name": "custom_resnet", **MODEL},
    "optimizer": {"name": "SGD", "momentum": 0.9},
    "schedule": {"epochs": EPOCHS, "peak_epoch": 1},
    "range_test": {"start_lr": 1e-4, "end_lr": 1.0, "iterations": 60},
    "attribution": {"layers": ["prep", "layer1", "res1", "layer2", "layer3", "res2"], "images": 25},
}


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What reports keep of networks stays out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def digits() -> Data:
    """1,437 train and 360 test images."""
    train, test = (load(SourceRequest(Path(), which)) for which in ("train", "test"))
    return Data(train, test, "test")


@cache
def _normalised(split: str) -> torch.Tensor:
    data = digits()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in mean_std(data.train))
    images = torch.from_numpy(getattr(data, split).images).permute(0, 3, 1, 2) / 255
    return ((images - mean) / std).contiguous()


@cache
def trained(seed: int, steps: int = 14) -> tuple[bytes, np.ndarray]:
    """A network trained for some steps: its weights file and its logits of the test images (360, 10)."""
    data = digits()
    with global_seed(seed, "test"):
        model = build_model("custom_resnet", MODEL, 10)
        order = torch.randperm(len(data.train.labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    labels = torch.from_numpy(data.train.labels)
    for step in range(steps):
        chosen = order[torch.arange(step * 96, step * 96 + 96) % len(order)]
        loss = torch.nn.functional.cross_entropy(model(_normalised("train")[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(_normalised("evaluation")).numpy()
    network = NetworkConfig("custom_resnet", MODEL, data.train.classes, (3, 32, 32))
    return weights_bytes(model, network), logits


def sections(findings: Findings, *topics: Topic) -> list[Block]:
    """Return the blocks of topics without any figure."""
    return [block for topic in topics for block in topic.section(findings, Figures({})).blocks]


def rows(blocks: Iterable[Block]) -> list[list[str]]:
    """Return the rows of all tables."""
    return [list(row) for block in blocks if block.kind == "table" for row in block.rows]


def text(blocks: Iterable[Block]) -> str:
    """Return what blocks say beside their tables."""
    return " ".join(words for block in blocks for words in (block.text, *block.items))


class Lab:
    """A study with a folder into which finished runs can be put."""

    def __init__(self, out: Path, changes: dict[str, Any]) -> None:
        self.study: Study = resolve({**STUDY, **changes})
        self.folder = StudyFolder(out, self.study.name)
        self.data = digits()

    def results(self, seeds: Iterable[int] | None = None) -> Results:
        """Read what lies in the folder."""
        return read_results(
            self.study, self.folder, self.study.seeds if seeds is None else seeds, self.study.recipes
        )

    def findings(self, seeds: Sequence[int] | None = None) -> Findings:
        """Analyse it; all its runs were asked for."""
        seeds = self.study.seeds if seeds is None else seeds
        return analyse(self.results(seeds), {(name, seed) for name in self.study.recipes for seed in seeds})

    def under(self, **changes: Any) -> Lab:
        """Return the same folder under a changed study."""
        other = copy.copy(self)
        other.study = resolve({**self.study.model_dump(exclude_none=True), **changes})
        return other

    def logits(self, right: int, images: int = 360) -> np.ndarray:
        """Of the first images ``right`` are classified correctly, the others taken for the next class."""
        labels = self.data.evaluation.labels[:images]
        return 3.0 * np.eye(10)[np.where(np.arange(images) < right, labels, (labels + 1) % 10)]

    def load_data(self, recipe: Recipe) -> Data:
        """The study's images."""
        return self.data

    def record(self, variant: str, seed: int, **changes: Any) -> dict[str, Any]:
        """run.json of a run that has begun."""
        recipe = self.study.recipes[variant]
        plain = recipe.model_dump(mode="json")
        augment, units = recipe.augment, mean_std(self.data.train)
        train, test = resolve_augment(augment.train, augment.test, *units, augment.library)
        record: dict[str, Any] = {
            "study": self.study.name,
            "variant": variant,
            "seed": seed,
            "status": "running",
            "digest": f"digest of {variant}",
            "identity": {},
            "error": None,
            "metrics": {"parameters": 26_010, "lr_min": 0.01, "lr_max": 0.1},
            "provenance": {
                "started": "2026-01-02T03:04:05+00:00",
                "finished": "2026-01-02T03:05:05+00:00",
                "harness": "0.1.0",
                "git": {"commit": "0123456789abcdef", "dirty": False},
                "versions": {"python": "3.11.2", "torch": "2.13.0"},
                "hardware": {
                    "host": "bench",
                    "processor": "a processor",
                    "cores": 2,
                    "memory_bytes": 2**34,
                    "accelerator": None,
                },
                "device": "cpu",
                "precision": "float32",
                "threads": 1,
                "batches": "tensor",
                "data": {
                    "source": "digits",
                    "sha256": self.data.sha256,
                    "evaluated_on": "test",
                    "train_images": 1437,
                    "evaluation_images": 360,
                },
            },
            "classes": list(self.data.train.classes),
            "image_shape": [3, 32, 32],
            "recipe": {**plain, "augment": {**plain["augment"], "train": train, "test": test}},
        }
        provenance = {**record["provenance"], **changes.pop("provenance", {})}
        return {**record, **changes, "provenance": provenance}

    def finish(
        self,
        variant: str = "base",
        seed: int = 0,
        *,
        logits: np.ndarray | None = None,
        weights: bytes | None = None,
        before: Sequence[float] = (),
        clusters: np.ndarray | None = None,
        raw: float | None = None,
        **changes: Any,
    ) -> Path:
        """A finished run of a trained network; other ``logits`` (N, 10) and weights may be given instead.

        Args:
            before: test accuracies of the epochs before the last; without them they rise.
            clusters: (N,) of the images.
            raw: how much lower the accuracy of the weights as trained is, whose average is evaluated.
        """
        run = self.folder.run(variant, seed)
        learnt, own = trained(seed % 3)
        weights = weights or learnt
        logits = own if logits is None else logits
        labels = self.data.evaluation.labels[: len(logits)]
        arrays = io.BytesIO()
        grouped: dict[str, Any] = {} if clusters is None else {"clusters": clusters}
        np.savez(arrays, logits=logits.astype(np.float32), labels=labels, **grouped)
        atomic_write(run.path / "predictions.npz", arrays.getvalue())
        atomic_write(run.path / "model.safetensors", weights)
        accuracy, loss = accuracy_from_logits(logits, labels), cross_entropy_from_logits(logits, labels)
        rows: list[list[Any]] = []
        for epoch in range(1, EPOCHS + 1):
            gap = (EPOCHS - epoch) * (0.1 + 0.01 * seed)
            measured = before[epoch - 1] if before and epoch < EPOCHS else accuracy - gap
            as_trained = [None, None] if raw is None else [loss + gap + raw, measured - raw]
            rows.append(
                [variant, seed, epoch, 0.01 * epoch, loss + 2 * gap, 0.9 * accuracy - gap, loss + gap,
                 measured, 1.5, 0.5, 958.0, *as_trained]
            )  # fmt: skip
        atomic_write(
            run.path / "history.csv",
            csv_text([*HISTORY, *OLD_HISTORY.values()], [[*row, row[6], row[7]] for row in rows]),
        )
        rates = np.interp(range(EPOCHS * STEPS), [0, STEPS, EPOCHS * STEPS - 1], [0.01, 0.1, 0.01])
        steps = [[variant, at + 1, at // STEPS + 1, float(rate)] for at, rate in enumerate(rates)]
        atomic_write(run.path / "learning_rates.csv", csv_text(LEARNING_RATES, steps))
        record = self.record(variant, seed, status="finished", **changes)
        metrics = {
            **record["metrics"],
            "epochs": EPOCHS,
            "accuracy": accuracy,
            "loss": loss,
            "train_accuracy": 0.9 * accuracy,
            "best_accuracy": max([*before, accuracy]),
            "best_epoch": 1 + int(np.argmax([row[7] for row in rows])),
        }
        if raw is not None:
            metrics |= {"raw_loss": loss + raw, "raw_accuracy": accuracy - raw}
        record["metrics"] = with_old_names(metrics, OLD_METRICS)
        timings = {"seconds": 8.0, "train_seconds": 6.0, "eval_seconds": 2.0, "images_per_second": 958.0}
        files = {name: sha256_file(run.path / name) for name in ARTEFACTS}
        content = {**record, "timings": timings | record.get("timings", {}), "files": files}
        write_sealed(run.record_file, content)
        return run.path

    def fail(
        self, variant: str = "base", seed: int = 1, planned: dict[str, Any] | None = None, **error: Any
    ) -> None:
        """A run that diverged, or failed otherwise."""
        cause = {"kind": "diverged", "message": "loss not finite", "iteration": 12, **error}
        record = self.record(variant, seed, status="failed", error=cause, planned=planned or {})
        record["metrics"]["epochs"] = 1
        write_sealed(self.folder.run(variant, seed).record_file, record)

    def sweep(
        self,
        variant: str = "base",
        seed: int | None = None,
        *,
        peaks: Sequence[float] = (0.7,),
        **changes: Any,
    ) -> None:
        """A range test: the accuracy of each sweep rises to a peak and falls, the loss explodes at the end.

        Args:
            seed: of the run whose own range test it is.
            peaks: where each sweep's accuracy is best, from 0 at its start to 1 at its end.
        """
        lr = np.geomspace(1e-4, 1, 60)
        place = np.linspace(0, 1, 60)
        rows: list[list[float]] = []
        for repeat, peak in enumerate(peaks, 1):
            accuracy = 0.1 + 0.7 * np.exp(-((place - peak) ** 2) / 0.05)
            loss = 2.4 - 1.8 * accuracy + 30 * np.maximum(0, place - 0.9) ** 1.5 * 20
            noise = np.sin(np.arange(60) * 2.1)
            columns = (lr, loss + 0.2 * noise, loss, np.clip(accuracy + 0.08 * noise, 0, 1), accuracy)
            steps = enumerate(zip(*columns, strict=True), 1)
            rows += [[at, *map(float, values), repeat] for at, values in steps]
        table = self.folder.range_test_csv(variant, seed)
        atomic_write(table, csv_text(RANGE_TEST, rows))
        choices = [float(10 ** (4 * peak - 4)) for peak in peaks] if len(peaks) > 1 else [0.1]
        lr_max = sorted(choices)[len(choices) // 2]
        record = {
            "lr_min": lr_max / 10,
            "lr_max": lr_max,
            "criterion": "accuracy",
            "seed": seed or 0,
            "mode": "exponential",
            "lr_min_divisor": 10.0,
            "warnings": [],
            "used": True,
            "repeats": len(peaks),
            "per": "variant" if seed is None else "seed",
            "choices": choices,
            "lr_max_low": min(choices),
            "lr_max_high": max(choices),
            "csv_sha256": sha256_file(table),
        }
        write_sealed(self.folder.range_test_json(variant, seed), {**record, **changes})

    def table(self, name: str) -> list[dict[str, str]]:
        """A written table's rows."""
        with (self.folder.tables / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


MakeLab = Callable[..., Lab]


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Lab]:
    """The same, for what all tests of a file look at and none changes."""
    return lambda **changes: Lab(tmp_path_factory.mktemp("shared"), changes)


@pytest.fixture
def lab(tmp_path: Path) -> Callable[..., Lab]:
    """``lab(target={"accuracy": 0.9})``: a study with changed top-level keys, and its empty folder."""
    return lambda **changes: Lab(tmp_path, changes)
