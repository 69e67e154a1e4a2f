"""Rows and sentences of the results page: a variant's runs, and the published numbers of its recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.markdown import table
from benchmarks.published.read import Published, Variant, described, device_name
from harness.analysis.numbers import minutes_text, percent_text
from harness.analysis.provenance import AT_ONCE, DECISIVE, at_once_text, origin
from harness.analysis.references import Claim, claims
from harness.analysis.units import accuracy_text
from harness.statistics.distribution import describe
from harness.statistics.prediction import Standing
from harness.statistics.target import share
from harness.store.records import RunRecord

# CIFAR-10's test rows that the copy measured here holds decoded from a JPEG; all its others are lossless.
CIFAR10_LOSSY = (
    1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496,
    5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8551, 9254,
)  # fmt: skip
NOTHING = "–"
TEXTS = ("study", "studies", "variant", "published", "consistent", "device", "precision", "date", *DECISIVE)
Row = dict[str, str]


def table_of(rows: Sequence[Row]) -> str:
    """Return Markdown of the columns that are not empty; empty without rows."""
    if not rows:
        return ""
    columns = [name for name in rows[0] if any(row[name] != NOTHING for row in rows)]
    texts = [at for at, name in enumerate(columns) if name in TEXTS]
    return table(columns, [[row[name] for name in columns] for row in rows], texts)


def headline_row(one: Published, variant: Variant) -> Row:
    """Return a variant's accuracy beside the published number."""
    accuracy, published = described(variant.accuracies), claims_of(one, variant)
    interval = NOTHING
    if accuracy.ci_low is not None and accuracy.ci_high is not None:
        interval = f"{100 * accuracy.ci_low:.2f} to {100 * accuracy.ci_high:.2f} %"
    verdicts = dict.fromkeys(judged(claim, variant)[1] for claim in published)
    return _head(one, variant) | {
        "n": str(accuracy.n),
        "mean ± std": _unbroken(accuracy_text(accuracy, one.study.target.level, decimals=2)),
        "published": "; ".join(claim.text for claim in published) or NOTHING,
        "consistent": "; ".join(verdicts) or NOTHING,
        "95 % interval of the mean": _unbroken(interval),
        "device": _texts(map(device_name, variant.finished)),
    }


def detail_row(one: Published, variant: Variant) -> Row:
    """Return further facts about a variant's runs."""
    records, target = variant.finished, one.study.target.level
    reached = sum(value >= target for value in variant.accuracies)
    return _head(one, variant) | {
        "runs at the target": _unbroken(f"{reached} of {len(variant.records)} at {percent_text(target)}"),
        f"without the {len(CIFAR10_LOSSY)} images": _lossless(variant, target),
        "epochs": _texts(str(record.metrics["epochs"]) for record in records),
        "parameters": f"{records[0].metrics['parameters']:,}",
        "minutes a run": _minutes(records),
        "precision": _texts(record.provenance["precision"] for record in records),
        "date": _texts(record.provenance["started"][:10] for record in records),
    }


def other_row(one: Published, variant: Variant, record: RunRecord) -> Row:
    """Return a run on another device."""
    return _head(one, variant) | {
        "seed": str(record.seed),
        "accuracy": f"{100 * record.metrics['accuracy']:.2f} %",
        "peak of the schedule": f"{record.metrics['lr_max']:.3g}",
        "device": _unbroken(device_name(record)),
        "precision": record.provenance["precision"],
        "date": _unbroken(record.provenance["started"][:10]),
    }


def provenance_rows(shown: Sequence[tuple[Published, Variant]]) -> list[Row]:
    """Return the groups of studies with equal provenance; no rows if all are equal."""
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    left_out = ("data", "device")  # a study's own; said by the accelerator
    keys = [key for key in (*DECISIVE, AT_ONCE) if key not in left_out]
    for one, variant in shown:
        for record in variant.finished:
            made = origin(record)
            values = tuple(made.get(key, "none" if key == "accelerator" else "not recorded") for key in keys)
            groups.setdefault(values, {})[one.name] = None
    differing = [at for at, column in enumerate(zip(*groups, strict=True)) if len(set(column)) > 1]
    return [
        {"studies": ", ".join(names)} | {keys[at]: values[at] for at in differing}
        for values, names in groups.items()
        if differing
    ]


def _head(one: Published, variant: Variant) -> Row:
    return {"study": f"[{one.name}](#{one.name})", "variant": variant.name}


def _lossless(variant: Variant, target: float) -> str:
    """Return CIFAR-10's test accuracy without the rows that are not lossless."""
    data = variant.finished[0].data
    if (data["source"], data["evaluated_on"], data["evaluation_images"]) != ("cifar10", "test", 10_000):
        return NOTHING
    right = np.delete(variant.correct, CIFAR10_LOSSY, axis=0).mean(axis=0)
    return _unbroken(accuracy_text(described(map(float, right)), target, decimals=2))


def _minutes(records: Sequence[RunRecord]) -> str:
    """Return the minutes if the number of runs on the device is known; else they mean nothing."""
    seconds = describe([record.timings["seconds"] for record in records])
    if seconds is None or (at_once := at_once_text(records)) is None:
        return NOTHING
    return _unbroken(f"{minutes_text(seconds.mean)} ({at_once} at once)")


def _texts(values: Iterable[str]) -> str:
    return _unbroken(", ".join(sorted(set(values))))


def _unbroken(text: str) -> str:
    """Keep a text on one line: in a wide table a browser would break it into a word a line."""
    return text.replace(" ", "\u00a0")


# ---- claims ------------------------------------------------------------------------------------------------


def claims_of(one: Published, variant: Variant) -> list[Claim]:
    """Return the published numbers of a variant's recipe."""
    references = [reference for reference in one.study.references.values() if reference.is_of(variant.name)]
    return [claim for reference in references for claim in claims(reference)]


def judged(claim: Claim, variant: Variant) -> tuple[Standing, str]:
    """Compare a published number with the runs; the second part is the verdict in a word."""
    standing = claim.standing(variant.accuracies, len(variant.records), variant.evaluated_on)
    if variant.evaluated_on != "test":
        return standing, "not judged: ours are on held-out images"
    if standing.plausible is None:
        return standing, "not judged: one run" if standing.n == 1 else "not judged: our runs do not differ"
    return standing, "yes" if standing.plausible else "no"


def summary_sentence(tested: Sequence[tuple[Published, Variant]]) -> str:
    """Say how many published numbers are consistent with the runs."""
    verdicts = [judged(claim, variant)[1] for one, variant in tested for claim in claims_of(one, variant)]
    if not verdicts:
        return ""
    yes, no = verdicts.count("yes"), verdicts.count("no")
    return (
        f"Of {len(verdicts)} published numbers {yes} are consistent with the runs here and "
        f"{no} are not; {len(verdicts) - yes - no} cannot be judged yet."
    )


def claim_sentence(claim: Claim, variant: Variant, several: bool) -> str:
    """Say the published number, the runs' number, and whether they are consistent."""
    standing, verdict = judged(claim, variant)
    n, runs, low, high = standing.n, claim.reference.runs, standing.low, standing.high
    if claim.statistic == "share":
        reached = share(round(standing.measured * n), n)
        ours = f"{reached.count} of {n} (95 % interval {100 * reached.low:.0f} to {100 * reached.high:.0f} %)"
    else:
        ours = f"{100 * standing.measured:.2f} %, {'one run' if n == 1 else f'{claim.statistic} of {n} runs'}"
    of = f"{variant.name}: " if claim.reference.variant is None and several else ""
    text = f"* {of}Published: {claim.text}. Here: {ours}. "
    if low is None or high is None:
        points = f"{100 * abs(standing.difference):.2f} points"
        side = "higher" if standing.difference > 0 else "lower"
        return text + f"The published number is {points} {side}; {verdict}."
    if claim.statistic == "share":
        of = f"Of {runs} further run{'s' * (runs > 1)}"
        further = f"{of} {low * runs:.0f} to {high * runs:.0f} would reach it"
    else:
        further = f"The {claim.statistic} of {runs} further runs" if runs > 1 else "One further run"
        further += f" would give {100 * low:.2f} to {100 * high:.2f} %"
    return text + f"{further} (95 % prediction interval): {'' if verdict == 'yes' else 'not '}consistent."
