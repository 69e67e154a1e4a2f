"""Measure every number of docs/performance.md in one run: ``tox -e bench`` writes ``results.md``.

It takes 45 minutes on two cores. Run it on an idle machine: the interesting numbers are
ratios, and a second busy program does not slow all contenders equally.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import inputs, report, start, step, training
from benchmarks.markdown import table
from harness.console import open_streams
from harness.device import prepare, resolve_device, usable_cores
from harness.errors import HarnessError
from harness.training.profile import matrix_rate
from harness.training.provenance import hardware, versions

RESULTS = Path(__file__).with_name("results.md")


def epochs(bench: training.Bench, rates: dict[str, list[float]], matrix: float) -> str:
    """The contenders, and what the harness costs more than the bare loop."""
    middle = {name: statistics.median(each) for name, each in rates.items()}
    flops = bench.variant.outline.flops_per_image
    rows = [
        [
            name,
            f"{middle[name]:.0f}",
            f"{min(each):.0f} to {max(each):.0f}",
            str(len(each)),
            f"{middle[name] / middle['the published way']:.2f}",
            f"{middle[name] * flops / 1e12:.3g}",
            f"{100 * middle[name] * flops / matrix:.0f}",
        ]
        for name, each in rates.items()
    ]
    header = ("epoch", "images/s", "spread", "n", "x published", "TFLOP/s", "% of matrix rate")
    bare, ours = rates["bare loop"], rates["harness"]
    # each harness epoch against the bare ones before and after it
    around = list(zip(bare, ours, bare[1:], strict=False))
    more = [100 * (2 / own / (1 / before + 1 / after) - 1) for before, own, after in around]
    apart = [100 * abs(before / after - 1) for before, _, after in around]
    return (
        f"{table(header, rows)}\n\n"
        f"A harness epoch takes {statistics.median(more):+.1f} % more time than the bare epochs of its round "
        f"(median of {len(more)}; {min(more):+.1f} to {max(more):+.1f} %). Two bare epochs in turn differ by "
        f"{statistics.median(apart):.1f} % (up to {max(apart):.1f} %). A large {bench.variant.precision} "
        f"matrix product reaches {matrix / 1e12:.3g} TFLOP/s. Images are those trained on; the time of the "
        f"evaluation (a fifth as many images) and of all else that an epoch does is in."
    )


def augmentation(bench: training.Bench, epoch_rate: float) -> str:
    """One core's rate, by path."""
    batches = min(6, bench.steps)
    slow = inputs.images_per_second(bench, reference=True, batches=batches)
    fast = inputs.images_per_second(bench, reference=False, batches=bench.steps)
    rows = [
        ["Albumentations, image by image", f"{slow:,.0f}", "1", f"{100 * epoch_rate / slow:.1f}"],
        ["batched tensors", f"{fast:,.0f}", f"{fast / slow:.0f}", f"{100 * epoch_rate / fast:.1f}"],
    ]
    return table(("augmentation, one core", "images/s", "ratio", "% of an epoch"), rows)


def operators(bench: training.Bench) -> str:
    """Where three steps of the bare loop spend their time."""
    from torch.profiler import ProfilerActivity, profile

    epoch = training.bare(training.Bench(**{**vars(bench), "train": bench.train[:1] * 3, "test": []}))
    epoch()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        epoch()
    found = sorted(recorded.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in found)
    rows = [
        [
            f"`{row.key}`",
            f"{row.self_cpu_time_total / 3e3:.0f}",
            f"{100 * row.self_cpu_time_total / total:.1f}",
        ]
        for row in found[:14]
    ]
    return table(("operator", "ms a step", "%"), rows)


def waiting(data: str | None) -> str:
    """Start-up and memory."""
    rows = [
        ["`import harness`", f"{start.importing():.2f} s"],
        ["`python -m harness.study --list`", f"{start.listing():.2f} s"],
    ]
    rows += [[f"report of {runs} runs of 24 epochs", f"{report.seconds(runs):.1f} s"] for runs in (50, 200)]
    try:
        rows += [
            ["CIFAR-10, cached: to the end of an epoch of ten images", f"{start.first_epoch(data):.2f} s"],
            ["CIFAR-10, one epoch, evaluation, report: most memory", f"{start.memory(data) / 1e9:.2f} GB"],
        ]
    except RuntimeError:
        rows.append(["CIFAR-10", "not here"])
    return table(("what", "figure"), rows)


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print and write ``benchmarks/results.md``."""
    open_streams()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", help="the folder that holds cifar10/")
    parser.add_argument("--steps", type=int, help="training steps of an epoch")
    options = parser.parse_args()
    try:
        device = resolve_device(options.device)
    except HarnessError as error:
        sys.exit(f"error: {error}")
    parts = []
    say("start-up and memory")
    parts += ["## Start-up and memory", waiting(options.data)]
    if device == "cpu":
        say("training steps, five minutes")
        parts += ["## A training step on a CPU, by what it uses", step.rows(batch=training.BATCH, steps=5)]
    steps = options.steps or (99 if device.startswith("cuda") else 24)
    bench = training.make_bench(device, steps)
    prepare(device, usable_cores())
    matrix = matrix_rate(device, bench.variant.precision)
    say("epochs, half an hour")
    rates = training.compare(bench, say)
    parts += ["## An epoch, written in five ways", epochs(bench, rates, matrix)]
    parts += ["## Augmentation", augmentation(bench, statistics.median(rates["harness"]))]
    if device == "cpu":
        parts += ["## Operators of a training step", operators(bench)]
    machine, software = hardware(device), versions()
    about = (
        f"{datetime.now(UTC).date()}, {machine['cores']} cores of {machine['processor']}, "
        f"{machine['accelerator'] or 'no GPU'}; {bench.variant.precision}, batches of {training.BATCH}, "
        f"{torch.get_num_threads()} threads; "
        + ", ".join(f"{name} {number}" for name, number in software.items() if number)
    )
    head = f"# Benchmarks\n\nMade by `tox -e bench`; explained in docs/performance.md.\n\n{about}"
    RESULTS.write_text("\n\n".join([head, *parts]) + "\n", encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
