"""The command that classifies images with a trained network. ``python -m harness.predict --help``"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from harness.console import complain, run_command, tell
from harness.predictor import load
from harness.store.atomic import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option(
    "--top", default=3, show_default=True, metavar="N", type=click.IntRange(1), help="Classes to print."
)
@click.option(
    "--gradcam", metavar="DIR", type=click.Path(path_type=Path), help="Draw Grad-CAM of the top class."
)
@click.option("--layer", metavar="NAME", help="Layer of Grad-CAM. [default: the study's last]")
@click.option("--allow", multiple=True, metavar="PACKAGE", help="Allow importing your own network.")
@click.option("--json", "json_", is_flag=True, help="Print JSON: class -> probability, one image per line.")
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

    Confidence is the softmax of the network's outputs. The network assigns every image to one of its
    classes, even if none of them fits. The report's table on calibration says how reliable its confidence is
    on the test images.
    """
    from harness.imports import allow as allow_packages

    allow_packages(allow)
    predictor = load(run)
    pictures = np.stack([predictor.read(path) for path in images])
    probabilities = predictor(pictures)
    for path, row in zip(images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: len(row) if json_ else top]
        if json_:
            named = {predictor.classes[label]: float(row[label]) for label in best}
            tell(json.dumps({"image": str(path), "probabilities": named}))
        else:
            shown = "  ".join(f"{predictor.classes[label]} {100 * row[label]:.1f} %" for label in best)
            tell(f"{path}  {shown}")
    if gradcam is not None:
        targets = probabilities.argmax(axis=1).tolist()
        drawn = predictor.explain(pictures, targets, layer)
        for path, target in zip(_draw(gradcam, images, drawn), targets, strict=True):
            complain(f"{path}: Grad-CAM for class {predictor.classes[target]}")


def _draw(folder: Path, images: Sequence[Path], drawn: NDArray[np.uint8]) -> list[Path]:
    """Write PNG files, eight times the size of small images."""
    from PIL import Image

    paths = []
    stems = [path.stem for path in images]
    for number, (stem, pixels) in enumerate(zip(stems, drawn, strict=True)):
        picture = Image.fromarray(pixels)
        times = max(1, 256 // max(picture.size))
        content = io.BytesIO()
        size = picture.width * times, picture.height * times
        picture.resize(size, Image.Resampling.NEAREST).save(content, "PNG")
        paths.append(folder / f"{stem}{f'-{number}' if stems.count(stem) > 1 else ''}-gradcam.png")
        atomic_write(paths[-1], content.getvalue())
    return paths


def main() -> None:
    """Run the command as a process of its own."""
    run_command(command, "harness.predict")


if __name__ == "__main__":
    main()
