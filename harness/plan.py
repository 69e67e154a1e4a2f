"""From a study to its runs: every variant resolved against data, device and libraries, with its digest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from harness.config import Constant, Recipe, Study
from harness.data.arrays import Data
from harness.errors import StudyError
from harness.schedule import Rates, count_steps, lr_milestones
from harness.schema import one_line, suggest
from harness.seeding import generators_restored
from harness.store import RunFolder, StudyFolder, digest

if TYPE_CHECKING:
    from torch import nn

    from harness.compute import Compute
    from harness.models.summary import LayerRow

Measured = TypeVar("Measured")
LARGEST_IMAGE = 1024  # pixels of a side; as large as data.image_size may be


@dataclass(frozen=True)
class Variant:
    """One fully resolved configuration in its surroundings: all a run needs beside seed and images.

    Attributes:
        recipe: as validated; its ``augment`` is replaced by the resolved pipelines below.
        train_transforms, test_transforms: with their Normalize.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        compute: precision, memory format, compiled or not.
        identity: everything that decides a run's result but the seed; ``digest`` is its SHA-256.
        devices: processes that train it together.
        resumes: whether its runs can resume from a checkpoint: it holds all that the network keeps.
        doubt: why its results may mislead, as its network's rehearsal found; empty without a reason.
    """

    study: str
    name: str
    recipe: Recipe
    train_transforms: list[dict[str, Any]]
    test_transforms: list[dict[str, Any]]
    device: str
    compute: Compute
    classes: tuple[str, ...]
    train_images: int
    identity: dict[str, Any]
    digest: str
    outline: Outline
    devices: int = 1
    resumes: bool = True
    doubt: str = ""

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

    @property
    def network(self) -> dict[str, Any]:
        """Return what the network is built from; it is stored with the weights."""
        return {
            "model": {"name": self.recipe.model.name, **self.recipe.model.options},
            "classes": list(self.classes),
            "image_shape": list(self.outline.image_shape),
        }

    def new_network(self) -> nn.Module:
        """Build the network on its device, with weights freshly drawn from the global generators."""
        import torch

        from harness.models import build_model

        config, layout = self.recipe.model, getattr(torch, self.compute.memory_format)
        model = build_model(config.name, config.options, len(self.classes), self.outline.image_shape)
        return model.to(self.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Plan:
    """A study's variants and seeds, to be executed into a folder."""

    study: Study
    folder: StudyFolder
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]

    def runs(self) -> list[tuple[Variant, RunFolder]]:
        """Every planned run, in the order of variants, then seeds."""
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
        load_data: the images of a recipe.
        variants: names to keep, in the study's order; None keeps all.

    Raises:
        StudyError: anything in the study that a library refuses.
        DataError: the data cannot be had.
    """
    from harness.device import one_thread

    chosen = choose_variants(study, variants)
    resolved: list[Variant] = []
    for name in chosen:
        recipe = study.recipes[name]
        data = load_data(recipe)
        with one_thread():  # nothing here is large
            variant = resolve_variant(
                study, name, data, device=device, devices=devices, folder=folder, earlier=resolved
            )
        resolved.append(variant)
    return Plan(study, folder, tuple(resolved), tuple(study.seeds))


def choose_variants(study: Study, asked: list[str] | None) -> list[str]:
    """The variants asked for, in the study's order; all of them where none are named.

    Raises:
        StudyError: the study has no such variant.
    """
    for name in asked or []:
        if name not in study.recipes:
            raise StudyError(
                f"--variants: {study.name} has no variant {name!r}{suggest(name, study.recipes)}"
            )
    return [name for name in study.recipes if asked is None or name in asked]


@generators_restored()  # a network of a user's may draw from any
def check_recipe(study: Study, name: str) -> None:
    """Ask the libraries about a variant's names and arguments, without its data.

    Raises:
        StudyError: in one line.
    """
    from harness.data.augment import check_transforms
    from harness.models import model_options
    from harness.optimizers import check_step, create_optimizer

    recipe, where = study.recipes[name], _where(study, name)
    check_transforms(recipe.augment.train, f"{where}: augment.train")
    check_transforms(recipe.augment.test, f"{where}: augment.test", deterministic=True)
    model_options(recipe.model.name, recipe.model.options, where)
    network = _measured(recipe, 2, None, where, lambda model: model)
    optimizer = create_optimizer(recipe.optimizer, network, where)
    scheduled = not isinstance(recipe.schedule, Constant) or recipe.range_test_settings is not None
    check_step(recipe.optimizer, where, scheduled=scheduled)
    cycles = getattr(recipe.schedule, "cycle_momentum", None) is not None
    if cycles and not {"momentum", "betas"} & set(optimizer.param_groups[0]):
        raise StudyError(
            f"{where}: schedule.cycle_momentum: {recipe.optimizer.name} has neither momentum nor betas"
        )


def _measured(
    recipe: Recipe,
    classes: int,
    image_shape: Sequence[int] | None,
    where: str,
    measure: Callable[[nn.Module], Measured],
) -> Measured:
    """Measure a recipe's network: see :func:`harness.models.summary.measure_network`.

    Raises:
        StudyError: whatever a user's network raises, in one line.
    """
    from harness.models.summary import measure_network

    name = recipe.model.name
    try:
        return measure_network(name, recipe.model.options, classes, image_shape, measure)
    except StudyError as error:
        text = str(error)
        raise StudyError(text if text.startswith(where) else f"{where}: {text}") from None
    except Exception as error:
        given = f", given images (N, {', '.join(map(str, image_shape))})" if image_shape else ""
        raise StudyError(
            f"{where}: model.name: {name}{given}: {type(error).__name__}: {one_line(error, 200)}"
        ) from None


@dataclass(frozen=True)
class Outline:
    """What a variant costs: known from its recipe and the size of its data, without the images.

    Attributes:
        image_shape: (3, H, W) as the network sees it.
        flops_per_image: forward and backward, two for a multiply-add.
        layers: the network's parameter summary.
    """

    image_shape: tuple[int, int, int]
    steps_per_epoch: int
    parameters: int
    flops_per_image: int
    layers: tuple[LayerRow, ...]


@generators_restored()
def outline(study: Study, name: str, images: int, size: tuple[int, int], classes: int) -> Outline:
    """A variant's outline.

    Args:
        images: that are trained on.
        size: (height, width) of an image before augmentation.

    Raises:
        StudyError: images leave the pipelines too small or in two sizes, or a layer is not the network's.
    """
    from harness.data.augment import output_shape, resolve
    from harness.models.summary import count_parameters, flops_per_image, summarise

    recipe, where = study.recipes[name], _where(study, name)
    plain = (0.5, 0.5, 0.5)  # any mean and std: they change no size
    pipelines = resolve(recipe.augment.train, recipe.augment.test, plain, plain)
    train, test = (
        output_shape(transforms, *size, f"{where}: augment.{split}")
        for transforms, split in zip(pipelines, ("train", "test"), strict=True)
    )
    leaves, tested = (f"{width}x{height}" for height, width in (train, test))
    if train != test:
        raise StudyError(
            f"{where}: augment: train images leave as {leaves} pixels, test images as {tested}; "
            "make them equal by data.image_size, or the same crop or Resize in both"
        )
    if min(train) < 8:
        raise StudyError(
            f"{where}: augment: images of {leaves} pixels; 8 is the least: set data.image_size, or Resize"
        )
    if max(train) > LARGEST_IMAGE:
        raise StudyError(
            f"{where}: augment: images of {leaves} pixels; {LARGEST_IMAGE} is the most: set data.image_size, "
            "or crop or Resize them"
        )
    image_shape = (3, *train)

    def measure(model: nn.Module) -> tuple[tuple[LayerRow, ...], int, int]:
        if not count_parameters(model):
            raise StudyError(f"model.name: {recipe.model.name}: it has no parameter that requires a gradient")
        _check_layers(recipe.attribution.layers, model, image_shape, where)
        layers = tuple(summarise(model, image_shape))
        return layers, count_parameters(model), flops_per_image(model, image_shape)

    layers, parameters, flops = _measured(recipe, classes, image_shape, where, measure)
    steps = count_steps(images, recipe.data.batch_size, recipe.data.drop_last)
    if not steps:
        raise StudyError(
            f"{where}: data.drop_last: {images} images fill no batch of {recipe.data.batch_size}; lower "
            "data.batch_size, or leave drop_last out"
        )
    try:  # any rates: what may be wrong with a schedule is its length
        lr_milestones(recipe.schedule, Rates(0.1, 1.0), steps)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    return Outline(image_shape, steps, parameters, flops, layers)


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
    """A variant of a study, with its data's facts and its digest.

    Args:
        folder: the study's, whose runs decide how it is computed.
        earlier: variants that it is compared with, and is computed like.

    Raises:
        StudyError: anything that a library refuses, such as an unknown optimizer argument.
    """
    from harness.compute import begun_with, choose_compute, identity_of
    from harness.data.arrays import mean_std
    from harness.data.augment import resolve
    from harness.data.units import check_units
    from harness.device import resolve_device
    from harness.models import MODELS
    from harness.models.imported import source_digest

    check_recipe(study, name)
    recipe = study.recipes[name]
    height, width = data.train.images.shape[1:3]
    images = len(data.train.labels)
    facts = outline(study, name, images, (height, width), len(data.train.classes))
    train_transforms, test_transforms = resolve(
        recipe.augment.train, recipe.augment.test, *mean_std(data.train)
    )
    check_units(data, train_transforms, test_transforms, _where(study, name))
    device = resolve_device(device)
    own = begun_with(folder.runs_of(name), device) if folder else None
    compute = choose_compute(
        recipe,
        facts,
        len(data.train.classes),
        device,
        runs=len(study.seeds),
        devices=devices,
        own=own,
        alike=_alike(study, recipe, folder, earlier, device),
    )
    identity: dict[str, Any] = {
        "recipe": _deciding(recipe, compute, train_transforms, test_transforms),
        "data": data.sha256,
        **identity_of(compute, device),
        "device": device.split(":")[0],
        "versions": _deciding_versions(train_transforms, test_transforms),
    }
    if recipe.model.name not in MODELS:
        identity["model_source"] = source_digest(recipe.model.name)
    if devices > 1:  # else the digest of a run from before there was this choice
        identity["devices"] = devices
    variant = Variant(
        study=study.name,
        name=name,
        recipe=recipe,
        train_transforms=train_transforms,
        test_transforms=test_transforms,
        device=device,
        compute=compute,
        classes=data.train.classes,
        train_images=images,
        identity=identity,
        digest=digest(identity),
        outline=facts,
        devices=devices,
    )
    if variant.last_batch < 2 * devices and devices > 1:
        raise StudyError(
            f"{_where(study, name)}: --devices {devices}: the last batch has {variant.last_batch} images; "
            "batch norm needs two on each device"
        )
    return variant


def _alike(
    study: Study, recipe: Recipe, folder: StudyFolder | None, earlier: Sequence[Variant], device: str
) -> Compute | None:
    """Return how the variants are computed that leave open what this one does: as planned, else on disk.

    What is planned has followed the disk, so only a plan's first variant looks there.
    """
    from harness.compute import begun_with

    def open_in(recipe: Recipe) -> tuple[bool, bool]:
        return recipe.precision == "auto", recipe.compile == "auto"

    names = [name for name, other in study.recipes.items() if open_in(other) == open_in(recipe)]
    planned = next((variant.compute for variant in earlier if variant.name in names), None)
    if planned is not None or folder is None:
        return planned
    return begun_with((run for name in names for run in folder.runs_of(name)), device)


def _where(study: Study, name: str) -> str:
    return study.name if name == "base" else f"{study.name}: variants.{name}"


def _check_layers(
    layers: Sequence[str], model: nn.Module, image_shape: tuple[int, int, int], where: str
) -> None:
    from harness.models.outputs import outputs_on_zeros

    if not layers:
        return
    known = dict(model.named_modules())
    stages = ", ".join(name for name, _ in model.named_children())
    for layer in layers:
        if layer not in known or not layer:
            raise StudyError(
                f"{where}: attribution.layers: the model has no layer {layer!r} (its stages: {stages})"
            )
    outputs = outputs_on_zeros(model, {layer: known[layer] for layer in layers}, image_shape)
    for layer in layers:
        if getattr(outputs.get(layer), "ndim", 0) != 4:
            raise StudyError(
                f"{where}: attribution.layers: layer {layer!r} gives no map (N, C, h, w) for Grad-CAM "
                f"(the model's stages: {stages})"
            )


def _deciding(
    recipe: Recipe, compute: Compute, train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> dict[str, Any]:
    """The part of a recipe that decides its runs; what only looks at them (attribution) is left out."""
    left_out = {"attribution", "precision", "compile", "range_test", "augment"}
    whole = recipe.model_dump(mode="json", exclude=left_out)
    if compute.compiled:  # else the digest of a run from before there was this choice
        whole["compile"] = True
    if not recipe.data.drop_last:  # as before there was this choice
        del whole["data"]["drop_last"]
    for key in ("path", "bits"):  # where the images lie and how they are read: what they are has a checksum
        del whole["data"][key]
    whole["augment"] = {"train": train, "test": test}
    if recipe.schedule.finds and recipe.range_test_settings:
        whole["range_test"] = recipe.range_test_settings.model_dump(mode="json")
    return whole


def _deciding_versions(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> dict[str, str]:
    from harness.data.batched import tensor_pipeline

    packages = ["torch", "pytorch-ignite"]
    if tensor_pipeline(train) is None or tensor_pipeline(test) is None:
        packages += ["albumentations", "opencv-python-headless"]
    # A local build's suffix (2.13.0+cpu) is the device's matter, which stands beside it.
    return {package: version(package).split("+")[0] for package in packages}
