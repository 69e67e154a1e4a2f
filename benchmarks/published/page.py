"""``docs/results/README.md`` and the numbers of ``--list``, from published records and predictions only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.published.read import ROOT, Published, described, page_order
from benchmarks.published.rows import (
    CIFAR10_LOSSY,
    claim_sentence,
    claims_of,
    detail_row,
    headline_row,
    other_row,
    provenance_rows,
    summary_sentence,
    table_of,
)
from harness.analysis.provenance import at_once_text
from harness.store.records import RunRecord
from harness.study_file.load import load_study

FIGURES = {
    "accuracy": "accuracy", "curves": "curves", "comparisons": "comparisons",
    "range_test_on_trial": "range test", "gradcam": "Grad-CAM", "misclassified": "errors",
    "confusion": "confusion",
}  # fmt: skip
TABLES = ("summary.csv", "runs.csv", "history.csv", "references.csv", "comparisons.csv", "ranking.csv")
HOW_TO_READ = (
    "n is the number of runs, each with another seed; ± is their standard deviation. Accuracies are those of "
    "the last epoch on the test split, not of the best epoch. *Consistent*: the published number is inside "
    "the 95 % prediction interval of further runs of our recipe. With few runs that interval is wide, so it "
    "proves little."
)
HELD_OUT = (
    "These variants were compared on images held out from the train split; the test split was not used."
)
NO_MINUTES = (
    "Minutes are left out, because the number of runs on the device was not recorded for all of them."
)
LOSSY = (
    f"CIFAR-10's test split is 10,000 images; {len(CIFAR10_LOSSY)} of them are not lossless in the copy "
    f"measured here, because they were once saved as JPEG (rows {', '.join(map(str, CIFAR10_LOSSY))})."
)
OTHER_DEVICES = (
    "No number above contains them. Their device and versions differ, and the peak of their schedule, if a "
    "range test chose it."
)
END = (
    "This page is made by `python -m benchmarks.published` from the records (`runs/`) and predictions "
    "(`predictions/`) in each study's folder."
)


def page(published: Sequence[Published]) -> str:
    """Write the results page."""
    return "\n\n".join(part for part in _parts(published) if part) + "\n"


def _parts(published: Sequence[Published]) -> Iterator[str]:
    """Give the page's paragraphs and tables; empty ones are left out."""
    variants = [(one, variant) for one in published for variant in one.variants]
    shown = [(one, variant) for one, variant in variants if variant.finished]
    tested = [(one, variant) for one, variant in shown if variant.evaluated_on == "test"]
    held_out = [(one, variant) for one, variant in shown if variant.evaluated_on != "test"]
    mixed = provenance_rows(shown)
    yield "# Results"
    yield summary_sentence(tested)
    yield HOW_TO_READ
    yield table_of([headline_row(*each) for each in tested])
    yield "The rows differ in more than their recipe: see [Provenance](#provenance)." if mixed else ""
    yield "![Every study: its seeds, their mean with its interval, and what was published](overview.png)"
    for one in published:
        yield from _section(one)
    if held_out:
        yield "## Measured on a hold-out"
        yield HELD_OUT
        yield table_of([headline_row(*each) for each in held_out])
    yield "## More about the runs"
    yield table_of([detail_row(*each) for each in shown])
    yield NO_MINUTES if any(at_once_text(variant.finished) is None for _, variant in shown) else ""
    yield LOSSY
    if other := [other_row(one, variant, record) for one, variant in variants for record in variant.other]:
        yield "## Earlier runs on other devices"
        yield OTHER_DEVICES
        yield table_of(other)
    if mixed:
        yield "## Provenance"
        yield "Differences between the runs above, other than their recipes:"
        yield table_of(mixed)
    if commands := [line for file in _built_in() for line in _missing_runs(file, published)]:
        yield "## Runs still to do"
        yield "Runs of the study files that are not published yet:"
        yield "\n".join(commands)
    yield END


def known(published: Sequence[Published]) -> str:
    """Write ``studies/results.json``: of each study on a test split one variant, not chosen by its accuracy.

    The variant that something was published of, else the baseline, else the one with the most runs.
    """
    numbers = {}
    for one in published:
        tested = [each for each in one.variants if each.finished and each.evaluated_on == "test"]
        if not tested:
            continue
        claimed = {reference.variant for reference in one.study.references.values()}
        chosen = max(
            tested,
            key=lambda each: (each.name in claimed, each.name == one.study.baseline, len(each.finished)),
        )
        accuracy = described(chosen.accuracies)
        numbers[one.name] = {
            "variant": chosen.name,
            "mean": round(accuracy.mean, 8),
            "std": None if accuracy.std is None else round(accuracy.std, 8),
            "n": accuracy.n,
        }
    return json.dumps(dict(sorted(numbers.items())), indent=2) + "\n"


# ---- a study -----------------------------------------------------------------------------------------------


def _section(one: Published) -> Iterator[str]:
    yield f"## {one.name}"
    yield one.study.question
    finished = [variant for variant in one.variants if variant.finished]
    of = f"{finished[0].name}: " if len(finished) == 1 and len(one.study.recipes) > 1 else ""
    yield f"**{of}{one.verdict}**"
    yield "\n".join(
        claim_sentence(claim, variant, len(finished) > 1)
        for variant in finished
        if variant.evaluated_on == "test"
        for claim in claims_of(one, variant)
    )
    for variant in finished:
        if seeds := [str(record.seed) for record in variant.finished if _changed_code(record)]:
            yield (
                f"Note: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} of {variant.name} ran, at least in "
                "part, with changes to the code that are in no commit."
            )
    yield " · ".join(f"[{title}]({one.name}/{file})" for title, file in _files(one.folder))


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Give the titles and paths of files to link."""
    if (folder / "report.md").is_file():
        yield "Report", "report.md"
    for name, title in FIGURES.items():
        for file in sorted(folder.glob(f"figures/{name}.*")):
            yield title, f"figures/{file.name}"
    for name in TABLES:
        if (folder / "tables" / name).is_file():
            yield name, f"tables/{name}"


def _changed_code(record: RunRecord) -> bool:
    parts = (record.provenance, *(record.provenance.get("earlier") or ()))
    return any((part.get("git") or {}).get("dirty") for part in parts)


# ---- missing runs ------------------------------------------------------------------------------------------


def _built_in() -> list[Path]:
    return sorted(ROOT.glob("studies/*.toml"), key=lambda path: page_order(path.stem))


def _missing_runs(file: Path, published: Sequence[Published]) -> Iterator[str]:
    """Give commands for a study's runs that are not published; studies not on CIFAR-10 are skipped."""
    study = load_study(str(file))
    if study.data.source != "cifar10":
        return
    variants = [variant for one in published if one.name == study.name for variant in one.variants]
    done = {(variant.name, record.seed) for variant in variants for record in variant.records}
    missing: dict[str, list[str]] = {}  # seeds -> variants
    for name in study.recipes:
        if seeds := [str(seed) for seed in study.seeds if (name, seed) not in done]:
            missing.setdefault(",".join(seeds), []).append(name)
    for seeds_text, names in missing.items():
        chosen = f" --variants {','.join(names)}" if len(names) < len(study.recipes) else ""
        yield f"* `python -m harness.study {study.name}{chosen} --seeds {seeds_text}`"
