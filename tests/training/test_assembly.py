"""What trains a variant, put together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from harness.plan import resolve_variant
from harness.schedule import Rates
from harness.seeding import global_seed
from harness.study_file.config import Study
from harness.training.assembly import assemble, evaluation_batches, train_batches
from harness.training.handlers import predictions
from tests.training.tiny_runs import data_of

Tiny = Callable[..., Study]


@pytest.mark.parametrize(
    ("net", "rates", "parts"),
    [
        ("custom_resnet", None, set()),
        ("custom_resnet", Rates(0.01, 0.1), {"schedule"}),
        ("tests.training.odd_nets:Counter", Rates(0.01, 0.1), {"schedule", "outside"}),
    ],
)
def test_a_checkpoint_holds_every_part_that_has_a_state(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, net: str, rates: Rates | None, parts: set[str]
) -> None:
    monkeypatch.setenv("HARNESS_ALLOW", "tests")
    study = tiny(("model", {"name": net}), ("attribution.layers", []))
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    assembly = assemble(variant, variant.new_network(data), rates)
    assert set(assembly.state()) == {"trainer", "model", "optimizer", "scaler", *parts}
    assert assembly.unsaved() == ""


def test_the_final_evaluation_is_in_float32_and_the_others_in_the_variants_precision(tiny: Tiny) -> None:
    study = tiny(("precision", "bfloat16"))
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    with global_seed(0, "test"):
        assembly = assemble(variant, variant.new_network(data))
    logits = []
    for evaluator in (assembly.evaluator, assembly.final_evaluator):
        evaluator.run(evaluation_batches(variant, data, seed=0))
        logits.append(torch.from_numpy(predictions(evaluator)[0]))
    rounded = [torch.equal(each, each.bfloat16().float()) for each in logits]
    assert rounded == [True, False]


def test_the_range_test_draws_other_batches_than_a_run_of_the_same_seed(tiny: Tiny) -> None:
    data = data_of(tiny())
    variant = resolve_variant(tiny(), "base", data, device="cpu")
    first = [
        next(iter(train_batches(variant, data, seed=0, purpose=purpose)))[1].tolist()
        for purpose in ("train", "train", "range_test")
    ]
    assert first[0] == first[1] != first[2]
