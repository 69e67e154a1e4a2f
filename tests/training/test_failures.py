"""How runs fail, in words that say what to change."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import RunError
from harness.plan import Variant, resolve_variant
from harness.store.atomic import atomic_write
from harness.study_file.load import resolve
from harness.training.failures import NonFiniteLoss, failure
from tests.conftest import TINY
from tests.training.tiny_runs import data_of


@pytest.fixture(scope="module")
def variant() -> Variant:
    study = resolve(TINY)
    return resolve_variant(study, "base", data_of(study), device="cpu")


def test_a_divergence_is_recorded_with_its_iteration(variant: Variant) -> None:
    recorded = failure(NonFiniteLoss(7, 2), variant)
    assert (
        recorded["kind"] == "diverged"
        and recorded["iteration"] == 7
        and "iteration 7 (epoch 2)" in recorded["message"]
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
    recorded = failure(error, variant)
    assert recorded["kind"] == "out_of_memory" and recorded["message"].isprintable()
    assert "batches of 32 on cpu; lower data.batch_size or model.width" in recorded["message"]


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
