"""Describe the environment of the runs: code, versions, hardware and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.analysis.numbers import several
from harness.analysis.results import Results
from harness.store.records import RunRecord

# What a variant's runs must share, so that their standard deviation comes from the seeds alone.
DECISIVE = (
    "harness version", "code", "python", "torch", "device", "accelerator", "processor", "precision",
    "evaluated in", "threads", "data", "batches",
)  # fmt: skip
AT_ONCE = "runs at once on the device"
UNKNOWN = "not recorded"
THEN = ", then "  # joins the value that a run began with and the one that it ended with


def origin(record: RunRecord | None) -> dict[str, str]:
    """Return how a run was made, from its record: property -> value, in the order of the report.

    Where a killed run was resumed under other conditions, a value is such as ``1, then 2``.
    """
    provenance = record.provenance if record else {}
    parts = [_properties(part) for part in (*(provenance.get("earlier") or ()), provenance)]
    properties = {
        key: THEN.join(dict.fromkeys(part[key] for part in parts if key in part))
        for key in dict.fromkeys(key for part in reversed(parts) for key in part)
    }
    if text := at_once_text([record]):
        properties[AT_ONCE] = text
    return properties


def at_once_text(records: Iterable[RunRecord | None]) -> str | None:
    """Write how many runs shared the device, such as ``1 to 3``; None where a run has not recorded it."""
    least, most = [], []
    for record in records:
        counts = record.timings.get("runs_at_once") if record else None
        if not (
            isinstance(counts, list) and len(counts) == 2 and all(type(count) is int for count in counts)
        ):
            return None
        if not 1 <= counts[0] <= counts[1]:
            return None
        least.append(counts[0])
        most.append(counts[1])
    if not least:
        return None
    return str(max(most)) if min(least) == max(most) else f"{min(least)} to {max(most)}"


def times_note(results: Results) -> str | None:
    """Write why the runs' seconds are not those of a run alone; None where each had its device to itself."""
    if not results.finished:
        return None
    at_once = at_once_text(run.record for run in results.finished)
    if at_once is None:
        return "Times may not be comparable: the number of runs at once on the device was not recorded."
    if at_once == "1":
        return None
    return f"Times are not those of a run alone: {at_once} runs shared the device at once."


def _properties(provenance: dict[str, Any]) -> dict[str, str]:
    data, versions, hardware = (provenance.get(key) or {} for key in ("data", "versions", "hardware"))
    git = provenance.get("git")
    properties = {
        "harness version": provenance.get("harness"),
        "code": None
        if git is None
        else f"{git['commit'][:12]}{' with local changes' if git.get('dirty') else ''}",
        "device": provenance.get("device"),
        "devices": _devices(provenance),
        "precision": provenance.get("precision"),
        "evaluated in": provenance.get("evaluated_in"),
        "threads": provenance.get("threads"),
        "batches": provenance.get("batches"),
        "processor": hardware.get("processor"),
        "cores": hardware.get("cores"),
        "memory": _gigabytes(hardware.get("memory_bytes")),
        "accelerator": _accelerator(hardware.get("accelerator")),
        "data source": data.get("source"),
        "data": data.get("sha256") and f"SHA-256 {data['sha256']}",
        "evaluated on": data.get("evaluated_on"),
        "train images": data.get("train_images"),
        "evaluation images": data.get("evaluation_images"),
        "notes on the data": "; ".join(data.get("passed_over") or ()) or None,
        **versions,
    }
    return {key: str(value) for key, value in properties.items() if value is not None}


def origins(results: Results) -> list[tuple[str, str]]:
    """Return each property with its value, or with every value and how many runs have it."""
    all_properties = [origin(run.record) for run in results.runs if run.provenance]
    return [
        (key, counted(Counter(properties.get(key, UNKNOWN) for properties in all_properties)))
        for key in dict.fromkeys(key for properties in all_properties for key in properties)
    ]


def counted(counts: Counter[str]) -> str:
    """Write the only value; or ``bfloat16 (1 run); float32 (2 runs)``."""
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({several(n, 'run')})" for value, n in sorted(counts.items()))


def _devices(provenance: dict[str, Any]) -> str | None:
    if (number := provenance.get("devices")) is None:
        return None
    synchronised = str(provenance.get("device")).startswith("cuda")
    statistics = "over the whole batch" if synchronised else "per device"
    return f"{number} per run (data parallel); batch norm statistics {statistics}"


def _gigabytes(size: Any) -> str | None:
    return None if size is None else f"{size / 2**30:.1f} GiB"


def _accelerator(accelerator: Any) -> str | None:
    if isinstance(accelerator, dict):
        return f"{accelerator.get('name')}, {_gigabytes(accelerator.get('memory_bytes'))}"
    return None if accelerator is None else str(accelerator)
