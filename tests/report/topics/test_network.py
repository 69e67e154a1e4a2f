"""Layers of networks."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.topics import network
from tests.lab import sections, text


def test_layers_add_up_to_the_network_that_the_variants_share(findings: Findings) -> None:
    assert network.MODEL.csv(findings).splitlines()[1] == "base,prep.0,4x32x32,108,432,0"
    total = sum(layer.parameters for layer in findings.networks["base"])
    assert f"base, no_cutout: {total:,} trainable parameters." in text(sections(findings, network))
