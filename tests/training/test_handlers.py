"""What listens to a run's trainer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from harness.training.failures import NonFiniteLoss
from harness.training.handlers import StopOnNonFiniteLoss, seed_epoch


def train(losses: list[float], epochs: int = 1, device: str = "cpu") -> list[int]:
    """Train an engine whose steps have these losses, epoch by epoch, and return the steps that it took."""
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(losses[engine.state.iteration - 1])})
    steps: list[int] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: steps.append(trainer.state.iteration))
    StopOnNonFiniteLoss(device).attach(trainer)
    try:
        trainer.run(range(len(losses) // epochs), max_epochs=epochs)
    except NonFiniteLoss as error:
        error.add_note(str(steps))
        raise
    return steps


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [1, 3, 6])
@pytest.mark.parametrize(("device", "waits"), [("cpu", False), ("cuda", True)])
def test_training_stops_at_the_first_loss_that_is_not_finite(
    bad: float, at: int, device: str, waits: bool
) -> None:
    losses = [1.0] * 6
    losses[at - 1] = losses[5] = bad
    with pytest.raises(NonFiniteLoss) as caught:
        train(losses, epochs=2, device=device)
    epoch = 1 + (at - 1) // 3
    assert str(caught.value) == f"loss not finite at iteration {at} (epoch {epoch}); lower the learning rate"
    assert caught.value.iteration == at
    # An accelerator is asked once an epoch.
    assert caught.value.__notes__ == [str(list(range(1, 1 + (3 * epoch if waits else at))))]


def test_finite_losses_do_not_stop_however_large() -> None:
    assert train([3e38, -3e38, 0.0]) == [1, 2, 3]


def test_an_epochs_draws_depend_on_seed_and_epoch_alone() -> None:
    class Batches(list[int]):
        def set_epoch(self, epoch: int) -> None:
            self[:] = [epoch]

    def draws(seed: int, *earlier: int) -> list[Any]:
        batches, drawn = Batches([0]), []
        trainer = Engine(lambda engine, batch: drawn.append((batch, torch.rand(()).item())))
        trainer.add_event_handler(Events.EPOCH_STARTED, seed_epoch, batches, seed)
        trainer.load_state_dict({"iteration": len(earlier), "epoch_length": 1, "max_epochs": 3})
        with torch.random.fork_rng(devices=[]):
            trainer.run(batches)
        return drawn

    whole = draws(0)
    assert [epoch for epoch, _ in whole] == [1, 2, 3] and len({value for _, value in whole}) == 3
    assert draws(0, 1) == whole[1:] and draws(1) != whole
