"""How much of a timm network `elasticise` makes elastic, and whether every subnet is right.

For each model: conversion time, groups, share of the parameters in live verified groups, size of the
space, random subnets inside the supernet against the same cut out (they have to be equal), and one of
them in ONNX Runtime against PyTorch.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import onnxruntime
import timm
import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.contract import Result, arguments
from hardware.errors import ExportError
from hardware.export import check_onnx, export_onnx
from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError

MODELS = (
    *("mobilenetv3_large_100", "efficientnet_b0", "resnet50", "resnext50_32x4d", "regnety_008"),
    *("convnext_tiny", "mobilevit_s", "vit_small_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("swin_tiny_patch4_window7_224", "levit_128", "repvgg_a2", "densenet121", "ghostnet_100"),
    *("mnasnet_100", "efficientvit_b0", "efficientvit_m0", "fastvit_t8", "edgenext_small"),
    *("mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "maxvit_tiny_tf_224"),
)
QUICK = ("mobilenetv3_small_050", "vit_tiny_patch16_224")
WELL_COVERED_SHARE, WELL_COVERED_LOG10 = 0.95, 10.0
ONNX_TOLERANCE = 1e-4
"""Largest difference from PyTorch, over the largest answer, in single precision."""


def main() -> None:
    parser = arguments("coverage", __doc__ or "")
    parser.add_argument("--models", type=lambda text: text.split(","), help="names of timm models, by commas")
    parser.add_argument("--subnets", type=int, default=5, help="random subnets compared per model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--no-peers", action="store_true", help="leave the peers out where they are installed"
    )
    parser.add_argument("--no-onnx", action="store_true", help="leave the comparison with ONNX Runtime out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
    result = Result("coverage", {key: value for key, value in vars(options).items() if key != "json"})
    for name in options.models or (QUICK if options.quick else MODELS):
        row = measure(name, options.subnets, options.seed, onnx=not (options.no_onnx or options.quick))
        if not (options.no_peers or options.quick):
            row |= beside(name)
        result.rows.append(row)
        print(f"{name}: {row['verdict']}", flush=True)
    result.figures.update(figures(result.rows))
    result.finish(options.json)


def measure(name: str, subnets: int, seed: int, *, onnx: bool) -> dict[str, Any]:
    """One row: a model converted, its subnets compared."""
    torch.manual_seed(seed)
    row: dict[str, Any] = {"model": name}
    try:
        model = lively(timm.create_model(name, pretrained=False).eval())
        x = torch.randn(2, *model.pretrained_cfg["input_size"])
        with torch.no_grad():
            given = model(x)
        start = time.perf_counter()
        supernet = elasticise(model, x[:1])
    except (SupernetError, RuntimeError) as error:
        return row | {"verdict": f"not converted: {str(error)[:100]}"}
    record = supernet.conversion or {}
    row |= {
        "seconds": time.perf_counter() - start,
        "choices": len(supernet.space),
        "live": sum(group["live"] for group in record["groups"]),
        "frozen": sum(group["reason"] is not None for group in record["groups"]),
        "share": record["elastic_parameters"] / record["parameters"],
        "log10": supernet.space.log10_size,
    }
    return row | compare(supernet, x, given, subnets, Random(seed), onnx)


def beside(name: str) -> dict[str, float]:
    """What the peers find in the same model, where they are installed and get through."""
    theirs = {"modelopt": peers.modelopt(name), "torch-pruning": peers.torch_pruning(name)}
    return {
        f"{peer} {key}": found[key]
        for peer, found in theirs.items()
        if found
        for key in ("choices", "log10", "groups")
        if key in found
    }


def compare(
    supernet: Supernet, x: Tensor, given: Tensor, subnets: int, rng: Random, onnx: bool
) -> dict[str, Any]:
    """Two roads to every answer: inside and cut out, PyTorch and ONNX Runtime."""
    space, difference = supernet.space, 0.0
    with torch.no_grad():
        largest = bool(torch.equal(supernet(x, space.largest()), given))
        for arch in [space.sample(rng) for _ in range(subnets)]:
            alone = supernet.extract(arch)
            difference = max(difference, float((supernet(x, arch) - alone(x)).abs().max()))
    row: dict[str, Any] = {"largest_equal": largest, "difference": difference}
    wrong = [] if largest else ["the largest subnet is not the given network"]
    if difference != 0:
        wrong.append("a subnet differs from its cut-out network")
    if onnx:
        found = onnx_difference(alone, x)
        row |= {"onnx": found}
        if isinstance(found, float) and not found <= ONNX_TOLERANCE:
            wrong.append("ONNX differs from PyTorch")
    return row | {"verdict": "; ".join(wrong) or "right"}


def onnx_difference(module: nn.Module, x: Tensor) -> float | str:
    """Largest relative difference of ONNX Runtime from PyTorch; why there is none otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "subnet.onnx"
        try:
            export_onnx(module, x, path)
            return check_onnx(path, module, x, batches=(2,)).max_relative
        except ExportError:
            return _fixed_batch(module, x, path)


def _fixed_batch(module: nn.Module, x: Tensor, path: Path) -> float | str:
    """The same for a network whose code does not leave the batch size free."""
    try:
        torch.onnx.export(module, (x,), path, dynamo=True, external_data=False, verbose=False)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        return f"not exported: {type(error).__name__}"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (there,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        here = module(x)
    return float((torch.from_numpy(there) - here).abs().max() / here.abs().max())


def lively(model: nn.Module) -> nn.Module:
    """Random statistics and scales in place of those of a fresh network, so that mistakes show."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of BENCHMARKS.md."""
    converted = [row for row in rows if "seconds" in row]
    covered = [
        row
        for row in converted
        if row["share"] >= WELL_COVERED_SHARE
        and row["log10"] >= WELL_COVERED_LOG10
        and row["verdict"] == "right"
    ]
    out = {
        "models": float(len(rows)),
        "converted": float(len(converted)),
        "wrong": float(sum(row["verdict"] != "right" for row in converted)),
        "well_covered": float(len(covered)),
    }
    return out | ({"median_seconds": median(row["seconds"] for row in converted)} if converted else {})


if __name__ == "__main__":
    main()
