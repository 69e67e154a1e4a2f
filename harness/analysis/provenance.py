"""Where the numbers come from, and what is mixed in them that a reader has to know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from harness.analysis.numbers import several
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.store.folders import WEIGHTS
from harness.store.records import RunRecord

# What runs of one group must share for their spread to be that of the seeds alone.
DECISIVE = (
    "harness version", "code", "python", "torch", "device", "accelerator", "processor", "precision",
    "evaluated in", "threads", "data", "batches",
)  # fmt: skip
AT_ONCE = "runs at once on the device"
_CHECKSUM = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")  # whole in the table, its beginning in a sentence
UNKNOWN = "not recorded"
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


def origins(results: Results) -> list[tuple[str, str]]:
    """Return each property with its value, or with every value and how many runs have it."""
    made = [origin(run.record) for run in results.runs if run.provenance]
    return [
        (key, _counted(Counter(facts.get(key, UNKNOWN) for facts in made)))
        for key in dict.fromkeys(key for facts in made for key in facts)
    ]


def provenance_warnings(results: Results) -> list[str]:
    """Name what is mixed in the numbers, doubtful range tests, ties, and weights that are not there."""
    made = [(run, origin(run.record)) for run in results.finished]
    return [
        *(_CHECKSUM.sub(r"\1…", line) for line in _mixed_origins(made) + _changed_under_way(made)),
        *_doubtful_variants(results),
        *_doubtful_range_tests(results),
        *_ties(results),
        *_without_weights(results),
    ]


def _mixed_origins(made: Sequence[tuple[Run, dict[str, str]]]) -> list[str]:
    """Inside a variant first: there it is part of the ±. Between variants it is part of their difference."""
    lines = []
    for key in DECISIVE:
        values: dict[str, Counter[str]] = {}
        for run, facts in made:
            values.setdefault(run.variant, Counter())[facts.get(key, UNKNOWN)] += 1
        mixed = [variant for variant, counts in values.items() if len(counts) > 1]
        if mixed:
            more = f", and of {len(mixed) - 1} more variants" if len(mixed) > 1 else ""
            which = f"The runs of {mixed[0]}{more} mix different {_plural(key)}"
            lines.append(f"{which}: {_counted(values[mixed[0]])}.")
        elif key not in ("data", "batches") and len({next(iter(counts)) for counts in values.values()}) > 1:
            by_variant = "; ".join(f"{variant}: {next(iter(counts))}" for variant, counts in values.items())
            lines.append(f"The variants were run with different {_plural(key)}: {by_variant}.")
    return lines


def _changed_under_way(made: Sequence[tuple[Run, dict[str, str]]]) -> list[str]:
    """Name every finished run that was begun under other decisive conditions than it ended under."""
    changed = [
        (run, [f"{key} {value}" for key, value in facts.items() if key in DECISIVE and THEN in value])
        for run, facts in made
    ]
    return [
        f"{run.variant}/seed-{run.seed} was gone on with elsewhere: {'; '.join(conditions)}."
        for run, conditions in changed
        if conditions
    ]


def _doubtful_variants(results: Results) -> list[str]:
    lines = []
    for variant in results.variants:
        if variant not in results.study.recipes:
            lines.append(f"{variant} lies on disk and is no variant of this study any more.")
        records = [run.record for run in results.of(variant, "finished") if run.record]
        doubts = dict.fromkeys(text for record in records for text in record.doubts)
        lines += [f"{variant}: {text}." for text in doubts]
        if len(digests := {record.digest for record in records}) > 1:
            lines.append(
                f"{variant}: its runs come from {len(digests)} different configurations; "
                "its ± mixes these with the seeds."
            )
    return lines


def _doubtful_range_tests(results: Results) -> list[str]:
    return [
        f"{variant}: range test: {text}"
        for variant, sweep in results.sweeps.items()
        for text in (*([sweep.error] if sweep.error else []), *(sweep.record.get("warnings") or []))
    ]


def _ties(results: Results) -> list[str]:
    """Count the images whose largest logit several classes have; in bfloat16 there are many."""
    counts = [run.predictions.ties for run in results.finished if run.predictions is not None]
    if not any(counts):
        return []
    return [
        f"Ties: in {several(sum(map(bool, counts)), 'run')} of {len(counts)} the largest logit of up to "
        f"{max(counts)} images is that of several classes; it counts for the first of them."
    ]


def _without_weights(results: Results) -> list[str]:
    """Name the variants whose networks cannot be looked into."""
    lacking = [
        variant
        for variant in results.variants
        if results.of(variant, "finished") and not results.with_weights(variant)
    ]
    return [f"No Grad-CAM of {', '.join(lacking)}: no run has its weights ({WEIGHTS})."] if lacking else []


def _counted(counts: Counter[str]) -> str:
    """Write the only value; or ``bfloat16 (1 run); float32 (2 runs)``."""
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({several(n, 'run')})" for value, n in sorted(counts.items()))


def _plural(key: str) -> str:
    names = {
        "code": "code states", "threads": "thread counts", "data": "data", "batches": "batch pipelines",
        "python": "Python versions", "torch": "torch versions", "evaluated in": "precisions of evaluation",
    }  # fmt: skip
    return names.get(key, f"{key}s")


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
