"""Measure the cost of the final float32 evaluation, as a share of a 24-epoch CIFAR-10 run in bfloat16.

``python -m benchmarks.float32_evaluation`` takes a minute on a CPU. One thread, processor time: other
programs change it little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from harness.device import prepare, processor
from harness.losses import create_loss
from harness.models import build_model
from harness.study_file.parts import Loss
from harness.training.engines import create_evaluator, create_trainer

ROUNDS, BATCH, EPOCHS, TRAINED, EVALUATED = 3, 512, 24, 50_000, 10_000


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds an image."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / BATCH


def main() -> None:
    """Print a line a round, and the median share."""
    prepare("cpu", 1)
    layout = torch.channels_last
    model = build_model("custom_resnet", {}, 10).to(memory_format=layout)  # type: ignore[call-overload]
    batches = [(torch.randn(BATCH, 3, 32, 32).to(memory_format=layout), torch.randint(10, (BATCH,)))]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = create_loss(Loss(), model)
    trainer = create_trainer(model, optimizer, loss, device="cpu", precision="bfloat16", memory_format=layout)
    usual, final = (
        create_evaluator(model, device="cpu", precision=precision, memory_format=layout)
        for precision in ("bfloat16", "float32")
    )
    shares = []
    for at in range(ROUNDS + 1):
        train = seconds(lambda: trainer.run(batches, max_epochs=1))
        coarse, fine = (seconds(lambda it=it: it.run(batches)) for it in (usual, final))  # type: ignore[misc]
        if at:  # the first is a warm-up
            shares.append(EVALUATED * (fine - coarse) / (EPOCHS * (TRAINED * train + EVALUATED * coarse)))
            print(
                f"train {1e3 * train:.2f}, evaluate {1e3 * coarse:.2f}, {1e3 * fine:.2f} ms; {shares[-1]:.2%}"
            )
    print(f"{processor()}, torch {torch.__version__}: {statistics.median(shares):.2%}")


if __name__ == "__main__":
    main()
