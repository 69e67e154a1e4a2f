"""Where the numbers come from, and what is mixed in them that a reader has to know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.report.results import Results
from harness.store.folders import WEIGHTS
from harness.store.records import RunRecord

# What runs of one group must share for their spread to be that of the seeds alone.
DECISIVE = (
    "harness version", "code", "python", "torch", "device", "accelerator", "processor", "precision",
    "evaluated in", "threads", "data", "batches",
)  # fmt: skip
AT_ONCE = "runs at once on the device"
_CHECKSUM = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")  # whole in the table, its beginning in a sentence
THEN = ", then "  # between what a run was begun and ended with


def origin(record: RunRecord | None) -> dict[str, str]:
    """What a run's record says about its making: property -> value, in the order of the report.

    Where a killed run was gone on with under other conditions, the value is such as ``1, then 2``.
    """
    made = record.provenance if record else {}
    parts = [_facts(part) for part in (*(made.get("earlier") or ()), made)]
    facts = {
        key: THEN.join(dict.fromkeys(part[key] for part in parts if key in part))
        for key in dict.fromkeys(key for part in reversed(parts) for key in part)
    }
    if text := at_once_text([record]):
        facts[AT_ONCE] = text
    return facts


def at_once_text(records: Iterable[RunRecord | None]) -> str | None:
    """How many runs were on the device at once, such as ``1 to 3``; None where a run has not recorded it."""
    least, most = [], []
    for record in records:
        counts = record.timings.get("runs_at_once") if record else None
        if not (isinstance(counts, list) and len(counts) == 2 and all(type(one) is int for one in counts)):
            return None
        if not 1 <= counts[0] <= counts[1]:
            return None
        least.append(counts[0])
        most.append(counts[1])
    if not least:
        return None
    return str(max(most)) if min(least) == max(most) else f"{min(least)} to {max(most)}"


def times_note(results: Results) -> str | None:
    """What a reader of the runs' seconds has to know; None where each run had its device to itself."""
    if not results.finished:
        return None
    at_once = at_once_text(run.record for run in results.finished)
    if at_once is None:
        return "How many runs shared the device was not recorded: one run alone may take fewer minutes."
    if at_once == "1":
        return None
    return f"Runs shared the device, {at_once} at once: one run alone takes fewer minutes."


def _facts(made: dict[str, Any]) -> dict[str, str]:
    data, versions, hardware = (made.get(key) or {} for key in ("data", "versions", "hardware"))
    git = made.get("git")
    facts = {
        "harness version": made.get("harness"),
        "code": None
        if git is None
        else f"{git['commit'][:12]}{' with local changes' if git.get('dirty') else ''}",
        "device": made.get("device"),
        "devices": _devices(made),
        "precision": made.get("precision"),
        "evaluated in": made.get("evaluated_in"),
        "threads": made.get("threads"),
        "batches": made.get("batches"),
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
    return {key: str(value) for key, value in facts.items() if value is not None}


def _changed_under_way(results: Results) -> list[str]:
    """A line for every finished run that was begun under other decisive conditions than it ended under."""
    lines = []
    for run in results.finished:
        changed = [
            f"{key} {value}" for key, value in origin(run.record).items() if key in DECISIVE and THEN in value
        ]
        if changed:
            lines.append(f"{run.variant}/seed-{run.seed} was gone on with elsewhere: {'; '.join(changed)}.")
    return lines


def origins(results: Results) -> list[tuple[str, str]]:
    """Each property with its value, or with every value and how many finished and failed runs have it."""
    made = [origin(run.record) for run in results.runs if run.provenance]
    rows = []
    for key in dict.fromkeys(key for facts in made for key in facts):
        counts = Counter(facts.get(key, "not recorded") for facts in made)
        if len(counts) == 1:
            rows.append((key, next(iter(counts))))
        else:
            rows.append((key, "; ".join(f"{value} ({_runs(n)})" for value, n in sorted(counts.items()))))
    return rows


def warnings(results: Results) -> list[str]:
    """Lines about mixed origins, recipes that differ inside a variant, and doubtful range tests."""
    lines = [_CHECKSUM.sub(r"\1…", line) for line in _mixed_origins(results) + _changed_under_way(results)]
    for variant in results.variants:
        if variant not in results.study.recipes:
            lines.append(f"{variant} lies on disk and is no variant of this study any more.")
        doubts = [
            text
            for run in results.of(variant, "finished")
            for text in (run.record.doubts if run.record else ())
        ]
        lines += [f"{variant}: {text}." for text in dict.fromkeys(doubts)]
        recipes = {run.record and run.record.digest for run in results.of(variant, "finished")}
        if len(recipes) > 1:
            lines.append(
                f"{variant}: its runs come from {len(recipes)} different configurations; "
                "its ± mixes these with the seeds."
            )
    for variant, sweep in results.sweeps.items():
        if sweep.error:
            lines.append(f"{variant}: range test: {sweep.error}")
        lines += [f"{variant}: range test: {text}" for text in sweep.record.get("warnings") or []]
    return lines


def ties(results: Results) -> list[str]:
    """Count in a line the images whose largest logit several classes have; in bfloat16 there are many."""
    counts = [run.predictions.ties for run in results.finished if run.predictions is not None]
    if not any(counts):
        return []
    return [
        f"Ties: in {_runs(sum(map(bool, counts)))} of {len(counts)} the largest logit of up to {max(counts)} "
        "images is that of several classes; it counts for the first of them."
    ]


def no_weights(results: Results) -> list[str]:
    """A line that names the variants whose networks cannot be looked into."""
    lacking = [
        variant
        for variant in results.variants
        if results.of(variant, "finished") and not results.with_weights(variant)
    ]
    if not lacking:
        return []
    return [f"No Grad-CAM of {', '.join(lacking)}: no run has its weights ({WEIGHTS})."]


def _mixed_origins(results: Results) -> list[str]:
    """Inside a variant first: there it is part of the ±. Between variants it is part of their difference."""
    lines = []
    for key in DECISIVE:
        values: dict[str, Counter[str]] = {}
        for run in results.finished:
            values.setdefault(run.variant, Counter())[origin(run.record).get(key, "not recorded")] += 1
        mixed = [variant for variant, counts in values.items() if len(counts) > 1]
        if mixed:
            counts = "; ".join(f"{value} ({_runs(n)})" for value, n in sorted(values[mixed[0]].items()))
            more = f", and of {len(mixed) - 1} more variants" if len(mixed) > 1 else ""
            lines.append(f"The runs of {mixed[0]}{more} mix different {_plural(key)}: {counts}.")
        elif key not in ("data", "batches") and len({next(iter(counts)) for counts in values.values()}) > 1:
            by_variant = "; ".join(f"{variant}: {next(iter(counts))}" for variant, counts in values.items())
            lines.append(f"The variants were run with different {_plural(key)}: {by_variant}.")
    return lines


def _plural(key: str) -> str:
    names = {
        "code": "code states", "threads": "thread counts", "data": "data", "batches": "batch pipelines",
        "python": "Python versions", "torch": "torch versions", "evaluated in": "precisions of evaluation",
    }  # fmt: skip
    return names.get(key, f"{key}s")


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _devices(made: dict[str, Any]) -> str | None:
    if (number := made.get("devices")) is None:
        return None
    synchronised = str(made.get("device")).startswith("cuda")
    statistics = "over whole batches" if synchronised else "of each part alone"
    return f"{number} share a run, a part of every batch each; batch norm takes its statistics {statistics}"


def _gigabytes(size: Any) -> str | None:
    return None if size is None else f"{size / 2**30:.1f} GiB"


def _accelerator(accelerator: Any) -> str | None:
    if isinstance(accelerator, dict):
        return f"{accelerator.get('name')}, {_gigabytes(accelerator.get('memory_bytes'))}"
    return None if accelerator is None else str(accelerator)
