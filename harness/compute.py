"""How a study's networks are computed here: precision, memory format, compiled or not; chosen by timing.

What a processor says it can do is no measure: an Intel Xeon with AVX-512 BF16 and no AMX trains slower in
bfloat16 than in float32. So the study's own network takes a few steps in each way, and the result is kept for
this machine, network and version of torch. Runs that are on disk decide before any timing: what was begun is
gone on with as it was begun.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from harness.config import Recipe
from harness.data.cache import cache_folder
from harness.device import autocast, memory_format, one_thread, prepare, processor, resolve_precision
from harness.errors import RunError
from harness.models import build_model
from harness.seeding import global_seed
from harness.store import RunFolder, atomic_write

if TYPE_CHECKING:
    from harness.plan import Outline

FLOPS_A_STEP = 20e9  # of a timed step: enough images to be like a batch, in tenths of a second
TIMED_STEPS = 2
MARGIN = 1.05  # so much faster another precision or memory format has to be
# Training FLOP/s of one H200 in bfloat16: eager as measured (n = 1, 2026-11-26), compiled as estimated from
# that; and the seconds of compiling. On a slower GPU compiling pays earlier than this says.
EAGER_RATE, COMPILED_RATE, COMPILE_SECONDS = 210e12, 330e12, 30.0


@dataclass(frozen=True)
class Compute:
    """A way to compute.

    Attributes:
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        memory_format: ``"channels_last"`` or ``"contiguous_format"``, as torch names them.
        compiled: by ``torch.compile``.
        reason: why this one, for people; empty where nothing was chosen.
    """

    precision: str
    memory_format: str
    compiled: bool = False
    reason: str = ""


def identity_of(compute: Compute, device: str) -> dict[str, str]:
    """Return what belongs into a run's identity; the usual memory format is not named there."""
    unusual = compute.memory_format != usual_format(device)
    return {"precision": compute.precision} | ({"memory_format": compute.memory_format} if unusual else {})


def usual_format(device: str) -> str:
    """Return the memory format of a device that nobody has timed, by torch's name."""
    return str(memory_format(device)).removeprefix("torch.")


def choose_compute(
    recipe: Recipe,
    outline: Outline,
    classes: int,
    device: str,
    *,
    runs: int,
    on_disk: Iterable[RunFolder] = (),
    alike: Compute | None = None,
) -> Compute:
    """Choose how a recipe is computed.

    Args:
        device: resolved, such as ``"cuda:1"``.
        runs: how many runs are planned: compiling costs once what it saves in each.
        on_disk: earlier runs; the first that was computed on this kind of device is followed.
        alike: the choice of a variant that this one is compared with, followed where nothing is on disk.
    """
    begun = _begun(on_disk, device)
    if recipe.precision == "auto" and begun is not None:
        precision, layout, reason = begun.precision, begun.memory_format, "as the runs on disk"
    elif recipe.precision == "auto" and alike is not None:
        precision, layout, reason = alike.precision, alike.memory_format, alike.reason
    elif torch.device(device).type == "cpu":
        precision, layout, reason = _fastest_on_cpu(recipe, outline, classes)
    else:
        precision, layout, reason = resolve_precision(recipe.precision, device), usual_format(device), ""
    if recipe.compile != "auto":
        return Compute(precision, layout, recipe.compile, reason)
    if begun is not None:
        return Compute(precision, layout, begun.compiled, reason)
    flops = runs * recipe.schedule.epochs * outline.steps_per_epoch * recipe.data.batch_size
    return Compute(precision, layout, _compiling_pays(flops * outline.flops_per_image, device), reason)


def _begun(runs: Iterable[RunFolder], device: str) -> Compute | None:
    """How the first readable run on disk that used this kind of device was computed."""
    for run in runs:
        with suppress(RunError):
            record = run.record()
            if record is not None and record["identity"].get("device") == device.split(":")[0]:
                identity = record["identity"]
                layout = identity.get("memory_format", usual_format(device))
                return Compute(identity["precision"], layout, identity["recipe"].get("compile", False))
    return None


def _compiling_pays(flops: float, device: str) -> bool:
    """Whether the planned runs earn back what compiling costs; on a CPU it made the network slower."""
    saved = flops * (1 / EAGER_RATE - 1 / COMPILED_RATE)
    return device.startswith("cuda") and can_compile(device) and saved > COMPILE_SECONDS


def can_compile(device: str) -> bool:
    """Whether ``torch.compile`` has what it needs on this GPU: Triton, which wants compute capability 7.0."""
    from importlib.util import find_spec

    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (7, 0)


def _fastest_on_cpu(recipe: Recipe, outline: Outline, classes: int) -> tuple[str, str, str]:
    """Precision, memory format, and the times that decided, from the cache where it was timed before."""
    default = resolve_precision(recipe.precision, "cpu")
    precisions = ["float32"] if recipe.precision == "auto" else [default]
    if recipe.precision == "auto" and default == "bfloat16":  # else it is emulated, and never faster
        precisions.append("bfloat16")
    ways = [
        (precision, layout) for precision in precisions for layout in ("channels_last", "contiguous_format")
    ]
    try:
        seconds = _kept(recipe, outline, ways, lambda: _time_ways(recipe, outline, classes, ways))
    except Exception:  # a network that cannot train so: its first step says why, in words of its own
        return default, usual_format("cpu"), ""
    best = ways[0]
    for way in ways[1:]:
        if seconds[way] * MARGIN < seconds[best]:
            best = way
    others = {precision: min(seconds[way] for way in ways if way[0] == precision) for precision in precisions}
    times = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in others.items())
    return *best, f"timed: {times} a step with one thread" if len(others) > 1 else ""


def _time_ways(
    recipe: Recipe, outline: Outline, classes: int, ways: list[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    """Seconds of a training step in each way, the shortest of a few that take turns.

    By one thread: threads that wait for each other on a busy machine would measure that.
    """
    prepare("cpu", torch.get_num_threads())
    step = TimedStep(recipe, outline, classes)
    with one_thread():
        rounds = [[step(*way) for way in ways] for _ in range(1 + TIMED_STEPS)]
    return dict(zip(ways, map(min, *rounds[1:]), strict=True))  # the first round warms up


class TimedStep:
    """Forward and backward pass of a recipe's network on random images, to be timed on the CPU."""

    def __init__(self, recipe: Recipe, outline: Outline, classes: int) -> None:
        images = max(4, int(FLOPS_A_STEP / outline.flops_per_image))
        images = min(recipe.data.batch_size, images)
        with global_seed(0, "timing"):
            self.model = build_model(recipe.model.name, recipe.model.options, classes).train()
            self.images = torch.randn(images, *outline.image_shape)
            self.labels = torch.randint(classes, (images,))

    def __call__(self, precision: str, layout: str) -> float:
        """Take a step; its seconds."""
        format_ = getattr(torch, layout)
        self.model.to(memory_format=format_)  # type: ignore[call-overload]
        images = self.images.contiguous(memory_format=format_)
        with torch.random.fork_rng(devices=[]):  # dropout draws
            started = time.perf_counter()
            with autocast("cpu", precision):
                loss = F.cross_entropy(self.model(images).float(), self.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            seconds = time.perf_counter() - started
        self.model.zero_grad()
        return seconds


def _kept(
    recipe: Recipe,
    outline: Outline,
    ways: list[tuple[str, str]],
    measure: Callable[[], dict[tuple[str, str], float]],
) -> dict[tuple[str, str], float]:
    """What was measured on this machine before; else what is measured now, which is then kept."""
    key: dict[str, Any] = {
        "model": recipe.model.model_dump(mode="json"),
        "image_shape": list(outline.image_shape),
        "batch_size": recipe.data.batch_size,
        "processor": processor(),
        "torch": torch.__version__,
        "ways": ways,
    }
    text = json.dumps(key, sort_keys=True)
    entry = cache_folder() / f"speed-{hashlib.sha256(text.encode()).hexdigest()}.json"
    with suppress(OSError, ValueError, TypeError):
        seconds = [float(value) for value in json.loads(entry.read_text(encoding="utf-8"))["seconds"]]
        if len(seconds) == len(ways):
            return dict(zip(ways, seconds, strict=True))
    found = measure()
    with suppress(RunError):  # a cache that cannot be written is no error
        atomic_write(entry, json.dumps({**key, "seconds": [found[way] for way in ways]}, indent=2) + "\n")
    return found
