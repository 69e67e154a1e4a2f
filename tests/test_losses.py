"""Losses by name and by import path, weights of classes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from harness.errors import StudyError
from harness.identity import LATER_KEYS, import_paths
from harness.imports import ALLOWED
from harness.losses import check_loss, class_weights, create_loss
from harness.models import build_model
from harness.outline import check_recipe, make_outline
from harness.plan import resolve_variant
from harness.seeding import global_seed
from harness.study_file.config import Study
from harness.study_file.load import resolve
from harness.study_file.parts import Loss
from harness.training.engines import create_trainer
from tests.conftest import TINY
from tests.training.test_engines import batches
from tests.training.tiny_runs import data_of


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Lin et al., "Focal Loss for Dense Object Detection" (2017)."""
    losses = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


class Scaled(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.scale * F.cross_entropy(logits, labels)


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))


class Counts(Scaled):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.seen: Tensor
        self.seen += len(labels)
        return super().forward(logits, labels)


class Grows(Scaled):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.scale += 1
        return super().forward(logits, labels)


def per_image(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def detached(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.detach(), labels)


def infinite(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels) / 0


def number(logits: Tensor, labels: Tensor) -> float:
    return 1.0


NOTHING = 3


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "tests")


def own(name: str, **settings: Any) -> Loss:
    return Loss(name=f"tests.test_losses:{name}", **settings)


def network() -> nn.Module:
    with global_seed(0, "test"):
        return build_model("custom_resnet", {"width": 2}, 10)


WEIGHTS = [0.5, 1.0, 2.0, 1.0, 1.0, 3.0, 0.1, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Loss(), F.cross_entropy),
        (
            Loss(class_weights=WEIGHTS, label_smoothing=0.2),
            nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=0.2),
        ),
        (Loss(name="MultiMarginLoss", options={"margin": 0.5}), nn.MultiMarginLoss(margin=0.5)),
        (
            Loss(name="MultiMarginLoss", class_weights=WEIGHTS),
            nn.MultiMarginLoss(weight=torch.tensor(WEIGHTS)),
        ),
        (own("focal", options={"gamma": 3.0}), lambda logits, labels: focal(logits, labels, 3.0)),
        (own("Scaled", options={"scale": 0.5}), lambda logits, labels: 0.5 * F.cross_entropy(logits, labels)),
    ],
    ids=["default", "weighted", "margin", "weighted margin", "function", "class"],
)
def test_training_is_a_hand_written_loop_with_that_loss_bit_for_bit(config: Loss, expected: Any) -> None:
    ours, theirs, data = network(), network(), batches(6, 6, 4)
    weights = class_weights(config, [])
    check_loss(config, 10)
    optimizer = torch.optim.SGD(ours.parameters(), 0.05)
    loss = create_loss(config, ours, weights)
    create_trainer(ours, optimizer, loss, device="cpu", precision="float32").run(data, max_epochs=2)
    plain = torch.optim.SGD(theirs.parameters(), 0.05)
    theirs.train()
    for images, labels in data * 2:
        plain.zero_grad()
        expected(theirs(images), labels).backward()
        plain.step()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(value, ours.state_dict()[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("name", sorted(name for name in vars(nn) if name.endswith("Loss")))
def test_of_torchs_losses_those_of_logits_and_labels_are_taken(name: str) -> None:
    if name in ("CrossEntropyLoss", "MultiMarginLoss"):
        return check_loss(Loss(name=name), 10)
    with pytest.raises(StudyError, match=f"^study: loss.name: {name}: "):
        check_loss(Loss(name=name), 10)
    return None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Loss(name="CrossEntropy"), "name: CrossEntropy: torch.nn has no such loss, did you mean 'Cross"),
        (Loss(name="NLLLoss"), "name: NLLLoss: it expects log-probabilities, not logits; use Cross"),
        (Loss(name="other:loss"), "name: other:loss: importing 'other' is not allowed; add --allow"),
        (Loss(options={"ignor_index": 1}), "options.ignor_index: CrossEntropyLoss has no .*'ignore_index'"),
        (Loss(name="MultiMarginLoss", label_smoothing=0.1), "label_smoothing: MultiMarginLoss has no such"),
        (Loss(name="MultiMarginLoss", options={"p": 3}), "name: MultiMarginLoss: ValueError: only p == 1"),
        (Loss(class_weights=[1.0, 2.0]), "class_weights: 2 weights for 10 classes"),
        (own("focal", class_weights="balanced"), "class_weights: .* takes no class weights; remove it"),
        (own("focal", options={"gama": 1}), "options.gama: .*focal has no such .*'gamma'"),
        (own("fokal"), "name: .*AttributeError: "),
        (own("NOTHING"), "name: .*expected a class or function, got int"),
        (own("Learned"), "name: .*it has parameters, which would not be trained"),
        (own("Counts"), "name: .*it changes from call to call"),
        (own("Grows"), "name: .*it changes from call to call"),
        (own("per_image"), r"name: .*it gives a tensor of shape \(11,\); expected the batch's mean"),
        (own("number"), "name: .*it gives float; expected the batch's mean"),
        (own("detached"), "name: .*its value has no gradient"),
        (own("infinite"), "name: .*its value or gradient is not finite"),
    ],
)  # fmt: skip
def test_what_is_no_loss_is_refused_in_one_line(config: Loss, expected: str) -> None:
    with pytest.raises(StudyError, match=rf"^study: loss\.{expected}"):
        check_loss(config, 10)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"class_weights": "balancd"}, r"\.class_weights: expected 'balanced' or a list"),
        ({"class_weights": [1.0]}, r"\.class_weights: "),
        ({"class_weights": [1.0, 0.0]}, ": class_weights: each must be above 0 and at most 1e6, got 0"),
        ({"options": {"weight": [1.0, 2.0]}}, ": options.weight: write loss.class_weights instead"),
        ({"options": {"label_smoothing": 0.1}}, ": options.label_smoothing: write loss.label_smo"),
        ({"options": {"reduction": "sum"}}, ": options.reduction: it is the mean; remove it"),
        ({"options": {"ignore_index": 3}}, ": options.ignore_index: every image counts; loss.class_weights"),
        ({"label_smothing": 0.1}, r"\.label_smothing: unknown key, did you mean 'label_smoothing'"),
        ({"name": ""}, r"\.name: "),
    ],
)  # fmt: skip
def test_an_impossible_loss_is_refused_with_the_key(loss: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError, match=f"^study: loss{expected}"):
        resolve({**TINY, "loss": loss})


def test_soft_labels_are_tried_where_images_are_mixed() -> None:
    for config in (Loss(), Loss(class_weights="balanced"), Loss(label_smoothing=0.1)):
        check_loss(config, 10, soft_labels=True)
    for config in (Loss(name="MultiMarginLoss"), own("focal_of_labels")):
        with pytest.raises(StudyError, match="loss.name: .*: mixed images have soft labels .* cannot take: "):
            check_loss(config, 10, soft_labels=True)


def focal_of_labels(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.log_softmax(1).gather(1, labels[:, None]).mean()


# Weights of classes


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat(np.arange(4), [3, 30, 7, 1])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(
        class_weights(Loss(class_weights="balanced"), np.bincount(labels).tolist()) or [],
        expected,
        rtol=1e-15,
    )
    assert class_weights(Loss(), [3, 30]) is None


def test_a_class_without_images_cannot_be_balanced() -> None:
    with pytest.raises(StudyError, match="loss.class_weights: class 1 has no train image"):
        class_weights(Loss(class_weights="balanced"), [3, 0, 4])


def study(**loss: Any) -> Study:
    return resolve({**TINY, "loss": loss})


def test_a_variant_has_the_weights_of_its_own_train_images() -> None:
    balanced = study(class_weights="balanced")
    data = data_of(balanced)
    variant = resolve_variant(balanced, "base", data, device="cpu")
    counts = np.bincount(data.train.labels, minlength=10)
    assert variant.class_weights == pytest.approx([160 / (10 * count) for count in counts])
    assert resolve_variant(study(), "base", data, device="cpu").class_weights is None
    assert variant.digest != resolve_variant(study(), "base", data, device="cpu").digest


def test_the_mean_of_a_weighted_cross_entropy_is_over_weights_of_labels() -> None:
    """As in torch: two parts of a batch, counted by these, give the whole batch's loss."""
    weights = torch.tensor(WEIGHTS).tolist()
    loss = create_loss(Loss(class_weights=weights), network(), weights)
    ((images, labels),) = batches(9)
    logits = network()(images)
    parts = [slice(0, 4), slice(4, 9)]
    amounts = [loss.amount(labels[part]) for part in parts]
    mean = sum(loss(logits[part], labels[part]) * amount for part, amount in zip(parts, amounts, strict=True))
    torch.testing.assert_close(mean / sum(amounts), loss(logits, labels))
    soft = F.one_hot(labels, 10).float()
    assert loss.amount(soft) == 9.0
    torch.testing.assert_close(
        (loss(logits[:4], soft[:4]) * 4 + loss(logits[4:], soft[4:]) * 5) / 9, loss(logits, soft)
    )
    margin = create_loss(Loss(name="MultiMarginLoss", class_weights=weights), network(), weights)
    mean = margin(logits[:4], labels[:4]) * 4 + margin(logits[4:], labels[4:]) * 5
    torch.testing.assert_close(mean / margin.amount(labels), margin(logits, labels))


# In a study


def test_a_study_is_checked_before_any_work() -> None:
    for wrong in (
        {"name": "MSELoss"},
        {"class_weights": [1.0, 2.0]},
        {"name": "tests.test_losses:per_image"},
    ):
        with pytest.raises(StudyError, match="^tiny: loss."):
            make_outline(study(**wrong), "base", 160, (32, 32), 10)
    with pytest.raises(StudyError, match="^tiny: loss.name: MSELos: torch.nn has no such loss"):
        check_recipe(study(name="MSELos"), "base")


def test_a_digest_has_what_differs_from_the_default_and_the_source() -> None:
    dumped = study().recipes["base"].loss.model_dump()
    assert {f"loss.{key}" for key in dumped} - LATER_KEYS.keys() == {"loss.label_smoothing", "loss.l1"}
    assert all(LATER_KEYS[f"loss.{key}"] == dumped[key] for key in ("name", "options", "class_weights"))
    named = study(name="tests.test_losses:focal").recipes["base"].model_dump()
    assert "tests.test_losses:focal" in list(import_paths(named))


def test_a_variant_with_another_loss_has_only_its_own_options() -> None:
    variants = {"margin": {"loss": {"name": "MultiMarginLoss", "options": {"margin": 0.5}}}}
    made = resolve({**TINY, "loss": {"label_smoothing": 0.1}, "variants": variants})
    assert made.recipes["margin"].loss == Loss(name="MultiMarginLoss", options={"margin": 0.5})
