"""Publish finished studies in docs/results, and write the page over all of them.

``python -m benchmarks.published OUT/STUDY ...`` publishes these studies, at most 250 KB each, and writes
``README.md`` and ``overview.png`` in ``docs/results`` from all published studies, and
``studies/results.json``, which ``--list`` shows. Without a folder it only writes these three.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.published.figure import overview
from benchmarks.published.page import known, page
from benchmarks.published.publish import publish
from benchmarks.published.read import KNOWN, RESULTS, read_all
from harness.console import open_streams
from harness.errors import HarnessError
from harness.messages import one_line
from harness.store.atomic import atomic_write


def main() -> None:
    """Publish the named studies, then write the page; report those that cannot be published, and continue."""
    open_streams()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("studies", nargs="*", type=Path, help="folders of finished studies: OUT/STUDY")
    parser.add_argument(
        "--results", type=Path, help="write to this copy of docs/results, results.json included"
    )
    parser.add_argument(
        "--replace", action="store_true", help="also where a study then has fewer runs than are published"
    )
    options = parser.parse_args()
    results: Path = options.results or RESULTS
    failed = 0
    for source in options.studies:
        try:
            target, left_out = publish(source, results, replace=options.replace)
            print(f"{target}{': left out, to stay small: ' if left_out else ''}{', '.join(left_out)}")
        except (HarnessError, OSError, ValueError) as error:
            failed += 1
            print(f"error: {one_line(error, 500)}", file=sys.stderr)
    try:
        published = read_all(results)
        atomic_write(results / "overview.png", overview(published))
        atomic_write(results / "README.md", page(published))
        atomic_write(results / "results.json" if options.results else KNOWN, known(published))
    except HarnessError as error:
        sys.exit(f"error: {error}")
    print(results / "README.md")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
