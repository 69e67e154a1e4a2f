"""Device, precision, memory format and threads of a run."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.errors import StudyError
from harness.messages import one_line

MOST_THREADS = 1024
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> str:
    """Return an available device, such as ``"cpu"`` or ``"cuda:1"``, for its name or ``"auto"``.

    Raises:
        StudyError: no such device here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if count else "mps" if mps else "cpu"
    cuda = re.fullmatch(r"cuda(?::(0|[1-9][0-9]{0,2}))?", name)
    if name == "cpu" or (name == "mps" and mps) or (cuda and int(cuda[1] or 0) < count):
        return name
    if cuda:
        raise StudyError(f"--device {name}: {count} CUDA devices are available; use --device cpu or auto")
    if name == "mps":
        raise StudyError("--device mps: no MPS device is available; use --device cpu or auto")
    raise StudyError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")


def resolve_precision(name: str, device: str) -> str:
    """Return the precision; for ``"auto"`` the one that the device's flags call fast.

    CUDA: bfloat16 where the GPU has it, else float16. CPU: bfloat16 where it multiplies matrices in it
    (AMX or AVX-512 BF16), else float32; whether it is faster, :mod:`harness.compute` measures. MPS: float32.

    Raises:
        StudyError: float16 on a CPU, whose backward pass torch does not support well.
    """
    kind = torch.device(device).type
    if name == "float16" and kind == "cpu":
        raise StudyError("precision float16 needs a GPU; use bfloat16 or float32 on a CPU")
    if name != "auto":
        return name
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if kind == "cpu":
        capabilities = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
        return "bfloat16" if any(supported() for supported in capabilities) else "float32"
    return "float32"


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Autocast to the precision; nothing for float32."""
    return torch.autocast(torch.device(device).type, DTYPES[precision], enabled=precision != "float32")


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute float32 convolutions and matrix products in float32 inside the block.

    On a GPU torch otherwise computes convolutions in TF32, which has bfloat16's range and 10 bits.
    """
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32
    cudnn.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32 = before


def computed_by(model: nn.Module, compiled: bool) -> nn.Module:
    """Return the network, or its compiled form with the same weights; compiled once for all seeds.

    Torch keeps compiled code on disk (``TORCHINDUCTOR_CACHE_DIR``), where the next process finds it. Where
    algorithms have to be deterministic, kernels are not chosen by timing them: two processes would differ.
    """
    if not compiled:
        return model
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    # A study's variants share one network's code: beyond 8 compiled versions torch would run it eagerly.
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = 10_000
    if hasattr(inductor, "deterministic"):
        inductor.deterministic = torch.are_deterministic_algorithms_enabled()
    return cast(nn.Module, torch.compile(model, dynamic=False))


def memory_format(device: str) -> torch.memory_format:
    """Return channels_last, in which convolutions are fastest on CPUs and CUDA alike."""
    return torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last


def prepare(device: str, threads: int) -> None:
    """Set up this process for bit-identical repeats and for speed.

    CUDA gets deterministic algorithms and no autotuning. It does not fill memory before it is written: no
    layer reads such memory, and it takes 332 kernels a step of the custom ResNet. A CPU gets an allocator
    that keeps what it has: returning every large tensor to the system costs a page fault for each of its
    pages at every step. What it keeps has more holes from step to step; :func:`release_memory` is for that.
    """
    torch.set_num_threads(threads)
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
    elif platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)


def loading_workers(device: str) -> int:
    """Return how many processes load batches that only their library can augment, for a GPU.

    None beside a CPU, which has no core to spare, and none in a launcher's worker: it may have no children.
    """
    if torch.device(device).type != "cuda" or multiprocessing.current_process().daemon:
        return 0
    return min(8, torch.get_num_threads() - 1)


def release_memory(device: str) -> None:
    """Return the memory that the CPU's allocator keeps to the system; done regularly, holes do not add up."""
    if torch.device(device).type == "cpu" and platform.libc_ver()[0] == "glibc":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def synchronise_statistics(device: str) -> bool:
    """Tell whether batch norm can be synchronised between processes; torch can do so on CUDA."""
    return torch.device(device).type == "cuda"


def threads_for(runs_at_once: int, cores: int | None = None) -> int:
    """Return ``OMP_NUM_THREADS`` where set, else the cores (None: the usable ones) divided by runs at once.

    Raises:
        StudyError: more threads than any machine has; the process would die.
    """
    return threads_set() or max(1, (cores or usable_cores()) // runs_at_once)


def threads_set() -> int | None:
    """Return ``OMP_NUM_THREADS``, or None where it is not set to a number above 0.

    Raises:
        StudyError: more threads than any machine has.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": of nested regions
    number = re.fullmatch("0*([1-9][0-9]*)", setting)
    if number is None:
        return None
    if len(number[1]) > 4 or int(number[1]) > MOST_THREADS:
        raise StudyError(
            f"OMP_NUM_THREADS={one_line(setting, 40)}: {MOST_THREADS} threads are the maximum; unset it"
        )
    return int(number[1])


def usable_cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> str:
    """Return the processor's name; platform.processor() is often empty on Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def synchronize(device: str) -> None:
    """Wait for the device's work, so that a clock read after it is right."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def send(tensor: Tensor, device: str | torch.device) -> Tensor:
    """Move a tensor to a device; through pinned memory to a GPU, so that the host does not wait for it."""
    if tensor.is_cpu and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Set the number of threads inside the block; restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
