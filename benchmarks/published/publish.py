"""Publish a finished study in ``docs/results/``: small, and without weights."""

from __future__ import annotations

import io
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.published.read import device_name, read
from benchmarks.published.records import records_text
from benchmarks.published.web import web_figure
from harness.analysis.results import Results, read_results
from harness.analysis.runs import Run
from harness.errors import RunError
from harness.store.atomic import atomic_write
from harness.store.folders import WEIGHTS, StudyFolder
from harness.store.published import Sealed, read_records
from harness.store.records import RunRecord
from harness.store.sealed import canonical, first_difference, read_sealed
from harness.study_file.builtin import builtin_studies
from harness.study_file.config import Study
from harness.study_file.load import load_study

# Bytes of a study's files. A study may take 400 KB in git, and all of the tree 8 MB: tests/test_published.py.
LARGEST = 250_000
LONGEST_REPORT = 60_000
KEPT = ("study.toml", "report.json", "range_test/*.json")
# Each step's rates, what predictions/ holds in less, and every point of the curves in a figure.
TABLES_LEFT_OUT = ("learning_rates", "misclassified", "attribution_curves")
# Files that need the weights.
OF_WEIGHTS = ("figures/*gradcam.webp", "figures/*attributions.webp", "tables/attributions.csv")
# Dropped one after another where a study is too large.
LEAST_WORTH = (
    "figures/*augmented.webp", "figures/*learning_rate.png", "tables/calibration.csv",
    "tables/range_test.csv", "figures/*misclassified.webp", "figures/*attributions.webp",
    "figures/*calibration.png", "tables/always_missed.csv", "figures/*confusion.png", "tables/per_class.csv",
    "figures/*gradcam.webp", "figures/*range_test.png", "figures/*per_class.png", "tables/history.csv",
    "report.md",
)  # fmt: skip
EARLIER = "From an earlier report of these runs, made where their weights are."
NOT_ALL = "Some figures and tables of this report are left out here, to keep the folder small."


def publish(source: Path, results: Path, *, replace: bool = False) -> tuple[Path, list[str]]:
    """Publish a study's report and its runs' records; replace those published before.

    Earlier published runs of the same recipe on other devices are kept, in ``other_runs/``.

    Args:
        source: the study's folder, ``OUT/STUDY``.
        results: ``docs/results``, or a copy.
        replace: also if a variant then has fewer runs than are published.

    Returns:
        Its folder, and the files left out to stay small.

    Raises:
        RunError: the study is not finished, damaged, reported before its last run, another recipe than the
            built-in study of its name, too large, or lacks runs that are published; what was published stays
            as it is.
    """
    report = read_sealed(source / "report.json")
    if report is None:
        raise RunError(f"{source}: no report.json; run the study, or its report with --report-only")
    study = load_study(str(source / "study.toml"))
    runs = read_results(study, StudyFolder(source.resolve().parent, source.resolve().name), (), ())
    if not runs.finished:
        raise RunError(f"{source}: no run is finished")
    if damaged := [run for run in runs.runs if run.error.startswith("damaged:")]:
        raise RunError(f"{source}: {damaged[0].variant}/seed-{damaged[0].seed}: {damaged[0].error}")
    reported = {each["variant"]: each["finished"] for each in report["variants"]}
    if any(reported.get(name, 0) != len(runs.of(name, "finished")) for name in runs.variants):
        raise RunError(f"{source}: its report is of other runs; make it again with --report-only")
    _check_recipe(study)
    target = results / study.name
    if target.resolve() == source.resolve():
        raise RunError(f"{source}: is the published folder itself; name the folder of a study's runs")
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, prefix=".") as folder:
        new = Path(folder) / study.name
        _copy(source, new)
        _write_runs(runs, new, target, replace)
        _keep_gradcam(new, target)
        left_out = _shrink(new)
        if (size := size_of(new)) > LARGEST:
            raise RunError(f"{source}: {size:,} bytes, more than {LARGEST:,}; publish fewer variants")
        read(new)  # whole, before it takes the place of the other
        if target.exists():
            target.rename(Path(folder) / "old")
        new.rename(target)
    return target, left_out


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_recipe(study: Study) -> None:
    """Refuse a trial under the name of a built-in study: its numbers would stand for that study."""
    if (file := builtin_studies().get(study.name)) is None:
        return
    whole = load_study(str(file))
    if study.target != whole.target:
        raise RunError(f"{study.name}: its target is not the built-in study's; publish it by another name")
    for name, recipe in study.recipes.items():
        if name in whole.recipes:
            ours, theirs = (
                one.model_dump(mode="json", exclude={"precision", "compile", "attribution"})
                for one in (whole.recipes[name], recipe)
            )
            if difference := first_difference(ours, theirs):
                difference = difference.replace("planned", "in the built-in study").replace("on disk", "here")
                raise RunError(
                    f"{study.name}: {name} is another recipe ({difference}); publish it by another name"
                )


def _copy(source: Path, target: Path) -> None:
    tables = [
        path
        for path in sorted(source.glob("tables/*.csv"))
        if path.stem not in TABLES_LEFT_OUT and path.read_text("utf-8").count("\n") > 1
    ]
    report = source / "report.md"
    reports = [report] if report.is_file() and report.stat().st_size <= LONGEST_REPORT else []
    files = [file for pattern in KEPT for file in sorted(source.glob(pattern))]
    for file in [*files, *tables, *reports]:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    for file in sorted(source.glob("figures/*.png")):
        suffix, content = web_figure(file)
        atomic_write(target / "figures" / f"{file.stem}{suffix}", content)


# ---- records and predictions -------------------------------------------------------------------------------


def _write_runs(results: Results, new: Path, old: Path, replace: bool) -> None:
    """Write records of the finished and failed runs, predictions, and what was published of other devices."""
    for variant in results.variants:
        if records := [_sealed(run) for run in results.of(variant) if run.record]:
            atomic_write(new / "runs" / f"{variant}.json", records_text(records))
        if runs := results.of(variant, "finished"):
            atomic_write(new / "predictions" / f"{variant}.npz", _predictions(runs))
    everywhere = {device_name(run.record) for run in results.finished if run.record}
    for variant in sorted({file.stem for file in old.glob("*runs/*.json")}):
        here, before, beside = (
            _finished(folder / f"{variant}.json")
            for folder in (new / "runs", old / "runs", old / "other_runs")
        )
        devices = {device for _, device in here} or everywhere
        recipes = {_recipe(record) for record in here.values()}
        other = {
            (seed, device): record
            for (seed, device), record in (before | beside).items()
            if device not in devices and (not here or _recipe(record) in recipes)
        }
        if other:
            atomic_write(new / "other_runs" / f"{variant}.json", records_text(list(other.values())))
        lost = set(before) - set(here)
        if lost and not replace and (len(here) < len(before) or not lost <= set(other)):
            seeds = ", ".join(str(seed) for seed, _ in sorted(lost))
            raise RunError(
                f"{old.name}: {variant}: seeds {seeds} are published and not in this folder; "
                "copy their runs to it, or --replace them"
            )


def _finished(file: Path) -> dict[tuple[int, str], Sealed]:
    """Read the finished runs of a file of records, by seed and device."""
    return {
        (record["seed"], device_name(RunRecord.from_json(record))): record
        for record in read_records(file)
        if record["status"] == "finished"
    }


def _recipe(record: Sealed) -> str:
    return canonical(record["identity"]["recipe"])


def _sealed(run: Run) -> Sealed:
    """Read the whole of run.json, its checksum included."""
    content: Sealed = json.loads(run.folder.record_file.read_text("utf-8"))
    return content


def _keep_gradcam(new: Path, old: Path) -> None:
    """Keep the published Grad-CAM of these runs, if the new report had no weights."""
    if list(new.glob("figures/*gradcam.webp")):
        return
    here, before = (
        {
            record["files"][WEIGHTS]
            for file in folder.glob("runs/*.json")
            for record in _finished(file).values()
        }
        for folder in (new, old)
    )
    if before and before <= here:
        for file in [file for pattern in OF_WEIGHTS for file in old.glob(pattern)]:
            shutil.copyfile(file, new / file.relative_to(old))


def _predictions(runs: Sequence[Run]) -> bytes:
    """``labels`` (N,), ``predicted`` (N, runs), ``seeds`` (runs,).

    Raises:
        RunError: the runs were evaluated on different images.
    """
    predictions = [run.predictions for run in runs if run.predictions is not None]
    labels = predictions[0].labels
    if not all(np.array_equal(each.labels, labels) for each in predictions):
        raise RunError(f"{runs[0].variant}: its runs were evaluated on different images")
    kind = np.uint8 if len(runs[0].classes) <= 256 else np.uint16
    content = io.BytesIO()
    np.savez_compressed(
        content,
        labels=labels.astype(kind),
        predicted=np.stack([each.predicted for each in predictions], axis=1).astype(kind),
        seeds=np.array([run.seed for run in runs]),
    )
    return content.getvalue()


# ---- size --------------------------------------------------------------------------------------------------


def _shrink(folder: Path) -> list[str]:
    """Drop the least useful files until the rest is small enough; repair the report; return those dropped."""
    report = folder / "report.md"
    whole = report.read_text("utf-8") if report.is_file() else ""
    dropped: list[str] = []
    for pattern in (None, *LEAST_WORTH):
        for file in sorted(folder.glob(pattern)) if pattern else ():
            file.unlink()
            dropped.append(file.relative_to(folder).as_posix())
        if report.is_file():
            atomic_write(report, repaired(whole, folder))
        if size_of(folder) <= LARGEST:
            break
    return dropped


def repaired(report: str, folder: Path) -> str:
    """Return report.md for this folder: figures by their new names, and no mention of what is left out."""
    report = report.replace("runs/<variant>/seed-<n>/run.json", "runs/<variant>.json")
    kept: list[str] = []
    blocks = iter(report.split("\n\n"))
    for block in blocks:
        if figure := re.fullmatch(r"!\[(.*)\]\((figures/.*)\)", block):
            file = next((path for path in folder.glob(f"{Path(figure[2]).with_suffix('')}.*")), None)
            if file is None:
                kept.pop()  # its title
                next(blocks, "")  # its caption
            else:
                kept.append(f"![{figure[1]}]({file.relative_to(folder).as_posix()})")
        elif "](tables/" in block and re.fullmatch(r"(\[[^\]]*\]\([^)]+\)( · )?)+", block):
            links = [
                link for link in block.split(" · ") if (folder / link[link.index("](") + 2 : -1]).is_file()
            ]
            kept += [" · ".join(links)] if links else []
        else:
            kept.append(block)
    text = "\n\n".join(kept)
    for name, title in (("gradcam", "Grad-CAM"), ("attributions", "Grad-CAM sanity checks")):
        for file in sorted(folder.glob(f"figures/*{name}.webp")):
            link = file.relative_to(folder).as_posix()
            if link not in text:
                text = re.sub(r"> \*\*Note:\*\* No Grad-CAM[^\n]*\n\n", "", text).rstrip("\n")
                text += f"\n\n## {title}\n\n{EARLIER}\n\n![{title}]({link})"
    if text != report:
        title, _, rest = text.partition("\n\n")
        text = f"{title}\n\n{NOT_ALL}\n\n{rest}"
    return text.rstrip("\n") + "\n"
