"""A network of one's own: what docs/your-own.md does, and what is not allowed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command

PAGE = Path("docs/your-own.md").resolve()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The study and the network of the page."""
    text = PAGE.read_text("utf-8")
    blocks = {kind: re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml")}
    (tmp_path / "my_nets.py").write_text(blocks["python"][0])
    (tmp_path / "mine.toml").write_text(blocks["toml"][0])
    return tmp_path / "mine.toml"


def test_the_page_runs_and_its_network_can_be_used(mine: Path, command: Command, tmp_path: Path) -> None:
    done = command("mine.toml", "--allow", "my_nets")
    assert done.returncode == 0 and done.stdout.startswith("mine: "), done.stderr
    runs = pd.read_csv(tmp_path / "results" / "mine" / "tables" / "runs.csv")
    assert list(runs.status) == ["finished"] * 2 and set(runs.parameters) == {8 * 3 * 9 + 8 + 16 + 90}
    page = (tmp_path / "results" / "mine" / "report.md").read_text("utf-8")
    assert "Grad-CAM" in page
    again = command(
        "mine.toml", "--allow", "my_nets", "--launcher", "process", "--workers", "2", "--seeds", "2,3"
    )
    assert again.returncode == 0 and again.stderr.count("finished:") == 2, again.stderr
    report = command("mine.toml", "--report-only", "--allow", "my_nets")
    assert report.returncode == 0, report.stderr


def test_other_code_is_another_configuration(mine: Path, command: Command, tmp_path: Path) -> None:
    assert command("mine.toml", "--seeds", "0", "--allow", "my_nets").returncode == 0
    with (tmp_path / "my_nets.py").open("a") as file:
        file.write("# changed\n")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    done = command("mine.toml", "--seeds", "0", "--allow", "my_nets")
    assert done.returncode == 2 and "model_source" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("my_nets:small", (), "may not import 'my_nets' unless you say --allow my_nets"),
        ("os:system", ("--allow", "my_nets"), "may not import 'os'"),
        ("my_nets:missing", ("--allow", "my_nets"), "no attribute 'missing'"),
        ("my_nets.inner:small", ("--allow", "my_nets"), "ModuleNotFoundError"),
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
    assert done.returncode == 2 and "gives str, not a torch.nn.Module" in done.stderr, done.stderr
