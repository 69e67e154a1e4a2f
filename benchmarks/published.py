"""Published results: finished studies' tables and figures, and the page over all of them.

``python -m benchmarks.published OUT/STUDY ...`` takes over what these studies' reports say and writes
``docs/results/README.md`` from all tables that are there, and ``studies/results.json``, which ``--list``
shows; without a folder it only writes these two.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import HarnessError, RunError
from harness.report.results import Run, read_results
from harness.report.statistics import describe
from harness.report.summary import accuracy_text, percent_text
from harness.store import StudyFolder, atomic_write
from harness.study_file import load_study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
KNOWN = ROOT / "studies" / "results.json"
KEPT = ("study.toml", "report.json", "tables/*.csv", "range_test/*.*")
KEPT_OF_FEW = ("report.md", "figures/*.png")
# Of a study of many variants, each with galleries of two megabytes, only the figures about all of them.
MANY = 5
KEPT_OF_MANY = tuple(
    f"figures/{name}.png" for name in ("accuracy", "comparisons", "curves", "range_test_on_trial")
)
LOSSLESS = "lossless.csv"
# CIFAR-10's test rows that the copy measured here holds decoded from a JPEG; all its others are lossless.
CIFAR10_LOSSY = (
    1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496,
    5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8551, 9254,
)  # fmt: skip
ORDER = (
    "onecycle", "annealed", "onecycle_adam",
    "chapter11", "s11_l2", "assignment8", "s11_l1", "assignment10_adam",
    "ablations", "search", "lr_grid",
)  # fmt: skip
SPLITS = {"test": "test", "holdout": "hold-out"}
HEADER = (
    "study", "variant", "published", "measured here", "published - measured, points", "n",
    "epochs, measured on", "95 % interval of the mean", "runs at the target", "without the 20 images",
    "parameters", "minutes a run", "hardware, precision",
)  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def take_over(source: Path) -> Path:
    """Copy a study's report and its runs' records, no weights; what was there of it is replaced.

    Raises:
        RunError: it has no report, or no run of it is finished.
    """
    if not (source / "report.json").is_file():
        raise RunError(f"{source}: no report.json; run the study, or its report with --report-only")
    study = load_study(source / "study.toml")
    results = read_results(study, StudyFolder(source.parent, source.name), (), ())
    if not results.finished:
        raise RunError(f"{source}: no run is finished")
    target = RESULTS / study.name
    shutil.rmtree(target, ignore_errors=True)
    for pattern in (*KEPT, *(KEPT_OF_MANY if len(study.recipes) >= MANY else KEPT_OF_FEW)):
        for file in sorted(source.glob(pattern)):
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    for run in results.finished:
        place = target / "runs" / run.variant / f"seed-{run.seed}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.folder.record_file, place)
    if lossless := [row for run in results.finished if (row := _lossless(run)) is not None]:
        pd.DataFrame(lossless).to_csv(target / "tables" / LOSSLESS, index=False)
    return target


def _lossless(run: Run) -> dict[str, Any] | None:
    """A CIFAR-10 test accuracy without the rows that are not lossless."""
    data = run.record["provenance"]["data"]
    if (data["source"], data["evaluated_on"], data["evaluation_images"]) != ("cifar10", "test", 10_000):
        return None
    assert run.predictions is not None
    right = run.predictions.correct
    return {
        "variant": run.variant,
        "seed": run.seed,
        "test_accuracy": float(right.mean()),
        "lossless_images": len(right) - len(CIFAR10_LOSSY),
        "lossless_accuracy": float(np.delete(right, CIFAR10_LOSSY).mean()),
        "lossy_right": int(right[list(CIFAR10_LOSSY)].sum()),
    }


def page() -> str:
    """``docs/results/README.md``, from the committed tables alone."""
    there = sorted((path.parent for path in RESULTS.glob("*/report.json")), key=_place)
    rows = [row for folder in there for row in _rows(folder)]
    parts = [
        "# Results",
        "Made by `python -m benchmarks.published` from the tables beside it; not written by hand. ± is the "
        "standard deviation over seeds. Published numbers are single runs in float32, but for DavidNet's "
        "median of 50, whose recipe is annealed's variant davidnet. Searches are measured on images "
        "held out from the train split, so that the test split decides nothing. Minutes are what passed on "
        "the clock, pauses for other work on the machine included; an epoch's time alone on it is in "
        "[performance](../performance.md).",
        table(HEADER, rows),
        f"CIFAR-10's test split is 10,000 images; {len(CIFAR10_LOSSY)} of them are not lossless in "
        f"the copy measured here (rows {', '.join(map(str, CIFAR10_LOSSY))}). The accuracy without "
        "them stands in a column of its own; run by run it is in `tables/lossless.csv`.",
    ]
    for folder in there:
        study, found = (
            load_study(folder / "study.toml"),
            json.loads((folder / "report.json").read_text("utf-8")),
        )
        parts += [
            f"## {study.name}",
            study.question,
            f"**{found['verdict']}**",
            _contents(folder),
            f"![accuracy of {study.name} by variant, against the target]({study.name}/figures/accuracy.png)",
        ]
    open_runs = [line for file in sorted(ROOT.glob("studies/*.toml"), key=_place) for line in _open(file)]
    if open_runs:
        parts += [
            "## Open",
            "Runs that the study files ask for and that are not published yet, and the commands:",
            "\n".join(open_runs),
        ]
    return "\n\n".join(parts) + "\n"


def _contents(folder: Path) -> str:
    if (folder / "report.md").is_file():
        return f"[Report]({folder.name}/report.md), with its figures and tables."
    names = sorted(path.name for path in folder.glob("tables/*.csv"))
    return "Tables: " + ", ".join(f"[{Path(name).stem}]({folder.name}/tables/{name})" for name in names) + "."


def known() -> str:
    """``studies/results.json``: the variant with the highest mean of each study on a test split."""
    found = {}
    for folder in sorted(path.parent for path in RESULTS.glob("*/report.json")):
        summary = pd.read_csv(folder / "tables" / "summary.csv")
        summary = summary[summary.test_accuracy_mean.notna() & (summary.evaluated_on == "test")]
        if summary.empty:
            continue
        best = summary.loc[summary.test_accuracy_mean.idxmax()]
        std = None if pd.isna(best.test_accuracy_std) else float(best.test_accuracy_std)
        found[folder.name] = {
            "variant": best.variant,
            "mean": float(best.test_accuracy_mean),
            "std": std,
            "n": int(best.runs - best.failed),
        }
    return json.dumps(found, indent=2) + "\n"


def _place(path: Path) -> tuple[int, str]:
    return (ORDER.index(path.stem) if path.stem in ORDER else len(ORDER), path.stem)


def _rows(folder: Path) -> Iterator[list[str]]:
    """A line for each variant with a finished run."""
    summary = pd.read_csv(folder / "tables" / "summary.csv")
    references = pd.read_csv(folder / "tables" / "references.csv")
    lossless = folder / "tables" / LOSSLESS
    without = pd.read_csv(lossless) if lossless.is_file() else None
    for found in summary[summary.test_accuracy_mean.notna()].itertuples():
        records = [
            json.loads(file.read_text("utf-8")) for file in (folder / "runs" / found.variant).glob("*.json")
        ]
        accuracies = [record["metrics"]["test_accuracy"] for record in records]
        epochs = sorted({str(record["metrics"]["epochs"]) for record in records})
        published = references[references.variant == found.variant]
        interval = "–"
        if pd.notna(found.test_accuracy_ci_low):
            interval = f"{100 * found.test_accuracy_ci_low:.2f} to {100 * found.test_accuracy_ci_high:.2f} %"
        yield [
            f"[{folder.name}](#{folder.name})",
            found.variant,
            ", ".join(percent_text(number) for number in published.published) or "–",
            _text(accuracies, found.target),
            ", ".join(map(_judged, published.difference, published.plausible)) or "–",
            str(found.runs),
            f"{', '.join(epochs)}, {SPLITS[found.evaluated_on]}",
            interval,
            _unbroken(f"{found.reached} of {found.runs + found.failed} at {percent_text(found.target)}"),
            "–"
            if without is None
            else _text(without[without.variant == found.variant].lossless_accuracy, found.target),
            f"{int(found.parameters):,}",
            f"{found.seconds_mean / 60:.0f}",
            ", ".join(sorted({_unbroken(_made_on(record["provenance"])) for record in records})),
        ]


def _text(accuracies: Sequence[float], target: float) -> str:
    accuracy = describe(list(accuracies))
    assert accuracy is not None
    return accuracy_text(accuracy, target, decimals=2)


def _judged(difference: float, plausible: object) -> str:
    """How far a published number lies from the mean, and whether the runs could give it, if judged."""
    judged = {"yes": ", plausible", "no": ", not plausible"}.get(str(plausible), "")
    return f"{100 * difference:+.2f}{judged}"


def _unbroken(text: str) -> str:
    """On one line: in a wide table a browser would break it into a word a line."""
    return text.replace(" ", "\u00a0")


def _made_on(provenance: dict[str, Any]) -> str:
    hardware = provenance["hardware"]
    where = hardware["accelerator"] or f"{hardware['cores']} cores of {hardware['processor']}"
    return f"{where}, {provenance['precision']}, {provenance['started'][:10]}"


def _open(file: Path) -> Iterator[str]:
    """The command for a study's seeds that are not published; of the quickstart there is none."""
    study = load_study(file)
    if study.data.source != "cifar10":
        return
    folder = RESULTS / study.name / "runs"
    lacking = [
        seed
        for seed in study.seeds
        if any(not (folder / name / f"seed-{seed}.json").is_file() for name in study.recipes)
    ]
    if lacking:
        seeds = ",".join(map(str, lacking))
        yield f"* `python -m harness.study {study.name} --seeds {seeds}`"


def main() -> None:
    """Take over what is named, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", type=Path, help="folders of finished studies: OUT/STUDY")
    try:
        for source in parser.parse_args().studies:
            print(take_over(source))
        atomic_write(RESULTS / "README.md", page())
        atomic_write(KNOWN, known())
    except HarnessError as error:
        sys.exit(f"error: {error}")
    print(RESULTS / "README.md")


if __name__ == "__main__":
    main()
