"""The project's tests that need a GPU: ``pytest -m cuda``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.shared import ROOT, Options, Row

MARKER = re.compile(r"\bmark\.cuda\b")
NOTHING_COLLECTED = 5  # pytest's exit status
SHOWN = 10


def rows(options: Options) -> Iterator[Row]:
    """Run the tests that carry the marker, and name those that fail."""
    what = "pytest -m cuda"
    files = marked_files(ROOT / "tests")
    if not files:
        yield Row(what, "no tests", notes="no test carries the marker cuda")
        return
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", "--continue-on-collection-errors"]
    command += ["-p", "no:cacheprovider", *map(str, files)]
    environment = dict(os.environ)
    if options.data is not None:
        environment["HARNESS_DATA"] = options.data
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    lines = [line.strip("= ") for line in done.stdout.splitlines() if line.strip("= ")]
    if done.returncode == NOTHING_COLLECTED:
        yield Row(what, "no tests", notes=lines[-1] if lines else "none collected")
        return
    names = ", ".join(file.relative_to(ROOT / "tests").as_posix() for file in files)
    last = (lines or done.stderr.strip().splitlines() or ["pytest said nothing"])[-1]
    result = "passed" if done.returncode == 0 else "failed"
    yield Row(what, result, notes=f"{last}; {names}", values={"status": done.returncode})
    for line in [line for line in lines if line.startswith(("FAILED", "ERROR"))][:SHOWN]:
        kind, _, name = line.partition(" ")
        yield Row(f"  {name.partition(' - ')[0]}", kind.lower(), notes=name.partition(" - ")[2][:200])


def marked_files(folder: Path) -> list[Path]:
    """Find the test files that mention the marker: to import all others would take longer than the tests."""
    return [file for file in sorted(folder.rglob("test_*.py")) if MARKER.search(file.read_text("utf-8"))]
