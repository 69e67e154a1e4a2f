"""The provenance of a run, for its record: code, versions, hardware, precision, data."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from harness.data.arrays import Data
from harness.data.leakage import find_leakage
from harness.device import processor, usable_cores
from harness.imports import source_digests
from harness.plan import Variant
from harness.version import __version__

CHECKOUT = Path(__file__).parents[2]  # where it is one
PACKAGES = (
    "torch", "torchvision", "pytorch-ignite", "torchmetrics", "albumentations", "captum", "numpy",
    "opencv-python-headless",
)  # fmt: skip


def provenance(variant: Variant, data: Data, threads: int) -> dict[str, Any]:
    """Return the ``provenance`` of run.json."""
    from harness.data.augment import parse
    from harness.data.tensor_pipeline import tensor_pipeline

    clusters = data.evaluation.clusters
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "harness": __version__,
        "git": git_state(),
        "versions": versions(),
        "hardware": hardware(variant.device),
        "device": variant.device,
        "precision": variant.precision,
        "evaluated_in": "float32",  # the last epoch; earlier versions did it in the precision
        "threads": threads,
        **({"devices": variant.devices} if variant.devices > 1 else {}),
        **({"metrics": source_digests(variant.own_metrics)} if variant.own_metrics else {}),
        "batches": (
            parse(variant.train_transforms).library.NAME
            if tensor_pipeline(variant.train_transforms) is None
            else "tensor"
        ),
        "data": {
            "source": variant.recipe.data.source,
            "sha256": data.sha256,
            "evaluated_on": data.evaluated_on,
            "train_images": len(data.train.labels),
            "evaluation_images": len(data.evaluation.labels),
            **({"clusters": len(set(clusters.tolist()))} if clusters is not None else {}),
            **({"passed_over": data.notes} if data.notes else {}),
        },
    }


def with_leakage(provenance: dict[str, Any], data: Data) -> dict[str, Any]:
    """Return a provenance whose ``data`` also says which images are evaluated on and trained on."""
    return {**provenance, "data": {**provenance["data"], "leakage": find_leakage(data).to_record()}}


@cache
def git_state() -> dict[str, Any] | None:
    """Return the commit of the harness's checkout, and whether tracked files differ; None without one."""
    if not (CHECKOUT / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that results depend on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def hardware(device: str) -> dict[str, Any]:
    """Return host, processor, cores, memory, and the accelerator if one is used."""
    accelerator = None
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        accelerator = {"name": properties.name, "memory_bytes": properties.total_memory}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "host": platform.node(),
        "processor": processor(),
        "cores": usable_cores(),
        "memory_bytes": memory,
        "accelerator": accelerator,
    }
