"""Device, precision and threads: what is asked for, what is there, and one line where they differ."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from harness.device import (
    autocast,
    memory_format,
    prepare,
    resolve_device,
    resolve_precision,
    threads_for,
    usable_cores,
    use_threads,
)
from harness.errors import StudyError

CUDA = torch.cuda.is_available()
MPS = torch.backends.mps.is_available()


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_auto_is_the_fastest_that_is_there() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if CUDA else "mps" if MPS else "cpu")


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:0x1", "cuda:00", "cuda:1.5", "cuda: 0",
     "cuda:\u0663", "cudax", "cuda:0:0", "cuda:" + "9" * 5000, "mps:0", "xpu", "meta", "auto ", "cpu\n"],
)  # fmt: skip
def test_a_name_that_is_no_device_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(StudyError, match="expected auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


def test_a_cuda_device_that_is_not_there_is_refused_with_their_number() -> None:
    count = torch.cuda.device_count() if CUDA else 0
    for name in (f"cuda:{count}", "cuda:999", *(() if CUDA else ("cuda", "cuda:0"))):
        refusal = f"^--device {name}: {count} CUDA devices are available; use --device cpu"
        with pytest.raises(StudyError, match=refusal):
            resolve_device(name)


@pytest.mark.skipif(MPS, reason="an MPS device is here")
def test_an_mps_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(StudyError, match="^--device mps: no MPS device is available"):
        resolve_device("mps")


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(StudyError, match="^precision float16 needs a GPU; use bfloat16 or float32 on a CPU$"):
        resolve_precision("float16", "cpu")
    assert resolve_precision("float16", "cuda:1") == "float16"


@pytest.mark.parametrize("avx512_bf16", [True, False])
@pytest.mark.parametrize("amx", [True, False])
def test_auto_precision_on_a_cpu_is_bfloat16_where_it_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve_precision("auto", "cpu") == ("bfloat16" if avx512_bf16 or amx else "float32")
    assert resolve_precision("float32", "cpu") == resolve_precision("auto", "mps") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_auto_precision_on_cuda_is_bfloat16_where_the_gpu_has_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision("auto", "cuda:1") == expected


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_multiplies_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    a = torch.ones(2, 2)
    with autocast("cpu", precision):
        assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float32


def test_convolutions_run_in_channels_last_but_on_mps() -> None:
    assert memory_format("cpu") == memory_format("cuda:1") == torch.channels_last
    assert memory_format("mps") == torch.contiguous_format


@pytest.mark.parametrize(("setting", "threads"), [("3", 3), ("12", 12), ("4,2", 4), (" 2 ", 2)])
def test_threads_are_those_of_omp_num_threads(
    monkeypatch: pytest.MonkeyPatch, setting: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert threads_for(1) == threads_for(8) == threads


@pytest.mark.parametrize("setting", [None, "", "0", "-1", "many", "1.5", "\u0b33x"])
def test_threads_are_the_cores_divided_by_the_runs_at_once(
    monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if setting is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert threads_for(1) == usable_cores() >= 1
    assert threads_for(2) == max(1, usable_cores() // 2)
    assert threads_for(10_000) == 1


@pytest.mark.parametrize("setting", ["1025", "100000", "9" * 5_000])
def test_more_threads_than_any_machine_has_are_refused(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    match = "^OMP_NUM_THREADS=.*: 1024 threads are the maximum; unset it$"
    with pytest.raises(StudyError, match=match) as refused:
        threads_for(1)
    assert len(str(refused.value)) < 120


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes")
def test_cores_this_process_may_not_use_are_not_counted() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from harness.device import usable_cores; print(usable_cores())"
    assert python(code) == "1\n"


def test_prepare_sets_the_threads_and_keeps_what_the_cpu_computes() -> None:
    before = torch.get_num_threads()
    values = torch.linspace(-3, 3, 1000).softmax(0)
    try:
        prepare("cpu", 2)
        assert torch.get_num_threads() == 2
        prepare("cpu", 1)
        assert torch.equal(values, torch.linspace(-3, 3, 1000).softmax(0))
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone keeps so")
def test_memory_that_is_kept_goes_back_when_released() -> None:
    code = """if True:
        import torch
        from pathlib import Path
        from harness.device import prepare, release_memory
        def held():
            return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024
        prepare("cpu", 1)
        before = held()
        blocks = [torch.ones(2**20) for _ in range(64)]  # 4 MiB each
        last = torch.ones(1000)
        del blocks
        kept = held()
        release_memory("cpu")
        print(kept - before, held() - before)
    """
    kept, after = map(int, python(code).split())
    assert kept > 200 and after < 60


def test_threads_are_set_for_the_block_alone_also_where_it_raises() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ValueError), use_threads(1):
            assert torch.get_num_threads() == 1
            raise ValueError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
