"""What a test reads of metrics: a board's figures by their names, and an exposition's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.exposition import exposition

if TYPE_CHECKING:
    from .gate import Gate

SILENT = {"error": "nobody was asked"}


def samples(text: str) -> dict[str, float]:
    """Each sample by its name and labels: `name{label="value",...}`, labels in their order."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def moved(gate: Gate) -> dict[str, float]:
    """The counters and gauges of listeners that are not 0, without the labels of the listener."""
    found = {}
    gate.row.publish()
    for key, value in samples(exposition(gate.board, SILENT, SILENT).decode()).items():
        name, _, labels = key.partition("{")
        rest = [label for label in labels.rstrip("}").split(",") if not label.startswith(("listener=", "protocol="))]
        if value and "listener=" in labels and "seconds" not in name:
            found[
                " ".join([name.removeprefix("popgate_"), *[label.partition("=")[2].strip('"') for label in rest]])
            ] = value
    return found
