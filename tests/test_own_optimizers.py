"""Optimizers by import path, and the Muon of docs/your-own.md."""

from __future__ import annotations

import copy
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Optimizer

from harness.errors import StudyError
from harness.imports import ALLOWED
from harness.models import build_model
from harness.optimizers import check_step, create_optimizer, set_rate
from harness.outline import check_recipe
from harness.seeding import global_seed
from harness.study_file.load import resolve
from harness.study_file.parts import OptimizerConfig
from tests.conftest import TINY
from tests.training.test_engines import batches
from tests.training.tiny_runs import run

PAGE = Path("docs/your-own.md").resolve()


class Slow(SGD):
    """SGD of half the rate."""

    def __init__(
        self, params: Any, lr: float, share: float = 0.5, betas: tuple[float, float] = (0.9, 0.99)
    ) -> None:
        super().__init__(params, lr, momentum=0.9)
        self.share = share

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] *= self.share
        super().step()


def made(params: Any, lr: float, **options: Any) -> Optimizer:
    return torch.optim.AdamW(params, lr, **options)


class NeedsClosure(SGD):
    def step(self, closure: Any = None) -> Any:
        closure()


class Uphill(SGD):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr, maximize=True)


class Deaf(SGD):
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] = 0.1
        super().step()


class Forgets(SGD):
    """Its steps shrink, by a counter that no checkpoint has."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        for group in self.param_groups:
            group["lr"] /= self.count
        super().step()


class HasObject(SGD):
    def step(self, closure: Any = None) -> Any:
        super().step()
        self.state[self.param_groups[0]["params"][0]]["of"] = Forgets


class Noisy(SGD):
    """Draws from torch's global generator, which is seeded."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weights in group["params"]:
                weights.grad += 1e-3 * torch.randn_like(weights)
        super().step()


class OnlyMatrices(SGD):
    def step(self, closure: Any = None) -> Any:
        assert all(weights.ndim == 2 for group in self.param_groups for weights in group["params"]), (
            "matrices"
        )
        super().step()


def nothing(params: Any, lr: float) -> None:
    return None


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "tests,my_muon,my_recipe")


def own(name: str, **options: Any) -> OptimizerConfig:
    return OptimizerConfig(name=f"tests.test_own_optimizers:{name}", **options)


def network() -> nn.Module:
    with global_seed(0, "test"):
        return build_model("custom_resnet", {"width": 2, "fc_bias": True}, 10)


def trained(optimizer: Optimizer, model: nn.Module, steps: int = 3) -> dict[str, Any]:
    model.train()
    for images, labels in batches(*[6] * steps):
        set_rate(optimizer, 0.05)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.state_dict()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", ["Slow", "made", "Noisy"])
def test_a_class_or_function_by_import_path_is_taken(name: str) -> None:
    check_step(own(name))
    check_recipe(resolve({**TINY, "optimizer": own(name).model_dump()}), "base")


def test_it_gets_its_options_and_groups() -> None:
    ours, theirs = network(), network()
    config = own("Slow", share=0.25, groups=[{"match": "*.bias", "lr_factor": 2.0}])
    optimizer = create_optimizer(config, ours)
    assert isinstance(optimizer, Slow) and optimizer.share == 0.25
    plain = create_optimizer(OptimizerConfig(name="SGD", momentum=0.9, groups=config.groups), theirs)
    for images, labels in batches(6, 6):
        for model, each, rate in ((ours, optimizer, 0.2), (theirs, plain, 0.05)):
            set_rate(each, rate)
            each.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            each.step()
    assert same(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OptimizerConfig(name="other:Slow"), "optimizer.name: other:Slow: importing 'other' is not allowed"),
        (own("Slaw"), "optimizer.name: .*: AttributeError"),
        (own("PAGE"), "optimizer.name: .*: expected a class of optimizers, got PosixPath"),
        (own("nothing"), "optimizer.name: .*:nothing gives NoneType, not a torch.optim.Optimizer"),
        (own("Slow", shaer=0.5), "optimizer.shaer: .*:Slow has no such argument, did you mean 'share'"),
        (own("Slow", share="half"), "optimizer.share: expected a number such as 0.5, got 'half'"),
        (own("made", momentum=0.5), "optimizer: .*:made says: .*momentum"),
        (own("NeedsClosure"), "optimizer: .*:NeedsClosure says: .*NoneType"),
        (own("Uphill"), "optimizer: .*:Uphill with .* would increase the loss"),
        (own("Deaf"), "optimizer.name: .*:Deaf does not follow the learning rate"),
        (own("Forgets"), "optimizer.name: .*:Forgets takes other steps after a checkpoint"),
        (own("HasObject"), "optimizer: .*:HasObject says: .*"),
        (own("OnlyMatrices"), "optimizer: .*:OnlyMatrices says: AssertionError: matrices"),
    ],
)  # fmt: skip
def test_what_cannot_train_is_refused_in_one_line(config: OptimizerConfig, expected: str) -> None:
    with pytest.raises(StudyError, match=f"^study: {expected}"):
        check_step(config)


# The page


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


MODULES = {"my_muon": "class FlatMuon", "my_recipe": "def halves"}
STUDIES = {study["name"]: study for study in map(tomllib.loads, blocks("toml"))}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The page's modules, by name."""
    for name, words in MODULES.items():
        (code,) = [block for block in blocks("python") if words in block]
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


@pytest.fixture
def muon(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["my_muon"]


@pytest.mark.parametrize("name", ["groups", "muon", "recipe"])
def test_the_pages_studies_pass_all_checks_and_train(
    name: str, modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    study = resolve(
        STUDIES[name], [("data.train_limit", 128), ("data.test_limit", 64), ("precision", "float32")]
    )
    record, folder, variant = run(study, tmp_path)
    assert record.status == "finished", record.error
    assert set(variant.identity.get("sources", {})) == {
        "groups": set(), "muon": {"my_muon:FlatMuon"}, "recipe": {"my_recipe:focal", "my_recipe:halves"},
    }[name]  # fmt: skip


# Muon


def test_torchs_muon_is_refused_for_convolutions_with_the_way_out() -> None:
    study = resolve({**TINY, "optimizer": {"name": "Muon"}})
    with pytest.raises(
        StudyError, match="torch.optim.Muon says: .*2D.*; for convolutions see docs/your-own.md"
    ):
        check_recipe(study, "base")
    check_step(OptimizerConfig(name="Muon"))


def test_the_pages_muon_is_torchs_for_matrices_and_sgd_for_vectors(muon: ModuleType) -> None:
    draws = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 3, generator=draws), torch.randn(4, generator=draws)]
    ours, theirs = ([nn.Parameter(each.clone()) for each in start] for _ in range(2))
    flat = muon.FlatMuon(ours, 0.02, weight_decay=0.1)
    plain = [
        torch.optim.Muon(theirs[:1], 0.02, weight_decay=0.1),
        SGD(theirs[1:], 0.02, momentum=0.95, weight_decay=0.1),
    ]
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=draws)
            other.grad = one.grad.clone()
        for optimizer in (flat, *plain):
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_pages_muon_flattens_a_convolution_a_row_an_output_channel(
    muon: ModuleType, layout: torch.memory_format
) -> None:
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(4, 2, 3, 3, generator=draws)
    ours = nn.Parameter(start.clone(memory_format=layout))
    matrix = nn.Parameter(start.reshape(4, 18).clone())
    flat, plain = muon.FlatMuon([ours], 0.02), torch.optim.Muon([matrix], 0.02, weight_decay=0.0)
    for _ in range(3):
        gradient = torch.randn(start.shape, generator=draws)
        ours.grad, matrix.grad = gradient.clone(memory_format=layout), gradient.reshape(4, 18)
        flat.step()
        plain.step()
    assert torch.equal(ours.reshape(4, 18), matrix)


def test_the_pages_muon_is_accepted_and_trains_all_parameters(muon: ModuleType) -> None:
    config = OptimizerConfig(name="my_muon:FlatMuon", weight_decay=0.01)
    check_step(config)
    check_recipe(resolve({**TINY, "optimizer": config.model_dump()}), "base")
    model = network()
    before = copy.deepcopy(model.state_dict())
    after = trained(create_optimizer(config, model), model)
    assert all(not torch.equal(before[name], after[name]) for name, _ in model.named_parameters())
