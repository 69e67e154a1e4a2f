"""From a study to its runs: every variant resolved against data, device and libraries, with its digest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.arrays import Data, count_steps, mean_std
from harness.errors import StudyError
from harness.identity import Pipeline, identity_of_variant
from harness.messages import suggest
from harness.metrics import check_metrics
from harness.outline import Outline, check_pretrained, check_recipe, make_outline, where_in
from harness.store.folders import RunFolder, StudyFolder
from harness.store.records import RecordedStatus, RunRecord
from harness.store.sealed import digest
from harness.study_file.config import Recipe, Study

if TYPE_CHECKING:
    from torch import nn

    from harness.compute import Compute
    from harness.models.network import NetworkConfig
    from harness.models.pretrained import Pretrained


@dataclass(frozen=True)
class Variant:
    """A recipe resolved for its data and device: all that a run needs beside seed and images.

    Attributes:
        recipe: as validated; its ``augment`` is replaced by the resolved pipelines below.
        train_transforms, test_transforms: with their Normalize.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        compute: precision, memory format, compiled or not.
        network: what its network is built from.
        identity: everything that decides a run's result, except for the seed; ``digest`` is its SHA-256.
        devices: processes that train it together.
        class_weights: of the loss, by label; None where all classes count the same.
        resumes: whether its runs can resume from a checkpoint; not where the network keeps other state.
        doubt: why its results may mislead, as its network's rehearsal found; empty without a reason.
        pretrained: the file of weights that training starts from.
        own_metrics: import paths of the study's own metrics, which the digest does not have.
    """

    study: str
    name: str
    recipe: Recipe
    train_transforms: Pipeline
    test_transforms: Pipeline
    device: str
    compute: Compute
    network: NetworkConfig
    train_images: int
    identity: dict[str, Any]
    digest: str
    outline: Outline
    devices: int = 1
    class_weights: list[float] | None = None
    resumes: bool = True
    doubt: str = ""
    pretrained: Pretrained | None = None
    own_metrics: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, by label."""
        return self.network.classes

    @property
    def precision(self) -> str:
        """Return the precision, never ``"auto"``."""
        return self.compute.precision

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches of an epoch."""
        return self.outline.steps_per_epoch

    @property
    def last_batch(self) -> int:
        """Return how many images an epoch's last batch has."""
        return self.images_an_epoch - (self.steps_per_epoch - 1) * self.recipe.data.batch_size

    @property
    def images_an_epoch(self) -> int:
        """Return how many images an epoch trains on."""
        data = self.recipe.data
        return self.steps_per_epoch * data.batch_size if data.drop_last else self.train_images

    def record(self, seed: int, status: RecordedStatus, **fields: Any) -> RunRecord:
        """Return the record of one of its runs; ``fields`` are further fields of the record."""
        return RunRecord(
            study=self.study,
            variant=self.name,
            seed=seed,
            status=status,
            digest=self.digest,
            identity=self.identity,
            **fields,
        )

    def of_run(self, seed: int, data: Data) -> Variant:
        """Return the variant as the run with this seed trains it.

        Where the hold-out varies, the images are normalised by the run's own train images, and there may be
        more or fewer of them: a hold-out of whole clusters has not always the same size. The identity stays:
        it has the images of the first hold-out, from which those of all others follow.

        Args:
            data: the run's images.
        """
        recipe = self.recipe.of_run(seed)
        if recipe.draw == self.recipe.draw:
            return self
        train, test = _pipelines(recipe, data, f"{self.study}: variants.{self.name}")
        images = len(data.train)
        steps = count_steps(images, recipe.data.batch_size, recipe.data.drop_last)
        outline = replace(self.outline, steps_per_epoch=steps)
        return replace(
            self,
            recipe=recipe,
            train_transforms=train,
            test_transforms=test,
            train_images=images,
            outline=outline,
            class_weights=_class_weights(recipe, data, f"{self.study}: variants.{self.name}"),
        )

    def new_network(self, data: Data) -> nn.Module:
        """Build the network on its device, as training starts from it.

        Its weights are drawn from the global generators; some may follow from train images, which
        its modules are given by :mod:`harness.models.initialise`. Or they are read from ``model.pretrained``.

        Args:
            data: the run's images.
        """
        import torch

        from harness.models.initialise import initialise_from_images

        layout = getattr(torch, self.compute.memory_format)
        model = self.network.build()
        if self.pretrained is not None:
            self.pretrained.load_into(model)
        else:
            initialise_from_images(model, data.train, self.test_transforms)
        return model.to(self.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Plan:
    """A study's resolved variants, its seeds, and the folder for their results."""

    study: Study
    folder: StudyFolder
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]

    def runs(self) -> list[tuple[Variant, RunFolder]]:
        """List every planned run, in the order of variants, then seeds."""
        return [(v, self.folder.run(v.name, seed)) for v in self.variants for seed in self.seeds]


def make_plan(
    study: Study,
    folder: StudyFolder,
    load_data: Callable[[Recipe], Data],
    *,
    variants: list[str] | None = None,
    device: str = "auto",
    devices: int = 1,
) -> Plan:
    """Resolve every chosen variant.

    Args:
        load_data: returns the images of a recipe.
        variants: names to keep, in the study's order; None keeps all.

    Raises:
        StudyError: anything in the study that a library refuses.
        DataError: the data cannot be had.
    """
    from harness.device import use_threads

    resolved: list[Variant] = []
    for name in choose_variants(study, variants):
        data = load_data(study.recipes[name])
        with use_threads(1):  # the work is small
            variant = resolve_variant(
                study, name, data, device=device, devices=devices, folder=folder, earlier=resolved
            )
        resolved.append(variant)
    return Plan(study, folder, tuple(resolved), tuple(study.seeds))


def choose_variants(study: Study, asked: list[str] | None) -> list[str]:
    """Return the variants asked for, in the study's order; all of them where none are named.

    Raises:
        StudyError: the study has no such variant.
    """
    for name in asked or []:
        if name not in study.recipes:
            raise StudyError(
                f"--variants: {study.name} has no variant {name!r}{suggest(name, study.recipes)}"
            )
    return [name for name in study.recipes if asked is None or name in asked]


def resolve_variant(
    study: Study,
    name: str,
    data: Data,
    *,
    device: str = "auto",
    devices: int = 1,
    folder: StudyFolder | None = None,
    earlier: Sequence[Variant] = (),
) -> Variant:
    """Resolve a variant of a study against its data, with its digest.

    Args:
        folder: of the study, whose runs decide how the variant is computed.
        earlier: variants of the plan so far; the variant is computed like them, to be comparable.

    Raises:
        StudyError: anything that a library refuses, such as an unknown optimizer argument.
    """
    from harness.compute import choose_compute, compute_on_disk
    from harness.device import resolve_device
    from harness.models.network import NetworkConfig

    check_recipe(study, name)
    recipe, classes, where = study.recipes[name], data.train.classes, where_in(study, name)
    check_metrics([study.target.of, *study.own_metrics], len(classes), study.name)
    outline = make_outline(study, name, len(data.train), data.train.size, len(classes))
    network = NetworkConfig(recipe.model.name, recipe.model.options, classes, outline.image_shape)
    train, test = _pipelines(recipe, data, where)
    device = resolve_device(device)
    compute = choose_compute(
        recipe, network, outline, device,
        runs=len(study.seeds),
        devices=devices,
        on_disk=compute_on_disk(folder.runs_of(name), device) if folder else None,
        compared_with=_compute_of_others(study, recipe, folder, earlier, device),
    )  # fmt: skip
    pretrained = check_pretrained(recipe, network, where)
    identity = identity_of_variant(recipe, data, train, test, compute, device, devices, pretrained)
    variant = Variant(
        study=study.name,
        name=name,
        recipe=recipe,
        train_transforms=train,
        test_transforms=test,
        device=device,
        compute=compute,
        network=network,
        train_images=len(data.train),
        identity=identity,
        digest=digest(identity),
        outline=outline,
        devices=devices,
        class_weights=_class_weights(recipe, data, where),
        pretrained=pretrained,
        own_metrics=tuple(study.own_metrics),
    )
    _check_last_batch(variant, where)
    _try_sampler(variant, data, where)
    return variant


def _pipelines(recipe: Recipe, data: Data, where: str) -> tuple[Pipeline, Pipeline]:
    """Return the transforms of the train and the test images, each with its Normalize."""
    from harness.data.augment import resolve
    from harness.data.units import check_units

    augment = recipe.augment
    train, test = resolve(augment.train, augment.test, *mean_std(data.train), augment.library)
    check_units(data, train, test, where)
    return train, test


def _class_weights(recipe: Recipe, data: Data, where: str) -> list[float] | None:
    """Return the weights of the classes in the loss, of these train images."""
    from harness.losses import class_weights

    counts = np.bincount(data.train.labels, minlength=len(data.train.classes))
    return class_weights(recipe.loss, counts.tolist(), where)


def _check_last_batch(variant: Variant, where: str) -> None:
    devices, images = variant.devices, variant.last_batch
    if devices > 1 and images < 2 * devices:
        few = f"--devices {devices}: the last batch has {images} images"
        raise StudyError(f"{where}: {few}; batch norm needs two on each device")


def _try_sampler(variant: Variant, data: Data, where: str) -> None:
    import torch

    from harness.data.samplers import check_sampler
    from harness.seeding import generators_restored

    if (sampler := variant.recipe.data.sampler) is not None:
        with generators_restored():
            check_sampler(sampler, where, torch.from_numpy(data.train.labels.copy()))


def _compute_of_others(
    study: Study, recipe: Recipe, folder: StudyFolder | None, earlier: Sequence[Variant], device: str
) -> Compute | None:
    """Return how other variants are computed that leave the same choices open; None without any.

    Planned variants come first: they have followed the runs on disk, so only the first of them looks there.
    """
    from harness.compute import compute_on_disk

    def open_in(recipe: Recipe) -> tuple[bool, bool]:
        return recipe.precision == "auto", recipe.compile == "auto"

    names = [name for name, other in study.recipes.items() if open_in(other) == open_in(recipe)]
    planned = next((variant.compute for variant in earlier if variant.name in names), None)
    if planned is not None or folder is None:
        return planned
    return compute_on_disk((run for name in names for run in folder.runs_of(name)), device)
