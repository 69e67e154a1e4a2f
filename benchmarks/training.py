"""Epochs of the custom ResNet, side by side: the harness, a bare loop, and other ways to write the same.

Every contender trains the same network on the same number of images and then evaluates. All but the
published setup compute in the harness's precision and memory format, on batches that are ready in memory. The
harness has to make its own: augmentation, metrics, log and checkpoint are in its time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.arrays import Data, split_of
from harness.data.batches import Batches
from harness.device import autocast, memory_format, synchronize, usable_cores
from harness.models import build_model
from harness.plan import Variant, resolve_variant
from harness.schedule import resolve_rates
from harness.store.folders import StudyFolder
from harness.study_file.config import Study
from harness.study_file.load import load_study
from harness.training.assembly import evaluation_batch
from harness.training.run import execute

BATCH = 512
ROUNDS = 5


@dataclass(frozen=True)
class Bench:
    """The work that every contender does.

    Attributes:
        steps: training steps of an epoch.
    """

    device: str
    variant: Variant
    study: Study
    data: Data
    steps: int
    train: list[tuple[Tensor, Tensor]]
    test: list[tuple[Tensor, Tensor]]

    @property
    def images(self) -> int:
        """Trained on in an epoch."""
        return self.steps * BATCH


def make_bench(device: str, steps: int) -> Bench:
    """Random images of CIFAR-10's size, and a fifth as many to evaluate on."""
    rng, batch = np.random.default_rng(0), evaluation_batch(device)
    names = tuple(map(str, range(10)))
    train, test = (
        split_of(rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10, names)
        for count in (steps * BATCH, -(-steps * BATCH // (5 * batch)) * batch)
    )
    data = Data(train, test, "test")
    settings = ["schedule.epochs=2", "schedule.peak_epoch=1"]
    study = load_study("annealed", settings=settings)
    variant = resolve_variant(study, "base", data, device=device)
    made = (
        Batches(train, variant.train_transforms, BATCH, seed=0, shuffle=True, device=device),
        Batches(test, variant.test_transforms, batch, seed=0, shuffle=False, device=device),
    )
    return Bench(device, variant, study, data, steps, list(made[0]), list(made[1]))


def network(bench: Bench) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A fresh network and its optimizer."""
    torch.manual_seed(0)
    model = build_model("custom_resnet", bench.variant.recipe.model.options, 10)
    model = model.to(bench.device, memory_format=memory_format(bench.device))  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return model, optimizer


def bare(bench: Bench) -> Callable[[], None]:
    """The shortest possible loop."""
    model, optimizer = network(bench)

    def epoch() -> None:
        model.train()
        for images, labels in bench.train:
            optimizer.zero_grad(set_to_none=True)
            with autocast(bench.device, bench.variant.precision):
                loss = F.cross_entropy(model(images).float(), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        right = torch.zeros((), device=bench.device)
        with torch.no_grad(), autocast(bench.device, bench.variant.precision):
            for images, labels in bench.test:
                right += (model(images).argmax(1) == labels).sum()
        float(right)

    return epoch


def harness_epoch(bench: Bench) -> float:
    """Seconds of the second epoch of a run of two, from one epoch's line to the next."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        folder = StudyFolder(Path(out), bench.study.name).run("base", 0)
        rates = resolve_rates(bench.study.schedule, None)
        record = execute(
            bench.variant,
            folder,
            bench.data,
            rates,
            threads=torch.get_num_threads(),
            say=lambda line: ends.append(time.perf_counter()),
        )
    assert record.status == "finished", record.error
    return ends[1] - ends[0]


def ignite_plain(bench: Bench) -> Callable[[], None]:
    """Ignite's ready-made trainer and evaluator, with its metrics."""
    from ignite.engine import create_supervised_evaluator, create_supervised_trainer
    from ignite.metrics import Accuracy, Loss

    model, optimizer = network(bench)
    cast = _Cast(model, bench)
    trainer = create_supervised_trainer(cast, optimizer, F.cross_entropy, device=bench.device)
    metrics = {"accuracy": Accuracy(), "loss": Loss(F.cross_entropy)}
    evaluator = create_supervised_evaluator(cast, metrics=metrics, device=bench.device)

    def epoch() -> None:
        trainer.run(bench.train, max_epochs=1)
        evaluator.run(bench.test)

    return epoch


class _Cast(nn.Module):
    """The network with its autocast inside, for trainers that know none on a CPU."""

    def __init__(self, model: nn.Module, bench: Bench) -> None:
        super().__init__()
        self.model, self.bench = model, bench

    def forward(self, images: Tensor) -> Tensor:
        with autocast(self.bench.device, self.bench.variant.precision):
            logits: Tensor = self.model(images)
        return logits.float()


def lightning(bench: Bench) -> Callable[[], None]:
    """Lightning's Trainer; neither its checkpoint nor its logger nor its bar is on."""
    import logging
    import warnings

    from harness.vision import import_torchvision

    import_torchvision()  # torchmetrics imports it, and would fail beside a CPU-only torch
    import lightning as L
    from torch.utils.data import DataLoader

    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    model, optimizer = network(bench)

    class Module(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = _Cast(model, bench)

        def training_step(self, batch: Any, index: int) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            right = (self.net(batch[0]).argmax(1) == batch[1]).float().mean()
            self.log("accuracy", right, on_step=False, on_epoch=True)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

    module = Module()
    options = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    nothing = dict.fromkeys(options, False)
    accelerator = "gpu" if bench.device.startswith("cuda") else "cpu"

    def epoch() -> None:
        trainer = L.Trainer(
            accelerator=accelerator, devices=1, max_epochs=1, num_sanity_val_steps=0, **nothing
        )
        loaders: list[Any] = [bench.train, bench.test]
        trainer.fit(module, *(DataLoader(batches, batch_size=None) for batches in loaders))

    return epoch


def published(bench: Bench) -> Callable[[], None]:
    """As the recipes were run: float32, NCHW, Albumentations in a DataLoader, the loss read at every step."""
    import albumentations as A
    from torch.utils.data import DataLoader, Dataset

    from harness.data.augment.albumentations import reference_pipeline

    class Images(Dataset[tuple[Tensor, int]]):
        def __init__(self, split: Any, pipeline: A.Compose) -> None:
            self.split, self.pipeline = split, pipeline

        def __len__(self) -> int:
            return len(self.split)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image = self.pipeline(image=self.split.images[index])["image"].transpose(2, 0, 1)
            return torch.from_numpy(np.ascontiguousarray(image)), int(self.split.labels[index])

    model, optimizer = network(bench)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    loaders = [
        DataLoader(
            Images(split, reference_pipeline(transforms)), batch_size=BATCH, shuffle=True, num_workers=2
        )
        for split, transforms in (
            (bench.data.train, bench.variant.train_transforms),
            (bench.data.evaluation, bench.variant.test_transforms),
        )
    ]

    def epoch() -> None:
        model.train()
        for images, labels in loaders[0]:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images.to(bench.device)), labels.to(bench.device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
        model.eval()
        with torch.no_grad():
            for images, labels in loaders[1]:
                (model(images.to(bench.device)).argmax(1).cpu() == labels).sum().item()

    return epoch


def timed(epoch: Callable[[], None], device: str) -> float:
    """Seconds of an epoch."""
    synchronize(device)
    started = time.perf_counter()
    epoch()
    synchronize(device)
    return time.perf_counter() - started


def published_seconds(device: str, steps: int) -> list[float]:
    """Seconds of two epochs of the published way, in a process of its own with the usual allocator."""
    command = [sys.executable, "-m", "benchmarks.training", device, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def compare(bench: Bench, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Images/s by contender, ``ROUNDS`` times each in turn; the published way, so much slower, at the end.

    A bare loop runs at the beginning and the end of every round.
    """
    device = bench.device
    loops = {
        "Ignite, create_supervised_trainer": ignite_plain(bench),
        "Lightning, Trainer": lightning(bench),
        "bare loop": bare(bench),
    }
    for loop in loops.values():
        timed(loop, device)
    rates: dict[str, list[float]] = {"bare loop": [bench.images / timed(loops["bare loop"], device)]}
    for done in range(1, ROUNDS + 1):
        rates.setdefault("harness", []).append(bench.images / harness_epoch(bench))
        for name, loop in loops.items():
            rates.setdefault(name, []).append(bench.images / timed(loop, device))
        last = ", ".join(f"{name} {found[-1]:.1f}" for name, found in rates.items())
        say(f"round {done} of {ROUNDS}: {last} images/s")
    few = -(-bench.steps // 3)
    rates["the published way"] = [few * BATCH / seconds for seconds in published_seconds(device, few)]
    return rates


if __name__ == "__main__":
    torch.set_num_threads(usable_cores())
    made = make_bench(sys.argv[1], int(sys.argv[2]))
    epoch = published(made)
    print(*(timed(epoch, made.device) for _ in range(2)))
