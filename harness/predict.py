"""A trained network for images of your own: ``harness.load``, and ``python -m harness.predict``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from harness.console import complain, run_command, tell
from harness.errors import DataError, RunError
from harness.store.atomic import atomic_write
from harness.store.folders import RunFolder, StudyFolder

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn


@dataclass(frozen=True)
class Predictor:
    """A run's network with its evaluation's transform; made by :func:`load`.

    Attributes:
        model: in eval mode, on the CPU, float32.
        classes: the names, by label.
        transforms: the resolved pipeline that test images went through.
        image_size: (height, width) of images before it.
        layers: those that the study explains; else the network's stages; none where it has no maps.
        metadata: what the weights' file says of its network.
        memory_format: of the images that it is fed.
        bits: how many bits a channel images stored in 16 use.
    """

    model: nn.Module
    classes: tuple[str, ...]
    transforms: list[dict[str, Any]]
    image_size: tuple[int, int]
    layers: tuple[str, ...]
    metadata: dict[str, Any]
    memory_format: torch.memory_format
    bits: int | None = None

    def read(self, path: str | Path) -> NDArray[np.uint8]:
        """An image file as the network's data was: RGB, (height, width, 3), resized if it has another size.

        Raises:
            DataError: it cannot be read, or has to be square and is not the network's size.
        """
        from harness.data.decode import decode

        height, width = self.image_size
        if not Path(path).is_file():  # a pipe would be waited for
            there = os.path.lexists(path)
            raise DataError(f"{path}: {'not an image file' if there else 'no such file'}")
        image = decode(str(path), Path(path), height if height == width else None, self.bits)
        if image.shape[:2] != self.image_size:
            raise DataError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels; resize it to {width}x{height}"
            )
        return image

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, height, width, 3) uint8 RGB -> (N, classes) float32."""
        import torch

        with torch.no_grad():
            found = [self.model(batch).float().numpy() for batch in self._batches(images)]
        return np.concatenate(found)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probabilities by softmax, (N, classes), of images (N, height, width, 3) uint8 RGB."""
        logits = self.logits(images).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return probabilities

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], layer: str | None = None
    ) -> NDArray[np.uint8]:
        """Grad-CAM of a class for each image, laid over it: uint8, (N, height, width, 3).

        Args:
            layer: None for the last of the study's.

        Raises:
            RunError: there is no such layer, or Grad-CAM does not work on it.
        """
        from harness.attribution.maps import layer_maps
        from harness.data.batches import denormalise
        from harness.report.figures.gradcam import overlay

        if layer is None and not self.layers:
            raise RunError("Grad-CAM: no layer of this network gives a map")
        inputs = self.prepare(images)
        (maps,) = layer_maps(self.model, [layer or self.layers[-1]], inputs, list(targets))
        seen = denormalise(inputs, self.transforms)
        return np.stack([overlay(image, heat) for image, heat in zip(seen, maps, strict=True)])

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """What the network is fed: (N, height, width, 3) uint8 RGB -> (N, 3, H, W) float32, transformed."""
        import torch

        return torch.cat(self._batches(images))

    def _batches(self, images: NDArray[np.uint8]) -> list[Any]:
        from harness.data.arrays import split_of
        from harness.data.batches import Batches

        labels = np.zeros(len(images), np.int64)
        split = split_of(np.ascontiguousarray(images), labels, self.classes, where="the images")
        batches = Batches(split, self.transforms, 500, seed=0, shuffle=False)
        return [images.contiguous(memory_format=self.memory_format) for images, _ in batches]


def load(run: str | Path) -> Predictor:
    """The trained network of a finished run's folder, ``results/<study>/runs/<variant>/seed-<n>``.

    Raises:
        RunError: there is no finished run, or its files are damaged.
    """
    from harness.compute import format_on_cpu
    from harness.models.weights import load_weights

    record = _folder(Path(run)).verify()
    model, metadata = load_weights(Path(run) / "model.safetensors")
    size = record.recipe["data"]["image_size"]
    height, width = (size, size) if size else metadata["image_shape"][1:]
    return Predictor(
        model=model,
        classes=tuple(metadata["classes"]),
        transforms=record.recipe["augment"]["test"],
        image_size=(height, width),
        layers=tuple(record.recipe["attribution"]["layers"]) or _stages(model, metadata["image_shape"]),
        metadata=metadata,
        memory_format=format_on_cpu(record.identity),
        bits=record.recipe["data"].get("bits"),
    )


def _stages(model: nn.Module, image_shape: Sequence[int]) -> tuple[str, ...]:
    from harness.attribution.maps import stages

    try:
        return tuple(stages(model, image_shape))
    except RunError:
        return ()


def _folder(path: Path) -> RunFolder:
    """The run folder that a path is."""
    place = path.resolve()
    number = place.name.removeprefix("seed-")
    if place.parent.parent.name != "runs" or not number.isdecimal():
        raise RunError(f"{path}: not a run's folder; it looks like results/<study>/runs/<variant>/seed-<n>")
    study = place.parent.parent.parent
    return RunFolder(StudyFolder(study.parent, study.name), place.parent.name, int(number))


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option(
    "--top", default=3, show_default=True, metavar="N", type=click.IntRange(1), help="Classes named."
)
@click.option(
    "--gradcam", metavar="DIR", type=click.Path(path_type=Path), help="Draw what spoke for the first."
)
@click.option("--layer", metavar="NAME", help="Of the Grad-CAM. [default: the study's last]")
@click.option("--allow", multiple=True, metavar="PACKAGE", help="Where the network is one of your own.")
@click.option("--json", "json_", is_flag=True, help="For machines: class -> probability, an image a line.")
def command(
    run: Path,
    images: tuple[Path, ...],
    top: int,
    gradcam: Path | None,
    layer: str | None,
    allow: tuple[str, ...],
    json_: bool,
) -> None:
    """Classify images with the network of RUN, such as results/quickstart/runs/base/seed-0.

    Confidence is the softmax of the network's outputs, of images of any kind: it has never seen
    classes that it was not trained on, and is as sure of them. How far it can be trusted on its own
    data is in the report's table on calibration.
    """
    from harness.models.imported import allow as allow_packages

    allow_packages(allow)
    predictor = load(run)
    pictures = np.stack([predictor.read(path) for path in images])
    probabilities = predictor(pictures)
    for path, row in zip(images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: len(row) if json_ else top]
        if json_:
            found = {predictor.classes[label]: float(row[label]) for label in best}
            tell(json.dumps({"image": str(path), "probabilities": found}))
        else:
            named = "  ".join(f"{predictor.classes[label]} {100 * row[label]:.1f} %" for label in best)
            tell(f"{path}  {named}")
    if gradcam is not None:
        drawn = predictor.explain(pictures, probabilities.argmax(axis=1).tolist(), layer)
        for path, target in zip(_draw(gradcam, images, drawn), probabilities.argmax(axis=1), strict=True):
            complain(f"{path}: what spoke for {predictor.classes[target]}")


def _draw(folder: Path, images: Sequence[Path], drawn: NDArray[np.uint8]) -> list[Path]:
    """PNG files, eight times the size of small images."""
    import io

    from PIL import Image

    paths = []
    for number, (path, pixels) in enumerate(zip(images, drawn, strict=True)):
        picture = Image.fromarray(pixels)
        times = max(1, 256 // max(picture.size))
        content = io.BytesIO()
        picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST).save(
            content, "PNG"
        )
        twice = [other.stem for other in images].count(path.stem) > 1
        target = folder / f"{path.stem}{f'-{number}' if twice else ''}-gradcam.png"
        atomic_write(target, content.getvalue())
        paths.append(target)
    return paths


def main() -> None:
    """The command as a process of its own."""
    run_command(command, "harness.predict")


if __name__ == "__main__":
    main()
