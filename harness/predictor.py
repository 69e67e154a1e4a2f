"""A trained network for images of your own: ``harness.load``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import DataError, RunError, StudyError
from harness.store.folders import RunFolder, StudyFolder

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from harness.models.network import NetworkConfig


@dataclass(frozen=True)
class Predictor:
    """A run's network with the transforms of its evaluation; made by :func:`load`.

    Attributes:
        model: in eval mode, on the CPU, float32.
        classes: the names, by label.
        transforms: the resolved pipeline of the test images.
        image_size: (height, width) of images before the transforms.
        layers: those of the study's Grad-CAM; else the network's stages; empty where no layer gives maps.
        network: what it is built from, as its weights' file says.
        memory_format: of the network's inputs.
        bits: how many bits a channel images stored in 16 use.
    """

    model: nn.Module
    classes: tuple[str, ...]
    transforms: list[dict[str, Any]]
    image_size: tuple[int, int]
    layers: tuple[str, ...]
    network: NetworkConfig
    memory_format: torch.memory_format
    bits: int | None = None

    def read(self, path: str | Path) -> NDArray[np.uint8]:
        """Read an image file like the network's data: RGB, (height, width, 3), resized where needed.

        Raises:
            DataError: it cannot be read, or has another size where images are not square.
        """
        from harness.data.decode import decode

        height, width = self.image_size
        if not Path(path).is_file():  # reading a pipe would never end
            there = os.path.lexists(path)
            raise DataError(f"{path}: {'not an image file' if there else 'no such file'}")
        image = decode(str(path), Path(path), height if height == width else None, self.bits)
        if image.shape[:2] != self.image_size:
            raise DataError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels; resize it to {width}x{height}"
            )
        return image

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the outputs (N, classes) float32 for images (N, height, width, 3) uint8 RGB."""
        import torch

        with torch.no_grad():
            outputs = [self.model(batch).float().numpy() for batch in self._batches(images)]
        return np.concatenate(outputs)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return probabilities by softmax, (N, classes), of images (N, height, width, 3) uint8 RGB."""
        from scipy.special import softmax

        probabilities: NDArray[np.float64] = softmax(self.logits(images).astype(np.float64), axis=1)
        return probabilities

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], layer: str | None = None
    ) -> NDArray[np.uint8]:
        """Draw Grad-CAM of a class over each image: uint8, (N, height, width, 3).

        Args:
            layer: None for the last of ``layers``.

        Raises:
            RunError: there is no such layer, or Grad-CAM does not work on it.
        """
        from harness.attribution.maps import layer_maps
        from harness.data.samples import denormalise
        from harness.report.figures.gradcam import overlay

        if layer is None and not self.layers:
            raise RunError("Grad-CAM: no layer of this network gives a map")
        inputs = self.prepare(images)
        (maps,) = layer_maps(self.model, [layer or self.layers[-1]], inputs, list(targets))
        seen = denormalise(inputs, self.transforms)
        return np.stack([overlay(image, heat) for image, heat in zip(seen, maps, strict=True)])

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Transform images for the network: (N, height, width, 3) uint8 RGB -> (N, 3, H, W) float32."""
        import torch

        return torch.cat(self._batches(images))

    def sample(self) -> Tensor:
        """Return a prepared batch of one black image, contiguous, as an example for exporters."""
        return self.prepare(np.zeros((1, *self.image_size, 3), np.uint8)).contiguous()

    def _batches(self, images: NDArray[np.uint8]) -> list[Any]:
        from harness.data.arrays import split_of
        from harness.data.batches import Batches

        labels = np.zeros(len(images), np.int64)
        split = split_of(np.ascontiguousarray(images), labels, self.classes, where="the images")
        batches = Batches(split, self.transforms, 500, seed=0, shuffle=False)
        return [images.contiguous(memory_format=self.memory_format) for images, _ in batches]


def load(run: str | Path, *, model: Any = None) -> Predictor:
    """Load the trained network of a finished run's folder, ``results/<study>/runs/<variant>/seed-<n>``.

    Args:
        model: the class or function that ``harness.Study(model=...)`` was given; needed in a new
            process, where naming it allows its code to run.

    Raises:
        RunError: there is no finished run, or its files are damaged.
        StudyError: the run was trained with another network than ``model``.
    """
    from harness.compute import format_on_cpu
    from harness.models.weights import load_weights

    record = run_folder(run).verify()
    if model is not None:
        _check_same(model, record.recipe["model"]["name"], str(run))
    model, network = load_weights(Path(run) / "model.safetensors")
    size = record.recipe["data"]["image_size"]
    height, width = (size, size) if size else network.image_shape[1:]
    return Predictor(
        model=model,
        classes=network.classes,
        transforms=record.recipe["augment"]["test"],
        image_size=(height, width),
        layers=tuple(record.recipe["attribution"]["layers"]) or _stages(model, network.image_shape),
        network=network,
        memory_format=format_on_cpu(record.identity),
        bits=record.recipe["data"].get("bits"),
    )


def _check_same(model: Any, name: str, run: str) -> None:
    from harness.cells import import_path

    try:
        path, _ = import_path(model)
    except ValueError as error:
        raise StudyError(f"model: {error}") from None
    if path != name:
        raise StudyError(f"{run}: was trained with {name}, and the source of model is now {path}")


def _stages(model: nn.Module, image_shape: Sequence[int]) -> tuple[str, ...]:
    from harness.attribution.maps import stages

    try:
        return tuple(stages(model, image_shape))
    except RunError:
        return ()


def run_folder(path: str | Path) -> RunFolder:
    """Return the run folder that a path names.

    Raises:
        RunError: it is not the path of a run folder.
    """
    place = Path(path).resolve()
    number = place.name.removeprefix("seed-")
    if place.parent.parent.name != "runs" or not number.isdecimal():
        raise RunError(f"{path}: not a run's folder; it looks like results/<study>/runs/<variant>/seed-<n>")
    study = place.parent.parent.parent
    return RunFolder(StudyFolder(study.parent, study.name), place.parent.name, int(number))
