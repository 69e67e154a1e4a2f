"""How a study's networks are computed here: precision, memory format, compiled or not; chosen by timing.

Processor flags do not tell the speed: an Intel Xeon with AVX-512 BF16 and no AMX trains slower in
bfloat16 than in float32. So the study's own network takes a few steps in each way, and the result is kept for
this machine, network and version of torch. Runs on disk decide first: they keep their precision and format.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from harness.data.cache import cache_folder
from harness.device import (
    DTYPES,
    autocast,
    memory_format,
    prepare,
    processor,
    release_memory,
    resolve_precision,
    use_threads,
)
from harness.errors import RunError
from harness.models import MODELS
from harness.models.imported import model_source
from harness.models.network import NetworkConfig
from harness.models.outputs import logits_of
from harness.outline import Outline
from harness.seeding import generators_restored, global_seed
from harness.store.folders import RunFolder
from harness.store.sealed import digest, read_sealed, write_sealed
from harness.study_file.config import Recipe

FLOPS_A_STEP = 20e9  # size of a timed step, which takes some tenths of a second
TIMED_STEPS = 2
FORMATS = ("channels_last", "contiguous_format")
LONGEST_ROUND = 10.0  # seconds; if one step in each way takes longer, no more are timed
FORMAT_MARGIN = 1.05  # speed-up that another precision or format than the default must have
# Training FLOP/s of one H200 in bfloat16: eager as measured (n = 1, 2026-11-26), compiled as estimated from
# that; and the seconds of compiling. On a slower GPU compiling pays earlier than this says.
EAGER_RATE, COMPILED_RATE, COMPILE_SECONDS = 210e12, 330e12, 30.0


Way = tuple[str, str]  # precision and memory format


@dataclass(frozen=True)
class Compute:
    """How a network is computed.

    Attributes:
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        memory_format: ``"channels_last"`` or ``"contiguous_format"``, as torch names them.
        compiled: whether by ``torch.compile``.
        reason: why this way, for people; empty where nothing was chosen.
    """

    precision: str
    memory_format: str
    compiled: bool = False
    reason: str = ""


def identity_of(compute: Compute, device: str) -> dict[str, str]:
    """Return the entries of a run's identity; the usual memory format has none."""
    unusual = compute.memory_format != usual_format(device)
    return {"precision": compute.precision} | ({"memory_format": compute.memory_format} if unusual else {})


def usual_format(device: str) -> str:
    """Return the memory format that a device uses without timing, by torch's name."""
    return str(memory_format(device)).removeprefix("torch.")


def format_on_cpu(identity: Mapping[str, Any]) -> torch.memory_format:
    """Return the memory format in which a run's network works on the CPU; not every network takes both."""
    layout: torch.memory_format = getattr(torch, identity.get("memory_format", usual_format("cpu")))
    return layout


def choose_compute(
    recipe: Recipe,
    network: NetworkConfig,
    outline: Outline,
    device: str,
    *,
    runs: int,
    devices: int = 1,
    on_disk: Compute | None = None,
    compared_with: Compute | None = None,
) -> Compute:
    """Choose how a recipe is computed, where the study leaves it open.

    Args:
        device: resolved, such as ``"cuda:1"``.
        runs: how many runs are planned: compiling costs time once, and saves it in each run.
        devices: how many share each run; with several, only the study can ask for compiling.
        on_disk: how this variant's runs on disk are computed; it keeps this.
        compared_with: how variants are computed that it is compared with; taken if it has no runs.
    """
    earlier = on_disk or compared_with
    batch_size, flops = recipe.data.batch_size, outline.flops_per_image
    precision, layout, reason = "", usual_format(device), ""
    if recipe.precision == "auto" and earlier is not None:
        precision, layout, reason = earlier.precision, earlier.memory_format, earlier.reason
    elif recipe.precision == "auto" and torch.device(device).type == "cpu":
        precision, layout, reason = _fastest_on_cpu(network, batch_size, flops)
    else:
        precision = resolve_precision(recipe.precision, device)
    if on_disk is None and layout == "channels_last" and network.name not in MODELS:
        layout = _usable_format(network, batch_size, flops)
    if recipe.compile != "auto":
        compiled = recipe.compile
    elif earlier is not None:
        compiled = earlier.compiled
    else:
        images = runs * recipe.schedule.epochs * outline.steps_per_epoch * batch_size
        compiled = devices == 1 and _compiling_pays(images * flops, device)
    return Compute(precision, layout, compiled, reason)


def compute_on_disk(runs: Iterable[RunFolder], device: str) -> Compute | None:
    """Return how runs on disk are computed: the first that can be read and used this kind of device."""
    for run in runs:
        with suppress(RunError, LookupError, TypeError, AttributeError):  # damaged, or another program's
            if (record := run.record()) is None:
                continue
            identity = record.identity
            layout = identity.get("memory_format", usual_format(device))
            supported = identity["precision"] in DTYPES and layout in FORMATS
            if supported and identity["device"] == device.split(":")[0]:
                compiled = bool(identity["recipe"].get("compile", False))
                return Compute(identity["precision"], layout, compiled, "same as the runs on disk")
    return None


def _compiling_pays(flops: float, device: str) -> bool:
    """Tell whether compiling saves more time than it costs; on a CPU it made the network slower."""
    saved = flops * (1 / EAGER_RATE - 1 / COMPILED_RATE)
    return device.startswith("cuda") and can_compile(device) and saved > COMPILE_SECONDS


def can_compile(device: str) -> bool:
    """Tell whether ``torch.compile`` works on this GPU: it needs Triton and compute capability 7.0."""
    from importlib.util import find_spec

    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (7, 0)


def _usable_format(network: NetworkConfig, batch_size: int, flops_per_image: int) -> str:
    """Return the first memory format in which a user's network takes a step; ``view`` fails in some."""
    for layout in FORMATS:
        with suppress(Exception):
            TimedStep(network, batch_size, flops_per_image)("float32", layout)
            return layout
    return FORMATS[0]  # no format works: the rehearsal reports the error


def _fastest_on_cpu(network: NetworkConfig, batch_size: int, flops_per_image: int) -> tuple[str, str, str]:
    """Return the fastest precision and memory format, and their times as text; timed once a machine."""
    default = resolve_precision("auto", "cpu")
    # where the processor cannot multiply in bfloat16, it is emulated and never faster
    precisions = ["float32"] + ["bfloat16"] * (default == "bfloat16")
    ways = [(precision, layout) for precision in precisions for layout in FORMATS]
    file = _cache_file(network, batch_size, ways)
    seconds = _kept(file, ways)
    if seconds is None:
        try:
            seconds = _time_ways(TimedStep(network, batch_size, flops_per_image), ways)
        except Exception:  # a user's own network may fail in every way: the rehearsal reports the error
            return default, usual_format("cpu"), ""
        with suppress(RunError):  # a cache that cannot be written is no error
            finite = [time if math.isfinite(time) else None for time in seconds.values()]
            write_sealed(file, {"ways": ways, "seconds": finite})
    best = ways[0]
    for way in ways[1:]:
        if seconds[way] * FORMAT_MARGIN < seconds[best]:
            best = way
    fastest = {name: min(seconds[way] for way in ways if way[0] == name) for name in precisions}
    times = ", ".join(f"{name} {1000 * time:.0f} ms" for name, time in fastest.items() if math.isfinite(time))
    return *best, f"timed with one thread: {times} a step" if len(precisions) > 1 else ""


def _time_ways(step: TimedStep, ways: Sequence[Way]) -> dict[Way, float]:
    """Return the seconds of a training step in each way: the shortest of a few; the ways take turns.

    A way in which a user's network fails takes infinitely long; where it fails in every way, its error is
    raised.
    """
    prepare("cpu", torch.get_num_threads())
    times: dict[Way, list[float]] = {}
    with use_threads(1):  # on a busy machine several threads would measure how long they wait for each other
        for way in ways:  # a warm-up; for a slow network this is measurement enough
            try:
                times[way] = [step(*way)]
            except Exception:
                if way == ways[-1] and not times:
                    raise
        if sum(first for (first,) in times.values()) < LONGEST_ROUND:
            times = {way: [] for way in times}
            for _ in range(TIMED_STEPS):
                for way, taken in times.items():
                    taken.append(step(*way))
    release_memory("cpu")
    return {way: min(times.get(way, [math.inf])) for way in ways}


class TimedStep:
    """Forward and backward pass of a network on random images, for timing on the CPU."""

    def __init__(self, network: NetworkConfig, batch_size: int, flops_per_image: int) -> None:
        images = min(batch_size, max(4, int(FLOPS_A_STEP / flops_per_image)))
        with global_seed(0, "timing"):
            self.model = network.build()
            self.model.train()
            self.images = torch.randn(images, *network.image_shape)
            self.labels = torch.randint(len(network.classes), (images,))

    def __call__(self, precision: str, layout: str) -> float:
        """Take one step and return its seconds."""
        format_ = getattr(torch, layout)
        self.model.to(memory_format=format_)  # type: ignore[call-overload]
        images = self.images.contiguous(memory_format=format_)
        with generators_restored():  # dropout draws random numbers
            started = time.perf_counter()
            with autocast("cpu", precision):
                loss = F.cross_entropy(logits_of(self.model(images))[0].float(), self.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            seconds = time.perf_counter() - started
        self.model.zero_grad()
        return seconds


def _cache_file(network: NetworkConfig, batch_size: int, ways: Sequence[Way]) -> Path:
    """Return the cache file of these times; they hold for one network, machine and version of torch."""
    key: dict[str, Any] = {
        "model": network.model,
        "source": None if network.name in MODELS else model_source(network.name),
        "image_shape": network.image_shape,
        "batch_size": batch_size,
        "processor": processor(),
        "torch": torch.__version__,
        "ways": ways,
    }
    return cache_folder() / f"speed-{digest(key)}.json"


def _kept(file: Path, ways: Sequence[Way]) -> dict[Way, float] | None:
    """Return the times that this machine's cache holds; None where it has none, or damaged ones."""
    with suppress(RunError, LookupError, TypeError, ValueError):
        record = read_sealed(file) or {}
        seconds = [math.inf if value is None else float(value) for value in record["seconds"]]
        if all(value > 0 for value in seconds):
            return dict(zip(ways, seconds, strict=True))
    return None
