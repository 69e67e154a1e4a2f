"""Write a study's report: tables, figures and pages, from its run folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress

from harness.analysis.attributions import measure
from harness.analysis.findings import Findings, analyse
from harness.analysis.images import LoadData, RunImages
from harness.analysis.results import read_results
from harness.device import use_threads
from harness.report.drawing import draw
from harness.report.figures.style import LARGEST_FIGURE, Picture, is_ours, themed, to_vector
from harness.report.index import entry
from harness.report.ranked import ranked_files
from harness.report.render.html import html_page
from harness.report.render.markdown import markdown
from harness.report.theme import DEFAULT, Theme
from harness.report.topics import compose, csv_tables
from harness.report.topics.figures import Figures
from harness.store.atomic import atomic_write, open_regular
from harness.store.folders import StudyFolder
from harness.store.sealed import write_sealed
from harness.study_file.config import Study


def write_report(
    study: Study,
    folder: StudyFolder,
    seeds: list[int],
    variants: list[str],
    load_data: LoadData | None,
    formats: Sequence[str] = (),
    theme: Theme = DEFAULT,
) -> Findings:
    """Rebuild tables, figures, ``report.html``, ``.md`` and ``.json`` from the runs on disk.

    Args:
        seeds, variants: those asked for; each of their runs has a row, done or not.
        load_data: returns a recipe's images, for galleries and Grad-CAM; None or a DataError omits these.
        formats: further formats of each figure: ``svg``, ``pdf``.
        theme: of the figures.

    Raises:
        RunError: the folder cannot be written.
    """
    with folder.report_lock(), ExitStack() as resources:
        results = read_results(study, folder, seeds, variants)
        if results.finished:
            resources.enter_context(use_threads(results.finished[0].threads))
        asked = {(variant, seed) for variant in variants for seed in seeds}
        images = RunImages(results, load_data)
        measured, errors = measure(results, images)
        findings = analyse(results, asked, measured)
        for name, text in csv_tables(findings).items():
            atomic_write(folder.tables / f"{name}.csv", text)
        for file, text in ranked_files(findings).items():
            atomic_write(folder.tables / file, text)
        resources.enter_context(themed(theme))
        drawn, notes = draw(findings, images, formats)
        # an error that already left out the galleries is not repeated
        notes += [
            f"{variant}: Grad-CAM is not measured: {error}"
            for variant, error in errors.items()
            if not any(error in note for note in notes)
        ]
        pictures = {_file_name(picture, len(results.variants) > 1): picture for picture in drawn}
        for file, picture in pictures.items():
            atomic_write(folder.figures / file, picture.png)
            for kind in formats:
                atomic_write(folder.figures / _as(file, kind), to_vector(picture, kind))
        _remove_stale(folder, {_as(file, kind) for file in pictures for kind in ("png", *formats)})
        report = compose(findings, Figures(pictures, notes, formats, theme.text))
        atomic_write(folder.path / "report.md", markdown(report))
        atomic_write(folder.path / "report.html", html_page(report))
        write_sealed(folder.path / "report.json", entry(findings))
    return findings


def _file_name(picture: Picture, several: bool) -> str:
    """Return ``curves.png``; or ``<variant>-confusion.png`` for a figure of one of several variants."""
    return f"{picture.variant}-{picture.name}.png" if several and picture.variant else f"{picture.name}.png"


def _as(file: str, kind: str) -> str:
    return f"{file.removesuffix('.png')}.{kind}"


def _remove_stale(folder: StudyFolder, written: set[str]) -> None:
    """Remove the figures of earlier reports that this one has not drawn; a user's own files stay."""
    for path in folder.figures.glob("*"):
        if path.suffix in (".png", ".svg", ".pdf") and path.name not in written:
            with suppress(OSError), open_regular(path) as file:  # a folder or a pipe is not ours
                if is_ours(file.read(LARGEST_FIGURE)):
                    path.unlink()
