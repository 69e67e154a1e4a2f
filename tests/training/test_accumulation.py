"""Accumulated and clipped gradients: the same as larger batches, and as loops with torch's own functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import Tensor, nn

from harness.errors import StudyError
from harness.losses import create_loss
from harness.optimizers import create_optimizer
from harness.outline import make_outline
from harness.plan import resolve_variant
from harness.seeding import global_seed
from harness.study_file.config import Study
from harness.study_file.parts import Loss, OptimizerConfig
from harness.training.accumulation import Accumulation
from harness.training.engines import create_trainer
from harness.training.progress import silent
from harness.training.range_test.sweep import sweep_variant
from tests.training.tiny_runs import data_of, run

Tiny = Callable[..., Study]
Batches = list[tuple[Tensor, Tensor]]


def network() -> nn.Module:
    """No batch norm, whose statistics depend on the batches."""
    with global_seed(0, "test"):
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def split(images: int, batch_size: int) -> Batches:
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(images, 3, 2, 2, generator=draws)
    labels = torch.randint(3, (images,), generator=draws)
    return list(zip(inputs.split(batch_size), labels.split(batch_size), strict=True))


def trained(batches: Batches, config: Loss | None = None, **options: Any) -> nn.Module:
    """Two epochs of SGD."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-2)
    loss = create_loss(config or Loss(), model)
    create_trainer(model, optimizer, loss, device="cpu", precision="float32", **options).run(
        batches, max_epochs=2
    )
    return model


def assert_close(one: nn.Module, other: nn.Module, *, exact: bool = False) -> None:
    for name, value in one.state_dict().items():
        if exact:
            assert torch.equal(value, other.state_dict()[name]), name
        else:
            torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("images", [48, 45, 33, 30, 25, 19])
@pytest.mark.parametrize("config", [Loss(), Loss(label_smoothing=0.1, l1=1e-2)], ids=["plain", "l1"])
def test_four_batches_a_step_are_one_batch_of_four_times_the_images(images: int, config: Loss) -> None:
    small, large = split(images, 6), split(images, 24)
    last = len(small[-1][1])
    accumulated = trained(small, config, accumulation=Accumulation(4, 6, last))
    assert_close(accumulated, trained(large, config))


def test_the_last_images_of_an_epoch_count_as_much_as_the_others() -> None:
    equal_batches = trained(split(45, 6), accumulation=Accumulation(4, 6, 6))
    with pytest.raises(AssertionError):
        assert_close(equal_batches, trained(split(45, 24)))


def test_a_step_of_one_batch_is_a_step_without_accumulation_to_the_bit() -> None:
    batches = split(45, 6)
    assert_close(trained(batches, accumulation=Accumulation(1, 6, 3)), trained(batches), exact=True)


def test_no_gradient_goes_from_one_epoch_into_the_next_and_a_resumed_engine_goes_on_the_same() -> None:
    batches, states = split(45, 6), []
    for stop in (2, 1):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        for epochs in range(stop, 3):
            trainer = create_trainer(
                model, optimizer, create_loss(Loss(), model), device="cpu", precision="float32",
                accumulation=Accumulation(3, 6, 3),
            )  # fmt: skip
            if epochs == 2 and stop == 1:
                optimizer.zero_grad()  # what a new process begins with
                trainer.load_state_dict({"epoch": 1, "epoch_length": 8, "max_epochs": 1})
            trainer.run(batches, max_epochs=epochs)
        states.append(model)
    assert_close(*states, exact=True)


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("clip", [0.05, 1e5])
def test_clipping_is_torchs_own_in_a_plain_loop(together: int, clip: float) -> None:
    batches = split(45, 6)
    ours = trained(batches, clip_norm=clip, accumulation=Accumulation(together, 6, 3))
    theirs = network()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-2)
    for _ in range(2):
        for first in range(0, len(batches), together):
            group = batches[first : first + together]
            images = sum(len(labels) for _, labels in group)
            optimizer.zero_grad()
            for inputs, labels in group:
                (F.cross_entropy(theirs(inputs), labels) * (len(labels) / images)).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
            optimizer.step()
    assert_close(ours, theirs, exact=True)


def test_scaled_gradients_are_clipped_after_their_scale_is_removed() -> None:
    batches, accumulation = split(48, 6), Accumulation(2, 6, 6)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled = trained(batches, clip_norm=0.05, accumulation=accumulation, scaler=scaler)
    assert_close(scaled, trained(batches, clip_norm=0.05, accumulation=accumulation), exact=True)
    assert scaler.get_scale() == 1024.0


def test_a_step_uses_the_rate_of_its_last_batch() -> None:
    batches, model = split(24, 6), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = create_trainer(
        model, optimizer, create_loss(Loss(), model), device="cpu", precision="float32",
        accumulation=Accumulation(2, 6, 6),
    )  # fmt: skip
    rates = [7.0, 0.1, 9.0, 0.0]

    def set_rate(engine: Engine) -> None:
        optimizer.param_groups[0]["lr"] = rates[engine.state.iteration - 1]

    trainer.add_event_handler(Events.ITERATION_STARTED, set_rate)
    trainer.run(batches, max_epochs=1)
    (images, labels), *_ = split(24, 12)
    plain = network()
    F.cross_entropy(plain(images), labels).backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    assert_close(model, plain)


def test_a_range_test_accumulates_too(tiny: Tiny) -> None:
    keys = {"name": "SGD", "momentum": 0.9}
    losses = []
    for together in (1, 5):
        study = tiny(("optimizer", {**keys, "accumulate": together}), ("schedule.lr_max", "find"))
        data = data_of(study)
        variant = resolve_variant(study, "base", data, device="cpu")
        settings = variant.recipe.range_test_settings
        assert settings is not None
        settings = settings.model_copy(
            update={"iterations": 10, "start_lr": 0.5, "end_lr": 1.0, "repeats": 1}
        )
        losses.append(sweep_variant(variant, data, settings, threads=1, say=silent).loss.tolist())
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]
    assert losses[0][5] != losses[1][5]


def test_a_run_accumulates_in_whole_and_keeps_its_rates_by_batch(tiny: Tiny, tmp_path: Any) -> None:
    study = tiny(("optimizer", {"name": "SGD", "accumulate": 2}), ("data.train_limit", 150))
    record, folder, variant = run(study, tmp_path)
    assert record.status == "finished"
    assert len((folder.path / "learning_rates.csv").read_text().splitlines()) == 1 + 3 * 5
    assert variant.identity["recipe"]["optimizer"] == {"name": "SGD", "accumulate": 2}


def places(batches: int, epoch_length: int, epochs: int = 2) -> Iterator[tuple[bool, bool, float]]:
    accumulation, engine = Accumulation(batches, 10, 4), Engine(lambda engine, batch: None)
    seen: list[tuple[bool, bool, float]] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(accumulation.place(engine)))
    engine.run([0] * epoch_length, max_epochs=epochs)
    return iter(seen)


@pytest.mark.parametrize("batches", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("epoch_length", [1, 2, 5, 9])
def test_every_epoch_ends_with_a_step_and_the_shares_of_a_step_add_up(
    batches: int, epoch_length: int
) -> None:
    total, steps, open_group = 0.0, 0, False
    for at, (first, last, share) in enumerate(places(batches, epoch_length), 1):
        assert first != open_group
        total, open_group = (share if first else total + share), not last
        if last:
            steps += 1
            assert total == pytest.approx(1)
        if at % epoch_length == 0:
            assert last
    assert steps == 2 * -(-epoch_length // batches)


def test_the_keys_do_not_reach_torch() -> None:
    config = OptimizerConfig(name="AdamW", clip_norm=1.0, accumulate=3)
    assert config.options == {}
    assert isinstance(create_optimizer(config, network()), torch.optim.AdamW)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"clip_norm": 0.0}, "optimizer.clip_norm: expected more than 0"),
        ({"clip_norm": -1}, "optimizer.clip_norm: expected more than 0"),
        ({"clip_norm": True}, "optimizer.clip_norm: expected a number"),
        ({"clip_norm": "1"}, "optimizer.clip_norm: expected a number"),
        ({"accumulate": 0}, "optimizer.accumulate: expected at least 1"),
        ({"accumulate": 2.5}, "optimizer.accumulate: expected a whole number"),
        ({"accumulate": True}, "optimizer.accumulate: expected a whole number"),
    ],
)
def test_wrong_values_are_refused_in_one_line(tiny: Tiny, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        tiny(("optimizer", {"name": "SGD", **keys}))


def test_a_step_of_more_batches_than_an_epoch_has_is_refused(tiny: Tiny) -> None:
    study = tiny(("optimizer", {"name": "SGD", "accumulate": 6}))
    with pytest.raises(StudyError, match="optimizer.accumulate: an epoch has only 5 batches"):
        make_outline(study, "base", 160, (32, 32), 10)
    make_outline(study, "base", 161, (32, 32), 10)
