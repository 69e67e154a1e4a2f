"""The command that compares results of several folders. ``python -m harness.compare --help``"""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from harness.console import complain, run_command, tell
from harness.errors import StudyError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("results", nargs=-1, metavar="A B...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Look for named results in DIR; write the page there.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the page to FILE. [default: DIR/compare-A-B.html]",
)
@click.option("--allow", multiple=True, metavar="PACKAGE", help="Allow a metric of this package. Repeatable.")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of text.")
def command(
    results: tuple[str, ...], out: Path, page: Path | None, allow: tuple[str, ...], json_: bool
) -> None:
    """Compare finished results: parameters that differ, the tests, one page.

    A and B are result folders, such as results/onecycle, names of folders in --out, or study files. Add
    :VARIANT to choose a variant; else it is the study's baseline, or the only variant with runs. The first
    is the baseline of the tests. No result is changed.

    \b
    Examples:
      python -m harness.compare onecycle annealed
      python -m harness.compare results/mine:base results/mine:adam trial/mine
      python -m harness.compare results/mine trial/mine --page mine.html --json

    \b
    Exit status: 0 compared; 1 the page cannot be written; 2 a result cannot be read.
    """
    from harness.imports import allow as allow_packages

    allow_packages(allow)
    if len(results) < 2:
        raise StudyError("name two results, such as: python -m harness.compare results/onecycle results/mine")
    # imported after the first check, because the drawing libraries take half a second
    from harness.analysis.side_by_side import compare_results
    from harness.analysis.sides import OWN_FILES
    from harness.report.render.html import html_page
    from harness.report.side_by_side import as_data, as_text, compose
    from harness.store.atomic import atomic_write

    compared = compare_results(results, out)
    folders = [side.folder.path.resolve() for side in compared.sides]
    file = out / page_name(compared.labels) if page is None else page
    if file.is_dir() or (file.name in OWN_FILES and file.resolve().parent in folders):
        raise StudyError(f"--page {file}: a folder, or a file of a result; name another file")
    text = json.dumps({**as_data(compared), "page": str(file)}, indent=2) if json_ else as_text(compared)
    tell(text)
    atomic_write(file, html_page(compose(compared)))
    complain(f"page: {file}")


def page_name(labels: list[str]) -> str:
    """Return a file name made of the results' names: ``compare-onecycle-annealed.html``."""
    names = [re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-.") for label in labels]
    return f"{'-'.join(['compare', *names])[:150]}.html"


def main() -> None:
    """Run the command as a process of its own."""
    run_command(command, "harness.compare")


if __name__ == "__main__":
    main()
