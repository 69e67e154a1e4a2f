"""A variant's cost, and whether the libraries accept it; computed from the recipe, without any image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.data.arrays import count_steps
from harness.errors import StudyError
from harness.messages import one_line
from harness.schedule import Rates, lr_milestones
from harness.seeding import generators_restored
from harness.study_file.config import Recipe, Study
from harness.study_file.schedules import Constant

if TYPE_CHECKING:
    from torch import nn

    from harness.models.network import NetworkConfig
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
    """

    image_shape: tuple[int, int, int]
    steps_per_epoch: int
    parameters: int
    flops_per_image: int
    layers: tuple[LayerRow, ...]


@generators_restored()  # a user's network may draw from any of them
def check_recipe(study: Study, name: str) -> None:
    """Check by the libraries a variant's names and arguments, without its data.

    Raises:
        StudyError: in one line.
    """
    from harness.data.augment import check_transforms
    from harness.data.samplers import check_sampler
    from harness.models import model_options
    from harness.models.network import NetworkConfig
    from harness.optimizers import check_step, create_optimizer

    recipe, where = study.recipes[name], where_in(study, name)
    check_transforms(recipe.augment.train, f"{where}: augment.train")
    check_transforms(recipe.augment.test, f"{where}: augment.test", deterministic=True)
    if recipe.data.sampler is not None:
        check_sampler(recipe.data.sampler, where)
    model_options(recipe.model.name, recipe.model.options, where)
    network = NetworkConfig(recipe.model.name, recipe.model.options, ("a", "b"), ())
    model = _measure(network, where, lambda model: model)
    optimizer = create_optimizer(recipe.optimizer, model, where)
    scheduled = not isinstance(recipe.schedule, Constant) or recipe.range_test_settings is not None
    check_step(recipe.optimizer, where, scheduled=scheduled)
    cycles = getattr(recipe.schedule, "cycle_momentum", None) is not None
    if cycles and not {"momentum", "betas"} & set(optimizer.param_groups[0]):
        raise StudyError(
            f"{where}: schedule.cycle_momentum: {recipe.optimizer.name} has neither momentum nor betas"
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
    from harness.models.network import NetworkConfig
    from harness.models.summary import count_parameters, flops_per_image, summarise

    recipe, where = study.recipes[name], where_in(study, name)
    image_shape = (3, *_augmented_size(recipe, size, where))

    def measure(model: nn.Module) -> tuple[tuple[LayerRow, ...], int, int]:
        if not count_parameters(model):
            raise StudyError(f"model.name: {recipe.model.name}: it has no parameter that requires a gradient")
        _check_layers(recipe.attribution.layers, model, image_shape, where)
        layers = tuple(summarise(model, image_shape))
        return layers, count_parameters(model), flops_per_image(model, image_shape)

    names = tuple(map(str, range(classes)))
    network = NetworkConfig(recipe.model.name, recipe.model.options, names, image_shape)
    layers, parameters, flops = _measure(network, where, measure)
    steps = count_steps(images, recipe.data.batch_size, recipe.data.drop_last)
    if not steps:
        raise StudyError(
            f"{where}: data.drop_last: {images} images fill no batch of {recipe.data.batch_size}; lower "
            "data.batch_size, or leave drop_last out"
        )
    try:  # the rates do not matter: only the schedule's length can be wrong
        lr_milestones(recipe.schedule, Rates(0.1, 1.0), steps)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    return Outline(image_shape, steps, parameters, flops, layers)


def where_in(study: Study, name: str) -> str:
    """Return the name of a variant, for messages."""
    return study.name if name == "base" else f"{study.name}: variants.{name}"


def _augmented_size(recipe: Recipe, size: tuple[int, int], where: str) -> tuple[int, int]:
    """Return height and width of the network's images, which must be equal in training and evaluation."""
    from harness.data.augment import resolve
    from harness.data.shapes import output_shape

    plain = (0.5, 0.5, 0.5)  # mean and std: any will do, as they change no size
    pipelines = resolve(recipe.augment.train, recipe.augment.test, plain, plain)
    train, test = (
        output_shape(transforms, *size, f"{where}: augment.{split}")
        for transforms, split in zip(pipelines, ("train", "test"), strict=True)
    )
    trained, tested = (f"{width}x{height}" for height, width in (train, test))
    if train != test:
        raise StudyError(
            f"{where}: augment: train images leave as {trained} pixels, test images as {tested}; "
            "make them equal by data.image_size, or the same crop or Resize in both"
        )
    if min(train) < 8:
        raise StudyError(
            f"{where}: augment: images of {trained} pixels; 8 is the least: set data.image_size, or Resize"
        )
    if max(train) > LARGEST_IMAGE:
        raise StudyError(
            f"{where}: augment: images of {trained} pixels; {LARGEST_IMAGE} is the most: "
            "set data.image_size, or crop or Resize them"
        )
    return train


def _measure(network: NetworkConfig, where: str, measure: Callable[[nn.Module], Measured]) -> Measured:
    """Measure a network; turn whatever it raises into a StudyError of one line."""
    try:
        return network.measure(measure)
    except StudyError as error:
        message = str(error)
        raise StudyError(message if message.startswith(where) else f"{where}: {message}") from None
    except Exception as error:
        shape = network.image_shape
        given = f", given images (N, {', '.join(map(str, shape))})" if shape else ""
        raise StudyError(
            f"{where}: model.name: {network.name}{given}: {type(error).__name__}: {one_line(error, 200)}"
        ) from None


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
