"""Images/s of one training step, by precision, memory format and allocator, side by side on this machine.

Each row is a process of its own, because torch reads its allocator's setting once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.markdown import table

# name -> precision, memory format, whether pages are huge, whether freed memory is kept
ROWS = {
    "float32, NCHW (the published way)": ("float32", "contiguous", "0", "return"),
    "float32, channels_last": ("float32", "channels_last", "0", "return"),
    "bfloat16, channels_last": ("bfloat16", "channels_last", "0", "return"),
    "  + memory kept, by mallopt (the harness)": ("bfloat16", "channels_last", "0", "keep"),
    "  + huge pages": ("bfloat16", "channels_last", "1", "return"),
    "  + both": ("bfloat16", "channels_last", "1", "keep"),
}
ROUNDS = 2


def measure(precision: str, layout: str, allocator: str, batch: int, steps: int) -> float:
    """Return the median images/s of the custom ResNet's training steps, after four that warm up."""
    import torch
    import torch.nn.functional as F

    from harness.device import autocast, prepare, usable_cores
    from harness.models import build_model

    torch.set_num_threads(usable_cores())
    if allocator == "keep":
        prepare("cpu", usable_cores())
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    torch.manual_seed(0)
    model = build_model("custom_resnet", {}, 10)
    model.to(memory_format=memory_format)  # type: ignore[call-overload]
    images = torch.randn(batch, 3, 32, 32).to(memory_format=memory_format)
    labels = torch.randint(0, 10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    seconds = []
    for _ in range(steps + 4):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with autocast("cpu", precision):
            logits = model(images).float()
        F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return batch / statistics.median(seconds[4:])


def rows(batch: int, steps: int) -> str:
    """Return a Markdown table, the first row being 1; every row is measured ``ROUNDS`` times, in turn."""
    rates: dict[str, list[float]] = {name: [] for name in ROWS}
    for _ in range(ROUNDS):
        for name, (precision, layout, huge_pages, allocator) in ROWS.items():
            command = [
                sys.executable,
                "-m",
                "benchmarks.step",
                precision,
                layout,
                allocator,
                str(batch),
                str(steps),
            ]
            environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": huge_pages}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            rates[name].append(float(done.stdout))
    first = statistics.mean(next(iter(rates.values())))
    lines = [
        [name, ", ".join(f"{rate:.0f}" for rate in each), f"{statistics.mean(each) / first:.2f}"]
        for name, each in rates.items()
    ]
    return table((f"step, {ROUNDS} processes a row", "images/s", "ratio"), lines)


if __name__ == "__main__":
    precision, layout, allocator, batch, steps = sys.argv[1:]
    print(measure(precision, layout, allocator, int(batch), int(steps)))
