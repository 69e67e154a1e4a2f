"""A network that a notebook or a script defines: its source is what runs and what is kept."""

from __future__ import annotations

import functools
import hashlib
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from torch import nn

import harness
from harness.cells import import_path
from harness.errors import StudyError
from harness.imports import _import, kept_source
from harness.models.whitening import PatchWhitening
from harness.study_file.config import Study
from tests.conftest import Command

NET = """
from functools import partial
from torch import Tensor, nn, relu
import torch.nn.functional as F

WIDTHS = {"first": 4}
conv3 = partial(nn.Conv2d, kernel_size=3, padding=1)
UNUSED = open

class Base(nn.Module):
    def pooled(self, images: Tensor) -> Tensor:
        return scaled(F.relu(self.conv(images))).mean((2, 3))

def scaled(maps):
    return relu(maps) * 1.0

class Net(Base):
    def __init__(self, classes, width=WIDTHS["first"]):
        super().__init__()
        self.conv = conv3(3, width)
        self.fc = nn.Linear(width, classes)

    def forward(self, images):
        return self.fc(self.pooled(images))
"""
FEW = {"source": "digits", "batch_size": 32, "train_limit": 100, "test_limit": 40}
CONSTANT = {"kind": "constant", "epochs": 1, "lr": 0.01}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what a study in Python allows."""
    for variable in ("HARNESS_ALLOW", "HARNESS_PATH", "HARNESS_SOURCES"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr("sys.path", [*sys.path])


@pytest.fixture
def cell() -> Iterator[Callable[[str], ModuleType]]:
    """Execute texts as a notebook executes its cells: in one namespace, which no import finds."""
    space = ModuleType("the_notebook")
    sys.modules["the_notebook"] = space

    def run(text: str) -> ModuleType:
        file = f"/tmp/ipykernel_1/{hashlib.sha256(text.encode()).hexdigest()[:8]}.py"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec", dont_inherit=True), vars(space))
        return space

    yield run
    del sys.modules["the_notebook"]


def study_of(model: Any, **changes: Any) -> Study:
    """Return a study that trains in a second."""
    fields: dict[str, Any] = {
        "name": "mine",
        "seeds": [0],
        "target": {"accuracy": 0.1},
        "precision": "float32",
        "data": FEW,
        "model": model,
        "optimizer": {"name": "AdamW"},
        "schedule": CONSTANT,
    }
    return Study(**fields, **changes)


def test_a_class_and_all_it_uses_become_a_module(cell: Callable[[str], ModuleType]) -> None:
    net = cell(NET).Net
    path, options = import_path(net)
    text = kept_source(path)
    assert path.endswith(":Net") and options == {} and text is not None
    for used in ("class Base", "def scaled", "WIDTHS = {'first': 4}", "functools.partial(", "import relu"):
        assert used in text, used
    assert "UNUSED" not in text
    made = vars(_import(path.partition(":")[0]))["Net"](10)
    assert made is not net and sum(weights.numel() for weights in made.parameters()) == 112 + 50


@pytest.mark.parametrize(
    ("changed", "by", "same"),
    [
        ("* 1.0", "* 2.0", False),  # a function that it calls
        ('"first": 4', '"first": 8', False),  # a value
        ("UNUSED = open", "UNUSED = 3", True),
        ("mean((2, 3))", "amax((2, 3))", False),  # its base class
        ("padding=1", "padding=0", False),
    ],
)
def test_its_name_follows_from_all_that_decides(
    changed: str, by: str, same: bool, cell: Callable[[str], ModuleType]
) -> None:
    before, _ = import_path(cell(NET).Net)
    after, _ = import_path(cell(NET.replace(changed, by)).Net)
    assert changed in NET and (before == after) == same


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("make = lambda classes: nn.Linear(3, classes)", "source of <lambda> cannot be read"),
        (
            "import torch\nMEAN = torch.zeros(3)\ndef make(classes): return MEAN",
            "it uses MEAN, of type Tensor",
        ),
        ("act = lambda x: x\ndef make(classes): return act", "it uses act, .*write it with def"),
        (
            "def made():\n    def make(classes): pass\n    return make\nmake = made()",
            "no class or function of a whole",
        ),
        ("n = 0\ndef make(classes):\n    global n\n    n += 1", "changes the global n"),
        (
            "class A(nn.Module):\n    def forward(self): pass\nmake = A()",
            "got an object of A; give the class",
        ),
        ("import functools\ndef f(c, w): pass\nmake = functools.partial(f, 3)", "give its options by name"),
        ("class A:\n    def f(self): pass\nA.f = lambda self: 1\nmake = A", "A is not what its source says"),
        ("class A:\n    x = 1\n    def f(self): pass\nA.x = 2\nmake = A", "A is not what its source says"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(
    text: str, said: str, cell: Callable[[str], ModuleType]
) -> None:
    with pytest.raises(StudyError, match=f"^mine: model: .*{said}") as caught:
        study_of(cell(f"from torch import nn\n{text}").make)
    assert "\n" not in str(caught.value)


def test_a_file_that_changed_after_it_ran_is_refused(tmp_path: Path) -> None:
    file, space = tmp_path / "script.py", ModuleType("the_script")
    file.write_text("def make(classes): return 1\n")
    exec(compile(file.read_text(), str(file), "exec"), vars(space))
    file.write_text("def make(classes): return 2\n")
    with pytest.raises(ValueError, match="make is not what its source says"):
        import_path(space.make)


def test_a_class_of_a_module_keeps_its_path() -> None:
    assert import_path(functools.partial(PatchWhitening, eps=0.5)) == (
        "harness.models.whitening:PatchWhitening",
        {"eps": 0.5},
    )
    assert os.environ["HARNESS_ALLOW"] == "harness"
    assert study_of(nn.Linear).model.name == "torch.nn.modules.linear:Linear"


def test_a_study_takes_it_with_options_and_in_variants(cell: Callable[[str], ModuleType]) -> None:
    space = cell(NET + "\nclass Other(Net): pass\n")
    study = harness.load_study(
        study_of(
            functools.partial(space.Net, width=2),
            variants={"wide": {"model.width": 6}, "other": {"model": space.Other}},
        )
    )
    models = {name: recipe.model for name, recipe in study.recipes.items()}
    assert models["base"].options == {"width": 2} and models["wide"].options == {"width": 6}
    assert models["other"].name.endswith(":Other") and models["other"].options == {}
    changed = harness.load_study(study, settings={"model": {"name": space.Other, "width": 3}})
    assert changed.model.name == models["other"].name and changed.model.options == {"width": 3}
    with pytest.raises(StudyError, match="^mine: modle: unknown key, did you mean 'model'"):
        study_of(space.Net, modle={})


@pytest.mark.slow
def test_its_run_is_repeated_from_the_results_alone(
    cell: Callable[[str], ModuleType], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    net = cell(NET).Net
    results = harness.run(study_of(net), out=tmp_path, device="cpu", quiet=True)
    folder = tmp_path / "mine"
    (file,) = folder.glob("model_*.py")
    assert file.read_text() in (folder / "report.md").read_text("utf-8")
    again = ("mine/study.toml", "--out", "again", "--device", "cpu", "--quiet")
    environment = {"HARNESS_ALLOW": "", "HARNESS_SOURCES": ""}
    refused = command(*again, **environment)
    assert refused.returncode == 2 and f"--allow {file.stem}" in refused.stderr
    done = command(*again, "--allow", file.stem, **environment)
    assert done.returncode == 0, done.stderr
    runs = [root / "mine/runs/base/seed-0/predictions.npz" for root in (tmp_path, tmp_path / "again")]
    first, second = (np.load(run)["logits"] for run in runs)
    np.testing.assert_array_equal(first, second)
    assert (tmp_path / "again" / "mine" / file.name).read_text() == file.read_text()

    assert harness.load(runs[0].parent, model=net).model(results_images()).shape == (1, 10)
    other = cell(NET.replace("* 1.0", "* 2.0")).Net
    with pytest.raises(StudyError, match="was trained with model_.*:Net, and the source of model is now"):
        harness.load(runs[0].parent, model=other)
    with pytest.raises(StudyError, match=r"run \(the code of its network has changed since\)"):
        harness.run(study_of(other), out=tmp_path, device="cpu", quiet=True)
    assert results.status == 0


def results_images() -> Any:
    import torch

    return torch.zeros(1, 3, 32, 32)


@pytest.mark.slow
def test_a_notebook_trains_it_in_worker_processes_and_shows_errors_in_a_line(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    make = f"""
import harness
def study(net):
    return harness.Study(name="mine", seeds=[0, 1], target={{"accuracy": 0.1}}, data={FEW}, model=net,
                         optimizer={{"name": "AdamW"}}, schedule={CONSTANT})
results = harness.run(study(Net), out="out", device="cpu", workers=2, quiet=True)
print(results.status, list(results.runs.status))
"""
    wrong = NET.replace("nn.Linear(width, classes)", "nn.Linear(512, classes)")
    texts = [NET, make, wrong, 'harness.run(study(Net), out="other", device="cpu", quiet=True)', NET]
    texts += [
        'harness.run(study(Net), out="out", device="cpu", quiet=True).status',
        "class Empty(nn.Sequential): pass",
    ]
    texts += ["harness.run(study(Empty), out='empty', quiet=True)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in texts])
    client = nbclient.NotebookClient(
        notebook, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [cell["outputs"] for cell in notebook.cells]
    assert outputs[1][-1]["text"] == "0 ['finished', 'finished']\n", outputs[1]
    (error,) = outputs[3]
    assert error["ename"] == "StudyError" and len(error["traceback"]) == 1
    assert "fc (Linear), given (1, 4): RuntimeError: mat1 and mat2 shapes" in error["traceback"][0]
    assert "\n" not in error["traceback"][0] and "(in Net.forward: return self.fc(" in error["traceback"][0]
    assert outputs[5][-1]["data"]["text/plain"] == "0"
    assert "model.name" in outputs[7][-1]["traceback"][0], outputs[7]
