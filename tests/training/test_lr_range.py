"""The range test: the rates it really uses, that it leaves no trace, and what it chooses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from torch import Tensor, nn

from harness.errors import RunError
from harness.seeding import global_seed
from harness.study_file.config import Loss
from harness.study_file.schedules import RangeTest
from harness.training.engines import create_loss, create_trainer
from harness.training.lr_range import Sweep, choose, smooth, sweep


class Data:
    """Batches of an epoch that note which epochs were asked for."""

    def __init__(self, batches: int, size: int = 8, bad: int | None = None) -> None:
        draws = torch.Generator().manual_seed(2)
        self.images = torch.randn(batches, size, 3, 8, 8, generator=draws)
        self.labels = torch.randint(5, (batches, size), generator=draws)
        self.bad = bad
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for at, (images, labels) in enumerate(zip(self.images, self.labels, strict=True)):
            if at == self.bad:
                raise OSError("the disk is gone")
            yield images, labels


class Bench:
    """A small network with all that a sweep could disturb, and what it looked like before."""

    def __init__(self, optimizer: str = "SGD", **options: Any) -> None:
        with global_seed(0, "test"):
            self.model = nn.Sequential(
                nn.Conv2d(3, 4, 3),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.Dropout(0.3),
                nn.Flatten(),
                nn.Linear(144, 5),
            )
        options = options or ({"momentum": 0.9} if optimizer == "SGD" else {})
        self.optimizer = getattr(torch.optim, optimizer)(self.model.parameters(), lr=0.0123, **options)
        self.trainer = create_trainer(
            self.model, self.optimizer, create_loss(Loss(), self.model), device="cpu", precision="float32"
        )
        self.rates: list[float] = []
        self.model.register_forward_pre_hook(
            lambda *_: self.rates.append(self.optimizer.param_groups[0]["lr"])
        )

    def train(self, data: Data) -> None:
        for images, labels in data:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(images), labels).backward()
            self.optimizer.step()
        self.rates.clear()

    def sweep(self, data: Data, **settings: Any) -> Sweep:
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
                event: list(found) for event, found in self.trainer._event_handlers.items() if found
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
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other)
    else:
        assert one == other


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
    result = Bench().sweep(Data(5), start_lr=0.001, end_lr=1, iterations=5)
    assert result.lr[-1] == 1.0


def test_loss_and_accuracy_are_those_of_the_batch_before_its_update() -> None:
    bench, data = Bench(momentum=0.0), Data(6)
    result = bench.sweep(data, iterations=6, start_lr=1e-3, end_lr=0.1)
    fresh = Bench(momentum=0.0)
    losses, accuracies = [], []
    with torch.random.fork_rng(devices=[]):
        for (images, labels), lr in zip(data, result.lr, strict=True):
            fresh.optimizer.param_groups[0]["lr"] = lr
            fresh.optimizer.zero_grad()
            logits = fresh.model(images)
            loss = nn.functional.cross_entropy(logits, labels)
            loss.backward()
            fresh.optimizer.step()
            losses.append(loss.item())
            accuracies.append((logits.argmax(1) == labels).float().mean().item())
    assert result.loss.tolist() == losses and result.accuracy.tolist() == accuracies


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


@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_sweep_whose_data_breaks_leaves_everything_as_it_was(optimizer: str, bad: int) -> None:
    bench = Bench(optimizer)
    bench.train(Data(3))
    before = bench.everything()
    with pytest.raises(OSError, match="the disk is gone"):
        bench.sweep(Data(4, bad=bad), iterations=10)
    assert_same(bench.everything(), before)


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_sweep_whose_loss_is_not_finite_leaves_everything_as_it_was(at: int) -> None:
    bench, data = Bench(), Data(10)
    bench.train(Data(3))
    data.images[at] = float("nan")
    before = bench.everything()
    if at < 5:
        with pytest.raises(RunError):
            bench.sweep(data, iterations=10)
    else:
        bench.sweep(data, iterations=10)
    assert_same(bench.everything(), before)


def test_a_second_sweep_finds_the_same() -> None:
    bench, data = Bench(), Data(4)
    results = []
    for _ in range(2):
        with global_seed(0, "dropout"):
            results.append(bench.sweep(data, iterations=12))
    assert results[0].loss.tolist() == results[1].loss.tolist()


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
def test_the_rows_end_before_the_first_loss_that_is_not_finite(bad: float) -> None:
    bench, data = Bench(), Data(20)
    data.images[7] = bad
    result = bench.sweep(data, iterations=20)
    assert len(result.lr) == len(result.loss) == len(result.accuracy) == 7 and result.diverged
    assert np.isfinite(result.loss).all() and np.isfinite(result.smoothed_loss).all()
    assert len(bench.rates) == 8, "nothing is trained on after it"


def test_a_first_loss_that_is_not_finite_is_no_rates_fault() -> None:
    data = Data(20)
    data.images[0] = float("nan")
    with pytest.raises(RunError, match="^range test: the first batch's loss is not finite; look at data"):
        Bench().sweep(data, iterations=20)


def test_a_loss_that_runs_away_at_once_names_the_key_that_lowers_the_first_rates() -> None:
    for mode, key in (("linear", "end"), ("exponential", "start")):
        rates = {"start_lr": 1.0 if mode == "linear" else 1e5, "end_lr": 1e6}
        with pytest.raises(RunError, match=f"after [1-4] steps; lower range_test.{key}_lr$"):
            Bench(momentum=0.0).sweep(Data(30), iterations=30, mode=mode, **rates)


@pytest.mark.parametrize("at", [1, 4])
def test_a_loss_that_is_not_finite_within_the_first_five_steps_is_an_error(at: int) -> None:
    data = Data(20)
    data.images[at] = float("nan")
    with pytest.raises(
        RunError, match=f"^range test: the loss is not finite after {at} steps; lower range_test.start_lr$"
    ):
        Bench().sweep(data, iterations=20)


def test_five_finite_steps_are_enough() -> None:
    data = Data(20)
    data.images[5] = float("nan")
    assert len(Bench().sweep(data, iterations=20).lr) == 5


def test_a_loss_that_runs_away_ends_the_sweep() -> None:
    result = Bench(momentum=0.0).sweep(Data(30), iterations=30, start_lr=1e-3, end_lr=1e6)
    assert result.diverged and 5 <= len(result.lr) < 30 and result.loss[-1] > 5 * result.loss.min()


# The choice

LR = np.geomspace(1e-4, 1.0, 200)
LOG = np.log10(LR)


def curve(loss: Any = None, accuracy: Any = None, diverged: bool = False) -> Sweep:
    flat = np.ones(200)
    return Sweep(LR, flat if loss is None else loss, flat if accuracy is None else accuracy, diverged)


def bowl(at: float) -> Any:
    return (LOG - at) ** 2


def test_accuracy_chooses_the_peak_of_the_smoothed_accuracy() -> None:
    rates, doubts = choose(curve(bowl(-1), 1 - bowl(-2) / 10), RangeTest(criterion="accuracy"))
    assert np.log10(rates.lr_max) == pytest.approx(-2, abs=0.02) and doubts == []


def test_one_lucky_batch_is_not_the_peak() -> None:
    accuracy = 1 - bowl(-2) / 10
    accuracy[150] = 1.2
    rates, _ = choose(curve(bowl(-1), accuracy), RangeTest(criterion="accuracy"))
    assert np.log10(rates.lr_max) == pytest.approx(-2, abs=0.02)


def test_minimum_chooses_the_lowest_smoothed_loss() -> None:
    rates, doubts = choose(curve(bowl(-1.5), bowl(0)), RangeTest(criterion="minimum"))
    assert np.log10(rates.lr_max) == pytest.approx(-1.5, abs=0.02) and doubts == []


def test_steepest_chooses_the_steepest_fall_over_log_lr() -> None:
    loss = -np.tanh(3 * (LOG + 2.5)) + 20 * np.maximum(0, LOG + 0.5) ** 2
    rates, doubts = choose(curve(loss), RangeTest(criterion="steepest"))
    assert np.log10(rates.lr_max) == pytest.approx(-2.5, abs=0.03) and doubts == []


def test_steepest_is_over_log_lr_in_a_linear_sweep_too() -> None:
    lr = np.linspace(0.01, 1, 300)
    loss = -np.tanh(3 * (np.log10(lr) + 1)) + 20 * np.maximum(0, np.log10(lr) + 0.2) ** 2
    rates, _ = choose(Sweep(lr, loss, lr, False), RangeTest(criterion="steepest"))
    assert np.log10(rates.lr_max) == pytest.approx(-1, abs=0.1)


def test_valley_chooses_two_thirds_along_the_longest_fall() -> None:
    # rises to 10^-3.5, falls to 10^-0.5, rises
    loss = np.where(LOG < -3.5, LOG, np.where(LOG < -0.5, -7 - LOG, LOG - 6))
    rates, doubts = choose(curve(loss), RangeTest(criterion="valley"))
    assert np.log10(rates.lr_max) == pytest.approx(-3.5 + 2, abs=0.05) and doubts == []


@pytest.mark.parametrize("divisor", [1, 10, 32.5])
def test_lr_min_is_lr_max_by_its_divisor(divisor: float) -> None:
    rates, _ = choose(curve(bowl(-1), -bowl(-2)), RangeTest(lr_min_divisor=divisor))
    assert rates.lr_min == rates.lr_max / divisor


@pytest.mark.parametrize("criterion", ["accuracy", "minimum"])
def test_a_choice_at_the_end_of_the_sweep_is_doubtful(criterion: str) -> None:
    rates, doubts = choose(curve(bowl(0), -bowl(0)), RangeTest(criterion=criterion))
    assert doubts == [f"lr_max = {rates.lr_max:.4g} lies at the end of the sweep; raise range_test.end_lr"]
    rates, doubts = choose(curve(bowl(0), -bowl(0), diverged=True), RangeTest(criterion=criterion))
    assert doubts == [f"lr_max = {rates.lr_max:.4g} is where the loss ran away; raise range_test.iterations"]


@pytest.mark.parametrize("criterion", ["accuracy", "minimum"])
def test_a_loss_that_rises_from_the_start_asks_for_lower_rates(criterion: str) -> None:
    settings = RangeTest(criterion=criterion)
    for diverged in (False, True):
        _, doubts = choose(curve(bowl(-4), -bowl(-4), diverged), settings)
        assert doubts == ["the loss rises from the first rates on; lower range_test.start_lr"]


def test_where_the_second_rate_follows_the_last_that_one_is_named() -> None:
    lr = np.linspace(1e-4, 1e3, 200)[:8]
    loss = np.geomspace(2.3, 20, 8)
    assert choose(Sweep(lr, loss, -loss, True), RangeTest(end_lr=1e3, iterations=200, mode="linear"))[1] == [
        "the loss rises from the first rates on; lower range_test.end_lr"
    ]


def test_a_choice_whose_loss_is_above_the_first_is_doubtful() -> None:
    rates, doubts = choose(curve(bowl(-3), LOG), RangeTest())
    assert rates.lr_max > 0.9
    start = f"the loss at lr_max = {rates.lr_max:.4g} is "
    assert len(doubts) == 1 and doubts[0].startswith(start)
    assert doubts[0].endswith(" at the start; lower range_test.end_lr")


def test_an_accuracy_that_falls_while_the_loss_falls_too_is_no_criterion() -> None:
    _, (doubt,) = choose(curve(bowl(-1), -LOG), RangeTest())
    assert doubt.startswith(
        "lr_max = 0.0001 lies at the start of the sweep, but the loss falls until lr = 0.09"
    )
    assert doubt.endswith("; choose another range_test.criterion")


@pytest.mark.parametrize("criterion", ["accuracy", "minimum", "steepest", "valley"])
def test_a_flat_curve_asks_for_higher_rates(criterion: str) -> None:
    noise = np.random.default_rng(0).normal(size=200) / 5
    for loss in (np.full(200, 2.3), 2.3 + noise):
        doubts = choose(curve(loss, -loss), RangeTest(criterion=criterion))[1]
        assert doubts == ["no rate of the sweep lowers the loss; raise range_test.end_lr"]


def test_rates_too_few_or_too_far_apart_are_doubtful() -> None:
    for few, says in (
        (RangeTest(iterations=5, end_lr=1e6), "5 rates, each 316 times the one before, are too few"),
        (RangeTest(iterations=15, start_lr=0.1), "15 rates are too few"),
        (RangeTest(iterations=15, mode="linear"), "15 rates are too few"),
        (RangeTest(iterations=30, start_lr=1e-9, end_lr=10), "30 rates, each 2.21 times the one before"),
    ):
        space = np.geomspace if few.mode == "exponential" else np.linspace
        lr = space(few.start_lr, few.end_lr, few.iterations)
        fall = np.linspace(2, 1, len(lr))
        doubt = choose(Sweep(lr, fall, -fall, False), few)[1][0]
        assert doubt.startswith(says) and "raise range_test.iterations to " in doubt
        enough = few.model_copy(update={"iterations": int(doubt.split()[-1])})
        lr = space(enough.start_lr, enough.end_lr, enough.iterations)
        fall = np.linspace(2, 1, len(lr))
        assert not any("too few" in doubt for doubt in choose(Sweep(lr, fall, -fall, False), enough)[1])


def imagined(settings: RangeTest, learns: float, fails: float, noise: float) -> Sweep | None:
    """A sweep of a network that learns from one rate on and fails from another on, both as log10.

    None where its loss runs away within five steps, which is an error.
    """
    space = np.geomspace if settings.mode == "exponential" else np.linspace
    lr = space(settings.start_lr, settings.end_lr, settings.iterations)
    at = np.log10(lr)
    loss = 2.3 - 1.5 * np.clip((at - learns) / (fails - learns), 0, 1) + 10 ** (2 * (at - fails))
    loss = np.concatenate([[2.3], loss[:-1]])  # that of a batch is measured before the step
    loss += noise * np.random.default_rng(0).normal(size=len(lr))
    above = np.flatnonzero(loss > 5 * np.minimum.accumulate(loss))
    end = int(above[0]) + 1 if len(above) else len(lr)
    return Sweep(lr[:end], loss[:end], 1 - loss[:end] / 3, len(above) > 0) if end >= 5 else None


@settings(deadline=None, max_examples=60)
@given(
    start=st.floats(-7, 2),
    span=st.floats(0.5, 7),
    iterations=st.integers(5, 300),
    mode=st.sampled_from(["exponential", "linear"]),
    criterion=st.sampled_from(["accuracy", "minimum"]),
    learns=st.floats(-4, -2),
    noise=st.floats(0, 0.1),
)
def test_who_follows_the_advice_finds_the_rate_at_which_the_network_still_learns(
    start: float, span: float, iterations: int, mode: str, criterion: str, learns: float, noise: float
) -> None:
    fails = learns + 2
    chosen = RangeTest(
        start_lr=10**start, end_lr=10 ** min(start + span, 5), iterations=iterations,
        mode=mode, criterion=criterion,
    )  # fmt: skip
    told = []
    for _ in range(20):
        result = imagined(chosen, learns, fails, noise)
        if result is None:
            coarse = chosen.mode == "linear" or chosen.iterations < 50
            told.append(f"lower range_test.{'end' if coarse else 'start'}_lr")
        else:
            rates, doubts = choose(result, chosen)
            if not doubts:
                break
            told.append(doubts[-1].rpartition("; ")[2])
        verb, key, *to = told[-1].replace("range_test.", "").replace("to ", "").split()
        factor = {"raise": 3, "lower": 1 / 3}[verb]
        value = int(to[0]) if to else getattr(chosen, key) * factor
        changed = chosen.model_copy(update={key: int(value) if key == "iterations" else value})
        if changed.start_lr >= changed.end_lr:  # both go down
            changed = changed.model_copy(update={"start_lr": changed.end_lr / 100})
        chosen = changed
    else:
        pytest.fail(f"never done: {told} {chosen}")
    assert learns < np.log10(rates.lr_max) < fails + 0.5, (told, chosen)


def test_a_choice_well_inside_is_not_doubtful() -> None:
    for at in (-3.8, -0.2):
        assert choose(curve(bowl(at), -bowl(at)), RangeTest())[1] == []


def test_a_sweep_that_never_turned_is_doubtful() -> None:
    rates, doubts = choose(curve(-LOG, -bowl(-2)), RangeTest(criterion="accuracy"))
    assert doubts == ["the loss still falls where the sweep ends; raise range_test.end_lr"]
    assert np.log10(rates.lr_max) == pytest.approx(-2, abs=0.02)


def test_a_loss_that_falls_until_it_is_not_finite_may_be_the_datas_fault() -> None:
    _, (doubt,) = choose(curve(-LOG, -bowl(-2), diverged=True), RangeTest())
    assert doubt.startswith("the loss falls until lr = 1 and is not finite at the next step; look at data")
    ran_away = np.append(-LOG[:-5], [5, 9, 15, 30, 80])
    assert choose(curve(ran_away, -bowl(-2), diverged=True), RangeTest())[1] == []


@pytest.mark.parametrize("criterion", ["accuracy", "minimum", "steepest", "valley"])
@pytest.mark.parametrize("steps", [5, 6, 11])
def test_every_criterion_chooses_a_rate_of_even_the_shortest_or_flattest_sweep(
    criterion: str, steps: int
) -> None:
    lr = np.geomspace(1e-3, 1, steps)
    for values in (np.ones(steps), np.arange(steps, 0.0, -1), np.arange(steps, dtype=float)):
        rates, _ = choose(Sweep(lr, values, values, True), RangeTest(criterion=criterion))
        assert rates.lr_max in lr


def test_smoothing_neither_shifts_a_peak_nor_changes_a_constant() -> None:
    spike = np.zeros(201)
    spike[100] = 1
    smoothed = smooth(spike)
    assert (
        smoothed.argmax() == 100
        and np.allclose(smoothed, smoothed[::-1])
        and smoothed.sum() == pytest.approx(1)
    )
    assert smooth(np.full(50, 3.0)) == pytest.approx(3.0)


def test_the_engine_is_ignites_own() -> None:
    assert isinstance(Bench().trainer, Engine)
