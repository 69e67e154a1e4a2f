"""The built wheel is complete: it runs from any directory, built-in studies included."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read_setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


@pytest.mark.slow
def test_the_wheel_runs_from_any_directory(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    # The dependencies are this environment's: what is tested is the wheel.
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    subprocess.run([python, "-m", "pip", "install", "--no-deps", str(wheel)], check=True, capture_output=True)
    installed = next((tmp_path / "venv" / "lib").glob("python3*/site-packages"))
    (installed / "borrowed.pth").write_text(f"{packages}\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [
        python,
        "-m",
        "harness.study",
        "--seeds",
        "0",
        "--set",
        "schedule.epochs=3",
        "--out",
        "results",
    ]
    done = subprocess.run(command, cwd=empty, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "quickstart: " in done.stdout and (empty / "results/quickstart/report.html").is_file()
    where = subprocess.run(
        [python, "-c", "import harness; print(harness.__file__)"], cwd=empty, capture_output=True, text=True
    )
    assert str(installed) in where.stdout


def test_every_package_of_the_tree_is_installed() -> None:
    config = read_setup()
    folders = [file.parent.relative_to(ROOT) for file in (ROOT / "harness").rglob("__init__.py")]
    packages = {".".join(folder.parts) for folder in folders}
    assert set(config["options"]["packages"].split()) == packages | {"harness.studies"}


def test_every_direct_dependency_is_pinned() -> None:
    config = read_setup()
    wanted = config["options"]["install_requires"] + "".join(config["options.extras_require"].values())
    names = {re.split(r"[ <>=!]", line)[0].lower() for line in wanted.split("\n") if line.strip()}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert names - pinned == set()
