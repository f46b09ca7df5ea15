"""The README of an entry: its manifest in words, with the front matter that model hubs read.

Names in a manifest are anybody's, so none is read as Markdown, HTML or YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from supernet.errors import ConfigError
from supernet.plain import plain
from supernet.preprocessing import ImagePreprocessing
from supernet.wording import counted
from zoo.store.manifest import DeviceRecord, Manifest


def card(manifest: Manifest) -> str:
    """Markdown with YAML front matter; JSON is YAML, so values are written as JSON."""
    front = "\n".join(f"{key}: {_yaml(value)}" for key, value in _front(manifest).items())
    parts = [f"---\n{front}\n---", f"# {manifest.id}", _summary(manifest)]
    parts += [_metrics(manifest), _devices(manifest.devices), _provenance(manifest), _use(manifest)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(manifest: Manifest) -> dict[str, Any]:
    results = [
        {
            "task": {"type": manifest.task},
            "dataset": {"name": metric.dataset, "type": metric.dataset, "split": metric.split},
            "metrics": [{"type": metric.metric, "value": metric.value}],
        }
        for metric in manifest.metrics
    ]
    return {
        "license": manifest.licences.weights.lower(),
        "library_name": "onnx",
        "pipeline_tag": manifest.task,
        "tags": ["supernet", manifest.kind, manifest.space.name],
        "datasets": [manifest.dataset.name],
        "model-index": [{"name": manifest.id, "results": results}],
    }


def _summary(manifest: Manifest) -> str:
    origin = f" cut from the supernet {_code(manifest.parent)}" if manifest.parent else ""
    costs = ", ".join(f"{value:,.0f} {_text(name)}" for name, value in sorted(manifest.costs.items()))
    return (
        f"A {manifest.kind}{origin}: architecture {_code(manifest.architecture.id)} of the space "
        f"{_text(manifest.space.name)} (10^{manifest.space.log10_size:.1f} networks), {costs}."
    )


def _metrics(manifest: Manifest) -> str:
    rows = [
        (m.dataset, m.split, m.metric, f"{m.value:.4g} {m.unit}".strip(), _interval(m.ci), f"{m.n:,}")
        for m in manifest.metrics
    ]
    return _table(("data", "split", "metric", "value", "95 % interval", "examples"), rows)


def _devices(devices: Iterable[DeviceRecord]) -> str:
    rows = [
        (
            str(d.device["name"]),
            f"{d.median_ms:.4g}",
            f"{d.p10_ms:.4g} to {d.p90_ms:.4g}",
            "" if d.predicted_ms is None else f"{d.predicted_ms:.4g}",
            str(d.runs),
            d.date,
        )
        for d in devices
    ]
    return _table(("device", "median ms", "10th to 90th percentile", "predicted ms", "runs", "date"), rows)


def _provenance(manifest: Manifest) -> str:
    recipe, lines = manifest.recipe, []
    anew = f", with a schedule anew after {', '.join(map(str, recipe.restarts))}" if recipe.restarts else ""
    lines.append(
        f"- trained by {_code(recipe.strategy)} for {counted(recipe.epochs, 'epoch')}{anew}, "
        f"seeds {list(recipe.seeds)}"
    )
    if manifest.calibration:
        c = manifest.calibration
        lines.append(
            f"- statistics re-estimated on {c.examples:,} examples of the {_text(c.split)} split ({_text(c.method)})"
        )
    if manifest.parity:
        p = manifest.parity
        lines.append(
            f"- {_text(p.runtime)} differs from PyTorch by at most {p.max_relative:.2g} of the largest output"
        )
    lines.append(
        f"- licence of the weights: {_text(manifest.licences.weights)}; "
        f"of the data: {_text(manifest.licences.data)}"
    )
    versions = ", ".join(_text(f"{name} {version}") for name, version in sorted(manifest.versions.items()))
    lines.append(f"- made with {versions}")
    return "\n".join(lines)


def _use(manifest: Manifest) -> str:
    ports = [
        (side, t.name, t.dtype, " x ".join(map(str, t.shape)))
        for side, tensors in (("input", manifest.inputs), ("output", manifest.outputs))
        for t in tensors
    ]
    table = _table(("", "name", "type", "shape"), ports)
    inputs = f"How an example becomes an input: {_text(_preprocess(manifest.dataset.preprocess))}."
    return "\n\n".join(part for part in (table, inputs, f"    supernet zoo pull {manifest.id}") if part)


def _preprocess(said: dict[str, Any]) -> str:
    """In words where it is about images, as it stands otherwise."""
    try:
        return _text(str(ImagePreprocessing.from_json(said)))
    except ConfigError:
        return _text(", ".join(f"{key} {value}" for key, value in sorted(said.items()))) or "it does not say"


def _interval(ci: tuple[float, float] | None) -> str:
    return "" if ci is None else f"{ci[0]:.4g} to {ci[1]:.4g}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *(tuple(map(_text, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: str) -> str:
    """As it is written, wherever in Markdown it stands."""
    return re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", plain(value))


def _code(value: str) -> str:
    """In type of one width; nothing can end that but a backtick."""
    return f"`{plain(value).replace('`', chr(39))}`"


def _yaml(value: Any) -> str:
    """JSON, which is YAML once it holds no character that YAML takes for the end of a line."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
