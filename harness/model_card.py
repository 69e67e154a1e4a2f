"""A model card: what a reader of an exported network has to know, in Markdown with Hugging Face's header.

Mitchell et al., "Model Cards for Model Reporting" (FAT*, 2019).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import harness
from harness.errors import RunError
from harness.report.blocks import Block, Report, Section
from harness.report.render.markdown import markdown
from harness.store.folders import RunFolder
from harness.store.records import RunRecord
from harness.store.sealed import read_sealed

if TYPE_CHECKING:
    from harness.predict import Predictor

USES = {
    "safetensors": (
        "# model.safetensors, with the package that trained it, ignite-harness\n"
        "from pathlib import Path\n"
        "from harness.models.weights import load_weights\n"
        'model, metadata = load_weights(Path("model.safetensors"))\n'
        "logits = model(images)"
    ),
    "torchscript": (
        "# model.pt, with torch alone\n"
        "import torch\n"
        'model = torch.jit.load("model.pt").eval()\n'
        "logits = model(images)"
    ),
    "onnx": (
        "# model.onnx, with onnxruntime\n"
        "import onnxruntime\n"
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        '(logits,) = session.run(["logits"], {"images": images})  # a numpy array'
    ),
}


def model_card(run: RunFolder, predictor: Predictor, formats: Sequence[str]) -> str:
    """README.md of an exported network.

    Args:
        formats: those beside it.

    Raises:
        RunError: the run is not finished, or there is no report of its study.
    """
    record = run.verify()
    report = read_sealed(run.study.path / "report.json")
    if report is None:
        raise RunError(f"{run.study.path}: there is no report; the same command with --report-only makes one")
    metrics, provenance = record.metrics, record.provenance
    data = provenance["data"]
    held = data["evaluated_on"] == "holdout"
    split = "images held out of the train split" if held else "the test split"
    variant: dict[str, Any] = next((one for one in report["variants"] if one["variant"] == run.variant), {})
    std = "" if variant.get("test_accuracy_std") is None else " (± is the std)"
    epochs = f"{metrics['epochs']:,} epoch{'' if metrics['epochs'] == 1 else 's'}"
    repeat = "\n".join(report.get("repeat", ()))
    where = " DATA stands for the folder that holds the data." if "--data DATA" in repeat else ""
    facts = [
        ["accuracy of this network", f"{100 * metrics['test_accuracy']:.2f} % on {split}, last epoch"],
        [
            "its recipe over seeds",
            f"{variant.get('text') or '–'}{std}, n = {variant.get('finished')}",
        ],
        ["target", f"{100 * report['target']:g} %"],
        ["network", f"{record.recipe['model']['name']}, {metrics['parameters']:,} parameters"],
        ["trained on", f"{record.recipe['data']['source']}, {epochs}, seed {run.seed}"],
        ["precision, device", f"{provenance['precision']}, {provenance['device']}; exported in float32"],
        ["finished", str(provenance.get("finished"))],
        ["configuration", f"digest {record.digest[:16]}"],
        ["made by", f"ignite-harness {harness.__version__}"],
    ]
    height, width = predictor.image_size
    sections = [
        Section("What it is", [Block("table", header=("property", "value"), rows=facts)]),
        Section(
            "Input and output",
            [
                Block(
                    "text",
                    f"Input: float32 (batch, 3, height, width), RGB images of {width} x {height} pixels "
                    "that went through these transforms of Albumentations, in their order. Output: logits "
                    f"(batch, {len(predictor.classes)}), whose softmax is the network's confidence; "
                    "config.json has the classes by their place.",
                ),
                Block("code", json.dumps(predictor.transforms, indent=2)),
            ],
        ),
        Section("Use", [Block("code", USES[name]) for name in formats]),
        Section("Limits", [Block("list", items=_limits(predictor, data, variant))]),
        Section(
            "Where the numbers come from",
            [
                Block("text", f"The study's verdict: {report['verdict']}"),
                Block(
                    "text",
                    "The study file below, saved as study.toml, and these commands make the runs that it is "
                    f"about again.{where}",
                ),
                Block("code", repeat),
                Block("code", (run.study.path / "study.toml").read_text("utf-8"), title="The study file"),
            ],
        ),
    ]
    title = f"{run.study.name}/{run.variant}, seed {run.seed}"
    card = markdown(Report(title, report["question"], report["verdict"], report["met"], sections))
    return f"{_header(record, metrics)}{card}"


def _limits(predictor: Predictor, data: dict[str, Any], variant: dict[str, Any]) -> list[str]:
    limits = [
        f"It knows these classes alone: {', '.join(predictor.classes[:20])}"
        f"{' …' if len(predictor.classes) > 20 else ''}. Any other image is taken for one of them.",
        "Its confidence is that of images like its test images; the study's report says how well it is "
        "calibrated on these, and nothing is known of others.",
        f"Its accuracy was measured on {data['evaluation_images']:,} images; others of the same kind would "
        "give another number, and images of another kind a lower one.",
    ]
    if (variant.get("finished") or 0) < 2:
        limits.append("The recipe was run once: how far seeds differ is not known.")
    else:
        limits.append(
            "It is one of several seeds, and their mean is the recipe's accuracy, not that of the best one."
        )
    return limits


def _header(record: RunRecord, metrics: dict[str, Any]) -> str:
    """YAML that model hubs read; JSON's strings and lists are YAML's."""
    source = record.recipe["data"]["source"]
    lines = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "pytorch-ignite", "ignite-harness"],
        "model-index": [
            {
                "name": record.study,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": source, "type": source},
                        "metrics": [{"type": "accuracy", "value": metrics["test_accuracy"]}],
                    }
                ],
            }
        ],
    }
    return "---\n" + "\n".join(f"{key}: {json.dumps(value)}" for key, value in lines.items()) + "\n---\n\n"
