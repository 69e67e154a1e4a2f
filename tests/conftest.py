"""A study that trains in a second, and a way to run the command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.study_file.config import Study
from harness.study_file.load import resolve
from tests.children import POSSIBLE, Nursery, one_at_a_time

TINY_TOML = """
name = "tiny"
question = "Does it run?"
seeds = [0, 1]
target = { test_accuracy = 0.2 }
data = { source = "digits", batch_size = 32, train_limit = 160, test_limit = 60 }
precision = "float32"  # what auto means is measured on each machine
model = { name = "custom_resnet", width = 2 }
optimizer = { name = "SGD", momentum = 0.9 }
schedule = { epochs = 3, peak_epoch = 1, lr_max = 0.05, lr_min = 0.005 }
attribution = { layers = ["layer1", "res2"], images = 4 }
[augment]
train = [
  { transform = "PadIfNeeded", min_height = 36, min_width = 36, border_mode = "constant" },
  { transform = "RandomCrop", height = 32, width = 32 },
]
"""

TINY = tomllib.loads(TINY_TOML)
HANGS = 600  # seconds; no command takes as long on the slowest machine
Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m cuda`` read only files with such a test: others need packages beside the harness's own."""
    if config.option.markexpr != "cuda" or not collection_path.name.startswith("test_"):
        return None
    return True if "mark.cuda" not in collection_path.read_text("utf-8") else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda``, or ``cuda(devices=2)``, where there are not so many GPUs."""
    if (mark := item.get_closest_marker("cuda")) is not None:
        wanted, here = mark.kwargs.get("devices", 1), count_gpus()
        if here < wanted:
            pytest.skip(f"CUDA devices: {wanted} needed, {here} here")


def count_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@pytest.fixture
def tiny() -> Callable[..., Study]:
    """A tiny study with dotted changes, such as ``tiny(("schedule.epochs", 5))``."""
    return lambda *changes: resolve(TINY, changes)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """The same study as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_TOML)
    return path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the tiny study, for tests that do not change it."""
    import harness

    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY_TOML)
    harness.run(folder / "tiny.toml", seeds=[0], out=folder, device="cpu", quiet=True)
    return folder / "tiny" / "runs" / "base" / "seed-0"


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One for all tests: its imports take seconds."""
    if not POSSIBLE:
        pytest.skip("children are forked, and killed by their processor time: needs Linux")
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest) -> Command:
    """Run ``python -m harness.study`` with these arguments in an empty folder, serially unless they say.

    It runs in a forked child, which saves seconds, unless it starts processes of its own or there is a GPU,
    which a fork cannot share. ``new_process=True`` is for what the start itself decides.
    """

    def run(
        *arguments: object, timeout: float = HANGS, new_process: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        given, surroundings = one_at_a_time(*arguments), {**os.environ, **environment}
        starts = "serial" not in given or "--devices" in given or "PYTHONPATH" in environment
        if not (new_process or starts or not POSSIBLE or count_gpus()):
            nursery = request.getfixturevalue("nursery")
            done = nursery.run_as(tmp_path, given, surroundings, timeout)
            return subprocess.CompletedProcess(given, done.status, done.stdout, done.stderr)
        program = [sys.executable, "-m", "harness.study", *given]
        return subprocess.run(
            program, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=timeout
        )

    return run


def cifar10_root() -> Path | None:
    """The folder that holds cifar10/: $HARNESS_DATA, or shared/data beside the checkout; None without it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    for root in (Path(os.environ.get("HARNESS_DATA", "")), beside):
        if (root / "cifar10").is_dir():
            return root
    return None


@pytest.fixture
def cifar10() -> Path:
    """The data root with CIFAR-10; the test is skipped where it is absent."""
    root = cifar10_root()
    return root or pytest.skip("CIFAR-10 is not here: set HARNESS_DATA to a folder that holds cifar10/")
