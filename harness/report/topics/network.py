"""The layers of the variants' networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.findings import Findings
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures
from harness.report.topics.table import VARIANT, Column, Shown, Table, page_table

if TYPE_CHECKING:
    from harness.models.summary import LayerRow

MOST_NAMED = 8  # variants that a sentence names


@dataclass(frozen=True)
class VariantLayer:
    """A layer of a variant's network."""

    variant: str
    layer: LayerRow


def _shape(layer: LayerRow) -> str:
    return "x".join(map(str, layer.output_shape))


def _layers(findings: Findings) -> Iterator[VariantLayer]:
    for variant, layers in findings.networks.items():
        for layer in layers:
            yield VariantLayer(variant, layer)


MODEL: Table[VariantLayer] = Table(
    "model",
    "a layer of a variant's network",
    _layers,
    (
        VARIANT,
        Column("layer", "its name", "layer.layer"),
        Column("output_shape", "of one image, such as 64x32x32", lambda row: _shape(row.layer)),
        Column("parameters", "trainable ones", "layer.parameters"),
        Column("bytes", "of these, in float32", "layer.bytes"),
        Column("frozen", "parameters that are not trained", "layer.frozen"),
    ),
)
TABLES = (MODEL,)

SHOWN: tuple[Shown[LayerRow], ...] = (
    Shown("layer", lambda layer: layer.layer, numeric=False),
    Shown("output shape", _shape, numeric=False),
    Shown("parameters", lambda layer: f"{layer.parameters:,}"),
    Shown("KiB", lambda layer: f"{layer.bytes / 1024:,.1f}"),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the layers of each different network, and the variants that have it."""
    networks: dict[tuple[LayerRow, ...], list[str]] = {}
    for variant, layers in findings.networks.items():
        if layers:
            networks.setdefault(tuple(layers), []).append(variant)
    blocks, totals = [], []
    for network, variants in networks.items():
        names = ", ".join(variants[:MOST_NAMED]) + (" …" if len(variants) > MOST_NAMED else "")
        total = sum(layer.parameters for layer in network)
        frozen = sum(layer.frozen for layer in network)
        and_frozen = f", and {frozen:,} that are not trained" if frozen else ""
        totals.append(f"{total:,}")
        blocks.append(Block("text", f"{names}: {total:,} trainable parameters{and_frozen}."))
        blocks.append(page_table("model", SHOWN, network, "Layers"))
    return Section("Network", blocks, about=f"{' / '.join(totals)} trainable parameters")
