"""What there is of a study before a start: its variants as a run would have them, and the runs on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.data import KNOWN_SHAPES
from harness.data.arrays import Data
from harness.data.leakage import find_leakage, leakage_notes, leakage_warnings
from harness.errors import AbsentDataError, RunError
from harness.launch.job import difference_on_disk
from harness.outline import Outline, check_recipe, make_outline
from harness.plan import Variant, choose_variants, make_plan
from harness.request import Request
from harness.runner import LoadedData
from harness.schedule import Milestones, Rates, lr_milestones, resolve_rates
from harness.search import check_search
from harness.store.folders import RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.study_file.config import Recipe, Study
from harness.training.range_test import stored_rates
from harness.training.rehearsal import rehearse


@dataclass(frozen=True)
class Preview:
    """A study, its folder, and how it would be run.

    Attributes:
        variants: the names asked for; None for all.
        seeds: those asked for; None for the study's.
        launcher, workers: as asked for.
    """

    study: Study
    folder: StudyFolder
    load_data: Callable[[Recipe], Data]
    variants: list[str] | None
    device: str
    devices: int = 1
    seeds: Sequence[int] | None = None
    launcher: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class VariantState:
    """The state of a variant: without its data there is no digest, for an unknown data set no cost.

    Attributes:
        milestones: the corners of the learning rate; None before the range test.
        seeds: each seed with the status of its run.
        refusal: how runs on disk differ from this configuration; None where they do not.
        warnings: that a run would give.
        notes: about its images.
        has_range_test: whether its range test is on disk.
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
    has_range_test: bool = False


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
            request.launcher,
            request.workers,
        )
        for study in studies
    ]


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
    stored = stored_rates(variant, folder)
    return VariantState(
        name,
        recipe,
        variant,
        variant.outline,
        _milestones(recipe, variant.outline, stored),
        _seeds(preview, name),
        _refusal(folder, variant),
        [*rehearse(variant, data).warnings(recipe.model.name), *leakage_warnings(*among)],
        leakage_notes(*among),
        stored is not None,
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


def finished_records(preview: Preview, state: VariantState) -> list[RunRecord]:
    """Return the records of a variant's finished runs; of none where they are another configuration's."""
    if state.refusal:
        return []
    runs = (preview.folder.run(state.name, seed) for seed, status in state.seeds if status == "finished")
    return [record for run in runs if (record := run.record()) is not None]
