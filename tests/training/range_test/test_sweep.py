"""The sweep: the rates it really uses, and that it leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from harness.errors import RunError
from harness.losses import create_loss
from harness.seeding import global_seed
from harness.study_file.parts import Loss
from harness.study_file.schedules import RangeTest
from harness.training.engines import create_trainer
from harness.training.range_test.sweep import Sweep, smooth, sweep


class Data:
    """Batches of an epoch that note which epochs were asked for."""

    def __init__(self, batches: int, *, fails_at: int | None = None) -> None:
        draws = torch.Generator().manual_seed(2)
        self.images = torch.randn(batches, 8, 3, 8, 8, generator=draws)
        self.labels = torch.randint(5, (batches, 8), generator=draws)
        self.fails_at = fails_at
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for at, (images, labels) in enumerate(zip(self.images, self.labels, strict=True)):
            if at == self.fails_at:
                raise OSError("the disk is gone")
            yield images, labels


class Bench:
    """A small network with all that a sweep could disturb."""

    def __init__(self, optimizer: str = "SGD", **options: Any) -> None:
        with global_seed(0, "test"):
            self.model = nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
                nn.Linear(144, 5),
            )  # fmt: skip
        options = options or ({"momentum": 0.9} if optimizer == "SGD" else {})
        self.optimizer = getattr(torch.optim, optimizer)(self.model.parameters(), lr=0.0123, **options)
        loss = create_loss(Loss(), self.model)
        self.trainer = create_trainer(self.model, self.optimizer, loss, device="cpu", precision="float32")
        self.rates: list[float] = []
        self.model.register_forward_pre_hook(
            lambda *_: self.rates.append(self.optimizer.param_groups[0]["lr"])
        )

    def train(self, data: Data) -> list[tuple[float, float]]:
        """Train by hand; the loss and accuracy of every step."""
        measured = []
        for images, labels in data:
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = nn.functional.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            measured.append((loss.item(), (logits.argmax(1) == labels).float().mean().item()))
        self.rates.clear()
        return measured

    def sweep(self, data: Any, **settings: Any) -> Sweep:
        return sweep(self.trainer, self.model, self.optimizer, data, RangeTest(**settings))

    def everything(self) -> dict[str, Any]:
        """A copy of the state that must survive."""
        state = self.optimizer.state_dict()
        return {
            "weights": {key: value.clone() for key, value in self.model.state_dict().items()},
            "modes": [module.training for module in self.model.modules()],
            "groups": [dict(group) for group in state["param_groups"]],
            "state": {
                (index, key): value.clone() if isinstance(value, Tensor) else value
                for index, entries in state["state"].items()
                for key, value in entries.items()
            },
            "random": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),  # type: ignore[index]
            "handlers": {
                event: list(handlers) for event, handlers in self.trainer._event_handlers.items() if handlers
            },
        }


def assert_same(one: Any, other: Any) -> None:
    """Equal to the bit, tensors included."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert np.array_equal(one, other) if isinstance(one, Tensor | np.ndarray) else one == other


# The rates


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("batches", [4, 20, 50])
@pytest.mark.parametrize("mode", ["exponential", "linear"])
def test_every_step_uses_exactly_its_planned_rate_from_the_first_to_the_last(
    optimizer: str, batches: int, mode: str
) -> None:
    bench = Bench(optimizer)
    result = bench.sweep(Data(batches), start_lr=1e-4, end_lr=0.5, iterations=20, mode=mode)
    planned = (np.geomspace if mode == "exponential" else np.linspace)(1e-4, 0.5, 20)
    assert bench.rates == planned.tolist() == result.lr.tolist()
    assert result.lr[0] == 1e-4 and result.lr[-1] == 0.5 and not result.diverged
    assert len(result.loss) == len(result.accuracy) == 20


@pytest.mark.parametrize("iterations", [5, 8, 9])
def test_as_many_steps_are_taken_as_asked_for_in_epochs_of_their_own(iterations: int) -> None:
    bench, data = Bench(), Data(4)
    result = bench.sweep(data, iterations=iterations)
    assert len(result.lr) == len(bench.rates) == iterations
    assert data.epochs == list(range(1, -(-iterations // 4) + 1))


def test_whole_numbers_are_rates_too() -> None:
    assert Bench().sweep(Data(5), start_lr=0.001, end_lr=1, iterations=5).lr[-1] == 1.0


def test_loss_and_accuracy_are_those_of_the_batch_before_its_update() -> None:
    data = Data(6)
    result = Bench(momentum=0.0).sweep(data, iterations=6, start_lr=1e-3, end_lr=0.1)
    fresh, rates = Bench(momentum=0.0), iter(result.lr)
    fresh.optimizer.register_step_pre_hook(
        lambda *_: fresh.optimizer.param_groups[0].update(lr=float(next(rates)))
    )
    with torch.random.fork_rng(devices=[]):
        measured = fresh.train(data)
    assert list(zip(result.loss, result.accuracy, strict=True)) == measured


# No trace


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("training", [True, False])
def test_a_sweep_leaves_everything_as_it_was(optimizer: str, trained: bool, training: bool) -> None:
    bench = Bench(optimizer)
    if trained:
        bench.train(Data(3))
    bench.model.train(training)
    bench.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: None)
    before = bench.everything()
    bench.sweep(Data(4), iterations=10, end_lr=1.0)
    assert_same(bench.everything(), before)


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_sweep_whose_data_breaks_leaves_everything_as_it_was(optimizer: str, at: int) -> None:
    bench = Bench(optimizer)
    bench.train(Data(3))
    before = bench.everything()
    with pytest.raises(OSError, match="the disk is gone"):
        bench.sweep(Data(4, fails_at=at), iterations=10)
    assert_same(bench.everything(), before)


def test_a_second_sweep_finds_the_same() -> None:
    bench, losses = Bench(), []
    for _ in range(2):
        with global_seed(0, "dropout"):
            losses.append(bench.sweep(Data(4), iterations=12).loss.tolist())
    assert losses[0] == losses[1]


def test_the_network_trains_as_ever_after_a_sweep() -> None:
    swept, fresh, data = Bench(), Bench(), Data(4)
    swept.sweep(data, iterations=12)
    for bench in (swept, fresh):
        with global_seed(0, "dropout"):
            bench.trainer.run(list(data), max_epochs=2)
    assert_same(swept.everything()["weights"], fresh.everything()["weights"])
    assert swept.rates[12:] == fresh.rates == [0.0123] * 8


# Divergence


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [5, 7])
def test_the_rows_end_before_the_first_loss_that_is_not_finite(bad: float, at: int) -> None:
    bench, data = Bench(), Data(20)
    bench.train(Data(3))
    data.images[at] = bad
    before = bench.everything()
    result = bench.sweep(data, iterations=20)
    assert len(result.lr) == len(result.loss) == len(result.accuracy) == at and result.diverged
    assert np.isfinite(result.loss).all() and np.isfinite(result.smoothed_loss).all()
    assert len(bench.rates) == at + 1, "nothing is trained on after it"
    assert_same(bench.everything(), before)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (0, "the first batch's loss is not finite; look at data, augment and model"),
        (1, "the loss is not finite after 1 steps; lower range_test.start_lr"),
        (4, "the loss is not finite after 4 steps; lower range_test.start_lr"),
    ],
)
def test_a_loss_that_is_not_finite_within_the_first_five_steps_is_an_error(at: int, says: str) -> None:
    bench, data = Bench(), Data(20)
    data.images[at] = float("nan")
    before = bench.everything()
    with pytest.raises(RunError, match=f"^range test: {says}$"):
        bench.sweep(data, iterations=20)
    assert_same(bench.everything(), before)


@pytest.mark.parametrize(("mode", "start_lr", "key"), [("linear", 1.0, "end"), ("exponential", 1e5, "start")])
def test_a_loss_that_runs_away_at_once_names_the_key_that_lowers_the_first_rates(
    mode: str, start_lr: float, key: str
) -> None:
    with pytest.raises(RunError, match=f"after [1-4] steps; lower range_test.{key}_lr$"):
        Bench(momentum=0.0).sweep(Data(30), iterations=30, mode=mode, start_lr=start_lr, end_lr=1e6)


def test_a_loss_that_runs_away_ends_the_sweep() -> None:
    result = Bench(momentum=0.0).sweep(Data(30), iterations=30, start_lr=1e-3, end_lr=1e6)
    assert result.diverged and 5 <= len(result.lr) < 30 and result.loss[-1] > 5 * result.loss.min()


def test_smoothing_neither_shifts_a_peak_nor_changes_a_constant() -> None:
    spike = np.zeros(201)
    spike[100] = 1
    smoothed = smooth(spike)
    assert smoothed.argmax() == 100 and np.allclose(smoothed, smoothed[::-1])
    assert smoothed.sum() == pytest.approx(1)
    assert smooth(np.full(50, 3.0)) == pytest.approx(3.0)
