"""The training step, the evaluation and their metrics, against the same written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import Tensor, nn

from harness.errors import StudyError
from harness.losses import create_loss
from harness.models import build_model
from harness.schedule import momentum_milestones
from harness.seeding import global_seed
from harness.study_file.parts import Loss
from harness.study_file.schedules import OneCycle
from harness.training.engines import (
    attach_schedule,
    create_evaluator,
    create_scaler,
    create_trainer,
)

Batches = list[tuple[Tensor, Tensor]]
ONE_STEP: Batches = [(torch.ones(2, 1), torch.zeros(2, dtype=torch.long))]


def network() -> nn.Module:
    with global_seed(0, "test"):
        return build_model("custom_resnet", {"width": 2}, 10)


def batches(*sizes: int) -> Batches:
    draws = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 3, 16, 16, generator=draws), torch.randint(10, (n,), generator=draws)) for n in sizes
    ]


def trainer_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    config: Loss | None = None,
    precision: str = "float32",
) -> Engine:
    loss = create_loss(config or Loss(), model)
    return create_trainer(model, optimizer or sgd(model), loss, device="cpu", precision=precision)


def evaluator_of(model: nn.Module, precision: str = "float32") -> Engine:
    return create_evaluator(model, device="cpu", precision=precision)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_evaluation_in_float32_is_none_in_tf32_and_leaves_the_setting(precision: str) -> None:
    seen = []

    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return images

    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    evaluator_of(Looks(), precision).run(ONE_STEP)
    assert seen == [(False, False) if precision == "float32" else before]
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


# Training


@pytest.mark.parametrize(
    "config", [Loss(), Loss(label_smoothing=0.1), Loss(l1=1e-3)], ids=["plain", "smooth", "l1"]
)
def test_an_epoch_is_a_hand_written_loop_bit_for_bit(config: Loss) -> None:
    data = batches(6, 6, 6, 4)
    ours = network()
    optimizer = sgd(ours)
    trainer = trainer_of(ours, optimizer, config)
    trainer.run(data, max_epochs=2)

    theirs = network()
    plain = sgd(theirs)
    for _ in range(2):
        for images, labels in data:
            theirs.train()
            plain.zero_grad()
            logits = theirs(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            if config.l1:
                loss = loss + config.l1 * torch.stack([p.abs().sum() for p in theirs.parameters()]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            plain.step()

    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    for index, state in plain.state_dict()["state"].items():
        assert torch.equal(
            state["momentum_buffer"], optimizer.state_dict()["state"][index]["momentum_buffer"]
        )


def test_a_steps_output_is_the_batchs_mean_loss_logits_and_labels_detached() -> None:
    (batch,) = batches(5)
    model = network()
    trainer = trainer_of(model)
    output: Any = trainer.run([batch], max_epochs=1).output
    fresh = network().train()
    assert torch.equal(output["logits"], fresh(batch[0])) and torch.equal(output["labels"], batch[1])
    loss = output["loss"]
    assert torch.equal(loss, F.cross_entropy(fresh(batch[0]), batch[1])) and loss.ndim == 0
    assert not loss.requires_grad and not output["logits"].requires_grad


def test_the_epochs_metrics_weigh_each_batch_by_its_size() -> None:
    data, seen = batches(8, 8, 3), []
    model = network()
    trainer = trainer_of(model)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output))
    for epoch in (1, 2):  # each epoch's own, not all epochs' together
        seen.clear()
        trainer.run(data, max_epochs=epoch)
        loss = sum(float(out["loss"]) * len(out["labels"]) for out in seen) / 19
        right = sum(int((out["logits"].argmax(1) == out["labels"]).sum()) for out in seen)
        assert trainer.state.metrics["loss"] == pytest.approx(loss, rel=1e-6)
        assert trainer.state.metrics["accuracy"] == pytest.approx(right / 19, rel=1e-12)
        unweighted = sum(float(out["loss"]) for out in seen) / 3
        assert trainer.state.metrics["loss"] != pytest.approx(unweighted, rel=1e-4)


def test_the_model_trains_in_training_mode_also_after_an_evaluation() -> None:
    model = network()
    trainer = trainer_of(model)
    evaluator = evaluator_of(model)
    modes = []
    model.register_forward_hook(lambda module, given, output: modes.append(module.training))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run(batches(4)))
    trainer.run(batches(4, 4), max_epochs=2)
    assert modes == [True, True, False, True, True, False]


def test_in_bfloat16_the_loss_and_logits_are_float32_and_so_are_the_weights() -> None:
    model = network()
    trainer = trainer_of(model, precision="bfloat16")
    output: Any = trainer.run(batches(4), max_epochs=1).output
    assert output["loss"].dtype == output["logits"].dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    exact = network().train()(batches(4)[0][0])
    assert not torch.equal(output["logits"], exact), "it did compute in bfloat16"
    torch.testing.assert_close(output["logits"], exact, rtol=0.1, atol=0.1)


def test_only_float16_scales_its_loss() -> None:
    scales = {each: create_scaler("cpu", each).is_enabled() for each in ("float32", "bfloat16", "float16")}
    assert scales == {"float32": False, "bfloat16": False, "float16": True}


# Losses


def test_the_loss_is_the_mean_negative_log_likelihood() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
    labels = torch.tensor([0, 2])
    by_hand = -(logits.exp() / logits.exp().sum(1, keepdim=True)).log()[[0, 1], labels].mean()
    torch.testing.assert_close(create_loss(Loss(), nn.Identity())(logits, labels), by_hand)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log_p = logits.log_softmax(1)[0]
    by_hand = -(0.7 * log_p[0] + 0.3 * log_p.mean())
    smoothed = create_loss(Loss(label_smoothing=0.3), nn.Identity())(logits, labels)
    torch.testing.assert_close(smoothed, by_hand)


def test_l1_is_its_factor_times_the_sum_of_all_absolute_parameters() -> None:
    linear = nn.Linear(2, 2)
    model = nn.Sequential(linear, nn.BatchNorm1d(2))
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
        linear.bias.copy_(torch.tensor([-5.0, 6.0]))
    logits, labels = torch.zeros(1, 2), torch.tensor([0])
    plain, punished = create_loss(Loss(), model), create_loss(Loss(l1=0.01), model)
    difference = punished(logits, labels) - plain(logits, labels)
    assert difference.item() == pytest.approx(0.01 * (10 + 11 + 2), rel=1e-5)  # 2: the batch norm's weights
    punished(logits, labels).backward()  # type: ignore[no-untyped-call]
    assert linear.weight.grad is not None
    assert torch.equal(linear.weight.grad, 0.01 * torch.tensor([[1.0, -1.0], [1.0, -1.0]]))


def test_l1_leaves_out_parameters_that_are_not_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].requires_grad_(False)
    logits, labels = torch.zeros(1, 2), torch.tensor([0])
    loss, plain = (create_loss(Loss(l1=l1), model)(logits, labels) for l1 in (0.01, 0.0))
    trained = sum(parameter.abs().sum().item() for parameter in model[0].parameters())
    assert (loss - plain).item() == pytest.approx(0.01 * trained, rel=1e-4)


# Evaluation


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_evaluation_leaves_all_logits_in_order_in_float32(precision: str) -> None:
    data = batches(7, 7, 7, 2)
    model = network()
    evaluator = evaluator_of(model, precision)
    for _ in range(2):  # a second evaluation holds its own predictions alone
        evaluator.run(data)
        logits, labels = evaluator.state.predictions  # type: ignore[attr-defined]
    assert logits.shape == (23, 10) and logits.dtype == torch.float32 and not logits.requires_grad
    assert torch.equal(labels, torch.cat([labels for _, labels in data]))
    with torch.no_grad():
        exact = torch.cat([model.eval()(images) for images, _ in data])
    if precision == "float32":
        assert torch.equal(logits, exact)
    else:
        assert not torch.equal(logits, exact)
        torch.testing.assert_close(logits, exact, rtol=0.1, atol=0.1)


def test_an_evaluation_changes_neither_weights_nor_statistics_nor_gradients() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluator_of(model).run(batches(4, 4))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


# Schedules on optimizers

CYCLE = OneCycle(kind="one_cycle_lr", epochs=2, lr_max=0.1, pct_start=0.5, cycle_momentum=[0.8, 0.9])


def run_with(optimizer: torch.optim.Optimizer, steps: int = 6) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    model = nn.Linear(1, 2)
    trainer = trainer_of(model)
    attach_schedule(trainer, optimizer, [(0, 0.1), (11, 0.2)], momentum_milestones(CYCLE, steps))
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: seen.append({k: v for k, v in optimizer.param_groups[-1].items()})
    )
    trainer.run(ONE_STEP * steps, max_epochs=2)
    return seen


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam"])
def test_beta1_is_cycled_and_beta2_stays(name: str) -> None:
    optimizer = getattr(torch.optim, name)([nn.Parameter(torch.zeros(1))], betas=(0.5, 0.97))
    betas = [group["betas"] for group in run_with(optimizer)]
    assert [beta2 for _, beta2 in betas] == [0.97] * 12
    first = [beta1 for beta1, _ in betas]
    assert first[0] == 0.9 and [first[5], first[11]] == pytest.approx([0.8, 0.9], abs=1e-12)
    assert all(isinstance(pair, tuple) for pair in betas), "torch wants a tuple"


def test_momentum_is_cycled_in_every_parameter_group() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, momentum=0.5)
    momenta = [group["momentum"] for group in run_with(optimizer)]
    assert momenta[0] == 0.9 and momenta[5] == pytest.approx(0.8, abs=1e-12)
    assert optimizer.param_groups[0]["momentum"] == optimizer.param_groups[1]["momentum"]


def test_beta1_is_still_cycled_after_the_optimizers_state_was_loaded() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    model = nn.Linear(1, 2)
    trainer = trainer_of(model)
    attach_schedule(trainer, optimizer, [(0, 0.1)], [(0, 0.7)])
    optimizer.load_state_dict(optimizer.state_dict())  # as a resumed run does: it makes new groups
    trainer.run(ONE_STEP, max_epochs=1)
    assert optimizer.param_groups[0]["betas"] == (0.7, 0.999)


@pytest.mark.parametrize("name", ["Adagrad", "Rprop", "Adadelta"])
def test_cycling_a_momentum_that_is_not_there_is_refused(name: str) -> None:
    optimizer = getattr(torch.optim, name)([nn.Parameter(torch.zeros(1))])
    text = "^schedule.cycle_momentum: this optimizer has neither momentum nor betas$"
    with pytest.raises(StudyError, match=text):
        run_with(optimizer)


def test_without_cycling_the_optimizers_own_momentum_stays() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], momentum=0.5)
    model = nn.Linear(1, 2)
    trainer = trainer_of(model)
    assert list(attach_schedule(trainer, optimizer, [(0, 0.1)], None)) == ["schedule"]


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main, self.side = nn.Linear(3, 10), nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Any:
        pooled = images.mean((2, 3))
        return (self.main(pooled), self.side(pooled), None) if self.training else self.main(pooled)


def test_auxiliary_logits_count_for_three_tenths_of_the_loss() -> None:
    ours = TwoHeads()
    before = [value.detach().clone() for value in ours.parameters()]
    ((images, labels),) = batches(6)
    trainer = trainer_of(ours, torch.optim.SGD(ours.parameters(), lr=1.0))
    trainer.run([(images, labels)])
    parts = [value.clone().requires_grad_() for value in before]
    pooled = images.mean((2, 3))
    main = F.cross_entropy(pooled @ parts[0].T + parts[1], labels)
    side = F.cross_entropy(pooled @ parts[2].T + parts[3], labels)
    (main + 0.3 * side).backward()  # type: ignore[no-untyped-call]
    for now, part in zip(ours.parameters(), parts, strict=True):
        assert part.grad is not None
        torch.testing.assert_close(now.detach(), part.detach() - part.grad)
    assert trainer.state.metrics["loss"] == pytest.approx((main + 0.3 * side).item())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_shares_of_classes_are_trained_on_and_the_larger_one_counts_as_the_label(smoothing: float) -> None:
    data, model, by_hand = batches(8, 5), network(), network()
    shares = [torch.softmax(torch.randn(len(labels), 10), 1) for _, labels in data]
    seen: list[dict[str, Tensor]] = []
    trainer = trainer_of(model, config=Loss(label_smoothing=smoothing, l1=1e-4))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output))
    trainer.run([(images, soft) for (images, _), soft in zip(data, shares, strict=True)], max_epochs=1)
    optimizer, right, total = sgd(by_hand), 0, 0.0
    for (images, _), soft, output in zip(data, shares, seen, strict=True):
        logits = by_hand(images)
        smooth = (1 - smoothing) * soft + smoothing / 10
        loss = -(smooth * torch.log_softmax(logits, 1)).sum(1).mean()
        loss = loss + 1e-4 * sum(p.abs().sum() for p in by_hand.parameters())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(output["loss"], loss.detach())
        assert torch.equal(output["labels"], soft.argmax(1))
        right += int((output["logits"].argmax(1) == soft.argmax(1)).sum())
        total += float(output["loss"]) * len(soft)
    assert trainer.state.metrics["accuracy"] == right / 13
    assert trainer.state.metrics["loss"] == pytest.approx(total / 13)
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
