"""A study small enough to be killed a hundred times, and a nursery whose children are the command."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import one_at_a_time

# Everything a run can need: a range test whose rate is used, dropout, two seeds, every figure.
FRAGILE = """
name = "fragile"
question = "Does it survive?"
seeds = [0, 1]
target = { test_accuracy = 0.2 }
data = { source = "digits", batch_size = 32, train_limit = 160, test_limit = 60 }
precision = "float32"
model = { name = "custom_resnet", width = 2, dropout = 0.1 }
optimizer = { name = "SGD", momentum = 0.9 }
schedule = { epochs = 3, peak_epoch = 1, lr_max = "find", lr_min = "find" }
range_test = { start_lr = 1e-3, end_lr = 0.3, iterations = 12, criterion = "minimum" }
attribution = { layers = ["layer1"], images = 1 }
[augment]
train = [
  { transform = "PadIfNeeded", min_height = 36, min_width = 36, border_mode = "constant" },
  { transform = "RandomCrop", height = 32, width = 32 },
]
"""

CPU = ("--device", "cpu")  # faults are those of the host, and a forked child of many cannot share a GPU


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: its exit status, or minus the signal that ended it.
        cpu: seconds of processor time it took.
        operations: files opened for writing, renamed, removed or made below ``operations_in``.
    """

    status: int
    stdout: str
    stderr: str
    cpu: float
    operations: int


class Child:
    """A command under way, in a place of its own."""

    def __init__(self, nursery: Nursery, pid: int, place: Path) -> None:
        self.nursery, self.pid, self.place = nursery, pid, place

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return (self.place / "stderr").read_text()

    def wait(self, **wishes: Any) -> Outcome:
        """Its end."""
        return self.nursery.answer(self.place, self.nursery.ask({**wishes, "pid": self.pid}))


class Nursery:
    """Runs the command in forked children of a process that has imported everything."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HARNESS_DATA": ""}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request; the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def answer(self, place: Path, answer: dict[str, Any]) -> Outcome:
        """The outcome of an answer."""
        stdout, stderr = ((place / name).read_text() for name in ("stdout", "stderr"))
        return Outcome(answer["status"], stdout, stderr, answer["cpu"], answer.get("operations", 0))

    def request(self, place: Path, arguments: tuple[object, ...], wishes: dict[str, Any]) -> dict[str, Any]:
        """A request whose files lie in a place of their own."""
        place.mkdir(parents=True, exist_ok=True)
        files = {name: str(place / name) for name in ("stdout", "stderr")}
        for file in files.values():
            Path(file).write_text("")
            os.chmod(file, 0o666)
        return {"arguments": one_at_a_time(*CPU, *arguments), "cwd": str(place), **files, **wishes}

    def run(self, place: Path, *arguments: object, **wishes: Any) -> Outcome:
        """Run the command to its end.

        Args:
            place: an own folder, its working directory.
            wishes: see ``nursery.be_the_command`` and ``attend``.
        """
        return self.answer(place, self.ask(self.request(place, arguments, wishes)))

    def begin(self, place: Path, *arguments: object, **wishes: Any) -> Child:
        """Run the command beside the test; with ``asleep_at``, until it has said these words on stderr and
        put itself to sleep: whoever waits for a line is too late for what follows it."""
        answer = self.ask(self.request(place, arguments, {**wishes, "background": True}))
        child = Child(self, answer["pid"], place)
        assert answer["asleep"] == ("asleep_at" in wishes), child.said
        return child

    def close(self) -> None:
        """No more children."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One for all tests: its imports take seconds."""
    if not hasattr(os, "fork") or not Path("/proc/self/stat").exists():
        pytest.skip("children are forked, and killed by their processor time: needs Linux")
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's file."""
    path = tmp_path_factory.mktemp("study") / "fragile.toml"
    path.write_text(FRAGILE)
    return path


@dataclass(frozen=True)
class Undisturbed:
    """A start that nothing happened to.

    Attributes:
        out: its ``--out``.
        files: see :func:`_lasting`.
    """

    out: Path
    files: dict[str, bytes]
    cpu: float
    operations: int


@pytest.fixture(scope="session")
def undisturbed(nursery: Nursery, fragile: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The study as it comes out when nothing happens to it; not to be changed."""
    place = tmp_path_factory.mktemp("undisturbed")
    nursery.run(place, fragile, "--out", "warm-up")  # fonts and templates are read: the next one is typical
    done = nursery.run(place, fragile, "--out", "out", operations_in=str(place / "out"))
    assert done.status == 0, done.stderr
    return Undisturbed(place / "out", _lasting(place / "out/fragile"), done.cpu, done.operations)


@pytest.fixture(scope="session")
def same(undisturbed: Undisturbed) -> Callable[[Path], None]:
    """Compare a study's folder with the undisturbed one's: the same files, the same bytes but for times."""

    def compare(study: Path) -> None:
        files = _lasting(study)
        assert sorted(files) == sorted(undisturbed.files)
        different = [name for name, content in files.items() if content != undisturbed.files[name]]
        assert different == []

    return compare


def _lasting(study: Path) -> dict[str, bytes]:
    """All that must be the same bytes however often a study was killed: tables but for their time columns,
    artefacts of runs, range tests, and no file beside those."""
    found = {}
    for path in sorted(study.rglob("*")):
        name = str(path.relative_to(study))
        if not path.is_file() or name.startswith((".locks/", "superseded/")):
            continue
        content = path.read_bytes()
        if path.suffix == ".csv":
            content = _without_times(content.decode())
        elif path.name in ("run.json", "report.html", "report.md", "report.json") or path.suffix == ".png":
            content = b"times and dates are in it"
        found[name] = content
    return found


def _without_times(text: str) -> bytes:
    rows = list(csv.reader(io.StringIO(text)))
    kept = [at for at, name in enumerate(rows[0]) if "seconds" not in name and "per_second" not in name]
    return json.dumps([[row[at] for at in kept] for row in rows]).encode()
