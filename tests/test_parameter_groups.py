"""Parameter groups: what they match, what is refused, and training as with torch's own groups."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.errors import StudyError
from harness.losses import create_loss
from harness.models import build_model
from harness.models.summary import count_parameters, summarise
from harness.optimizers import check_step, create_optimizer, rate_of, set_rate
from harness.outline import check_recipe, make_outline
from harness.parameter_groups import describe_groups, freeze, split_parameters
from harness.seeding import global_seed
from harness.study_file.load import resolve
from harness.study_file.parts import Loss, OptimizerConfig
from harness.training.engines import attach_schedule, create_trainer
from tests.conftest import TINY
from tests.training.test_engines import batches


def network() -> nn.Module:
    with global_seed(0, "test"):
        return build_model("custom_resnet", {"width": 2, "fc_bias": True, "ghost_batch": 2}, 10)


def config(*groups: dict[str, Any], **options: Any) -> OptimizerConfig:
    return OptimizerConfig(**{"name": "SGD", "momentum": 0.9, "groups": list(groups), **options})


def names(*groups: dict[str, Any]) -> list[list[str]]:
    return [part.names for part in split_parameters(network(), config(*groups).groups)]


def refusal(*groups: dict[str, Any]) -> str:
    with pytest.raises(StudyError) as error:
        split_parameters(network(), config(*groups).groups)
    return str(error.value)


# What a group matches


def test_a_pattern_matches_names_of_parameters() -> None:
    rest, biases = names({"match": "*.bias"})
    assert biases == [name for name, _ in network().named_parameters() if name.endswith(".bias")]
    assert rest == [name for name, _ in network().named_parameters() if not name.endswith(".bias")]
    _, chosen = names({"match": ["head.1.weight", "prep.0.*"]})
    assert chosen == ["prep.0.weight", "head.1.weight"]


def test_a_type_matches_the_parameters_of_modules_of_a_class_and_its_subclasses() -> None:
    modules = dict(network().named_modules())
    rest, norms = names({"type": "BatchNorm2d"})
    assert {type(modules[name.rpartition(".")[0]]).__name__ for name in norms} == {"GhostBatchNorm2d"}
    assert not any("Norm" in type(modules[name.rpartition(".")[0]]).__name__ for name in rest)
    assert names({"type": "*Norm*"}) == names({"type": ["Conv9d", "GhostBatchNorm2d"]}) == [rest, norms]
    _, scales = names({"type": "BatchNorm2d", "match": "*.weight"})
    assert scales == [name for name in norms if name.endswith(".weight")]


def test_the_first_group_that_matches_has_a_parameter() -> None:
    rest, head, biases = names({"match": "head.*"}, {"match": "*.bias"})
    assert head == ["head.1.weight", "head.1.bias"] and "head.1.bias" not in biases
    everything = names({"match": "*.bias"}, {"match": "*"})
    assert len(everything) == 2, "no group without parameters"
    assert sorted(sum(everything, [])) == sorted(name for name, _ in network().named_parameters())


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([{"match": "hed.*"}], r"groups\[0\]: matches no parameter of the network; similar names are head"),
        (
            [{"match": "*.bias"}, {"match": "*.biass"}],
            r"groups\[1\]: matches no .*similar names are .*\.bias",
        ),
        ([{"type": "BatchNorm3d"}], "no parameter of the network; modules with parameters are Conv2d, Ghost"),
        (
            [{"type": "Conv2d", "match": "head.*"}],
            r"groups\[0\]: matches no parameter of the network; similar",
        ),
        (
            [{"match": "*"}, {"match": "head.*"}],
            r"groups\[1\]: earlier groups match all its parameters \(head",
        ),
        ([{"match": "*", "frozen": True}], "groups: they freeze all parameters; leave some to train"),
    ],
)
def test_groups_that_do_not_fit_the_network_are_refused(groups: list[dict[str, Any]], expected: str) -> None:
    import re

    message = refusal(*groups)
    assert message.startswith("study: optimizer.groups") and re.search(expected, message), message


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({}, r"optimizer\.groups\[0\]: expected match, such as"),
        ({"match": []}, r"optimizer\.groups\[0\]\.match: "),
        ({"match": 3}, r"optimizer\.groups\[0\]\.match: "),
        ({"match": "*", "lr": 0.1}, r"optimizer\.groups\[0\]: lr is set by \[schedule\]; write lr_factor"),
        ({"match": "*", "lr_factor": -1}, r"optimizer\.groups\[0\]\.lr_factor: expected at least 0"),
        ({"match": "*", "frozen": 1}, r"optimizer\.groups\[0\]\.frozen: expected true or false"),
        ({"match": "*", "frozen": True, "lr_factor": 2}, r"optimizer\.groups\[0\]: frozen = true leaves"),
        ({"match": "*", "frozen": True, "momentum": 0.0}, r"optimizer\.groups\[0\]: frozen = true leaves"),
        ({"match": "*", "weight_decay": -1}, r"optimizer\.groups\[0\]: weight_decay must be >= 0"),
        ({"match": "*", "momentum": 1.0}, r"optimizer\.groups\[0\]: momentum must be in \[0, 1\)"),
    ],
)  # fmt: skip
def test_a_group_with_an_impossible_value_is_refused_with_its_place(group: Any, expected: str) -> None:
    with pytest.raises(StudyError, match=f"^study: {expected}"):
        resolve({**TINY, "optimizer": {"name": "SGD", "groups": [group]}})


@pytest.mark.parametrize(
    ("name", "group", "expected"),
    [
        (
            "SGD",
            {"weigt_decay": 0.1},
            r"groups\[0\].weigt_decay: torch.optim.SGD has no such argument, did you",
        ),
        ("Adam", {"betas": [0.9]}, r"groups\[0\].betas: expected a list of 2 numbers"),
        ("SGD", {"params": [1]}, r"groups\[0\].params: torch.optim.SGD has no such argument"),
        ("SGD", {"nesterov": True}, r"groups\[0\]: optimizer: torch.optim.SGD says: Nesterov"),
        ("SGD", {"weight_decay": 1e308}, r"groups\[0\]: optimizer: torch.optim.SGD says: .*overflow"),
    ],
)
def test_options_of_a_group_are_checked_as_the_optimizers_own(name: str, group: Any, expected: str) -> None:
    study = resolve({**TINY, "optimizer": {"name": name, "groups": [{"match": "*.weight", **group}]}})
    with pytest.raises(StudyError, match=f"^tiny: optimizer.{expected}"):
        check_recipe(study, "base")


def test_a_cycled_momentum_leaves_none_to_a_group() -> None:
    optimizer = {"name": "SGD", "momentum": 0.9, "groups": [{"match": "*.weight", "momentum": 0.5}]}
    schedule = {"kind": "piecewise", "epochs": 2, "points": [[0, 0.1]], "momentum_points": [[0, 0.9]]}
    with pytest.raises(StudyError, match=r"groups\[0\].momentum: schedule.momentum_points sets it"):
        check_recipe(resolve({**TINY, "optimizer": optimizer, "schedule": schedule}), "base")


# Training


GROUPS = (
    {"match": "prep.0.*", "frozen": True},
    {"match": "*.bias", "lr_factor": 64.0, "weight_decay": 0.0},
    {"type": "BatchNorm2d", "weight_decay": 0.0, "momentum": 0.5},
)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_training_is_a_hand_written_loop_with_torchs_groups_bit_for_bit(name: str) -> None:
    groups = list(copy.deepcopy(GROUPS))
    if name == "AdamW":
        del groups[2]["momentum"]
    options: dict[str, Any] = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    data, rates = batches(6, 6, 4), [(0, 0.01), (3, 0.05), (5, 0.02)]
    ours = network()
    optimizer = create_optimizer(
        OptimizerConfig(**{"name": name, "weight_decay": 5e-4, **options, "groups": groups}), ours
    )
    trainer = create_trainer(ours, optimizer, create_loss(Loss(), ours), device="cpu", precision="float32")
    attach_schedule(trainer, optimizer, rates, None)
    trainer.run(data, max_epochs=2)

    theirs = network()
    theirs.prep[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    named = [(name, weights) for name, weights in theirs.named_parameters() if weights.requires_grad]
    biases = [weights for name, weights in named if name.endswith(".bias")]
    norms = [m.weight for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)]
    rest = [weights for _, weights in named if not any(weights is other for other in (*biases, *norms))]
    plain = getattr(torch.optim, name)(
        [
            {"params": rest},
            {"params": biases, "weight_decay": 0.0},
            {"params": norms, "weight_decay": 0.0, **({"momentum": 0.5} if name == "SGD" else {})},
        ],
        lr=0.1,
        weight_decay=5e-4,
        **options,
    )
    theirs.train()
    steps = [0.01 + 0.04 * step / 3 for step in range(3)] + [0.05 - 0.03 * step / 2 for step in range(3)]
    for rate, (images, labels) in zip(steps, data * 2, strict=True):
        for group, factor in zip(plain.param_groups, (1, 64, 1), strict=True):
            group["lr"] = rate * factor
        plain.zero_grad()
        F.cross_entropy(theirs(images), labels).backward()  # type: ignore[no-untyped-call]
        plain.step()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(value, ours.state_dict()[key], rtol=0, atol=0, msg=key)
    assert torch.equal(ours.prep[0].weight, network().prep[0].weight)  # type: ignore[index, union-attr, arg-type]


def test_all_groups_have_the_schedules_rate_times_their_factor_and_the_cycled_momentum() -> None:
    model, seen = network(), []
    optimizer = create_optimizer(
        config({"match": "*.bias", "lr_factor": 4.0}, {"match": "*", "lr_factor": 0.5}), model
    )
    trainer = create_trainer(model, optimizer, create_loss(Loss(), model), device="cpu", precision="float32")
    handlers = attach_schedule(trainer, optimizer, [(0, 0.1), (2, 0.3)], [(0, 0.9), (2, 0.8)])
    from ignite.engine import Events

    @trainer.on(Events.ITERATION_STARTED)
    def note() -> None:
        groups = optimizer.param_groups
        seen.append((rate_of(optimizer), [g["lr"] for g in groups], [g["momentum"] for g in groups]))

    trainer.run(batches(4, 4, 4), max_epochs=1)
    assert [rate for rate, _, _ in seen] == [0.1, 0.1 + (0.3 - 0.1) * 1 / 2, 0.3]
    for rate, rates, momenta in seen:
        assert rates == [4.0 * rate, 0.5 * rate] and len(set(momenta)) == 1
    assert [momenta[0] for _, _, momenta in seen] == pytest.approx([0.9, 0.85, 0.8])
    assert set(handlers) == {"schedule", "momentum"}


def test_set_rate_sets_every_group() -> None:
    optimizer = create_optimizer(config({"match": "*.bias", "lr_factor": 64}), network())
    for rate in (0.1, 0.3, 0.0):
        set_rate(optimizer, rate)
        assert [group["lr"] for group in optimizer.param_groups] == [rate, rate * 64]
        assert rate_of(optimizer) == rate
    plain = create_optimizer(config(), network())
    set_rate(plain, 0.2)
    assert rate_of(plain) == plain.param_groups[0]["lr"] == 0.2 and "rate" not in plain.param_groups[0]


# Frozen ones


def test_frozen_parameters_take_no_gradient_and_are_not_in_the_optimizer_nor_in_the_count() -> None:
    model = network()
    whole = count_parameters(model)
    optimizer = create_optimizer(config({"match": "layer3.*", "frozen": True}), model)
    frozen = [weights for name, weights in model.named_parameters() if name.startswith("layer3.")]
    assert not any(weights.requires_grad for weights in frozen)
    held = {id(weights) for group in optimizer.param_groups for weights in group["params"]}
    assert held == {id(weights) for weights in model.parameters() if weights.requires_grad}
    assert count_parameters(model) == whole - sum(weights.numel() for weights in frozen)
    rows = summarise(model, (3, 32, 32))
    assert sum(row.parameters for row in rows) == count_parameters(model)


def test_a_preview_counts_what_is_trained_and_says_what_groups_match() -> None:
    groups = [
        {"match": "head.*", "frozen": True},
        {"match": "*.bias", "lr_factor": 64.0, "weight_decay": 0.0},
    ]
    study = resolve({**TINY, "optimizer": {"name": "SGD", "groups": groups}})
    outline = make_outline(study, "base", 160, (32, 32), 10)
    plain = make_outline(resolve(TINY), "base", 160, (32, 32), 10)
    assert outline.parameters == plain.parameters - 160
    assert outline.groups[1] == "head.*: 160 parameters, frozen"
    assert outline.groups[0].startswith("all others: ") and plain.groups == ()
    assert outline.groups[2].endswith(" parameters, rate x 64, weight_decay 0.0")


def test_a_group_in_words() -> None:
    model = network()
    freeze(model, config({"match": "*.bias"}).groups)
    assert all(weights.requires_grad for weights in model.parameters())
    (rest, said) = describe_groups(model, config({"match": ["a*", "*.bias"], "type": "Linear"}).groups)
    assert said == "a*, *.bias of Linear: 10 parameters, as all others"


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
    ),
)
def test_every_optimizer_of_torch_takes_groups(name: str) -> None:
    model = network()
    groups = [{"match": "*.bias", "lr_factor": 2.0}, {"type": "Linear", "frozen": True}]
    settings = OptimizerConfig.model_validate({"name": name, "groups": groups})
    check_step(settings, scheduled=False)
    optimizer = create_optimizer(settings, model)
    trainer = create_trainer(model, optimizer, create_loss(Loss(), model), device="cpu", precision="float32")
    attach_schedule(trainer, optimizer, [(0, 0.001)], None)
    trainer.run(batches(4), max_epochs=2)
    again = create_optimizer(settings, network())
    again.load_state_dict(optimizer.state_dict())
    assert [group["lr_factor"] for group in again.param_groups] == [1.0, 2.0]
