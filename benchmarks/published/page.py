"""``docs/results/README.md``, and what ``--list`` shows, from the published records and predictions alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.markdown import table
from benchmarks.published.read import ROOT, Published, Record, Variant, device_name, page_order
from harness.analysis.numbers import accuracy_text, minutes_text, percent_text
from harness.analysis.provenance import AT_ONCE, DECISIVE, at_once_text, origin
from harness.analysis.references import Claim, claims, consistent
from harness.statistics.distribution import describe
from harness.statistics.prediction import Standing
from harness.statistics.target import share
from harness.store.records import RunRecord
from harness.study_file.load import load_study

# CIFAR-10's test rows that the copy measured here holds decoded from a JPEG; all its others are lossless.
CIFAR10_LOSSY = (
    1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496,
    5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8551, 9254,
)  # fmt: skip
FIGURES = {
    "accuracy": "accuracy", "curves": "curves", "comparisons": "comparisons",
    "range_test_on_trial": "range test", "gradcam": "Grad-CAM", "misclassified": "errors",
    "confusion": "confusion",
}  # fmt: skip
TABLES = ("summary.csv", "runs.csv", "history.csv", "references.csv", "comparisons.csv", "ranking.csv")
HOW_TO_READ = (
    "n is the number of runs, each with another seed; ± is their standard deviation. Accuracies are those of "
    "the last epoch on the test split; no epoch was picked by them. *Consistent*: the published number lies "
    "where 95 % of such numbers would fall if further runs of our recipe gave them. With few runs that range "
    "is wide, so it proves little."
)
NOTHING = "–"
TEXTS = ("study", "studies", "variant", "published", "consistent", "device", "precision", "date", *DECISIVE)
Row = dict[str, str]


def page(published: Sequence[Published]) -> str:
    """Write the results page."""
    shown = [(one, variant) for one in published for variant in one.variants if variant.finished]
    tested = [each for each in shown if each[1].evaluated_on == "test"]
    held_out = [each for each in shown if each[1].evaluated_on != "test"]
    mixed = _mixed(shown)
    parts = [
        "# Results",
        _summary(tested),
        HOW_TO_READ,
        _table([_row(*each) for each in tested]),
        *(["The rows differ in more than their recipe: see [Provenance](#provenance)."] if mixed else []),
        "![Every study: its seeds, their mean with its interval, and what was published](overview.png)",
        *(text for one in published for text in _section(one)),
    ]
    if held_out:
        parts += [
            "## Measured on a hold-out",
            "These variants were compared on images held out of the train split: the test split decides "
            "nothing.",
            _table([_row(*each) for each in held_out]),
        ]
    parts += [
        "## More about the runs",
        _table([_more(*each) for each in shown]),
        *(
            ["How many runs shared the device was not recorded for all of them: their minutes are left out."]
            if any(at_once_text(map(RunRecord.from_json, variant.finished)) is None for _, variant in shown)
            else []
        ),
        f"CIFAR-10's test split is 10,000 images; {len(CIFAR10_LOSSY)} of them are not lossless in the copy "
        f"measured here: they were saved as JPEG once (rows {', '.join(map(str, CIFAR10_LOSSY))}).",
    ]
    if other := [
        _other(one, variant, record)
        for one in published
        for variant in one.variants
        for record in variant.other
    ]:
        parts += [
            "## Earlier runs on other devices",
            "They are in no number above. Their device, their versions and, where a range test chose it, "
            "the peak of their schedule differ.",
            _table(other),
        ]
    if mixed:
        parts += ["## Provenance", "What differs between the runs above beside their recipes:", _table(mixed)]
    if open_runs := [line for file in _built_in() for line in _open(file, published)]:
        parts += [
            "## Runs still to do",
            "What the study files ask for and is not published yet:",
            "\n".join(open_runs),
        ]
    parts.append(
        "This page is made by `python -m benchmarks.published` from the records (`runs/`) and predictions "
        "(`predictions/`) in each study's folder."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def known(published: Sequence[Published]) -> str:
    """Write ``studies/results.json``: of each study on a test split one variant, not chosen by its accuracy.

    The variant that something was published of, else the baseline, else the one with the most runs.
    """
    found = {}
    for one in published:
        measured = [
            variant for variant in one.variants if variant.finished and variant.evaluated_on == "test"
        ]
        claimed = {reference.variant for reference in one.study.references.values()}
        if not measured:
            continue
        chosen = max(
            measured,
            key=lambda each: (each.name in claimed, each.name == one.study.baseline, len(each.finished)),
        )
        accuracy = describe(chosen.accuracies)
        assert accuracy is not None
        found[one.folder.name] = {
            "variant": chosen.name,
            "mean": round(accuracy.mean, 8),
            "std": None if accuracy.std is None else round(accuracy.std, 8),
            "n": accuracy.n,
        }
    return json.dumps(dict(sorted(found.items())), indent=2) + "\n"


# ---- tables ------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Row]) -> str:
    """Markdown of the columns that hold something."""
    if not rows:
        return ""
    columns = [name for name in rows[0] if any(row[name] != NOTHING for row in rows)]
    texts = [at for at, name in enumerate(columns) if name in TEXTS]
    return table(columns, [[row[name] for name in columns] for row in rows], texts)


def _summary(tested: Sequence[tuple[Published, Variant]]) -> str:
    """Answer in a sentence: how many published numbers the runs agree with."""
    judged = [_judged(claim, variant) for one, variant in tested for claim in _claims(one, variant)]
    verdicts = [verdict for _, verdict in judged]
    if not verdicts:
        return ""
    open_ones = len(verdicts) - verdicts.count("yes") - verdicts.count("no")
    return (
        f"Of {len(verdicts)} published numbers {verdicts.count('yes')} are consistent with the runs here and "
        f"{verdicts.count('no')} are not; {open_ones} cannot be judged yet."
    )


def _row(one: Published, variant: Variant) -> Row:
    accuracy = describe(variant.accuracies, shares=True)
    assert accuracy is not None
    interval = NOTHING
    if accuracy.ci_low is not None and accuracy.ci_high is not None:
        interval = f"{100 * accuracy.ci_low:.2f} to {100 * accuracy.ci_high:.2f} %"
    found = _claims(one, variant)
    verdicts = list(dict.fromkeys(_judged(claim, variant)[1] for claim in found))
    return {
        "study": _link(one),
        "variant": variant.name,
        "n": str(accuracy.n),
        "mean ± std": _unbroken(accuracy_text(accuracy, one.study.target.test_accuracy, decimals=2)),
        "published": "; ".join(claim.text for claim in found) or NOTHING,
        "consistent": "; ".join(verdicts) or NOTHING,
        "95 % interval of the mean": _unbroken(interval),
        "device": _texts(map(device_name, variant.finished)),
    }


def _more(one: Published, variant: Variant) -> Row:
    records, target = variant.finished, one.study.target.test_accuracy
    reached = sum(value >= target for value in variant.accuracies)
    return {
        "study": _link(one),
        "variant": variant.name,
        "runs at the target": _unbroken(f"{reached} of {len(variant.records)} at {percent_text(target)}"),
        f"without the {len(CIFAR10_LOSSY)} images": _lossless(variant, target),
        "epochs": _texts(str(record["metrics"]["epochs"]) for record in records),
        "parameters": f"{records[0]['metrics']['parameters']:,}",
        "minutes a run": _minutes(records),
        "precision": _texts(record["provenance"]["precision"] for record in records),
        "date": _texts(record["provenance"]["started"][:10] for record in records),
    }


def _other(one: Published, variant: Variant, record: Record) -> Row:
    return {
        "study": _link(one),
        "variant": variant.name,
        "seed": str(record["seed"]),
        "accuracy": f"{100 * record['metrics']['test_accuracy']:.2f} %",
        "peak of the schedule": f"{record['metrics']['lr_max']:.3g}",
        "device": _unbroken(device_name(record)),
        "precision": record["provenance"]["precision"],
        "date": _unbroken(record["provenance"]["started"][:10]),
    }


def _lossless(variant: Variant, target: float) -> str:
    """CIFAR-10's test accuracy without the rows that are not lossless."""
    data = variant.finished[0]["provenance"]["data"]
    if (data["source"], data["evaluated_on"], data["evaluation_images"]) != ("cifar10", "test", 10_000):
        return NOTHING
    right = np.delete(variant.correct, CIFAR10_LOSSY, axis=0).mean(axis=0)
    accuracy = describe([float(value) for value in right])
    assert accuracy is not None
    return _unbroken(accuracy_text(accuracy, target, decimals=2))


def _minutes(records: Sequence[Record]) -> str:
    """Only where it is known how many runs shared the device: else the minutes say nothing."""
    seconds = describe([record["timings"]["seconds"] for record in records])
    if seconds is None or (at_once := at_once_text(map(RunRecord.from_json, records))) is None:
        return NOTHING
    return _unbroken(f"{minutes_text(seconds.mean)} ({at_once} at once)")


def _mixed(shown: Sequence[tuple[Published, Variant]]) -> list[Row]:
    """Studies whose runs were made alike, and how; no rows where all were."""
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    left_out = ("data", "device")  # a study's own; said by the accelerator
    keys = [key for key in (*DECISIVE, AT_ONCE) if key not in left_out]
    for one, variant in shown:
        for record in variant.finished:
            made = origin(RunRecord.from_json(record))
            values = tuple(made.get(key, "none" if key == "accelerator" else "not recorded") for key in keys)
            groups.setdefault(values, {})[one.folder.name] = None
    if len(groups) < 2:
        return []
    rows = [
        {"studies": ", ".join(names), **dict(zip(keys, values, strict=True))}
        for values, names in groups.items()
    ]
    differing = [key for key in keys if len({row[key] for row in rows}) > 1]
    return [{"studies": row["studies"], **{key: row[key] for key in differing}} for row in rows]


# ---- claims ------------------------------------------------------------------------------------------------


def _claims(one: Published, variant: Variant) -> list[Claim]:
    """What was published of a variant's recipe."""
    references = [reference for reference in one.study.references.values() if reference.is_of(variant.name)]
    return [claim for reference in references for claim in claims(reference)]


def _judged(claim: Claim, variant: Variant) -> tuple[Standing, str]:
    standing = claim.standing(variant.accuracies, len(variant.records), variant.evaluated_on)
    return standing, consistent(standing, variant.evaluated_on)


def _sentence(claim: Claim, variant: Variant, several: bool) -> str:
    """A published number, what the runs gave, and whether they could give it."""
    standing, verdict = _judged(claim, variant)
    n, runs, low, high = standing.n, claim.reference.runs, standing.low, standing.high
    if claim.statistic == "share":
        found = share(round(standing.measured * n), n)
        ours = f"{found.count} of {n} (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)"
    else:
        ours = f"{100 * standing.measured:.2f} %, {'one run' if n == 1 else f'{claim.statistic} of {n} runs'}"
    of = f"{variant.name}: " if claim.reference.variant is None and several else ""
    text = f"* {of}Published: {claim.text}. Here: {ours}. "
    if low is None or high is None:
        return text + f"The published number is {_points(standing.difference)}; {verdict}."
    if claim.statistic == "share":
        of = f"Of {runs} further run{'s' * (runs > 1)}"
        further = f"{of} {low * runs:.0f} to {high * runs:.0f} would reach it"
    else:
        further = f"The {claim.statistic} of {runs} further runs" if runs > 1 else "One further run"
        further += f" would give {100 * low:.2f} to {100 * high:.2f} %"
    return text + f"{further} (95 % prediction interval): {'' if verdict == 'yes' else 'not '}consistent."


def _points(difference: float) -> str:
    return f"{100 * abs(difference):.2f} points {'higher' if difference > 0 else 'lower'}"


# ---- a study -----------------------------------------------------------------------------------------------


def _section(one: Published) -> Iterator[str]:
    yield f"## {one.folder.name}"
    yield one.study.question
    finished = [variant for variant in one.variants if variant.finished]
    of = f"{finished[0].name}: " if len(finished) == 1 and len(one.study.recipes) > 1 else ""
    yield f"**{of}{one.verdict}**"
    sentences = [
        _sentence(claim, variant, len(finished) > 1)
        for variant in finished
        if variant.evaluated_on == "test"
        for claim in _claims(one, variant)
    ]
    if sentences:
        yield "\n".join(sentences)
    for variant in finished:
        if seeds := [str(record["seed"]) for record in variant.finished if _changed_code(record)]:
            yield (
                f"Note: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} of {variant.name} ran, at least in "
                "part, with changes to the code that are in no commit."
            )
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


def _changed_code(record: Record) -> bool:
    made = record["provenance"]
    return any((part.get("git") or {}).get("dirty") for part in (made, *(made.get("earlier") or ())))


def _link(one: Published) -> str:
    return f"[{one.folder.name}](#{one.folder.name})"


def _texts(values: Iterator[str] | map[str]) -> str:
    return _unbroken(", ".join(sorted(set(values))))


def _unbroken(text: str) -> str:
    """On one line: in a wide table a browser would break it into a word a line."""
    return text.replace(" ", "\u00a0")


# ---- what is not there -------------------------------------------------------------------------------------


def _built_in() -> list[Path]:
    return sorted(ROOT.glob("studies/*.toml"), key=lambda path: page_order(path.stem))


def _open(file: Path, published: Sequence[Published]) -> Iterator[str]:
    """Commands for a study's runs that are not published; studies not on CIFAR-10 are skipped."""
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
    lacking: dict[str, list[str]] = {}  # seeds -> variants
    for name in study.recipes:
        if seeds := [str(seed) for seed in study.seeds if (name, seed) not in done]:
            lacking.setdefault(",".join(seeds), []).append(name)
    for missing, names in lacking.items():
        chosen = f" --variants {','.join(names)}" if len(names) < len(study.recipes) else ""
        yield f"* `python -m harness.study {study.name}{chosen} --seeds {missing}`"
