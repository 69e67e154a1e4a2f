"""Published results: what finished studies gave, and the page over all of them.

``python -m benchmarks.published OUT/STUDY ...`` takes over these studies, at most 250 KB each, into
``docs/results/``, and writes ``README.md`` and ``overview.png`` there from all that is published, and
``studies/results.json``, which ``--list`` shows; without a folder it only writes these three.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.published.figure import overview
from benchmarks.published.page import known, page
from benchmarks.published.read import KNOWN, RESULTS, read_all
from benchmarks.published.take import take_over
from harness.errors import HarnessError
from harness.store import atomic_write


def main() -> None:
    """Take over what is named, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", type=Path, help="folders of finished studies: OUT/STUDY")
    parser.add_argument(
        "--results", type=Path, help="a copy of docs/results to write to; then all stays in it"
    )
    options = parser.parse_args()
    results = options.results or RESULTS
    try:
        for source in options.studies:
            target, left_out = take_over(source, results)
            print(f"{target}{': left out, to stay small: ' if left_out else ''}{', '.join(left_out)}")
        published = read_all(results)
        atomic_write(results / "overview.png", overview(published))
        atomic_write(results / "README.md", page(published))
        atomic_write(results / "results.json" if options.results else KNOWN, known(published))
    except HarnessError as error:
        sys.exit(f"error: {error}")
    print(results / "README.md")


if __name__ == "__main__":
    main()
