"""A model card of an exported network, in Markdown with Hugging Face's header.

Mitchell et al., "Model Cards for Model Reporting" (FAT*, 2019).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from harness.analysis.units import Units
from harness.data.augment import parse
from harness.errors import RunError
from harness.metrics import ACCURACY, METRICS, title_of
from harness.report.blocks import Block, Report, Section
from harness.report.render.markdown import markdown
from harness.store.folders import RunFolder
from harness.store.records import RunRecord
from harness.store.sealed import read_sealed
from harness.study_file.averaging import Averages
from harness.study_file.seeds import seeds_text
from harness.version import __version__

if TYPE_CHECKING:
    from harness.predictor import Predictor


def model_card(run: RunFolder, predictor: Predictor, uses: Sequence[str]) -> str:
    """Return the README.md of an exported network.

    Args:
        uses: code that loads each of the files beside the card.

    Raises:
        RunError: the run is not finished, or there is no report of its study.
    """
    record, library = run.verify(), parse(predictor.transforms).library
    report = read_sealed(run.study.path / "report.json")
    if report is None:
        raise RunError(f"{run.study.path}: there is no report; the same command with --report-only makes one")
    data = record.provenance["data"]
    variant: dict[str, Any] = next((row for row in report["variants"] if row["variant"] == run.variant), {})
    repeat = "\n".join(report.get("repeat", ()))
    where = " DATA stands for the folder that holds the data." if "--data DATA" in repeat else ""
    height, width = predictor.image_size
    sections = [
        Section(
            "Properties",
            [Block("table", header=("property", "value"), rows=_properties(record, report, variant))],
        ),
        Section(
            "Input and output",
            [
                Block(
                    "text",
                    f"Input: float32 (batch, 3, height, width), RGB images of {width} x {height} pixels "
                    f"that went through these transforms of {library.TITLE}, in their order. Output: logits "
                    f"(batch, {len(predictor.classes)}), whose softmax is the network's confidence; "
                    "config.json has the classes by their place.",
                ),
                Block("code", json.dumps(predictor.transforms, indent=2)),
            ],
        ),
        Section("Use", [Block("code", use) for use in uses]),
        Section("Limits", [Block("list", items=_limits(predictor, data, variant))]),
        Section(
            "How to repeat the numbers",
            [
                Block("text", f"The study's verdict: {report['verdict']}"),
                Block(
                    "text",
                    "Save the study file below as study.toml; these commands repeat all runs of its report."
                    f"{where}",
                ),
                Block("code", repeat),
                Block("code", run.study.study_file.read_text("utf-8"), title="The study file"),
                *(
                    Block("code", text, title=f"{file}, beside study.toml")
                    for file, text in run.study.sources([record.recipe["model"]["name"]]).items()
                ),
            ],
        ),
    ]
    title = f"{run.study.name}/{run.variant}, seed {run.seed}"
    card = markdown(Report(title, report["question"], report["verdict"], report["met"], sections))
    return f"{_header(record)}{card}"


def _properties(record: RunRecord, report: dict[str, Any], variant: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the first table: the run, its recipe over seeds, and the target."""
    metrics, provenance, recipe = record.metrics, record.provenance, record.recipe
    start = recipe["model"].get("pretrained")
    held = provenance["data"]["evaluated_on"] == "holdout"
    split = "images held out of the train split" if held else "the test split"
    std = "" if variant.get("metric_std", variant.get("test_accuracy_std")) is None else " (± is the std)"
    seeds = f" (seeds {seeds_text(variant['seeds'])})" if variant.get("seeds") else ""
    epochs = f"{metrics['epochs']:,} epoch{'' if metrics['epochs'] == 1 else 's'}"
    averaging: Averages = TypeAdapter(Averages).validate_python(recipe.get("averaging", {"kind": "none"}))
    return [
        ["accuracy of this network", f"{100 * metrics['accuracy']:.2f} % on {split}, last epoch"],
        *_target_metric(metrics, report),
        ["its recipe over seeds", f"{variant.get('text') or '–'}{std}, n = {variant.get('finished')}{seeds}"],
        ["target", str(report.get("target_text") or f"{100 * report['target']:g} %")],
        ["network", f"{recipe['model']['name']}, {metrics['parameters']:,} parameters"],
        *([["starts from", f"{start} (SHA-256 {record.identity['pretrained'][:16]})"]] if start else []),
        ["trained on", f"{recipe['data']['source']}, {epochs}, seed {record.seed}"],
        ["weights", averaging.in_words()],
        ["precision, device", f"{provenance['precision']}, {provenance['device']}; exported in float32"],
        ["finished", str(provenance.get("finished"))],
        ["configuration", f"digest {record.digest[:16]}"],
        ["made by", f"ignite-harness {__version__}"],
    ]


def _target_metric(metrics: dict[str, Any], report: dict[str, Any]) -> list[list[str]]:
    """Return the row of the target's metric, if that is not accuracy, which a row before it has."""
    name = report.get("metric", ACCURACY)
    if name == ACCURACY or name not in metrics:
        return []
    units = Units(METRICS[name]) if name in METRICS else None
    value = f"{metrics[name]:.4f}" if units is None else f"{units.value(metrics[name])}{units.of_value}"
    return [[f"{title_of(name)} of this network", value]]


def _limits(predictor: Predictor, data: dict[str, Any], variant: dict[str, Any]) -> list[str]:
    more = " …" if len(predictor.classes) > 20 else ""
    alone = (variant.get("finished") or 0) < 2
    return [
        f"It predicts only these classes: {', '.join(predictor.classes[:20])}{more}. "
        "It gives one of them for every other image too.",
        "Its confidence holds for images like its test images; the study's report shows the calibration on "
        "these. Nothing is known of other images.",
        f"Its accuracy was measured on {data['evaluation_images']:,} images; other images of the same "
        "kind give another number, and images of another kind usually a lower one.",
        "The recipe was run once: the spread over seeds is not known."
        if alone
        else "It is one of several seeds. The recipe's result is their mean, not the best of them.",
    ]


def _header(record: RunRecord) -> str:
    """Return the YAML header for model hubs; JSON's strings and lists are valid YAML."""
    source = record.recipe["data"]["source"]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": source, "type": source},
        "metrics": [{"type": "accuracy", "value": record.metrics["accuracy"]}],
    }
    lines = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "pytorch-ignite", "ignite-harness"],
        "model-index": [{"name": record.study, "results": [result]}],
    }
    return "---\n" + "\n".join(f"{key}: {json.dumps(value)}" for key, value in lines.items()) + "\n---\n\n"
