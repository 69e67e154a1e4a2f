"""The custom ResNet: exact sizes, published forms, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import StudyError
from harness.models import build_model
from harness.models.custom_resnet import CustomResNet, CustomResNetOptions
from harness.models.summary import count_parameters
from harness.models.whitening import PatchWhitening
from harness.seeding import global_seed

STAGES = ["prep", "layer1", "res1", "layer2", "layer3", "res2"]


def build(classes: int = 10, **options: Any) -> CustomResNet:
    with global_seed(0, "test"):
        return CustomResNetOptions(**{"width": 2, **options}).build(classes)


def images(n: int = 3, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(1))


# The five published recipes, by the names of their studies
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "chapter11": ({}, 6_573_120),
    "s11_l2": ({"residual": "add"}, 6_573_120),
    "assignment8": ({"fc_bias": True, "dropout": 0.1}, 6_573_130),
    "s11_l1": ({"fc_bias": True, "conv_bias": True, "residual": "double"}, 6_574_090),
    "assignment10_adam": (
        {"head": "conv3x3", "residual": "inner", "dropout": 0.1, "dropout_kind": "unit"},
        6_614_080,
    ),
}


@pytest.mark.parametrize(("options", "parameters"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_the_published_forms_have_exactly_their_parameters(options: dict[str, Any], parameters: int) -> None:
    assert count_parameters(build_model("custom_resnet", options, 10)) == parameters


def test_the_stages_have_the_assignments_names_and_shapes() -> None:
    model = build(width=64).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name in STAGES:
        model.get_submodule(name).register_forward_hook(
            lambda module, _, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    with torch.no_grad():
        logits = model(images(1))
    assert list(shapes) == STAGES
    assert list(shapes.values()) == [
        (64, 32, 32), (128, 16, 16), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4),
    ]  # fmt: skip
    assert logits.shape == (1, 10)


def test_a_block_is_convolution_pool_batch_norm_relu_in_the_published_order() -> None:
    model = build(conv_bias=True, dropout=0.1)
    kinds = [type(layer).__name__ for layer in model.layer1]
    assert kinds == ["Conv2d", "MaxPool2d", "BatchNorm2d", "Dropout2d", "ReLU"]
    assert [type(layer).__name__ for layer in build().prep] == ["Conv2d", "BatchNorm2d", "ReLU"]


def test_biases_are_where_the_options_put_them() -> None:
    def biased(model: nn.Module) -> set[str]:
        kinds = (nn.Conv2d, nn.Linear)
        return {name for name, m in model.named_modules() if isinstance(m, kinds) and m.bias is not None}

    assert biased(build()) == set()
    assert biased(build(conv_bias=True)) == {"prep.0", "layer1.0", "layer2.0", "layer3.0"}
    assert biased(build(fc_bias=True)) == {"head.1"}
    assert biased(build(fc_bias=True, head="conv3x3")) == {"head.0"}


def by_hand(model: CustomResNet, x: Tensor, form: str, scale: float) -> Tensor:
    """The network from its layers, in the assignment's words."""

    def block(layers: Any, x: Tensor, relu: bool = True) -> Tensor:
        x = F.conv2d(x, layers[0].weight, layers[0].bias, padding=1)
        if isinstance(layers[1], nn.MaxPool2d):
            x = F.max_pool2d(x, 2)
        norm = next(layer for layer in layers if isinstance(layer, nn.BatchNorm2d))
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)
        return x.clamp(min=0) if relu else x

    def residual(stage: Any, x: Tensor) -> Tensor:
        first, second = stage.branch
        branch = block(second, block(first, x), relu=form == "add")
        if form == "add":
            return x + branch
        inner = (x + branch).clamp(min=0)
        return inner if form == "inner" else x + inner

    x = residual(model.res1, block(model.layer1, block(model.prep, x)))
    x = residual(model.res2, block(model.layer3, block(model.layer2, x)))
    x = x.amax((2, 3))
    head: Any = model.head
    # On a 1x1 map the other eight ninths of a 3x3 convolution see padding.
    weight = head[0].weight[:, :, 1, 1] if isinstance(head[0], nn.Conv2d) else head[1].weight
    return scale * F.linear(x, weight)


@pytest.mark.parametrize("form", ["add", "inner", "double"])
@pytest.mark.parametrize(("head", "scale"), [("linear", 1.0), ("conv3x3", 0.125)])
def test_the_outputs_are_those_of_the_layers_composed_by_hand(form: str, head: str, scale: float) -> None:
    model = build(residual=form, head=head, logit_scale=scale, width=4)
    with torch.no_grad():
        for _ in range(3):  # so that the running statistics are not trivial
            model.train()(images(8))
        model.eval()
        expected = by_hand(model, images(), form, scale)
        torch.testing.assert_close(model(images()), expected, rtol=1e-4, atol=1e-5)


def test_channel_dropout_is_in_all_eight_blocks_between_batch_norm_and_relu() -> None:
    model = build(dropout=0.25, bn_momentum=0.4)
    blocks = [m for m in model.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]
    assert len(blocks) == 8
    for block in blocks:
        dropout = block[-2]
        assert isinstance(dropout, nn.Dropout2d) and dropout.p == 0.25
        assert isinstance(block[-3], nn.BatchNorm2d) and isinstance(block[-1], nn.ReLU)
        assert block[-3].momentum == 0.4
    assert model.unit_dropout.p == 0
    maps = build(dropout=0.5, width=64).prep.train()(images(4)).detach().flatten(2)
    assert 0.4 < (maps == 0).all(2).float().mean() < 0.6, "whole maps are dropped"


def test_unit_dropout_is_applied_after_each_of_the_six_stages() -> None:
    model, seen = build(dropout=0.3, dropout_kind="unit").train(), []
    assert not [m for m in model.modules() if isinstance(m, nn.Dropout2d)]
    for name in STAGES:
        model.get_submodule(name).register_forward_hook(lambda m, _, out: seen.append(out))
    dropped: list[Tensor] = []
    model.unit_dropout.register_forward_hook(lambda m, given, out: dropped.extend([given[0], out]))
    model(images())
    assert len(dropped) == 12 and model.unit_dropout.p == 0.3
    for stage, (given, out) in zip(seen, zip(dropped[::2], dropped[1::2], strict=True), strict=True):
        assert given is stage
        kept = out != 0
        torch.testing.assert_close(out[kept], stage[kept] / 0.7)


@pytest.mark.parametrize("kind", ["channel", "unit"])
def test_dropout_is_for_training_only(kind: str) -> None:
    model = build(dropout=0.5, dropout_kind=kind).eval()
    plain = build().eval()
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    assert torch.equal(model(images()), plain(images()))


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (33, 47), (64, 64)])
@pytest.mark.parametrize("head", ["linear", "conv3x3"])
def test_it_takes_images_of_any_size_from_8_pixels(size: tuple[int, int], head: str) -> None:
    model = build(classes=7, head=head).train()
    logits = model(images(3, size))
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_evaluation_and_a_batch_of_one_group_are_ordinary_batch_norm() -> None:
    ghost = build(ghost_batch=4)
    plain = build()
    x = images(5)
    torch.testing.assert_close(ghost.train()(x), plain.train()(x), rtol=0, atol=0)
    x = images(64)
    assert not torch.allclose(ghost(x), plain(x))
    ghost.load_state_dict(plain.state_dict())
    torch.testing.assert_close(ghost.eval()(x), plain.eval()(x), rtol=0, atol=0)


# The options of cifar10-fast's bag of tricks


@pytest.mark.parametrize("form", ["add", "inner", "double"])
@pytest.mark.parametrize(
    ("options", "function"),
    [
        ({}, F.relu),
        ({"activation": "celu"}, F.celu),
        ({"activation": "celu", "celu_alpha": 0.3}, lambda x: F.celu(x, 0.3)),
        ({"activation": "gelu"}, F.gelu),
    ],
)
def test_the_activation_is_torchs_everywhere(form: str, options: dict[str, Any], function: Any) -> None:
    model, kinds = build(residual=form, **options).eval(), {"relu": nn.ReLU, "celu": nn.CELU, "gelu": nn.GELU}
    kind = kinds[options.get("activation", "relu")]
    given: list[tuple[Tensor, Tensor]] = []
    for module in model.modules():
        assert not isinstance(module, tuple(set(kinds.values()) - {kind}))
        if isinstance(module, kind):
            module.register_forward_hook(lambda _, inputs, output: given.append((inputs[0], output)))
    model(images())
    assert len(given) == 8  # of prep, three layers, and two in each residual stage
    for before, after in given:
        torch.testing.assert_close(after, function(before), rtol=0, atol=0)


@pytest.mark.parametrize("ghost_batch", [None, 4])
def test_a_batch_norm_scale_is_fixed_and_its_bias_learned(ghost_batch: int | None) -> None:
    model = build(bn_scale=0.25, ghost_batch=ghost_batch).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (model(images(16)) ** 2).sum().backward()
        optimizer.step()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 8
    for norm in norms:
        assert norm.weight.unique().tolist() == [0.25] and norm.weight.grad is None
        assert norm.bias.abs().min() > 0
    assert count_parameters(model) == count_parameters(build()) - sum(len(norm.weight) for norm in norms)


def test_whitening_replaces_preps_convolution_by_a_fixed_and_a_learned_one() -> None:
    model = build(whitening=True, width=4, conv_bias=True, whitening_eps=0.5)
    kinds = [type(layer).__name__ for layer in model.prep]
    assert kinds == ["PatchWhitening", "Conv2d", "BatchNorm2d", "ReLU"]
    fixed, learned = model.prep[0], model.prep[1]
    assert isinstance(fixed, PatchWhitening) and fixed.eps == 0.5
    assert isinstance(learned, nn.Conv2d) and learned.kernel_size == (1, 1) and learned.weight.requires_grad
    plain, with_bias = build(width=4), 4 * (1 + 2 + 4 + 8)
    assert count_parameters(model) == count_parameters(plain) + with_bias  # 27 x 4 weights in both
    model(images(2)).sum().backward()
    assert fixed.weight.grad is None and learned.weight.grad is not None


def test_every_weight_is_drawn_from_torchs_global_generator() -> None:
    states = []
    for seed in (3, 3, 4):
        with global_seed(seed, "x"):
            states.append(build_model("custom_resnet", {"width": 2}, 10).state_dict())
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["prep.0.weight"], other["prep.0.weight"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"widht": 3}, "model.widht: unknown key, did you mean 'width'?"),
        ({"width": 0}, "model.width: expected at least 1, got 0"),
        ({"width": 10**9}, "model.width: expected at most 1024, got 1000000000"),
        ({"width": 64.0}, "model.width: expected a whole number such as 64, got 64.0"),
        ({"width": True}, "model.width: expected a whole number such as 3, got True"),
        ({"dropout": 1}, "model.dropout: expected less than 1, got 1"),
        ({"dropout": float("nan")}, "model.dropout: expected a finite number, got nan"),
        ({"dropout_kind": "pixel"}, "model.dropout_kind: expected 'channel' or 'unit', got 'pixel'"),
        ({"residual": "none"}, "model.residual: expected 'add', 'inner' or 'double', got 'none'"),
        ({"head": "conv"}, "model.head: expected 'linear' or 'conv3x3', got 'conv', did you mean 'conv3x3'?"),
        ({"conv_bias": 1}, "model.conv_bias: expected true or false, got 1"),
        ({"logit_scale": 0}, "model.logit_scale: expected more than 0, got 0"),
        ({"ghost_batch": 1}, "model.ghost_batch: expected at least 2, got 1"),
        ({"bn_momentum": 1.1}, "model.bn_momentum: expected at most 1, got 1.1"),
        ({"bn_scale": 0}, "model.bn_scale: expected more than 0, got 0"),
        (
            {"activation": "elu"},
            "model.activation: expected 'relu', 'celu' or 'gelu', got 'elu', did you mean 'celu'?",
        ),
        ({"celu_alpha": 0.0}, "model.celu_alpha: expected more than 0, got 0.0"),
        ({"whitening": 1}, "model.whitening: expected true or false, got 1"),
        ({"whitening_eps": 0}, "model.whitening_eps: expected more than 0, got 0"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        build_model("custom_resnet", options, 10)
    assert str(caught.value) == f"study: {expected}"
