"""The pages of ``docs/`` that are made from the code: ``python docs/generate.py`` writes them.

The study file's reference from its schema, the output files' from the tables' columns, the command's from its
options, and the licences from what is installed. A test holds the first three against the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from harness.data import SOURCES
from harness.models import MODELS
from harness.models.custom_resnet import CustomResNetOptions
from harness.report.topics import TABLES
from harness.study_file.config import Recipe, Study

DOCS = Path(__file__).parent
MADE = "Made by `python docs/generate.py`; not written by hand."


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


# ---- the study file ---------------------------------------------------------------------------------------


def _schema() -> dict[str, Any]:
    """The study file's JSON Schema, with the names of built-in sources and networks where it has a gap."""
    text = json.dumps(Study.model_json_schema())
    for gap, names in {"{SOURCES}": SOURCES, "{MODELS}": MODELS}.items():
        text = text.replace(gap, ", ".join(f"`{name}`" for name in names))
    schema: dict[str, Any] = json.loads(text)
    return schema


def json_schema() -> str:
    """The study file's JSON Schema, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def study_file() -> str:
    """Every table and key of a study file."""
    schema = _schema()
    own = [name for name in schema["properties"] if name not in Recipe.model_fields]
    top = {name: schema["properties"][name] for name in [*own, *Recipe.model_fields]}
    schema |= {
        "properties": top,
        "description": "The first keys describe the study; the others are its recipe.",
    }
    parts = [
        "# The study file",
        MADE,
        "A study is one TOML file. Keys that are not here are refused, with the nearest name. For editors: "
        "[study.schema.json](study.schema.json). If the last row of a table is *other keys*, you can also "
        "give the arguments of the class or function in `name`.",
    ]
    for title, found in [("The study itself", schema), *_tables(schema, schema, "")]:
        parts += [f"## {title}", _prose(found.get("description", "")), _keys(found, schema)]
        if title == "`[model]`":
            network = CustomResNetOptions.model_json_schema()
            parts += [
                f'## {title}, name = "custom_resnet"',
                _prose(network["description"]),
                _keys(network, schema),
            ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(
    schema: dict[str, Any], root: dict[str, Any], prefix: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and schema of every table below, those of one key's kinds one after the other."""
    for name, field in schema["properties"].items():
        for kind in _kinds(field, root):
            if "properties" in kind:
                named = {"patternProperties", "additionalProperties"} & field.keys()
                path = f"{prefix}{name}" + (".NAME" if named else "")
                tags = kind["properties"].get("kind", {})
                tag = tags.get("const", "package.module:function" if tags else None)
                yield f"`[{path}]`" + (f', kind = "{tag}"' if tag else ""), kind
                yield from _tables(kind, root, f"{path}.")
            for part in _kinds(kind.get("items", {}), root):
                if part.get("additionalProperties") is True and "properties" in part:
                    yield f"`[[{prefix}{name}]]`", part


def _kinds(field: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a value may have, references followed."""
    if "$ref" in field:
        return [root["$defs"][field["$ref"].rpartition("/")[2]]]
    parts = field.get("anyOf") or field.get("oneOf") or field.get("allOf")
    if parts:
        return [kind for part in parts for kind in _kinds(part, root)]
    inner = next(iter(field.get("patternProperties", {}).values()), field.get("additionalProperties"))
    return _kinds(inner, root) if isinstance(inner, dict) and "$ref" in inner else [field]


def _keys(schema: dict[str, Any], root: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = []
    for name, field in schema["properties"].items():
        default = "required" if name in required else _default(field, root)
        rows.append((f"`{name}`", _type(field, root), default, _prose(field.get("description", ""))))
    if schema.get("additionalProperties") is True:
        rows.append(("*other keys*", "", "", "arguments of the class or function in `name`"))
    return table(("key", "value", "default", ""), rows)


def _default(field: dict[str, Any], root: dict[str, Any]) -> str:
    value = field.get("default")
    if any("properties" in kind for kind in _kinds(field, root)) or value in (None, {}, ""):
        return "–"
    return f"`{json.dumps(value)}`"  # of these values TOML's text is JSON's


def _type(field: dict[str, Any], root: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(text for kind in _kinds(field, root) if (text := _one_type(kind, root))))


def _one_type(kind: dict[str, Any], root: dict[str, Any]) -> str:
    if "const" in kind or "enum" in kind:
        return ", ".join(f'`"{value}"`' for value in kind.get("enum", [kind.get("const")]))
    if "properties" in kind:
        return "a table"
    name = kind.get("type", "")
    if name == "array":
        inner = _type(kind.get("items", {}), root)
        return f"a list of {inner}" if inner else "a list"
    low = kind.get("minimum", kind.get("exclusiveMinimum"))
    high = kind.get("maximum", kind.get("exclusiveMaximum"))
    above = "above " if "exclusiveMinimum" in kind else ""
    below = "below " if "exclusiveMaximum" in kind else ""
    bounds = ""
    if low is not None and high is not None and high < 1e12:
        bounds = f" {above}{low:,g} to {below}{high:,g}"
    elif low is not None:
        bounds = f" {above or 'from '}{low:,g}"
    words = {"number": "a number", "integer": "an integer", "string": "text", "boolean": "true or false"}
    return words.get(name, {"null": "", "object": "a table"}.get(name, "any value")) + bounds


def _prose(text: str) -> str:
    """A docstring's text for Markdown."""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text.replace("``", "`"))
    return " ".join(text.split())


# ---- output files -----------------------------------------------------------------------------------------


def output_files() -> str:
    """Every file of a study's folder, and every column of its tables."""
    parts = [
        "# Output files",
        MADE,
        "`results/<study>/` of every study; all tables, figures and pages are rebuilt from `runs/` and "
        "`range_test/` by `--report-only`, byte for byte the same.",
        table(("file", "content"), FILES),
        "## Tables",
        "CSV with a header and unrounded numbers. Accuracies and shares are fractions, times seconds; what "
        "is not known is an empty cell. Names with `test_`, here and in `run.json`, `history.csv` and "
        "`report.json`, are old names of the numbers of the test split or the hold-out: deprecated since "
        "version 0.3, with the same values as the new names, and left out from version 0.4 on.",
    ]
    for each in TABLES:
        rows = [(f"`{column.name}`", column.meaning) for column in each.columns]
        parts += [f"### `{each.name}.csv`", f"A row is {each.each_row_is}.", table(("column", ""), rows)]
    return "\n\n".join(parts) + "\n"


FILES = [
    (
        "`study.toml`",
        "the complete study, overrides included, with the seeds of the report; `trial` lists what `--set` "
        "changed of the study file; the report's commands repeat its runs from it",
    ),
    (
        "`model_<checksum>.py`",
        "the source of a network that a notebook or script defined; study.toml names it, and `--allow` lets "
        "it run",
    ),
    ("`report.html`, `report.md`", "verdict, tables, figures, provenance"),
    (
        "`report.json`",
        "for programs, with its checksum: `study`, `title`, `question`, `verdict`, `sentence` (to copy), "
        "`met`, `metric`, `target`; `variants`: each variant's numbers and finished `seeds`; `ranked`: the "
        "rows of the ranked table as text, and its `decision_rule`; `ranking`, `comparisons`, `references`: "
        "the rows and columns of these tables below, `null` for an empty cell, `ranking` also of one or two "
        "variants; `repeat`: the commands that repeat the runs",
    ),
    ("`search.json`", "of a search: what each trial tries, and after how many seeds it was cut short"),
    ("`tables/*.csv`", "below"),
    (
        "`tables/ranked.tex`, `.md`, `.typ`",
        "the ranked table of the first section, to copy into a paper: LaTeX (booktabs), Markdown, Typst",
    ),
    ("`figures/*.png`", "the page's figures; also `.svg`, `.pdf` with `--figures`"),
    (
        "`range_test/<variant>.json`, `.csv`",
        "LRMIN, LRMAX, its range, criterion and warnings; the sweeps. Where each run finds its own: "
        "`range_test.json` and `.csv` in the run's folder",
    ),
    (
        "`runs/<variant>/seed-<n>/run.json`",
        "status, configuration and its digest, metrics of the last epoch (`accuracy`, `balanced_accuracy`, "
        "`top5_accuracy`, `macro_f1`, `auroc`, `nll`, the study's own by import path; `loss`, `ties`, "
        "`train_accuracy`, `best_accuracy`, ...), timings with how many runs were on the device at once, "
        "provenance (`metrics`: checksums of the code of the study's own), the seeds and looks planned by "
        "the start that claimed it (`planned`), why its results may mislead (`doubts`), checksums of the "
        "other files",
    ),
    ("`.../history.csv`, `learning_rates.csv`", "a row an epoch; a row a step"),
    (
        "`.../predictions.npz`",
        "`logits` (N, C) float32 and `labels` (N,) of the last epoch, in the split's order; `clusters` (N,) "
        "where the study has `data.cluster`",
    ),
    (
        "`.../model.safetensors`",
        "the last epoch's weights, or their average where the study has `[averaging]`; its metadata names "
        "network, classes and image shape. It may be removed: "
        "only Grad-CAM, exports and `harness.load` need it",
    ),
    ("`.../profile/`", "with `--profile`: where the time went"),
    ("`exports/<variant>/seed-<n>/`", "with `--export`: networks for other programs, and their model card"),
    ("`../index.html`", "all studies of the folder"),
]


# ---- the command ------------------------------------------------------------------------------------------


def commands() -> str:
    """What ``--help`` says."""
    from harness.compare import command as compare
    from harness.predict import command as predict
    from harness.study import command as study

    parts = ["# The command", MADE]
    for name, found in (("harness.study", study), ("harness.compare", compare), ("harness.predict", predict)):
        context = found.make_context(f"python -m {name}", [], resilient_parsing=True, terminal_width=100)
        parts += [f"## `python -m {name}`", f"```text\n{found.get_help(context)}\n```"]
    return "\n\n".join(parts) + "\n"


# ---- licences ---------------------------------------------------------------------------------------------


def licences() -> str:
    """What each package that setup.cfg names is licensed under; the rows of those not installed here stay."""
    page = (DOCS / "licences.md").read_text(encoding="utf-8")
    earlier = dict(re.findall(r"^\| (\S+) \| (.+) \|$", page, re.MULTILINE))
    rows = []
    for name in sorted(_named(), key=str.lower):
        try:
            rows.append((name, _licence(name)))
        except PackageNotFoundError:
            rows.append((name, earlier.get(name, "(not installed here)")))
    lead = (
        "The packages that setup.cfg names, with the licence that each states. The harness is BSD-3-Clause."
    )
    return "\n\n".join(["# Licences", MADE, lead, table(("package", "licence"), rows)]) + "\n"


def _named() -> set[str]:
    """Every requirement in setup.cfg."""
    import configparser

    file = configparser.ConfigParser()
    file.read(DOCS.parent / "setup.cfg", encoding="utf-8")
    lines = [file["options"]["install_requires"], *file["options.extras_require"].values()]
    words = (line.split() for text in lines for line in text.strip().splitlines())
    return {word[0] for word in words}


def _licence(name: str) -> str:
    """The expression of PEP 639, else the classifiers, else the first line of the text or of its file."""
    found = distribution(name)
    metadata = found.metadata
    if metadata["License-Expression"]:
        return str(metadata["License-Expression"])
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    files = [str(file.read_text()) for file in found.files or [] if file.name.upper().startswith("LICENSE")]
    stated = metadata["License"] if metadata["License"] != "UNKNOWN" else None
    text = str(stated or next(iter(files), "not stated"))
    return ", ".join(classified) or text.strip().splitlines()[0][:80]


PAGES = {
    "study.schema.json": json_schema,
    "study-file.md": study_file,
    "output-files.md": output_files,
    "command.md": commands,
}


def main() -> None:
    """Write all of them."""
    for name, made in {**PAGES, "licences.md": licences}.items():
        (DOCS / name).write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main()
