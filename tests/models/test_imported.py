"""A network of one's own: what docs/your-own.md does, and what is not allowed."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from torch import nn

from harness.data import load_data
from harness.errors import StudyError
from harness.models.imported import imported
from tests.conftest import Command

PAGE = Path("docs/your-own.md").resolve()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The studies and the network of the page, in the precision that every processor computes in."""
    text = PAGE.read_text("utf-8")
    blocks = {kind: re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml")}
    (tmp_path / "my_nets.py").write_text(blocks["python"][0])
    for toml in blocks["toml"]:
        (tmp_path / f"{tomllib.loads(toml)['name']}.toml").write_text(f'precision = "float32"\n{toml}')
    return tmp_path / "mine.toml"


@pytest.mark.slow
def test_the_page_runs_and_its_network_can_be_used(mine: Path, command: Command, tmp_path: Path) -> None:
    done = command("mine.toml", "--allow", "my_nets")
    assert done.returncode == 0 and done.stdout.startswith("mine: "), done.stderr
    runs = pd.read_csv(tmp_path / "results" / "mine" / "tables" / "runs.csv")
    assert list(runs.status) == ["finished"] * 2 and set(runs.parameters) == {8 * 3 * 9 + 8 + 16 + 1290}
    page = (tmp_path / "results" / "mine" / "report.md").read_text("utf-8")
    assert "Grad-CAM" in page
    again = command(
        "mine.toml", "--allow", "my_nets", "--launcher", "process", "--workers", "2", "--seeds", "2,3"
    )
    assert again.returncode == 0 and again.stderr.count("finished:") == 2, again.stderr
    report = command("mine.toml", "--report-only", "--allow", "my_nets")
    assert report.returncode == 0, report.stderr


@pytest.mark.slow
def test_other_code_is_another_configuration(mine: Path, command: Command, tmp_path: Path) -> None:
    arguments = ("mine.toml", "--seeds", "0", "--allow", "my_nets", "--device", "cpu")
    assert command(*arguments).returncode == 0
    with (tmp_path / "my_nets.py").open("a") as file:
        file.write("# changed\n")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    done = command(*arguments)
    assert done.returncode == 2 and "the code of its network has changed since" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "beside", [pytest.param(place, marks=pytest.mark.slow) for place in ("study", "current folder")]
)
def test_it_is_found_however_the_command_starts_and_shadows_nothing(
    beside: str, mine: Path, tmp_path: Path
) -> None:
    """As ``harness-study`` starts, the current folder is not where Python looks; ``-P`` does the same."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("click.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
        (elsewhere / name).write_text("raise SystemExit('shadowed')")
    if beside == "current folder":
        (tmp_path / "my_nets.py").rename(elsewhere / "my_nets.py")
    few = ["--set", "schedule.epochs=2", "--set", "data.train_limit=200", "--set", "data.test_limit=64"]
    how = ["--launcher", "process", "--workers", "2", "--seeds", "0"] if beside == "study" else ["--dry-run"]
    command = [sys.executable, "-P", "-m", "harness.study", "../mine.toml", "--allow", "my_nets", *few, *how]
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0 and done.stdout.startswith("mine-trial-"), done.stderr


def num_classes(*, depth: int = 1, num_classes: int = 1000) -> nn.Module:
    return nn.Linear(depth, num_classes)


def anything(**options: int) -> nn.Module:
    return nn.Linear(1, options["num_classes"])


def second(depth: int = 1, num_classes: int = 1000) -> nn.Module:
    return nn.Linear(depth, num_classes)


@pytest.mark.parametrize("function", ["num_classes", "anything", "second"])
def test_the_number_of_classes_goes_where_it_is_called_num_classes(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "their_nets", sys.modules[__name__])
    monkeypatch.setenv("HARNESS_ALLOW", "their_nets")
    made = imported(f"their_nets:{function}", {}, "study").build(7)
    assert isinstance(made, nn.Linear) and (made.in_features, made.out_features) == (1, 7)
    with pytest.raises(StudyError, match="multiple values for .*num_classes"):
        imported(f"their_nets:{function}", {"num_classes": 3}, "study")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("my_nets:small", (), "importing 'my_nets' is not allowed; add --allow my_nets"),
        ("os:system", ("--allow", "my_nets"), "importing 'os' is not allowed"),
        ("my_nets:missing", ("--allow", "my_nets"), "no attribute 'missing'"),
        ("my_nets.inner:small", ("--allow", "my_nets"), "No module named 'my_nets.inner'"),
        ("my_nts:small", ("--allow", "my_nts"), "put my_nts.py beside the study file"),
        ("my_nets:small", ("--allow", "my_nets", "--set", "model.depth=3"), "depth"),
        ("my_nets:nn", ("--allow", "my_nets"), "callable"),
        ("my_nets:small", ("--allow", "my-nets"), "expected a package's name"),
    ],
)
def test_what_cannot_be_is_one_line(
    name: str, arguments: tuple[str, ...], said: str, mine: Path, command: Command
) -> None:
    done = command("mine.toml", "--set", f'model.name="{name}"', *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr


def test_what_is_no_network_is_one_line(mine: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text("def small(classes, width=1):\n    return 'a network'\n")
    done = command("mine.toml", "--allow", "my_nets")
    assert done.returncode == 2 and "gives str; expected an object of torch.nn.Module" in done.stderr, (
        done.stderr
    )


@pytest.mark.slow
def test_an_installed_packages_network_has_a_name_and_needs_no_permission(
    mine: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "theirs-1.0.dist-info").mkdir()
    (tmp_path / "theirs-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n"
    )
    (tmp_path / "theirs-1.0.dist-info" / "entry_points.txt").write_text(
        "[harness.models]\ntheir_net = my_nets:small\n"
    )
    arguments = ("mine.toml", "--seeds", "0", "--device", "cpu", "--set", 'model.name="their_net"')
    done = command(*arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    refused = command("mine.toml", "--set", 'model.name="their_nt"', PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2 and "did you mean 'their_net'" in refused.stderr


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Sixty digits a split, as files of several sizes in folders, and as shards of the Hub."""
    data = load_data("digits", tmp_path, train_limit=60, test_limit=60)
    for name, split in (("train", data.train), ("test", data.evaluation)):
        rows = []
        for at, (pixels, label) in enumerate(zip(split.images, split.labels, strict=True)):
            folder = tmp_path / "DIR" / "my_images" / name / split.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels).resize((32 + at % 3 * 8, 40))
            image.save(folder / f"{at}.{('png', 'jpg', 'webp')[at % 3]}")
            content = io.BytesIO()
            image.save(content, "PNG")
            rows.append({"image": {"bytes": content.getvalue(), "path": None}, "label": int(label)})
        (tmp_path / "DIR" / "my_shards").mkdir(exist_ok=True)
        pd.DataFrame(rows).to_parquet(tmp_path / "DIR" / "my_shards" / f"{name}-00000-of-00001.parquet")
    return tmp_path / "DIR"


@pytest.mark.parametrize("study", ["folder", pytest.param("shards", marks=pytest.mark.slow)])
def test_the_pages_images_of_ones_own(
    mine: Path, images: Path, command: Command, tmp_path: Path, study: str
) -> None:
    few = ("--seeds", "0", "--set", "attribution.images=1")
    done = command(f"{study}.toml", "--data", "DIR", *few)
    assert done.returncode == 0, done.stderr
    runs = pd.read_csv(tmp_path / "results" / study / "tables" / "runs.csv")
    assert list(runs.status) == ["finished"]
    record = json.loads((tmp_path / "results" / study / "runs/base/seed-0/run.json").read_text())
    assert len(record["classes"]) == 10 and record["provenance"]["data"]["train_images"] == 60
