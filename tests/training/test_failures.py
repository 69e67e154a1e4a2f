"""How runs fail, in words that say what to change."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from harness.data import load_data
from harness.errors import RunError
from harness.plan import Variant, resolve_variant
from harness.store.atomic import atomic_write
from harness.study_file.load import resolve
from harness.training.failures import NonFiniteLoss, failure, stop_on_non_finite_loss


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    study = resolve(
        {
            "name": "tiny",
            "seeds": [0],
            "target": {"test_accuracy": 0.2},
            "data": {"source": "digits", "batch_size": 32},
            "model": {"width": 2},
            "optimizer": {"name": "SGD"},
            "schedule": {"kind": "constant", "epochs": 1, "lr": 0.1},
        }
    )
    return resolve_variant(study, "base", load_data("digits", tmp_path_factory.mktemp("data")), device="cpu")


def train(losses: list[float], epochs: int = 1, device: str = "cpu") -> Engine:
    """An engine whose steps have these losses, epoch by epoch."""
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(losses[engine.state.iteration - 1])})
    stop_on_non_finite_loss(trainer, device)
    trainer.run(range(len(losses) // epochs), max_epochs=epochs)
    return trainer


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_training_stops_at_the_first_loss_that_is_not_finite(bad: float, at: int) -> None:
    losses = [1.0] * 6
    losses[at - 1] = bad
    with pytest.raises(NonFiniteLoss) as caught:
        train(losses, epochs=2)
    epoch = 1 + (at - 1) // 3
    assert str(caught.value) == f"loss not finite at iteration {at} (epoch {epoch}); lower the learning rate"
    assert caught.value.iteration == at


def test_finite_losses_do_not_stop_however_large() -> None:
    assert train([3e38, -3e38, 0.0]).state.iteration == 3


def test_an_accelerator_is_asked_once_an_epoch_and_still_names_the_first_iteration() -> None:
    steps: list[int] = []
    losses = [1.0, 1.0, float("nan"), 1.0, float("nan"), 1.0]
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(losses[engine.state.iteration - 1])})
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: steps.append(trainer.state.iteration))
    stop_on_non_finite_loss(trainer, "cuda")
    with pytest.raises(NonFiniteLoss, match=r"^loss not finite at iteration 3 \(epoch 2\)"):
        trainer.run(range(2), max_epochs=3)
    assert steps == [1, 2, 3, 4]


def test_a_divergence_is_recorded_with_its_iteration(variant: Variant) -> None:
    found = failure(NonFiniteLoss(7, 2), variant)
    assert (
        found["kind"] == "diverged"
        and found["iteration"] == 7
        and "iteration 7 (epoch 2)" in found["message"]
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
    ],
)
def test_running_out_of_memory_says_what_to_lower(variant: Variant, error: Exception) -> None:
    found = failure(error, variant)
    assert found["kind"] == "out_of_memory" and found["message"].isprintable()
    assert "batches of 32 on cpu; lower data.batch_size or model.width" in found["message"]


def test_torchs_own_allocation_failure_is_recognised(variant: Variant) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert failure(caught.value, variant)["kind"] == "out_of_memory"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EFBIG, "disk_full"),
        (errno.EIO, "disk"),
        (errno.EACCES, "disk"),
    ],
)
def test_a_disk_that_is_full_is_told_from_one_that_fails(variant: Variant, number: int, kind: str) -> None:
    assert failure(OSError(number, "what the system says", "file"), variant)["kind"] == kind
    wrapped = RunError("run.json: cannot be written: what the system says")
    wrapped.__cause__ = OSError(number, "what the system says")
    assert failure(wrapped, variant) == {"kind": kind, "message": str(wrapped)}


def test_a_write_that_fails_is_a_failure_of_the_disk(variant: Variant, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError) as caught:
        atomic_write(tmp_path / "file" / "run.json", "x")
    assert failure(caught.value, variant)["kind"] == "disk"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RunError("run.json: damaged"), {"kind": "damaged", "message": "run.json: damaged"}),
        (ValueError("two\nlines\tof it"), {"kind": "ValueError", "message": "ValueError: two lines of it"}),
        (KeyError("x"), {"kind": "KeyError", "message": "KeyError: 'x'"}),
    ],
)
def test_any_other_failure_is_named_by_its_kind_on_one_line(
    variant: Variant, error: Exception, expected: dict[str, Any]
) -> None:
    assert failure(error, variant) == expected


def test_a_message_of_a_megabyte_is_cut(variant: Variant) -> None:
    assert len(failure(ValueError("x" * 1_000_000), variant)["message"]) < 400
