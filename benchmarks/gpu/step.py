"""A training step of the custom ResNet, in the ways it can be written, side by side in one process.

A step is forward, backward and SGD on a batch that lies on the device. Every variant is timed in every round,
so that what changes on the machine changes for all; a round is many steps between two synchronisations.
"""

from __future__ import annotations

import gc
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu.shared import LATE, LOGIT_SCALE, ROOT, Options, Row, failed, needs_cuda
from harness.device import autocast, computed_by, memory_format, prepare, synchronize, usable_cores
from harness.models import build_model
from harness.models.summary import flops_per_image
from harness.training.profile import matrix_rate

GHOST = 32
LEFT_FOR_COMPILING = 10  # seconds; with fewer left it is not begun

Step = Callable[[], None]


@dataclass(frozen=True)
class Setup:
    """How a step computes.

    Args:
        fill: ``torch.utils.deterministic.fill_uninitialized_memory``.
        fused: SGD in one kernel.
        mode: of ``torch.compile``; None: eager.
        graph: the whole step is one CUDA graph.
        ghost: images that batch norm normalises together; None: the whole batch.
    """

    deterministic: bool = True
    fill: bool = False
    fused: bool = True
    mode: str | None = None
    graph: bool = False
    ghost: int | None = None
    precision: str = "bfloat16"

    @property
    def cuda_only(self) -> bool:
        """Whether a CPU has nothing like it."""
        return self.graph or self.mode == "reduce-overhead" or not self.deterministic


EAGER = {
    "eager, deterministic, memory filled (torch's default)": Setup(fill=True, fused=False),
    "eager, deterministic": Setup(fused=False),
    "eager, deterministic, fused SGD": Setup(),
    "eager, cudnn.benchmark, fused SGD, not deterministic": Setup(deterministic=False),
    "CUDA graph of the step, deterministic": Setup(graph=True),
    "CUDA graph of the step, cudnn.benchmark, not deterministic": Setup(graph=True, deterministic=False),
    "eager, deterministic, float32 without TF32": Setup(precision="float32"),
    f"eager, deterministic, ghost batches of {GHOST}": Setup(ghost=GHOST),
    f"CUDA graph of the step, deterministic, ghost batches of {GHOST}": Setup(graph=True, ghost=GHOST),
}
COMPILED = "torch.compile, deterministic, fused SGD"
REDUCED = 'torch.compile mode="reduce-overhead", deterministic, fused SGD'
GHOST_COMPILED = f"torch.compile, deterministic, ghost batches of {GHOST}"
# The cheapest and the most valuable come first; each group has a variant of the one before to compare with.
GROUPS: tuple[dict[str, Setup], ...] = (
    EAGER,
    {"eager, again": Setup(), COMPILED: Setup(mode="default")},
    {"eager, once more": Setup(), REDUCED: Setup(mode="reduce-overhead")},
    {"ghost batches, eager, again": Setup(ghost=GHOST), GHOST_COMPILED: Setup(mode="default", ghost=GHOST)},
)


def use(setup: Setup) -> None:
    """Set the process up for a variant: these switches are global."""
    torch.use_deterministic_algorithms(setup.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = setup.fill  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not setup.deterministic
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def set_up(options: Options) -> None:
    """Set the process up as the harness does, on the chosen GPU."""
    prepare(options.device, usable_cores())
    if options.device.startswith("cuda:"):
        torch.cuda.set_device(options.device)


def network(options: Options, ghost: int | None) -> nn.Module:
    """Build the custom ResNet on the device."""
    torch.manual_seed(0)
    ghosts = {"ghost_batch": ghost} if ghost else {}
    model = build_model("custom_resnet", {"width": options.width, "logit_scale": LOGIT_SCALE, **ghosts}, 10)
    model.to(options.device, memory_format=memory_format(options.device))  # type: ignore[call-overload]
    return model.train()


def batches(options: Options) -> Iterator[tuple[Tensor, Tensor]]:
    """Give four random batches on the device, again and again."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(4):
        images = torch.randn(options.batch, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (options.batch,), generator=generator)
        layout = memory_format(options.device)
        made.append((images.to(options.device, memory_format=layout), labels.to(options.device)))
    return itertools.cycle(made)


def make_step(setup: Setup, options: Options, source: Iterator[tuple[Tensor, Tensor]] | None = None) -> Step:
    """Build a variant's network and optimizer.

    Args:
        source: gives the batches, without an end; None: random ones that lie on the device.
    """
    model = network(options, setup.ghost)
    # a CUDA graph keeps the number that it has seen, and reads a tensor anew
    lr = torch.tensor(0.01, device=options.device) if setup.graph else 0.01
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        fused=setup.fused or None,  # None: torch chooses, one kernel for many parameters on CUDA
    )
    source = source or batches(options)
    run = compiled(model, setup, options) if setup.mode else model

    def train(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(options.device, setup.precision):
            loss = F.cross_entropy(run(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    if setup.graph:
        return captured(train, source)

    def step() -> None:
        if setup.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        train(*next(source))

    return step


def compiled(model: nn.Module, setup: Setup, options: Options) -> Callable[[Tensor], Tensor]:
    """Compile as the harness does; in a dry run on a CPU without Inductor, which would take minutes there."""
    if options.quick and not options.cuda:
        return torch.compile(model, dynamic=False, backend="aot_eager")
    if setup.mode == "default":
        return computed_by(model, True)
    return torch.compile(model, dynamic=False, mode=setup.mode)


@dataclass(frozen=True)
class Replay:
    """A captured step: copy the next batch to where the graph reads it, and replay.

    Args:
        train: what was captured; it keeps the network alive, whose memory the graph writes to.
    """

    graph: torch.cuda.CUDAGraph
    images: Tensor
    labels: Tensor
    source: Iterator[tuple[Tensor, Tensor]]
    train: Callable[[Tensor, Tensor], None]

    def __call__(self) -> None:
        """Take the step."""
        images, labels = next(self.source)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()


def captured(train: Callable[[Tensor, Tensor], None], source: Iterator[tuple[Tensor, Tensor]]) -> Step:
    """Capture a whole step as a CUDA graph."""
    images, labels = (tensor.clone() for tensor in next(source))
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # makes the optimizer's state and lets cuDNN choose
            train(images, labels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        train(images, labels)
    return Replay(graph, images, labels, source, train)


def seconds_of(step: Step, device: str, count: int) -> float:
    """Time some steps, from an idle device to an idle device."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return time.perf_counter() - began


def first_step(setup: Setup, options: Options) -> tuple[Step, float]:
    """Build a variant and time its first step, which compiles; a few more warm it up."""
    use(setup)
    step = make_step(setup, options)
    seconds = seconds_of(step, options.device, 1)
    seconds_of(step, options.device, 3)
    return step, seconds


def rows(options: Options) -> Iterator[Row]:
    """Time the groups of variants one after another, as long as there is time."""
    set_up(options)
    measured: dict[str, float] = {}
    rates = {}
    for precision in ("bfloat16", "float32"):
        use(Setup())
        rates[precision] = matrix_rate(options.device, precision, seconds=0.2 if options.quick else 0.5)
        yield Row(
            f"large {precision} matrix product",
            f"{rates[precision] / 1e12:.3g} TFLOP/s",
            "best of many",
            values={"flops_per_second": rates[precision]},
        )
    for group in GROUPS:
        compiles = any(setup.mode for setup in group.values())
        if compiles and options.ends - time.time() < LEFT_FOR_COMPILING:
            yield Row(list(group)[-1], LATE)
            continue
        yield from _group(group, options, rates, measured)
        if COMPILED in group and COMPILED in measured:
            yield warm(options)


def _group(
    group: Mapping[str, Setup], options: Options, rates: Mapping[str, float], measured: dict[str, float]
) -> Iterator[Row]:
    """Build all variants of a group, then time them in turn."""
    steps: dict[str, Step] = {}
    for name, setup in group.items():
        if setup.cuda_only and not options.cuda:
            yield needs_cuda(name)
            continue
        try:
            steps[name], seconds = first_step(setup, options)
        except Exception as error:  # whatever a compiler, a capture or the device says
            yield failed(name, error)
            continue
        if setup.mode:
            yield Row(
                f"{name}: first step, nothing cached" if name == COMPILED else f"{name}: first step",
                f"{seconds:.1f} s",
                "1",
                values={"s": seconds},
            )
    for name, times in _rounds(steps, group, options).items():
        setup = group[name]
        measured[name] = statistics.median(times)
        yield _timed_row(name, times, setup, options, rates[setup.precision], measured)
    steps.clear()
    gc.collect()
    if options.cuda:
        torch.cuda.empty_cache()


def _rounds(steps: dict[str, Step], group: Mapping[str, Setup], options: Options) -> dict[str, list[float]]:
    """Milliseconds a step in every round, by variant."""
    rounds, count = rounds_and_steps(options)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            use(group[name])
            seconds_of(step, options.device, 1)
            times[name].append(1e3 * seconds_of(step, options.device, count) / count)
    return times


def rounds_and_steps(options: Options) -> tuple[int, int]:
    """Say how often each variant is timed, and over how many steps."""
    return (2, 2) if options.quick else (5, 10)


def _timed_row(
    name: str, times: list[float], setup: Setup, options: Options, rate: float, measured: Mapping[str, float]
) -> Row:
    middle = statistics.median(times)
    model = build_model("custom_resnet", {"width": options.width}, 10)
    flops = options.batch * flops_per_image(model, (3, 32, 32)) / (middle / 1e3)
    notes = f"{options.batch / middle * 1e3:,.0f} images/s; {flops / rate:.0%} of the matrix rate"
    if setup.ghost:
        whole = next((other for other, each in _all().items() if each == replace(setup, ghost=None)), "")
        if whole in measured:
            notes += f"; {middle / measured[whole] - 1:+.0%} against whole batches"
    notes += f"; {min(times):.2f} to {max(times):.2f} ms"
    rounds, count = rounds_and_steps(options)
    return Row(name, f"{middle:.2f} ms", f"{rounds} x {count}", notes, {"ms": times, "share": flops / rate})


def _all() -> dict[str, Setup]:
    return {name: setup for group in GROUPS for name, setup in group.items()}


def warm(options: Options) -> Row:
    """Time the first compiled step in another process, which finds the first one's compilation on disk."""
    what = f"{COMPILED}: first step in another process"
    command = [sys.executable, "-m", "benchmarks.gpu.step", json.dumps(asdict(options))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return failed(what, (done.stderr.strip().splitlines() or ["no message"])[-1])
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(what, f"{found['s']:.1f} s", "1", f"{found['hits']} compiled parts found on disk", found)


def main() -> None:
    """Print what :func:`warm` asks for."""
    from torch._dynamo.utils import counters

    options = Options(**json.loads(sys.argv[1]))
    set_up(options)
    _, seconds = first_step(Setup(mode="default"), options)
    hits = counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
    print(json.dumps({"s": seconds, "hits": hits}))


if __name__ == "__main__":
    main()
