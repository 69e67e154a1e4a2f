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
    "study", "variant", "n", "mean ± std", "published", "published is", "95 % interval of the mean", "device",
)  # fmt: skip
MORE_HEADER = (
    "study", "variant", "runs at the target", "without the 20 images", "epochs", "measured on", "parameters",
    "minutes a run", "precision", "date",
)  # fmt: skip
OTHER_HEADER = ("study", "variant", "seed", "accuracy", "device", "precision", "date")
MIXED = "What the tables mix"
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
        [_link(one), variant.name, str(record["seed"]), _percent(record), *_made_on([record])]
        for one in published
        for variant in one.variants
        for record in variant.other
    ]
    mixed = _mixed(shown)
    parts = [
        "# Results",
        "Test accuracy of the last epoch; no epoch was picked by it. n is the number of seeds, ± the "
        "standard deviation over them. Searches are measured on images held out of the train split, so that "
        "the test split decides nothing.",
        "![Every study: its seeds, their mean with its interval, and what was published](overview.png)",
        table(HEADER, [_row(*each) for each in shown], 2),
        "*Plausible*: further runs of the recipe may give the published number; each study's section says "
        "which range they would fall in. *Not judged*: one run cannot tell."
        + (
            f" The rows differ in more than their recipe: [{MIXED.lower()}](#{_anchor(MIXED)})."
            if mixed
            else ""
        ),
        *(text for one in published for text in _section(one)),
        "## More about the runs",
        table(MORE_HEADER, [_more(*each) for each in shown], 2),
        f"CIFAR-10's test split is 10,000 images; {len(CIFAR10_LOSSY)} of them are not lossless in the copy "
        f"measured here (rows {', '.join(map(str, CIFAR10_LOSSY))}). Minutes are given only where it was "
        "recorded how many runs shared the device.",
    ]
    if mixed:
        parts += [
            f"## {MIXED}",
            "Runs that differ in more than their recipe:",
            "\n".join(f"* {key}: {values}" for key, values in mixed.items()),
        ]
    if other:
        parts += [
            "## The same recipes on other devices",
            "Single runs, published earlier. Another device rounds differently, so each is one more draw of "
            "its recipe. They are in no number above.",
            table(OTHER_HEADER, other, 2),
        ]
    if open_runs := [line for file in _built_in() for line in _open(file, published)]:
        parts += [
            "## Open",
            "Runs that the study files ask for and that are not published yet, and the commands:",
            "\n".join(open_runs),
        ]
    parts.append(
        "This page is made by `python -m benchmarks.published` from the records (`runs/`) and predictions "
        "(`predictions/`) in each study's folder."
    )
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
    accuracies = variant.accuracies
    accuracy = describe(accuracies)
    assert accuracy is not None
    interval = "–"
    if accuracy.ci_low is not None and accuracy.ci_high is not None:
        interval = f"{100 * accuracy.ci_low:.2f} to {100 * accuracy.ci_high:.2f} %"
    references = _references(one, variant)
    judged = [
        _judged(standing.plausible)
        for reference in references
        for _, standing in standings(reference, accuracies, len(variant.records))
    ]
    return [
        _link(one),
        variant.name,
        str(accuracy.n),
        _unbroken(accuracy_text(accuracy, one.study.target.test_accuracy, decimals=2)),
        "; ".join(claim for reference in references for claim in claims(reference)) or "–",
        "; ".join(judged if len(set(judged)) > 1 else judged[:1]) or "–",
        _unbroken(interval),
        _made_on(variant.finished)[0],
    ]


def _more(one: Published, variant: Variant) -> list[str]:
    records, target = variant.finished, one.study.target.test_accuracy
    reached = sum(value >= target for value in variant.accuracies)
    return [
        _link(one),
        variant.name,
        _unbroken(f"{reached} of {len(variant.records)} at {percent_text(target)}"),
        _lossless(variant, target),
        ", ".join(map(str, sorted({record["metrics"]["epochs"] for record in records}))),
        SPLITS[_split(variant)],
        f"{records[0]['metrics']['parameters']:,}",
        _minutes(records),
        *_made_on(records)[1:],
    ]


def _references(one: Published, variant: Variant) -> list[Reference]:
    """What was published of a variant's recipe."""
    return [
        reference for reference in one.study.references.values() if reference.variant in (None, variant.name)
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


def _made_on(records: Sequence[Record]) -> list[str]:
    """Devices, precisions and days."""
    made = [record["provenance"] for record in records]
    facts = (
        [device_name(record) for record in records],
        [one["precision"] for one in made],
        [one["started"][:10] for one in made],
    )
    return [_unbroken(", ".join(sorted(set(values)))) for values in facts]


def device_name(record: Record) -> str:
    """``NVIDIA H200``; ``2 cores of AMD EPYC``."""
    hardware = record["provenance"]["hardware"]
    accelerator = hardware["accelerator"]
    if accelerator is not None:
        return str(accelerator["name"] if isinstance(accelerator, dict) else accelerator)
    return f"{hardware['cores']} cores of {hardware['processor']}"


def _mixed(shown: Sequence[tuple[Published, Variant]]) -> dict[str, str]:
    """Property beside the recipe in which runs differ -> its values, each with the studies that have it."""
    everywhere: dict[str, set[str]] = {}
    for one, variant in shown:
        everywhere.setdefault(one.folder.name, set()).add(variant.name)
    mixed = {}
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
            mixed[key] = "; ".join(values)
    return mixed


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
        for reference in _references(one, variant):
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
        points, side = 100 * abs(standing.difference), "above" if standing.difference > 0 else "below"
        return f"It is {points:.2f} points {side} ours; one run cannot judge it."
    runs, low, high = reference.runs, standing.low, standing.high
    if statistic == "share":
        further = f"Of {runs} further runs {low * runs:.0f} to {high * runs:.0f} would reach it"
    else:
        further = f"The {statistic} of {runs} further runs" if runs > 1 else "One further run"
        further += f" would give {100 * low:.2f} to {100 * high:.2f} %"
    return f"{further}, in 95 of 100 cases: {_judged(standing.plausible)}."


def _link(one: Published) -> str:
    return f"[{one.folder.name}](#{one.folder.name})"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


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
