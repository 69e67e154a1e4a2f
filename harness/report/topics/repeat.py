"""The commands that repeat the runs of a report, with every option that decides a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.findings import Findings
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.identity import import_paths
from harness.imports import package_of
from harness.models.imported import TIMM
from harness.own_schedule import TORCHS
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures
from harness.study_file.config import Extended, Recipe, Study
from harness.study_file.seeds import seeds_text

PROGRAM = "python -m harness.study study.toml"
EMBEDDED = "digits"  # the source that needs no folder
TABLES = ()


def commands(results: Results) -> list[str]:
    """Return the commands that repeat every run of the report, with its study.toml; one command if possible.

    Variants with other seeds, devices, precision or number of threads need a command of their own.
    """
    study = results.study
    groups: dict[tuple[tuple[int, ...], str, str], list[str]] = {}
    for variant in results.variants:
        if variant in study.recipes:
            runs = results.of(variant)
            needed = [run for run in runs if run.status != "not needed"]
            key = _seeds(needed), *_conditions(study.recipes[variant], runs)
            groups.setdefault(key, []).append(variant)
    lines = []
    for (seeds, threads, conditions), variants in groups.items():
        chosen = _chosen(study, variants, seeds)
        lines.append(f"{threads}{PROGRAM} --out again{chosen}{conditions}{_needs(study, variants)}")
    return lines


def report_command(results: Results) -> str:
    """Return the command that repeats the report from runs on disk, without runs that it does not have."""
    study = results.study
    groups: dict[tuple[int, ...], list[str]] = {}
    for variant in results.variants:
        if variant in study.recipes:
            groups.setdefault(_seeds(results.of(variant)), []).append(variant)
    # runs on disk are found anyway, so name only one group, that of a missing run if there is one.
    waiting = {run.variant for run in results.runs if run.status == "missing"}
    seeds, variants = max(groups.items(), key=lambda group: bool(waiting & set(group[1])))
    names = [name for names in groups.values() for name in names]
    chosen = _chosen(study, variants, seeds)
    return f"{PROGRAM} --out DIR --report-only{chosen}{_needs(study, names)}"


def _seeds(runs: Sequence[Run]) -> tuple[int, ...]:
    return tuple(sorted(run.seed for run in runs))


def _chosen(study: Study, variants: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the options that choose these runs; empty where they are all of the study's."""
    chosen = "" if set(variants) == set(study.recipes) else f" --variants {','.join(variants)}"
    return chosen if set(seeds) == set(study.seeds) else f"{chosen} --seeds {seeds_text(sorted(seeds))}"


def section(findings: Findings, figures: Figures) -> Section:
    """Show the commands and the study file."""
    results, study = findings.results, findings.results.study
    names = [name for name in results.variants if name in study.recipes]
    code = [
        "# Repeat the runs in another folder: the same numbers on the same machine",
        *commands(results),
        f"# Rebuild tables, figures and this report from the finished runs in DIR/{study.name}",
        report_command(results) + (f" --theme {figures.theme}" if figures.theme else ""),
    ]
    lead = (
        "study.toml is beside this report: the complete study, overrides included, with the seeds of this "
        "report."
    )
    if any(recipe.data.source != EMBEDDED for recipe in study.recipes.values()):
        lead += " DATA is the data directory, which --data or HARNESS_DATA named."
    if study.own_metrics or any(packages(recipe) for recipe in study.recipes.values()):
        lead += " --allow names a package: install it, or copy it next to study.toml."
    if files := dict.fromkeys(file for recipe in study.recipes.values() if (file := recipe.model.pretrained)):
        lead += f" Training starts from the weights in {', '.join(files)}, which you need too."
    if any(name.startswith("trial-") for name in names):
        lead += (
            " The variants trial-... were proposed by a search. These commands repeat them; the original "
            "study file repeats the search."
        )
    if isinstance(study.extends, Extended):
        lead += f" The study file {study.extends.in_words()}."
    return Section(
        "How to repeat it",
        [
            Block("text", lead),
            Block("code", "\n".join(code)),
            Block("code", study.to_toml(), title="study.toml, the complete study file"),
            *(Block("code", text, title=f"{file}, beside study.toml") for file, text in _sources(results)),
        ],
        about="the commands and the study file",
    )


def _sources(results: Results) -> Iterable[tuple[str, str]]:
    """Return the files with the source of networks that a notebook or script defined, and their texts."""
    names = [recipe.model.name for recipe in results.study.recipes.values()]
    return results.runs[0].folder.study.sources(names).items() if results.runs else ()


def packages(recipe: Recipe) -> list[str]:
    """List the packages of the code that a recipe names by import path, which ``--allow`` has to name."""
    paths = [recipe.model.name, *import_paths(recipe.model_dump())]
    return [package_of(path) for path in paths if ":" in path and not path.startswith((TIMM, f"{TORCHS}:"))]


def _needs(study: Study, variants: Sequence[str]) -> str:
    """Return the options for the data and for the users' own code."""
    recipes = [study.recipes[variant] for variant in variants]
    in_recipes = (name for recipe in recipes for name in packages(recipe))
    allowed = dict.fromkeys([*in_recipes, *map(package_of, study.own_metrics)])
    data = " --data DATA" if any(recipe.data.source != EMBEDDED for recipe in recipes) else ""
    return data + "".join(f" --allow {name}" for name in allowed)


def _conditions(recipe: Recipe, runs: Sequence[Run]) -> tuple[str, str]:
    """Return the options for how the runs were computed, where the study leaves that open.

    Returns:
        The number of threads, as an environment variable; and the options.
    """
    run = min(runs, key=lambda run: run.status != "finished")
    identity, provenance = run.identity, run.provenance
    device, options = identity.get("device"), ""
    if device is not None:
        options += f" --device {device}"
    if identity.get("devices"):
        options += f" --devices {identity['devices']}"
    # a named precision implies the usual memory format: name it only where that was used
    if recipe.precision == "auto" and "precision" in identity and "memory_format" not in identity:
        options += f" --precision {identity['precision']}"
    if recipe.compile == "auto" and device == "cuda":
        compiled = bool((identity.get("recipe") or {}).get("compile"))
        options += f" --set compile={str(compiled).lower()}"
    threads = provenance.get("threads")
    return f"OMP_NUM_THREADS={threads} " if device == "cpu" and isinstance(threads, int) else "", options
