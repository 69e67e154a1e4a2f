"""``--dry-run``: what a study would do, what it costs, and what is already there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from harness.config import Recipe, Study
from harness.data.arrays import Data
from harness.errors import DataError, RunError
from harness.plan import Variant, check_recipe, resolve_variant
from harness.store import StudyFolder
from harness.training.range_test import stored_rates
from harness.training.schedule import lr_milestones, rates_at, resolve_rates


def preview(studies: list[Study], load_data: Callable[[Recipe], Data], options: dict[str, Any]) -> None:
    """Print every study's plan, as text or as JSON.

    Raises:
        StudyError: the study is wrong. Missing data is no error here.
    """
    found = [describe(study, load_data, options) for study in studies]
    if options["json_"]:
        click.echo(json.dumps(found, indent=2))
        return
    for study in found:
        _print(study)


def describe(study: Study, load_data: Callable[[Recipe], Data], options: dict[str, Any]) -> dict[str, Any]:
    """One study's object of ``--dry-run --json``."""
    folder = StudyFolder(options["out"], study.name)
    asked = options["variants"].split(",") if options["variants"] else list(study.recipes)
    return {
        "name": study.name,
        "target": study.target.test_accuracy,
        "variants": [
            _describe_variant(study, name, folder, load_data, options["device"])
            for name in study.recipes
            if name in asked
        ],
    }


def _describe_variant(
    study: Study, name: str, folder: StudyFolder, load_data: Callable[[Recipe], Data], device: str
) -> dict[str, Any]:
    recipe = study.recipes[name]
    check_recipe(study, name)
    try:
        data = load_data(recipe)
    except DataError:
        variant = None
    else:
        variant = resolve_variant(study, name, data, device=device)
    return {
        "variant": name,
        "digest": variant and variant.digest,
        "parameters": variant and variant.parameters,
        "flops_per_image": variant and variant.flops_per_image,
        "steps_per_epoch": variant and variant.steps_per_epoch,
        "epochs": recipe.schedule.epochs,
        "learning_rates": _learning_rates(recipe, variant, folder),
        "seeds": [{"seed": seed, "status": _status(folder, name, seed)} for seed in study.seeds],
    }


def _learning_rates(recipe: Recipe, variant: Variant | None, folder: StudyFolder) -> list[float | None]:
    """The rate at each epoch's first step, as far as it is known."""
    epochs = recipe.schedule.epochs
    found = stored_rates(variant, folder) if variant else None
    if variant is None or (recipe.schedule.finds and found is None):
        return [None] * epochs
    milestones = lr_milestones(
        recipe.schedule, resolve_rates(recipe.schedule, found), variant.steps_per_epoch
    )
    return [float(lr) for lr in rates_at(milestones, np.arange(epochs) * variant.steps_per_epoch)]


def _status(folder: StudyFolder, variant: str, seed: int) -> str:
    try:
        return folder.run(variant, seed).status()
    except RunError:
        return "failed"


def _print(study: dict[str, Any]) -> None:
    click.echo(f"{study['name']}: target {study['target']:.1%}")
    for variant in study["variants"]:
        click.echo(f"  {variant['variant']}")
        if variant["digest"] is None:
            click.echo("    the data is not here: a real start downloads it, or says how to get it")
        else:
            click.echo(f"    digest {variant['digest'][:16]}, {variant['parameters']:,} parameters")
        click.echo(f"    {variant['epochs']} epochs" + _cost(variant))
        rates = [rate for rate in variant["learning_rates"] if rate is not None]
        click.echo(
            f"    learning rate {min(rates):.4g} to {max(rates):.4g}"
            if rates
            else "    learning rate to be found"
        )
        states: dict[str, list[str]] = {}
        for seed in variant["seeds"]:
            states.setdefault(seed["status"], []).append(str(seed["seed"]))
        for status, seeds in states.items():
            click.echo(f"    {status}: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")


def _cost(variant: dict[str, Any]) -> str:
    if variant["flops_per_image"] is None:
        return ""
    return f" of {variant['steps_per_epoch']} steps, {variant['flops_per_image'] / 1e9:.3g} GFLOP an image"
