"""The built wheel is complete: it runs from any directory, built-in studies included."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
import yaml

from harness.version import __version__

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


@pytest.mark.slow
def test_the_source_archive_has_every_file_that_the_tests_need(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    build = "from setuptools.build_meta import build_sdist; import sys; print(build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    hidden = {name for name in tracked.stdout.split() if name.startswith(".")}
    assert set(tracked.stdout.split()) - packed - hidden == set()


def test_the_citation_is_of_this_version_and_names_whom_the_licence_names() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    holder = re.search(r"Copyright \(c\) \d+, (.+)", (ROOT / "LICENSE").read_text("utf-8"))
    assert citation["version"] == __version__
    assert [author["name"] for author in citation["authors"]] == [holder and holder[1]]
    assert read_setup()["metadata"]["author"] == (holder and holder[1])


def test_the_oldest_packages_are_the_lower_ends_of_the_ranges() -> None:
    lines = (ROOT / "constraints-oldest.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    ranges = read_setup()["options"]["install_requires"].strip().split("\n")
    lowest = {re.split(r"[ <>=]", line)[0]: re.search(r"[>=]= ([\d.]+)", line) for line in ranges}
    assert {
        name: pinned.get(name)
        for name, low in lowest.items()
        if low and not pinned.get(name, "").startswith(low[1])
    } == {}
