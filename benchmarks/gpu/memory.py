"""The most memory that a training step and a run take."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.gpu.shared import QUICK_WIDTH, Options, Row, attempt
from benchmarks.gpu.step import Setup, make_step, seconds_of, set_up, use
from benchmarks.memory import peak_bytes
from benchmarks.training import Bench, harness_epoch, make_bench
from harness.plan import resolve_variant
from harness.study_file.load import load_study


def rows(options: Options) -> Iterator[Row]:
    """Measure a step by itself, then a run of two epochs with its evaluations and checkpoint."""
    set_up(options)
    for what, setup in (("a training step", Setup()), ("a training step, CUDA graph", Setup(graph=True))):
        if setup.graph and not options.cuda:
            continue
        _forget(options)

        def measure(what: str = what, setup: Setup = setup) -> Row:
            use(setup)
            seconds_of(make_step(setup, options), options.device, 5)
            return _peak(what, options)

        yield attempt(what, measure)
    bench = _bench(options)
    _forget(options)
    harness_epoch(bench)
    yield _peak("a run of two epochs, ghost batches of 32", options)


def _bench(options: Options) -> Bench:
    """Make CIFAR-10's number of random images; no batch of them stays on the device."""
    bench = make_bench(options.device, 2 if options.quick else 98)
    if options.quick:
        settings = ["schedule.epochs=2", "schedule.peak_epoch=1", f"model.width={QUICK_WIDTH}"]
        study = load_study("annealed", settings=settings)
        variant = resolve_variant(study, "base", bench.data, device=options.device)
        bench = replace(bench, study=study, variant=variant)
    return replace(bench, train=[], test=[])


def _forget(options: Options) -> None:
    gc.collect()
    if options.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(options.device)


def _peak(what: str, options: Options) -> Row:
    """Ask the allocator; on a CPU the kernel, whose number is that of the process so far."""
    if not options.cuda:
        held = peak_bytes()
        return Row(what, f"{held / 1e9:.2f} GB", "1", "of the process so far", {"bytes": held})
    used = torch.cuda.max_memory_allocated(options.device)
    kept = torch.cuda.max_memory_reserved(options.device)
    notes = f"reserved {kept / 1e9:.2f} GB"
    return Row(what, f"{used / 1e9:.2f} GB", "1", notes, {"allocated": used, "reserved": kept})
