"""Measure on a GPU, in one command of two and a half minutes: ``python -m benchmarks.gpu``.

Each part is a separate process with a share of the time: one that fails, hangs or crashes costs a row of
the table and no other part. Results are printed and written after every part. ``--device cpu --quick``
tries all parts without a GPU; its times mean nothing.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gpu import parts
from benchmarks.gpu.shared import ROOT, Options
from benchmarks.gpu.table import Report
from harness.console import open_streams

RESULTS = ROOT / "benchmarks" / "gpu-results.md"
SECONDS, QUICK_SECONDS = 145.0, 240.0
LEAST = 0.12  # share of a part that has none of its own because it runs beside another


def about(device: str, data: str | None, quick: bool) -> dict[str, str]:
    """Describe the measurement: what, on which machine, when."""
    import harness
    from harness.training.provenance import git_state, hardware, versions

    git = git_state() or {"commit": "unknown", "dirty": False}
    machine, software = hardware("cpu"), versions()
    found = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "device": device, **_gpu(device)}
    found["processor"] = f"{machine['processor']}, {machine['cores']} cores"
    found |= {"Python": platform.python_version(), "torch": _torch_version()}
    found |= {name: number for name, number in software.items() if name not in ("python", "torch")}
    found["harness"] = f"{harness.__version__} at {git['commit'][:12]}{' with changes' * git['dirty']}"
    found["images"] = "synthetic" if data is None else "CIFAR-10"
    return found | ({"dry run": "its times mean nothing"} if quick else {})


def _torch_version() -> str:
    import torch

    return f"{torch.__version__} (CUDA {torch.version.cuda})" if torch.version.cuda else torch.__version__


def _gpu(device: str) -> dict[str, str]:
    """Name the GPU and its driver, without taking memory on it."""
    if not device.startswith("cuda"):
        return {}
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(
            query, capture_output=True, text=True, timeout=10, check=True
        ).stdout.splitlines()
        name, memory, driver = lines[int(device.partition(":")[2] or 0)].split(", ")
        return {"GPU": f"{name}, {memory}", "driver": driver}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        import torch

        return {"GPU": torch.cuda.get_device_name(device), "driver": "unknown"}


def find_data(named: str | None) -> str | None:
    """Find the folder that holds cifar10/; None if it is missing and none was named."""
    from harness.data import default_root

    root = Path(named) if named else default_root()
    if (root / "cifar10").is_dir():
        return str(root.resolve())
    if named:
        sys.exit(f"error: --data {named}: there is no cifar10/ in it; leave it out for synthetic images")
    return None


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    names = [part.name for part in parts.PARTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--data", metavar="DIR", help="holds cifar10/; without it $HARNESS_DATA, else synthetic"
    )
    parser.add_argument("--parts", default=",".join(names), metavar="A,B", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--seconds", type=float, help=f"for all parts [default: {SECONDS:g}; {QUICK_SECONDS:g} with --quick]"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for the studies of identity and workers, such as compile=true; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="a dry run: tiny, its times mean nothing")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"Markdown [default: {RESULTS.name}; none with --quick]"
    )
    options = parser.parse_args(arguments)
    options.parts = options.parts.split(",")
    if unknown := [name for name in options.parts if name not in names]:
        parser.error(f"--parts: no part {unknown[0]!r}; the parts are {', '.join(names)}")
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    if options.out is None and not options.quick:
        options.out = RESULTS
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the parts one after another; print and write their results."""
    open_streams()
    began = time.time()
    chosen = read_options(arguments)
    from harness.device import resolve_device
    from harness.errors import HarnessError

    try:
        device = resolve_device(chosen.device)
    except HarnessError as error:
        sys.exit(f"error: {error}")
    data = find_data(chosen.data)
    report = Report(chosen.out and chosen.out.resolve(), about(device, data, chosen.quick))
    print("\n".join(f"{name}: {value}" for name, value in report.about.items()), flush=True)
    terminated = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the part that runs, too
    folder = tempfile.mkdtemp(prefix="gpu-bench-")
    groups = parts.in_turn([part for part in parts.PARTS if part.name in chosen.parts])
    shares = [sum(part.share for part in group) or LEAST for group in groups]
    try:
        for at, group in enumerate(groups, 1):
            ends = began + chosen.seconds * sum(shares[:at]) / sum(shares)
            options = Options(device, data, chosen.quick, folder, ends, chosen.settings)
            for section in parts.run_together(group, options, report):
                print(f"\n{section.text()}", flush=True)
    finally:
        signal.signal(signal.SIGTERM, terminated)
        shutil.rmtree(folder, ignore_errors=True)
        report.write()
    print(f"\n{time.time() - began:.0f} s in all" + (f"; {report.file}" if report.file else ""))
    if late := report.late():
        print(f"out of time: {', '.join(late)}; again with --parts {','.join(late)}, or with more --seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
