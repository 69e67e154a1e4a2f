"""``--dry-run``: what a study would do, what it costs, and what is on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from harness.analysis.numbers import several
from harness.analysis.units import target_text
from harness.data import downloadable
from harness.data.mixing import shares
from harness.messages import about
from harness.planning.forecast import Forecast, make_forecast
from harness.planning.states import Preview, VariantState, variant_states
from harness.schedule import rates_at
from harness.study_file.config import Extended, Recipe
from harness.study_file.parts import CROSS_ENTROPY
from harness.study_file.seeds import seeds_text

MOST_PARTS = 10  # rows of the parameter summary


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


def _learning_rates(state: VariantState) -> list[float | None]:
    """Return the rate at each epoch's first step."""
    epochs = state.recipe.schedule.epochs
    if state.milestones is None or state.outline is None:
        return [None] * epochs
    return [float(lr) for lr in rates_at(state.milestones, np.arange(epochs) * state.outline.steps_per_epoch)]


def _study_object(preview: Preview) -> dict[str, Any]:
    variants, states = [], variant_states(preview)
    for state in states:
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
    forecast = asdict(make_forecast(preview, states))
    return {"name": study.name, **target, **looks, "variants": variants, "forecast": forecast}


def _study_lines(preview: Preview) -> list[str]:
    study, states = preview.study, variant_states(preview)
    lines = [f"{study.name}: target {target_text(study.target)}"]
    if isinstance(study.extends, Extended):
        lines.append(f"  {study.extends.in_words()}")
    if study.metrics:
        lines.append(f"  additional metrics: {', '.join(study.metrics)}")
    if study.looks:
        after = ", ".join(f"{n} (seed{'s' * (n > 1)} {seeds_text(study.seeds[:n])})" for n in study.looks)
        lines.append(f"  looks after {after} of {len(study.seeds)} seeds")
    shown: list[tuple[Any, ...]] = []
    for state in states:
        if state.outline and state.outline.layers not in shown:
            shown.append(state.outline.layers)
            lines += _layer_lines(state)
    said: set[str] = set()  # most variants have the same images
    for state in states:
        lines.append(f"  {state.name}")
        if state.variant is None:
            downloads = downloadable(state.recipe.data.source)
            where = "a run downloads it" if downloads else "set --data DIR"
            lines.append(f"    data not found: {where}")
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
            lines.append(f"    a run would stop: {state.refusal}; choose another --out, or --force")
    if study.search is not None:
        seeds = len(study.seeds)
        lines.append(f"  and a search of {study.search.trials} trials, at most {seeds} runs each")
    forecast = make_forecast(preview, states)
    if not forecast.runs and any(state.refusal for state in states):
        return lines
    return [*lines, *_forecast_lines(preview, states, forecast)]


def _forecast_lines(preview: Preview, states: Sequence[VariantState], forecast: Forecast) -> list[str]:
    """Say how long the missing runs take on this machine, and what they need."""
    trials = preview.study.search is not None
    if not forecast.runs:
        failed = any(status == "failed" for state in states for _, status in state.seeds)
        ended = (
            "all runs have ended; those that failed would fail again" if failed else "all runs have finished"
        )
        return [f"  {ended}{'; the search may start more' * trials}"]
    runs = f"{several(forecast.runs, 'run')} to do{' and the trials' * trials}"
    if forecast.runs_at_once is None:
        how = "as many at once as fit the cluster"
    elif forecast.runs_at_once > 1:
        how = f"{forecast.runs_at_once} runs at once"
    else:
        how = "one run at a time"
    if forecast.seconds is None:
        lines = [f"  {runs}, {how}; time unknown: {forecast.source}"]
    else:
        lines = [
            f"  {runs}: about {about(forecast.seconds)} on this machine, {how}",
            f"    ({forecast.source})",
        ]
    needs = [f"{_size(forecast.disk_bytes)} on disk in {preview.folder.path}"]
    if forecast.memory_bytes is not None:
        needs.append(f"peak memory about {_size(forecast.memory_bytes)}")
    return [*lines, f"    {', '.join(needs)}"]


def _size(count: int) -> str:
    """Write ``310 MB`` or ``2.1 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 999.5e6 else f"{max(1, round(count / 1e6))} MB"


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
            f"    learning rate: from a range test, {sweeps}{' for each run' * state.recipe.each_run_finds}"
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


def _layer_lines(state: VariantState) -> list[str]:
    """Return the parameter summary as a table with a row for each part of the network."""
    assert state.outline is not None
    outline, parts = state.outline, dict[str, tuple[str, int, float]]()
    for row in outline.layers:
        part = row.layer.partition(".")[0]
        _, parameters, size = parts.get(part, ("", 0, 0.0))
        shape = "x".join(map(str, row.output_shape))
        parts[part] = shape, parameters + row.parameters, size + row.bytes
    rows = [(part, *numbers) for part, numbers in parts.items()]
    if len(rows) > MOST_PARTS:
        hidden = rows[MOST_PARTS - 1 :]
        others = sum(n for _, _, n, _ in hidden), sum(size for *_, size in hidden)
        rows = [*rows[: MOST_PARTS - 1], (f"{len(hidden)} more", hidden[-1][1], *others)]
    rows.append(("total", "", outline.parameters, sum(size for *_, size in rows)))
    width = max(len(part) for part, *_ in rows)
    lines = [
        f"  network {state.recipe.model.name}",
        f"    {'part':<{width}}  {'output':>11}  {'parameters':>10}  {'MB':>7}",
    ]
    return lines + [
        f"    {part:<{width}}  {shape:>11}  {n:>10,}  {size / 1e6:>7.3f}" for part, shape, n, size in rows
    ]
