"""The code is built as docs/architecture.md says: in layers, and imports only go down."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE, LONGEST_FUNCTION = 350, 60  # lines
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / "harness").rglob("*.py"))
}
TREES = {name: ast.parse(file.read_text("utf-8")) for name, file in FILES.items()}


def imported_by(name: str) -> Iterator[str]:
    """Give the modules of the harness that a module imports, wherever in it the import stands.

    ``import harness`` is left out: it is for the version, and the package imports nothing until asked.
    """
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES and "." in alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module if module in FILES else node.module for module in inner)


IMPORTS = {name: set(imported_by(name)) for name in FILES}


def read_layers() -> list[set[str]]:
    """Read the table of docs/architecture.md: each layer's names, the lowest layer first."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    section = page.partition("## Layers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \w+ \| (`.+?) \|", section, re.MULTILINE)
    return [set(re.findall(r"`([\w/]+)`", row)) for row in reversed(rows)]


LAYERS = read_layers()


def depths_of(name: str) -> list[int]:
    """Give the layers that name a module or a package above it; 0 is the lowest."""
    parts = name.split(".")[1:] or ["__init__"]
    names = {"/".join(parts), *("/".join(parts[:end]) + "/" for end in range(1, len(parts) + 1))}
    return [depth for depth, layer in enumerate(LAYERS) if layer & names]


def find_circle(graph: Mapping[str, set[str]]) -> str:
    """Name a circle of a graph; empty where it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return ""


def test_every_module_stands_in_one_layer() -> None:
    assert {name: depths_of(name) for name in FILES if len(depths_of(name)) != 1} == {}


def test_every_name_of_the_table_exists() -> None:
    names = [name if name.endswith("/") else f"{name}.py" for layer in LAYERS for name in layer]
    assert [name for name in names if not (ROOT / "harness" / name).exists()] == []


def test_a_module_imports_only_from_its_own_layer_and_those_below() -> None:
    depth = {name: depths_of(name)[0] for name in FILES if depths_of(name)}
    pairs = [(name, used) for name in depth for used in IMPORTS[name] if used in depth]
    assert [f"{name} -> {used}" for name, used in pairs if depth[used] > depth[name]] == []


def test_no_module_needs_itself() -> None:
    assert find_circle(IMPORTS) == ""


@pytest.mark.parametrize("package", sorted({name.rpartition(".")[0] for name in FILES} - {""}))
def test_no_part_of_a_package_needs_itself_through_other_parts(package: str) -> None:
    def part_of(name: str) -> str:
        return ".".join(name.split(".")[: package.count(".") + 2])

    inside = {name for name in FILES if name.startswith(f"{package}.")}
    graph: dict[str, set[str]] = {part_of(name): set() for name in inside}
    for name in inside:
        graph[part_of(name)] |= {part_of(used) for used in IMPORTS[name] & inside} - {part_of(name)}
    assert find_circle(graph) == ""


def test_no_file_is_too_long() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines()) for file in FILES.values()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{FILES[name].relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
