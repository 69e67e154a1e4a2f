"""A study small enough to be killed a hundred times, and how it comes out when nothing happens to it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.store.folders import StudyFolder
from tests.children import Nursery

Same = Callable[[Path], None]

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


def write_images(root: Path, classes: tuple[str, str] = ("dark", "light"), shift: int = 0) -> Path:
    """Write ``pictures`` of two classes, eight images of each in each split; return their folder."""
    for split in ("train", "test"):
        for name, value in zip(classes, (40, 200), strict=True):
            folder = root / "pictures" / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(8):
                pixels = np.full((32, 32, 3), value + 3 * index + shift, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


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
def same(undisturbed: Undisturbed) -> Same:
    """Compare a study's folder with the undisturbed one's: the same files, the same bytes but for times."""

    def compare(study: Path) -> None:
        files = _lasting(study)
        assert sorted(files) == sorted(undisturbed.files)
        different = [name for name, content in files.items() if content != undisturbed.files[name]]
        assert different == []

    return compare


@pytest.fixture
def finished(undisturbed: Undisturbed, tmp_path: Path) -> StudyFolder:
    """A finished study in ``tmp_path / "out"`` that may be spoilt."""
    shutil.copytree(undisturbed.out, tmp_path / "out")
    return StudyFolder(tmp_path / "out", "fragile")


@pytest.fixture
def go_on(nursery: Nursery, fragile: Path, same: Same, tmp_path: Path) -> Callable[..., Any]:
    """The same command again, to its end: the study is as one that nothing happened to."""

    def run(place: Path = tmp_path, **wishes: Any) -> Any:
        done = nursery.run(place, fragile, "--out", "out", **wishes)
        assert done.status == 0 and "Traceback" not in done.stderr, done.stderr
        same(place / "out/fragile")
        return done

    return run


@pytest.fixture
def killed_at(nursery: Nursery, fragile: Path, tmp_path: Path) -> Callable[..., None]:
    """Start the study, and kill it where it says something."""

    def kill(moment: str, *arguments: object, **wishes: Any) -> None:
        child = nursery.begin(tmp_path, fragile, "--out", "out", *arguments, asleep_at=moment, **wishes)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()

    return kill


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
