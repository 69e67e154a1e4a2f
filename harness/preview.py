"""``--dry-run``: what a study would do, what it costs, and what is on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.analysis.units import target_text
from harness.data import KNOWN_SHAPES, downloadable
from harness.data.arrays import Data
from harness.data.leakage import find_leakage, leakage_notes, leakage_warnings
from harness.data.mixing import shares
from harness.errors import AbsentDataError, RunError
from harness.launch.job import difference_on_disk
from harness.outline import Outline, check_recipe, make_outline
from harness.plan import Variant, choose_variants, make_plan
from harness.request import Request
from harness.runner import LoadedData
from harness.schedule import Milestones, Rates, lr_milestones, rates_at, resolve_rates
from harness.search import check_search
from harness.store.folders import RunFolder, StudyFolder
from harness.study_file.config import Extended, Recipe, Study
from harness.study_file.parts import CROSS_ENTROPY
from harness.study_file.seeds import seeds_text
from harness.training.range_test import stored_rates
from harness.training.rehearsal import rehearse


@dataclass(frozen=True)
class Preview:
    """A study, its folder, and how it would be run.

    Attributes:
        variants: the names asked for; None for all.
        seeds: those asked for; None for the study's.
    """

    study: Study
    folder: StudyFolder
    load_data: Callable[[Recipe], Data]
    variants: list[str] | None
    device: str
    devices: int = 1
    seeds: Sequence[int] | None = None


@dataclass(frozen=True)
class VariantState:
    """The state of a variant: without its data there is no digest, for an unknown data set no cost.

    Attributes:
        milestones: the corners of the learning rate; None before the range test.
        seeds: each seed with the status of its run.
        refusal: how runs on disk differ from this configuration; None where they do not.
        warnings: that a run would give.
        notes: about its images.
    """

    name: str
    recipe: Recipe
    variant: Variant | None
    outline: Outline | None
    milestones: Milestones | None
    seeds: list[tuple[int, str]]
    refusal: str | None = None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


def previews(request: Request, studies: Sequence[Study]) -> list[Preview]:
    """Return a preview of each study of a request; nothing is downloaded.

    Raises:
        StudyError: a study's search is not possible.
    """
    for study in studies:
        check_search(study, request.world_size)
    load_data, asked = LoadedData(request.data), None if request.variants is None else list(request.variants)
    return [
        Preview(
            study,
            StudyFolder(request.results, study.name),
            load_data,
            asked,
            request.device,
            request.world_size,
            request.seeds_of(study),
        )
        for study in studies
    ]


def as_json(previews: Sequence[Preview]) -> str:
    """Return a JSON array for scripts: one object a study.

    Raises:
        StudyError: a study is wrong.
        DataError: its data is damaged or cannot be used. Missing data is no error here.
    """
    return json.dumps([_study_object(preview) for preview in previews], indent=2)


def as_text(previews: Sequence[Preview]) -> str:
    """Return the same for people, with each network's parameter summary.

    Raises:
        StudyError, DataError: as :func:`as_json`.
    """
    return "\n".join(line for preview in previews for line in _study_lines(preview))


def variant_states(preview: Preview) -> list[VariantState]:
    """Return the state of each variant; variants whose data is on disk are planned as for a run."""
    study, folder = preview.study, preview.folder
    names = choose_variants(study, preview.variants)
    here: dict[str, Data] = {}
    for name in names:
        check_recipe(study, name)
        with suppress(AbsentDataError):
            here[name] = preview.load_data(study.recipes[name])
    planned: dict[str, Variant] = {}
    if here:
        device, devices = preview.device, preview.devices
        plan = make_plan(
            study, folder, preview.load_data, variants=list(here), device=device, devices=devices
        )
        planned = {variant.name: variant for variant in plan.variants}
    return [
        _state(preview, name, planned[name], here[name])
        if name in here
        else _state_without_data(preview, name)
        for name in names
    ]


def _state(preview: Preview, name: str, variant: Variant, data: Data) -> VariantState:
    recipe, folder = variant.recipe, preview.folder
    leakage = find_leakage(data, progress=True).to_record()
    among = leakage, data.evaluated_on, len(data.evaluation)
    return VariantState(
        name,
        recipe,
        variant,
        variant.outline,
        _milestones(recipe, variant.outline, stored_rates(variant, folder)),
        _seeds(preview, name),
        _refusal(folder, variant),
        [*rehearse(variant, data).warnings(recipe.model.name), *leakage_warnings(*among)],
        leakage_notes(*among),
    )


def _state_without_data(preview: Preview, name: str) -> VariantState:
    study, outline = preview.study, None
    recipe = study.recipes[name]
    if (shape := KNOWN_SHAPES.get(recipe.data.source)) is not None:
        images = shape.train_images - (recipe.data.holdout or 0)
        images = min(images, recipe.data.train_limit or images)
        side = recipe.data.image_size
        size = (side, side) if side else shape.image_size
        outline = make_outline(study, name, images, size, shape.classes)
    return VariantState(
        name, recipe, None, outline, _milestones(recipe, outline, None), _seeds(preview, name)
    )


def _milestones(recipe: Recipe, outline: Outline | None, stored: Rates | None) -> Milestones | None:
    if outline is None or (recipe.schedule.finds and stored is None):
        return None
    return lr_milestones(recipe.schedule, resolve_rates(recipe.schedule, stored), outline.steps_per_epoch)


def _seeds(preview: Preview, name: str) -> list[tuple[int, str]]:
    def status(run: RunFolder) -> str:
        try:
            return run.status()
        except RunError:  # a damaged record
            return "failed"

    return [(seed, status(preview.folder.run(name, seed))) for seed in preview.seeds or preview.study.seeds]


def _refusal(folder: StudyFolder, variant: Variant) -> str | None:
    for run in sorted(folder.runs_of(variant.name), key=lambda run: run.seed):
        with suppress(RunError):  # a damaged run is done again
            if difference := difference_on_disk(variant, run):
                return difference
    return None


def _learning_rates(state: VariantState) -> list[float | None]:
    """Return the rate at each epoch's first step."""
    epochs = state.recipe.schedule.epochs
    if state.milestones is None or state.outline is None:
        return [None] * epochs
    return [float(lr) for lr in rates_at(state.milestones, np.arange(epochs) * state.outline.steps_per_epoch)]


def _study_object(preview: Preview) -> dict[str, Any]:
    variants = []
    for state in variant_states(preview):
        outline = state.outline
        variants.append(
            {
                "variant": state.name,
                "digest": state.variant and state.variant.digest,
                "parameters": outline and outline.parameters,
                "flops_per_image": outline and outline.flops_per_image,
                "steps_per_epoch": outline and outline.steps_per_epoch,
                "epochs": state.recipe.schedule.epochs,
                "learning_rates": _learning_rates(state),
                "seeds": [{"seed": seed, "status": status} for seed, status in state.seeds],
            }
        )
    study = preview.study
    looks = {"looks": study.looks} if study.looks else {}
    target = {"target": study.target.level, "metric": study.target.of}
    return {"name": study.name, **target, **looks, "variants": variants}


def _study_lines(preview: Preview) -> list[str]:
    study = preview.study
    lines = [f"{study.name}: target {target_text(study.target)}"]
    if isinstance(study.extends, Extended):
        lines.append(f"  {study.extends.in_words()}")
    if study.metrics:
        lines.append(f"  metrics of its own: {', '.join(study.metrics)}")
    if study.looks:
        after = ", ".join(f"{n} (seed{'s' * (n > 1)} {seeds_text(study.seeds[:n])})" for n in study.looks)
        lines.append(f"  looks after {after} of {len(study.seeds)} seeds")
    shown: list[tuple[Any, ...]] = []
    said: set[str] = set()  # most variants have the same images
    for state in variant_states(preview):
        lines.append(f"  {state.name}")
        if state.variant is None:
            downloads = downloadable(state.recipe.data.source)
            where = "a real start downloads it" if downloads else "--data DIR says where it is"
            lines.append(f"    the data is not here: {where}")
        else:
            lines.append(
                f"    digest {state.variant.digest[:16]}, {state.variant.device}, {state.variant.precision}"
            )
            if state.variant.pretrained is not None:
                lines.append(f"    {state.variant.pretrained.says}")
        lines += _augment_lines(state.recipe)
        lines += _cost_lines(state)
        lines += [f"    warning: {warning}" for warning in state.warnings]
        lines += [f"    note: {note}" for note in state.notes if note not in said]
        said.update(state.notes)
        if state.refusal:
            lines.append(f"    a real start refuses: {state.refusal}; choose another --out, or --force")
        if state.outline and state.outline.layers not in shown:
            shown.append(state.outline.layers)
            lines += _layer_lines(state.outline)
    if study.search is not None:
        seeds = len(study.seeds)
        lines.append(f"  and a search of {study.search.trials} trials, at most {seeds} runs each")
    return lines


def _augment_lines(recipe: Recipe) -> list[str]:
    """Name the transforms of the train images, with their library, and what mixes the batches."""
    augment, parts = recipe.augment, []
    if augment.train:
        names = ", ".join(str(table["transform"]) for table in augment.train)
        parts.append(f"{names} by {augment.library}")
    if augment.batch:
        mixed = zip(augment.batch, shares(augment.batch), strict=False)
        parts.append("batches: " + ", ".join(f"{share:.0%} {table.transform}" for table, share in mixed))
    return [f"    train images: {'; '.join(parts)}"] if parts else []


def _cost_lines(state: VariantState) -> list[str]:
    epochs, outline = state.recipe.schedule.epochs, state.outline
    lines = [f"    {epochs} epochs"]
    if outline:
        flops = outline.flops_per_image * epochs * outline.steps_per_epoch * state.recipe.data.batch_size
        lines[0] += f" of {outline.steps_per_epoch} steps, about {flops:.2g} FLOP a run"
    lines += _training_lines(state)
    if sampler := state.recipe.data.sampler:
        lines.append(f"    images of an epoch drawn by {sampler}")
    if state.milestones:
        rates = [rate for _, rate in state.milestones]
        lines.append(f"    learning rate {min(rates):.4g} to {max(rates):.4g}")
    elif state.recipe.schedule.finds and (settings := state.recipe.range_test_settings):
        sweeps = f"{settings.sweeps} sweep{'s' * (settings.sweeps > 1)} of {settings.iterations} steps"
        lines.append(
            f"    learning rate: to be found by {sweeps}{' for each run' * state.recipe.each_run_finds}"
        )
    loss, weights = state.recipe.loss, state.variant and state.variant.class_weights
    if loss.name != CROSS_ENTROPY or loss.class_weights:
        classes = f", classes weighted {min(weights):.4g} to {max(weights):.4g}" if weights else ""
        lines.append(f"    loss {loss.name}{classes}")
    if outline:
        lines += [f"    parameter group {group}" for group in outline.groups]
    states: dict[str, list[str]] = {}
    for seed, status in state.seeds:
        states.setdefault(status, []).append(str(seed))
    for status, seeds in states.items():
        lines.append(f"    {status}: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")
    return lines


def _training_lines(state: VariantState) -> list[str]:
    """Say what is unusual about a step, and whose weights are evaluated."""
    optimizer, averaging, lines = state.recipe.optimizer, state.recipe.averaging, []
    if (together := optimizer.accumulate) > 1:
        images = together * state.recipe.data.batch_size
        lines.append(f"    optimizer: a step every {together} batches, of {images:,} images")
    if optimizer.clip_norm is not None:
        lines.append(f"    optimizer: gradients clipped to a norm of {optimizer.clip_norm:g}")
    if averaging.kind != "none":
        lines.append(f"    weights evaluated and saved: {averaging.in_words()}")
    return lines


def _layer_lines(outline: Outline) -> list[str]:
    """Return the parameter summary as a table."""
    rows = [
        (row.layer, "x".join(map(str, row.output_shape)), row.parameters, row.bytes) for row in outline.layers
    ]
    width = max(len(layer) for layer, *_ in rows)
    lines = [f"    {'layer':<{width}}  {'output':>11}  {'parameters':>10}  {'MB':>7}"]
    lines += [
        f"    {layer:<{width}}  {shape:>11}  {n:>10,}  {size / 1e6:>7.3f}" for layer, shape, n, size in rows
    ]
    total = sum(size for *_, size in rows)
    lines.append(f"    {'total':<{width}}  {'':>11}  {outline.parameters:>10,}  {total / 1e6:>7.3f}")
    return lines
