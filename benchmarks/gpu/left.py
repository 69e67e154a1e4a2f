"""Possible gains in a training step: the most expensive kernels, the host's time, the GPU's idle share."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.shared import LATE, Options, Row, failed, needs_cuda
from benchmarks.gpu.step import LEFT_FOR_COMPILING, Setup, Step, make_step, seconds_of, set_up, use
from benchmarks.training import BATCH, make_bench
from harness.data.batches import Batches
from harness.device import synchronize

TOP = 10


def rows(options: Options) -> Iterator[Row]:
    """Profile steps on batches as they are made, eager and compiled."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    set_up(options)
    steps = 2 if options.quick else 10
    bench = make_bench(options.device, 2 if options.quick else 98)
    bench.train.clear()
    bench.test.clear()
    made = Batches(
        bench.data.train, bench.variant.train_transforms, BATCH, seed=0, shuffle=True, device=options.device
    )
    for name, setup in (("eager", Setup()), ("torch.compile", Setup(mode="default"))):
        if setup.mode and options.ends - time.time() < LEFT_FOR_COMPILING:
            yield Row(f"{name}: all", LATE)
            continue
        try:
            use(setup)
            step = make_step(setup, options, _endless(made))
            seconds_of(step, options.device, 3)
            yield from _profile(name, step, steps, options)
        except Exception as error:  # the profiler or a compiler may raise anything
            yield failed(name, error)


def _endless(made: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in itertools.count(1):
        made.set_epoch(epoch)
        yield from made


def _profile(name: str, step: Step, steps: int, options: Options) -> Iterator[Row]:
    """Time steps without the profiler, then look into as many with it."""
    host, wall = _host_and_wall(step, steps, options.device)
    yield Row(f"{name}: a step with its batch", f"{wall:.2f} ms", str(steps), values={"ms": wall})
    yield Row(
        f"{name}: host time a step",
        f"{host:.2f} ms",
        str(steps),
        "until the last kernel was handed over; near the whole step, the host is the limit",
        {"ms": host},
    )
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if options.cuda else [])]
    with profile(activities=kinds, acc_events=True) as recorded:
        seconds_of(step, options.device, steps)
    times, calls = _costs(recorded, options)
    busy = sum(times.values()) / steps
    if options.cuda:
        idle = max(0.0, 1 - busy / wall)
        notes = f"{sum(calls.values()) / steps:.0f} kernels of {busy:.2f} ms in all a step"
        yield Row(f"{name}: GPU idle", f"{idle:.0%}", str(steps), notes, {"share": idle, "busy_ms": busy})
    else:
        yield needs_cuda(f"{name}: GPU idle")
    for kernel, milliseconds in times.most_common(TOP):
        notes = f"{calls[kernel] / steps:.0f} calls; {kernel[:200]}"
        values = {"ms": milliseconds / steps, "kernel": kernel}
        result = f"{milliseconds / steps:.3f} ms, {milliseconds / steps / busy:.0%}"
        yield Row(f"{name}: {_short(kernel)}", result, str(steps), notes, values)


def _host_and_wall(step: Step, steps: int, device: str) -> tuple[float, float]:
    """Milliseconds a step until the host was done, and until the device was."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    handed_over = time.perf_counter()
    synchronize(device)
    return 1e3 * (handed_over - began) / steps, 1e3 * (time.perf_counter() - began) / steps


def _costs(recorded: Any, options: Options) -> tuple[Counter[str], Counter[str]]:
    """Milliseconds and calls by kernel; on a CPU by operator."""
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    if not options.cuda:
        for row in recorded.key_averages():
            times[row.key] += row.self_cpu_time_total / 1e3
            calls[row.key] += row.count
        return times, calls
    for event in recorded.events():
        if event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False):
            times[event.name] += event.time_range.elapsed_us() / 1e3
            calls[event.name] += 1
    return times, calls


def _short(kernel: str) -> str:
    """Shorten a C++ name to the part before its arguments."""
    name = kernel.removeprefix("void ").split("(")[0].split("<")[0]
    return name.rpartition("::")[2][:60] or kernel[:60]
