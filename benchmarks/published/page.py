"""``docs/results/README.md``, and what ``--list`` shows, from the published records and predictions alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.markdown import table
from benchmarks.published.read import ROOT, Published, Record, Variant, place
from harness.config import Reference
from harness.report.provenance import AT_ONCE, DECISIVE, origin
from harness.report.references import claims, standings
from harness.report.results import Run
from harness.report.statistics import Standing, describe, share
from harness.report.summary import accuracy_text, minutes_text, percent_text
from harness.store import StudyFolder
from harness.study_file import load_study

# CIFAR-10's test rows that the copy measured here holds decoded from a JPEG; all its others are lossless.
CIFAR10_LOSSY = (
    1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496,
    5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8551, 9254,
)  # fmt: skip
SPLITS = {"test": "test", "holdout": "hold-out"}
HEADER = (
    "study", "variant", "n", "measured: mean ± std", "95 % interval of the mean", "published",
    "published is", "runs at the target", "without the 20 images", "epochs, measured on",
    "parameters", "minutes a run", "device, precision, date",
)  # fmt: skip
OTHER_HEADER = ("study", "variant", "seed", "accuracy", "device, precision, date")
FIGURES = {
    "accuracy": "accuracy", "curves": "curves", "comparisons": "comparisons",
    "range_test_on_trial": "range test", "gradcam": "Grad-CAM", "misclassified": "errors",
    "confusion": "confusion",
}  # fmt: skip
TABLES = ("summary.csv", "runs.csv", "history.csv", "references.csv", "comparisons.csv", "ranking.csv")


def page(published: Sequence[Published]) -> str:
    """The results page."""
    shown = [(one, variant) for one in published for variant in one.variants if variant.finished]
    other = [
        [_link(one), variant.name, str(record["seed"]), _percent(record), _made_on([record])]
        for one in published
        for variant in one.variants
        for record in variant.other
    ]
    parts = [
        "# Results",
        "Made by `python -m benchmarks.published` from the runs' records and predictions beside it, not "
        "written by hand. Every accuracy is that of the last epoch; no epoch was picked by it. ± is the "
        "standard deviation over n seeds. Searches are measured on images held out of the train split, so "
        "that the test split decides nothing.",
        "![Every study: its seeds, their mean with its interval, and what was published](overview.png)",
        table(HEADER, [_row(*each) for each in shown], 2),
        "A published number is *plausible* where further runs of the same recipe may give it, see each "
        "study's claim below; *not judged* from one run. "
        f"CIFAR-10's test split is 10,000 images; {len(CIFAR10_LOSSY)} of them are not lossless in the copy "
        f"measured here (rows {', '.join(map(str, CIFAR10_LOSSY))}). Minutes stand only where it was "
        "recorded how many runs shared the device.",
        *_mixed(shown),
    ]
    if other:
        parts += [
            "## The same recipes on other devices",
            "Single runs that were published before; another device rounds otherwise, so each is one more "
            "draw of its recipe. No number above holds them.",
            table(OTHER_HEADER, other, 2),
        ]
    parts += [text for one in published for text in _section(one)]
    if open_runs := [line for file in _built_in() for line in _open(file, published)]:
        parts += [
            "## Open",
            "Runs that the study files ask for and that are not published yet, and the commands:",
            "\n".join(open_runs),
        ]
    return "\n\n".join(parts) + "\n"


def known(published: Sequence[Published]) -> str:
    """``studies/results.json``: the variant with the highest mean of each study on a test split."""
    found = {}
    for one in published:
        measured = [
            (accuracy.mean, variant.name, accuracy)
            for variant in one.variants
            if (accuracy := describe(variant.accuracies)) and _split(variant) == "test"
        ]
        if measured:
            _, name, accuracy = max(measured, key=lambda each: each[0])
            found[one.folder.name] = {
                "variant": name,
                "mean": accuracy.mean,
                "std": accuracy.std,
                "n": accuracy.n,
            }
    return json.dumps(dict(sorted(found.items())), indent=2) + "\n"


# ---- the table ---------------------------------------------------------------------------------------------


def _row(one: Published, variant: Variant) -> list[str]:
    accuracies, target = variant.accuracies, one.study.target.test_accuracy
    accuracy = describe(accuracies)
    assert accuracy is not None
    records = variant.finished
    interval = "–"
    if accuracy.ci_low is not None and accuracy.ci_high is not None:
        interval = f"{100 * accuracy.ci_low:.2f} to {100 * accuracy.ci_high:.2f} %"
    references = [
        reference for reference in one.study.references.values() if reference.variant in (None, variant.name)
    ]
    judged = [
        _judged(standing.plausible)
        for reference in references
        for _, standing in standings(reference, accuracies, len(variant.records))
    ]
    reached = sum(value >= target for value in accuracies)
    epochs = sorted({record["metrics"]["epochs"] for record in records})
    return [
        _link(one),
        variant.name,
        str(accuracy.n),
        _unbroken(accuracy_text(accuracy, target, decimals=2)),
        _unbroken(interval),
        "; ".join(claim for reference in references for claim in claims(reference)) or "–",
        "; ".join(judged) or "–",
        _unbroken(f"{reached} of {len(variant.records)} at {percent_text(target)}"),
        _lossless(variant, target),
        f"{', '.join(map(str, epochs))}, {SPLITS[_split(variant)]}",
        f"{records[0]['metrics']['parameters']:,}",
        _minutes(records),
        _made_on(records),
    ]


def _judged(plausible: bool | None) -> str:
    return {True: "plausible", False: "not plausible", None: "not judged"}[plausible]


def _lossless(variant: Variant, target: float) -> str:
    """CIFAR-10's test accuracy without the rows that are not lossless."""
    data = variant.finished[0]["provenance"]["data"]
    if (data["source"], data["evaluated_on"], data["evaluation_images"]) != ("cifar10", "test", 10_000):
        return "–"
    right = np.delete(variant.correct, CIFAR10_LOSSY, axis=0).mean(axis=0)
    accuracy = describe([float(value) for value in right])
    assert accuracy is not None
    return _unbroken(accuracy_text(accuracy, target, decimals=2))


def _minutes(records: Sequence[Record]) -> str:
    if not all("runs_at_once" in record["timings"] for record in records):
        return "–"
    seconds = describe([record["timings"]["seconds"] for record in records])
    assert seconds is not None
    least = min(record["timings"]["runs_at_once"][0] for record in records)
    most = max(record["timings"]["runs_at_once"][1] for record in records)
    at_once = str(most) if least == most else f"{least} to {most}"
    return _unbroken(f"{minutes_text(seconds.mean)} ({at_once} at once)")


def _split(variant: Variant) -> str:
    return str(variant.finished[0]["provenance"]["data"]["evaluated_on"])


def _percent(record: Record) -> str:
    return f"{100 * record['metrics']['test_accuracy']:.2f} %"


def _made_on(records: Sequence[Record]) -> str:
    return ", ".join(sorted({_unbroken(_device(record)) for record in records}))


def _device(record: Record) -> str:
    made = record["provenance"]
    return f"{device_name(record)}, {made['precision']}, {made['started'][:10]}"


def device_name(record: Record) -> str:
    """``NVIDIA H200``; ``2 cores of AMD EPYC``."""
    hardware = record["provenance"]["hardware"]
    accelerator = hardware["accelerator"]
    if accelerator is not None:
        return str(accelerator["name"] if isinstance(accelerator, dict) else accelerator)
    return f"{hardware['cores']} cores of {hardware['processor']}"


def _mixed(shown: Sequence[tuple[Published, Variant]]) -> Iterator[str]:
    """What differs between the table's rows, or inside one, beside the recipe."""
    everywhere: dict[str, set[str]] = {}
    for one, variant in shown:
        everywhere.setdefault(one.folder.name, set()).add(variant.name)
    lines = []
    for key in (*DECISIVE, AT_ONCE):
        if key == "data":  # a study's own
            continue
        where: dict[str, dict[str, set[str]]] = {}
        for one, variant in shown:
            for record in variant.finished:
                value = origin(_as_run(one, record)).get(
                    key, "none" if key == "accelerator" else "not recorded"
                )
                where.setdefault(value, {}).setdefault(one.folder.name, set()).add(variant.name)
        if len(where) > 1:
            values = [f"{value}: {_places(found, everywhere)}" for value, found in sorted(where.items())]
            lines.append(f"* {key}: {'; '.join(values)}")
    if lines:
        yield "The table mixes runs that differ in more than their recipe:\n\n" + "\n".join(lines)


def _places(found: dict[str, set[str]], everywhere: dict[str, set[str]]) -> str:
    """Studies by name, those of which only some variants are meant with these."""
    return ", ".join(
        name if variants == everywhere[name] else ", ".join(f"{name}/{each}" for each in sorted(variants))
        for name, variants in found.items()
    )


def _as_run(one: Published, record: Record) -> Run:
    folder = StudyFolder(one.folder.parent, one.folder.name).run(record["variant"], record["seed"])
    return Run(folder, "finished", record=record)


# ---- a study -----------------------------------------------------------------------------------------------


def _section(one: Published) -> Iterator[str]:
    yield f"## {one.folder.name}"
    yield one.study.question
    yield f"**{one.verdict}**"
    if found := list(_claims(one)):
        yield "\n".join(found)
    links = [
        f"[{title}]({file.relative_to(one.folder.parent).as_posix()})"
        for name, title in FIGURES.items()
        for file in sorted(one.folder.glob(f"figures/{name}.*"))
    ]
    if (one.folder / "report.md").is_file():
        links.insert(0, f"[Report]({one.folder.name}/report.md)")
    for name in TABLES:
        if (one.folder / "tables" / name).is_file():
            links.append(f"[{name}]({one.folder.name}/tables/{name})")
    yield " · ".join(links)


def _claims(one: Published) -> Iterator[str]:
    """Each published number, what the runs gave, and whether they could give it."""
    for variant in one.variants:
        if not variant.accuracies or _split(variant) != "test":
            continue
        for reference in one.study.references.values():
            if reference.variant not in (None, variant.name):
                continue
            held = standings(reference, variant.accuracies, len(variant.records))
            for claim, (statistic, standing) in zip(claims(reference), held, strict=True):
                verdict = _verdict(statistic, reference, standing)
                yield f"* Published: {claim}. {_ours(statistic, standing)} {verdict}"


def _ours(statistic: str, standing: Standing) -> str:
    measured, n = standing.measured, standing.n
    if statistic == "share":
        found = share(round(measured * n), n)
        return f"Here {found.count} of {n} (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)."
    return f"Here {100 * measured:.2f} %, {'one run' if n == 1 else f'the {statistic} of {n} runs'}."


def _verdict(statistic: str, reference: Reference, standing: Standing) -> str:
    if standing.low is None or standing.high is None:
        return f"It is {100 * standing.difference:+.2f} points from ours, which one run cannot judge."
    runs, low, high = reference.runs, standing.low, standing.high
    if statistic == "share":
        further = f"Of {runs} further runs {low * runs:.0f} to {high * runs:.0f} would reach it"
    else:
        further = f"The {statistic} of {runs} further runs" if runs > 1 else "One further run"
        further += f" would give {100 * low:.2f} to {100 * high:.2f} %"
    return f"{further}, in 95 of 100 cases: {_judged(standing.plausible)}."


def _link(one: Published) -> str:
    return f"[{one.folder.name}](#{one.folder.name})"


def _unbroken(text: str) -> str:
    """On one line: in a wide table a browser would break it into a word a line."""
    return text.replace(" ", "\u00a0")


# ---- what is not there -------------------------------------------------------------------------------------


def _built_in() -> list[Path]:
    return sorted(ROOT.glob("studies/*.toml"), key=lambda path: place(path.stem))


def _open(file: Path, published: Sequence[Published]) -> Iterator[str]:
    """The command for a study's seeds that are not published; of the quickstart there is none."""
    study = load_study(str(file))
    if study.data.source != "cifar10":
        return
    done = {
        (variant.name, record["seed"])
        for one in published
        if one.folder.name == study.name
        for variant in one.variants
        for record in variant.records
    }
    lacking = [seed for seed in study.seeds if any((name, seed) not in done for name in study.recipes)]
    if lacking:
        yield f"* `python -m harness.study {study.name} --seeds {','.join(map(str, lacking))}`"
