"""Take over a finished study into ``docs/results/``, small and without weights."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.published.read import Record, read_records, records_text
from harness.errors import RunError
from harness.report.results import Results, Run, read_results
from harness.store import StudyFolder, atomic_write
from harness.study_file import load_study

LARGEST = 250_000  # bytes of a study's files: well below the 400 KB that one may take in git
LONGEST_REPORT = 60_000
KEPT = ("study.toml", "report.json", "range_test/*.json")
# Each step's rates, what predictions/ holds in less, and every point of the curves in a figure.
TABLES_LEFT_OUT = ("learning_rates", "misclassified", "attribution_curves")
# Left out one after another where a study is too large.
SPARED = (
    "figures/*augmented.webp", "figures/*learning_rate.png", "tables/calibration.csv",
    "tables/range_test.csv", "figures/*misclassified.webp", "figures/*attributions.webp",
    "figures/*calibration.png", "tables/per_class.csv", "tables/always_missed.csv", "tables/history.csv",
    "figures/*confusion.png", "figures/*gradcam.webp", "figures/*range_test.png", "figures/*per_class.png",
)  # fmt: skip
# Pixels; each of a gallery's images is 32 pixels wide.
WIDTH = 800
WIDTHS = {"gradcam": 640, "misclassified": 480, "augmented": 480}
COLOURS = 32  # of a figure without images
QUALITY = 40  # of WebP


def take_over(source: Path, results: Path) -> tuple[Path, list[str]]:
    """Publish a study's report and its runs' records; what was published of it is replaced.

    Records of published runs that the study's folder does not hold, such as those of another device, move to
    ``other_runs/``.

    Returns:
        Where it lies now, and what was left out to stay small.

    Raises:
        RunError: it has no report, no run of it is finished, or it is too large even so.
    """
    if not (source / "report.json").is_file():
        raise RunError(f"{source}: no report.json; run the study, or its report with --report-only")
    study = load_study(source / "study.toml")
    found = read_results(study, StudyFolder(source.parent, source.name), (), ())
    if not found.finished:
        raise RunError(f"{source}: no run is finished")
    target = results / study.name
    if target.resolve() == source.resolve():
        raise RunError(f"{source}: is the published folder itself; name the folder of a study's runs")
    new = results / f".{study.name}.new"
    shutil.rmtree(new, ignore_errors=True)
    _copy(source, new)
    _write_runs(found, new, target)
    report = _report(source)
    left_out = _spare(new, LARGEST - len(report.encode()))
    if report:
        atomic_write(new / "report.md", _links(new, report))
    if (size := size_of(new)) > LARGEST:
        shutil.rmtree(new)
        raise RunError(f"{source}: {size:,} bytes where {LARGEST:,} are the most; publish fewer variants")
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    return target, left_out


def _report(source: Path) -> str:
    """report.md; nothing where it is missing or, with very many variants, longer than anyone reads."""
    file = source / "report.md"
    return file.read_text("utf-8") if file.is_file() and file.stat().st_size <= LONGEST_REPORT else ""


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    tables = [
        path
        for path in sorted(source.glob("tables/*.csv"))
        if path.stem not in TABLES_LEFT_OUT and path.read_text("utf-8").count("\n") > 1
    ]
    for file in [*(file for pattern in KEPT for file in sorted(source.glob(pattern))), *tables]:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    for file in sorted(source.glob("figures/*.png")):
        suffix, content = web_figure(file)
        atomic_write(target / "figures" / f"{file.stem}{suffix}", content)


def web_figure(file: Path) -> tuple[str, bytes]:
    """A report's figure at the width of a page: ``.webp`` where it is made of images, else ``.png``."""
    content = io.BytesIO()
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    name = file.stem.rpartition("-")[2]
    width = WIDTHS.get(name, WIDTH)
    if picture.width > width:
        size = width, round(picture.height * width / picture.width)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if name in (*WIDTHS, "attributions"):
        picture.save(content, "webp", quality=QUALITY, method=6)
        return ".webp", content.getvalue()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(content, "png", optimize=True)
    return ".png", content.getvalue()


def _write_runs(found: Results, new: Path, old: Path) -> None:
    """Records of the finished and failed runs, predictions, and records of what else was published."""
    for variant in found.variants:
        records = [_record(run) for run in found.of(variant) if run.record]
        if records:
            atomic_write(new / "runs" / f"{variant}.json", records_text(records))
        if runs := found.of(variant, "finished"):
            atomic_write(new / "predictions" / f"{variant}.npz", _predictions(runs))
    for variant in sorted({file.stem for file in old.glob("*runs/*.json")}):
        earlier = [
            *read_records(old / "runs" / f"{variant}.json"),
            *read_records(old / "other_runs" / f"{variant}.json"),
        ]
        here = {record["checksum"] for record in read_records(new / "runs" / f"{variant}.json")}
        other = {record["checksum"]: record for record in earlier if record["checksum"] not in here}
        if other:
            atomic_write(new / "other_runs" / f"{variant}.json", records_text(list(other.values())))


def _record(run: Run) -> Record:
    """The whole of run.json, its checksum included."""
    content: Record = json.loads(run.folder.record_file.read_text("utf-8"))
    return content


def _predictions(runs: Sequence[Run]) -> bytes:
    """``labels`` (N,), ``predicted`` (N, runs), ``seeds`` (runs,).

    Raises:
        RunError: the runs were evaluated on different images.
    """
    found = [run.predictions for run in runs if run.predictions is not None]
    labels = found[0].labels
    if not all(np.array_equal(one.labels, labels) for one in found):
        raise RunError(f"{runs[0].variant}: its runs were evaluated on different images")
    kind = np.uint8 if labels.max() < 256 else np.uint16
    content = io.BytesIO()
    np.savez_compressed(
        content,
        labels=labels.astype(kind),
        predicted=np.stack([one.predicted for one in found], axis=1).astype(kind),
        seeds=np.array([run.seed for run in runs]),
    )
    return content.getvalue()


def _spare(folder: Path, room: int) -> list[str]:
    """Leave out files until the rest takes no more than ``room`` bytes."""
    gone = []
    for pattern in SPARED:
        if size_of(folder) <= room:
            break
        for file in sorted(folder.glob(pattern)):
            file.unlink()
            gone.append(file.relative_to(folder).as_posix())
    return gone


def _links(folder: Path, report: str) -> str:
    """report.md with its figures' new names, and without links to what is not published."""

    def repair(link: re.Match[str]) -> str:
        mark, text, file = link.groups()
        if re.match(r"[a-z]+:|#", file) or (folder / file).is_file():
            return link[0]
        for suffix in (".webp", ".png"):
            if (folder / file).with_suffix(suffix).is_file() and file.startswith("figures/"):
                return f"{mark}[{text}]({file.rpartition('.')[0]}{suffix})"
        return f"{text} (not published)"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)]+)\)", repair, report)
