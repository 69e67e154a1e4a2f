"""The pages are true: those made from the code are current, commands on the others run, the site builds."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from harness.data import load_data
from harness.study_file.load import load_study
from tests.conftest import Command

DOCS = Path("docs").resolve()


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["study.schema.json", "study-file.md", "output-files.md", "command.md"])
def test_a_page_that_is_made_from_the_code_is_current(generate: ModuleType, page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == generate.PAGES[page](), "python docs/generate.py"


def test_every_key_of_a_study_is_explained(generate: ModuleType) -> None:
    lines = [line for line in generate.study_file().splitlines() if line.startswith("| `")]
    assert len(lines) > 50 and [line for line in lines if line.endswith("|  |")] == []
    for key in ("`lr_min_divisor`", "`holdout`", "`draws`", "`random_trials`", "`in_place`"):
        assert any(line.startswith(f"| {key} |") for line in lines), key


def test_every_dependency_is_listed_with_a_permissive_licence(generate: ModuleType) -> None:
    rows = dict(re.findall(r"^\| (\S+) \| (.+) \|$", (DOCS / "licences.md").read_text("utf-8"), re.MULTILINE))
    assert set(rows) - {"package", "---"} == generate._named()
    permissive = re.compile(r"MIT|BSD|Apache|Python|ISC|PSF|CMU|HPND|MPL|Zlib|Unlicense", re.IGNORECASE)
    weak_copyleft = {"pyte"}  # LGPL: only the tests use it, and nothing of it is distributed
    assert {name for name in generate._named() if not permissive.search(rows[name])} == weak_copyleft


def smaller(text: str, *changes: tuple[str, str]) -> str:
    """Return a page's text with less to compute; how well it learns is not in question."""
    for theirs, ours in changes:
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


def save_photo(folder: Path) -> None:
    image = load_data("digits", Path(), test_limit=10).evaluation.images[0]
    Image.fromarray(np.asarray(image)).save(folder / "photo.png")


def run_python(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stderr)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, command: Command) -> None:
    page = (DOCS / "tutorial.md").read_text("utf-8")
    study = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]
    limits = ("batch_size = 64", "batch_size = 64, train_limit = 300, test_limit = 100")
    (tmp_path / "digits.toml").write_text(smaller(study, limits))
    save_photo(tmp_path)
    commands = re.findall(r"^\$ python -m (\S+) (.+)$", page, re.MULTILINE)
    assert [module for module, _ in commands].count("harness.study") == 4 and len(commands) == 5
    for module, arguments in commands:
        if module == "harness.study":
            done = command(*arguments.split())
            assert done.returncode == 0, (arguments, done.stderr)
        else:
            run_python(tmp_path, "-m", module, *arguments.split())
    assert (tmp_path / "results/digits/exports/base/seed-0/model.pt").is_file()
    assert "5 seeds" in (tmp_path / "surer/digits/report.md").read_text("utf-8")


WHOLE = [pytest.param(False, id="smaller"), pytest.param(True, id="whole", marks=pytest.mark.slow)]


def test_the_study_of_the_page_on_looks_has_looks(tmp_path: Path) -> None:
    (study,) = re.findall(r"```toml\n(.*?)```", (DOCS / "looks.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "rates.toml").write_text(study)
    assert load_study(tmp_path / "rates.toml").looks == [3, 5, 10]


@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.slow
def test_the_page_on_python_runs(tmp_path: Path, whole: bool) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 5
    save_photo(tmp_path)
    for name in ("onecycle", "annealed"):  # for the block that compares
        shutil.copytree(DOCS / "results" / name, tmp_path / "results" / name)
    checks = "assert list(results.runs.status) == ['finished'] * 2 and predictor(images).shape == (1, 10)"
    program = "\n".join([*blocks, checks])
    if not whole:
        few = '"schedule.epochs": 4, "model.width": 4, "data.train_limit": 300, "range_test.iterations": 20'
        program = smaller(program, ('"schedule.epochs": 4', few))
    (tmp_path / "page.py").write_text(program)  # a network needs its source
    run_python(tmp_path, "page.py")
    assert list((tmp_path / "results" / "own").glob("model_*.py"))


@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, whole: bool) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(DOCS / "notebooks" / "assignment.ipynb", as_version=4)
    if not whole:
        study = Path("studies/quickstart.toml").read_text("utf-8")
        few = [("batch_size = 64", "batch_size = 64\ntrain_limit = 300"), ("width = 16", "width = 4")]
        few += [("epochs = 8", "epochs = 3"), ("iterations = 100", "iterations = 20")]
        (tmp_path / "few.toml").write_text(smaller(study, *few))
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source = smaller(first.source, ('"quickstart"', '"few.toml"'))
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 9
    assert "**quickstart**: Target of 97 % " in str(outputs)


def test_the_notebook_for_colab_is_saved_with_its_outputs_and_no_place_of_this_machine() -> None:
    nbformat = pytest.importorskip("nbformat")
    text = (DOCS / "notebooks" / "colab.ipynb").read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert not re.search(
        r"/(root|home|tmp|work|Users|content/[a-z_]+\.py)\b|ipykernel", text.replace("/content/drive", "")
    )
    assert socket.gethostname() not in text or len(socket.gethostname()) < 6
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code if not cell.outputs] == [
        cell.source for cell in code if cell.source.startswith(("import os\n", "from torch import nn"))
    ]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    said = "".join(output.get("text", "") for output in outputs)
    assert "mat1 and mat2 shapes cannot be multiplied" in said and "% accuracy (mean ± std, 3 seeds" in said
    install = code[0].source  # Colab's own torch, torchvision and numpy stay
    assert "constraints.txt" not in install and 'f"{name}=={number}"' in install


@pytest.mark.slow
def test_the_notebook_for_colab_runs(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    if not (Path(os.environ.get("HARNESS_DATA", "")) / "cifar10").is_dir():
        pytest.skip("needs CIFAR-10 in $HARNESS_DATA/cifar10")
    notebook = nbformat.read(DOCS / "notebooks" / "colab.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if cell.source.startswith("import os\n"))
    few = [
        ("[0, 1, 2], 8", "[0, 1], 4"),
        ('"train_limit": 4000', '"train_limit": 300'),
        ('"epochs": 4', '"epochs": 2'),
    ]
    cell.source = smaller(cell.source, *few)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "cifar10-net.zip").is_file()
    (source,) = (tmp_path / "results" / "cifar10-net").glob("model_*.py")
    assert "class Residual" in source.read_text("utf-8")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in ("harness", "benchmarks", "studies"):
        (tmp_path / name).symlink_to(DOCS.parent / name)
    run_python(tmp_path, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "site")
    for page in (
        "index",
        "tutorial",
        "study-file",
        "api",
        "notebooks/assignment",
        "notebooks/colab",
        "results/README",
    ):
        assert (tmp_path / "site" / f"{page}.html").is_file()
