"""A variant's cost, and whether the libraries accept it; computed from the recipe, without any image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.data.arrays import count_steps
from harness.errors import StudyError
from harness.schedule import Rates, Schedule, lr_milestones
from harness.seeding import generators_restored
from harness.study_file.averaging import NoAveraging
from harness.study_file.config import Recipe, Study
from harness.study_file.schedules import Constant, OwnSchedule

if TYPE_CHECKING:
    from torch import nn

    from harness.models.network import NetworkConfig
    from harness.models.pretrained import Pretrained
    from harness.models.summary import LayerRow

Measured = TypeVar("Measured")
LARGEST_IMAGE = 1024  # pixels of a side; as large as data.image_size may be


@dataclass(frozen=True)
class Outline:
    """A variant's image shape, steps and cost, from its recipe and the size of its data.

    Attributes:
        image_shape: (3, H, W) as the network sees it.
        flops_per_image: forward and backward, two for a multiply-add.
        layers: the network's parameter summary.
        groups: what the optimizer's parameter groups match, in words; empty without any.
    """

    image_shape: tuple[int, int, int]
    steps_per_epoch: int
    parameters: int
    flops_per_image: int
    layers: tuple[LayerRow, ...]
    groups: tuple[str, ...] = ()


@generators_restored()  # a user's network may draw from any of them
def check_recipe(study: Study, name: str) -> None:
    """Check by the libraries a variant's names and arguments, without its data.

    Raises:
        StudyError: in one line.
    """
    from harness.data.augment import check_transforms
    from harness.data.samplers import check_sampler
    from harness.losses import create_criterion
    from harness.models import model_options
    from harness.models.network import NetworkConfig
    from harness.optimizers import check_step, create_optimizer

    recipe, where = study.recipes[name], where_in(study, name)
    augment, library = recipe.augment, recipe.augment.library
    check_transforms(augment.train, f"{where}: augment.train", library=library)
    check_transforms(augment.test, f"{where}: augment.test", library=library, deterministic=True)
    if recipe.data.sampler is not None:
        check_sampler(recipe.data.sampler, where)
    model_options(recipe.model.name, recipe.model.options, where)
    network = NetworkConfig(recipe.model.name, recipe.model.options, ("a", "b"), ())
    model = _measure(network, where, lambda model: _check_trains(model, recipe.model.name))
    create_criterion(recipe.loss, where=where)
    optimizer = create_optimizer(recipe.optimizer, model, where)
    scheduled = not isinstance(recipe.schedule, Constant) or recipe.range_test_settings is not None
    check_step(recipe.optimizer, where, scheduled=scheduled)
    cycling = ("cycle_momentum", "momentum_points")
    cycles = next((key for key in cycling if getattr(recipe.schedule, key, None) is not None), None)
    if cycles and not {"momentum", "betas"} & set(optimizer.param_groups[0]):
        raise StudyError(
            f"{where}: schedule.{cycles}: {recipe.optimizer.name} has neither momentum nor betas"
        )
    for at, group in enumerate(recipe.optimizer.groups):
        if cycles and (own := {"momentum", "betas"} & group.options.keys()):
            raise StudyError(
                f"{where}: optimizer.groups[{at}].{min(own)}: schedule.{cycles} sets it; remove one of them"
            )


@generators_restored()
def make_outline(study: Study, name: str, images: int, size: tuple[int, int], classes: int) -> Outline:
    """Return a variant's outline.

    Args:
        images: how many are trained on.
        size: (height, width) of an image before augmentation.

    Raises:
        StudyError: the pipelines give images that are too small or of two sizes, or a layer does not exist.
    """
    from harness.losses import check_loss
    from harness.models import MODELS
    from harness.models.mistakes import check_outputs
    from harness.models.network import NetworkConfig
    from harness.models.summary import count_parameters, flops_per_image, summarise
    from harness.parameter_groups import describe_groups, freeze

    recipe, where = study.recipes[name], where_in(study, name)
    image_shape = (3, *_augmented_size(recipe, size, where))

    def measure(model: nn.Module) -> tuple[tuple[LayerRow, ...], int, int, tuple[str, ...]]:
        freeze(model, recipe.optimizer.groups, where)
        _check_trains(model, recipe.model.name)
        _check_layers(recipe.attribution.layers, model, image_shape, where)
        if recipe.model.name not in MODELS:
            try:
                check_outputs(model, image_shape, classes)
            except StudyError as error:
                raise StudyError(f"model.name: {recipe.model.name}: {error}") from None
        layers = tuple(summarise(model, image_shape))
        groups = tuple(describe_groups(model, recipe.optimizer.groups))
        return layers, count_parameters(model), flops_per_image(model, image_shape), groups

    names = tuple(map(str, range(classes)))
    network = NetworkConfig(recipe.model.name, recipe.model.options, names, image_shape)
    layers, parameters, flops, groups = _measure(network, where, measure)
    steps = count_steps(images, recipe.data.batch_size, recipe.data.drop_last)
    if not steps:
        raise StudyError(
            f"{where}: data.drop_last: {images} images are fewer than one batch of "
            f"{recipe.data.batch_size}; lower data.batch_size, or leave drop_last out"
        )
    _check_steps(recipe, steps, where)
    _check_schedule(recipe.schedule, steps, where)
    check_loss(recipe.loss, classes, where, soft_labels=bool(recipe.augment.batch))
    return Outline(image_shape, steps, parameters, flops, layers, groups)


def _check_trains(model: nn.Module, name: str) -> nn.Module:
    if not any(weights.requires_grad for weights in model.parameters()):
        raise StudyError(f"model.name: {name}: it has no parameter that requires a gradient")
    return model


def _check_steps(recipe: Recipe, steps: int, where: str) -> None:
    """Refuse what an epoch, or the run, has too few batches for."""
    if (together := recipe.optimizer.accumulate) > steps:
        raise StudyError(
            f"{where}: optimizer.accumulate: an epoch has only {steps} batches, fewer than {together}; "
            "lower it, or data.batch_size"
        )
    averaging, all_steps = recipe.averaging, recipe.schedule.epochs * steps
    if isinstance(averaging, NoAveraging) or (every := averaging.every) is None:
        return
    if all_steps // every * every <= (averaging.start_epoch - 1) * steps:
        raise StudyError(
            f"{where}: averaging.every: no batch from epoch {averaging.start_epoch} on is a multiple of "
            f"{every} ({all_steps} batches in all, {steps} an epoch): no average would start; lower it"
        )


@generators_restored()
def check_pretrained(recipe: Recipe, network: NetworkConfig, where: str) -> Pretrained | None:
    """Return the file of weights that a variant's training starts from; None where it draws its weights.

    Raises:
        StudyError: the file cannot be read, or has the weights of another network.
    """
    from harness.models.pretrained import Pretrained

    if recipe.model.pretrained is None:
        return None
    file = Pretrained.of(recipe.model.pretrained, f"{where}: model.pretrained")
    return _measure(network, where, lambda model: file.checked(model, len(network.classes)))


def where_in(study: Study, name: str) -> str:
    """Return the name of a variant, for messages."""
    return study.name if name == "base" else f"{study.name}: variants.{name}"


def _augmented_size(recipe: Recipe, size: tuple[int, int], where: str) -> tuple[int, int]:
    """Return height and width of the network's images, which must be equal in training and evaluation."""
    from harness.data.augment import resolve
    from harness.data.shapes import output_shape

    plain = (0.5, 0.5, 0.5)  # mean and std: any will do, as they change no size
    pipelines = resolve(recipe.augment.train, recipe.augment.test, plain, plain, recipe.augment.library)
    train, test = (
        output_shape(transforms, *size, f"{where}: augment.{split}")
        for transforms, split in zip(pipelines, ("train", "test"), strict=True)
    )
    trained, tested = (f"{width}x{height}" for height, width in (train, test))
    if train != test:
        raise StudyError(
            f"{where}: augment: afterwards train images have {trained} pixels, test images {tested}; "
            "make them equal by data.image_size, or the same crop or Resize in both"
        )
    if min(train) < 8:
        raise StudyError(
            f"{where}: augment: images of {trained} pixels; at least 8 is needed: "
            "set data.image_size, or Resize"
        )
    if max(train) > LARGEST_IMAGE:
        raise StudyError(
            f"{where}: augment: images of {trained} pixels; at most {LARGEST_IMAGE} is allowed: "
            "set data.image_size, or crop or Resize them"
        )
    return train


def _check_schedule(schedule: Schedule, steps_per_epoch: int, where: str) -> None:
    """Check a schedule's length, and a user's own with some rates."""
    rates = Rates(0.1, 1.0)  # only for a user's own schedule do they matter
    try:
        milestones = lr_milestones(schedule, rates, steps_per_epoch)
        if isinstance(schedule, OwnSchedule) and milestones != lr_milestones(
            schedule, rates, steps_per_epoch
        ):
            raise StudyError(
                f"schedule.kind: {schedule.kind}: called twice, it gives two schedules; draw nothing at "
                "random, and store nothing between calls"
            )
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None


def _measure(network: NetworkConfig, where: str, measure: Callable[[nn.Module], Measured]) -> Measured:
    """Measure a network; turn any exception into a one-line StudyError."""
    from harness.models.mistakes import explain

    try:
        return network.measure(measure)
    except StudyError as error:
        message = str(error)
        raise StudyError(message if message.startswith(where) else f"{where}: {message}") from None
    except (Exception, SystemExit) as error:
        raise StudyError(f"{where}: model.name: {network.name}: {explain(error)}") from None


def _check_layers(
    layers: Sequence[str], model: nn.Module, image_shape: tuple[int, int, int], where: str
) -> None:
    from harness.models.outputs import outputs_on_zeros

    if not layers:
        return
    modules = dict(model.named_modules())
    stages = ", ".join(name for name, _ in model.named_children())
    for layer in layers:
        if layer not in modules or not layer:
            raise StudyError(
                f"{where}: attribution.layers: the model has no layer {layer!r} (its stages: {stages})"
            )
    outputs = outputs_on_zeros(model, {layer: modules[layer] for layer in layers}, image_shape)
    for layer in layers:
        if getattr(outputs.get(layer), "ndim", 0) != 4:
            raise StudyError(
                f"{where}: attribution.layers: layer {layer!r} gives no map (N, C, h, w) for Grad-CAM "
                f"(the model's stages: {stages})"
            )
