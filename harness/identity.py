"""A variant's identity: everything that decides a run's result, except for the seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from harness.data.arrays import Data
from harness.imports import source_digests
from harness.study_file.config import Recipe
from harness.study_file.parts import CROSS_ENTROPY
from harness.study_file.vary import DEFAULT

if TYPE_CHECKING:
    from harness.compute import Compute
    from harness.models.pretrained import Pretrained

Pipeline = list[dict[str, Any]]
# Keys of a recipe that earlier versions did not have, and their defaults; they count where they differ.
LATER_KEYS: dict[str, Any] = {
    "data.holdout_draws": None,
    "data.drop_last": False,
    "data.sampler": None,
    "augment.library": "albumentations",
    "augment.batch": [],
    "averaging": {"kind": "none"},
    "optimizer.clip_norm": None,
    "optimizer.accumulate": 1,
    "optimizer.groups": [],
    "loss.name": CROSS_ENTROPY,
    "loss.options": {},
    "loss.class_weights": None,
}


def identity_of_variant(
    recipe: Recipe,
    data: Data,
    train: Pipeline,
    test: Pipeline,
    compute: Compute,
    device: str,
    devices: int,
    pretrained: Pretrained | None = None,
) -> dict[str, Any]:
    """Return everything that decides a run's result, except for the seed."""
    from harness.compute import identity_of
    from harness.data.augment import parse, torchvision
    from harness.data.tensor_pipeline import tensor_pipeline
    from harness.models import MODELS
    from harness.models.imported import model_source

    left_out = {"attribution", "precision", "compile", "range_test", "augment", "vary"}
    deciding = without_later_defaults(recipe.model_dump(mode="json", exclude=left_out))
    if (vary := recipe.varied) != list(DEFAULT):  # left out otherwise: earlier versions' digests stay valid
        deciding["vary"] = [*map(list, vary.items())] if isinstance(vary, dict) else vary
    if compute.compiled:  # likewise
        deciding["compile"] = True
    del deciding["model"]["pretrained"]  # the file's checksum decides, not its place
    for key in ("path", "bits", "cluster", "options"):  # the checksum of images and clusters is here
        del deciding["data"][key]
    deciding["augment"] = {"train": train, "test": test}
    if recipe.augment.batch:  # likewise
        deciding["augment"]["batch"] = [table.model_dump(exclude_none=True) for table in recipe.augment.batch]
    if recipe.schedule.finds and recipe.range_test_settings:
        deciding["range_test"] = recipe.range_test_settings.deciding(finds=True)
    packages = ["torch", "pytorch-ignite"]
    for transforms in (train, test):
        if tensor_pipeline(transforms) is None:
            packages += parse(transforms).library.PACKAGES
    if recipe.augment.batch:
        packages += torchvision.PACKAGES
    identity: dict[str, Any] = {
        "recipe": deciding,
        "data": data.sha256,
        **identity_of(compute, device),
        "device": device.split(":")[0],
        # The suffix of a local build (2.13.0+cpu) repeats the device.
        "versions": {package: version(package).split("+")[0] for package in packages},
    }
    if recipe.model.name not in MODELS:
        identity["model_source"] = model_source(recipe.model.name)
    if sources := source_digests(import_paths(deciding)):  # likewise
        identity["sources"] = sources
    if pretrained is not None:  # likewise
        identity["pretrained"] = pretrained.sha256
    if devices > 1:  # likewise
        identity["devices"] = devices
    return identity


def without_later_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    """Remove later versions' keys that have their defaults: what earlier versions recorded stays valid.

    Args:
        recipe: as plain data; it is changed.
    """
    for dotted, default in LATER_KEYS.items():
        *tables, key = dotted.split(".")
        table = reduce(lambda table, name: table.get(name, {}), tables, recipe)
        if key in table and table[key] == default:
            del table[key]
    return recipe


def import_paths(value: Any) -> Iterator[str]:
    """Yield the import paths that a recipe's tables name, except that of its network."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("name", "kind", "transform", "sampler") and isinstance(part, str):
                if ":" in part:
                    yield part
            elif key != "model":
                yield from import_paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from import_paths(part)
