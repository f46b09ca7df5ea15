"""The same subnets on every runtime that is installed: do they rank alike, and are few measurements enough?

    python -m benchmarks.devices [--subnets 30] [--known 20] [--runtimes onnxruntime,torch,openvino] [--json FILE]

Subnets of the quickstart's supernet, untrained (weights cost no time), are profiled on each runtime of this machine;
``openvino:bf16`` is OpenVINO in bfloat16, ``cuda`` an NVIDIA GPU. ``D.spearman_to_onnxruntime`` ranks them against the
default; ``D.within10`` is the share of the others that a predictor of that runtime puts within 10 % after ``--known``
measurements, with the other runtimes as references. ``int8_over_float`` is the latency of the largest subnet in eight
bits over that in float, with whichever types are faster; ``int8_u8s8`` and ``int8_s8s8`` are of each. What is not
installed is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.contract import Result, arguments
from hardware.device import local_device
from hardware.errors import DeviceError
from hardware.export import export_onnx
from hardware.fastest_types import fastest_types
from hardware.measurement import Profile
from hardware.options import DeviceOptions, ProfileOptions
from hardware.profiler import profile
from hardware.sampling import spread
from predictors import Predictor, predictors
from predictors.validate import compare
from supernet.build import build
from supernet.elastic.supernet import Supernet
from supernet.options import DataOptions, SupernetOptions
from supernet.sources import load_data
from supernet.tasks.task import Dataset
from zoo.pipeline.options import PredictOptions

DEFAULT = "onnxruntime"
RUNTIMES = (
    DEFAULT, "torch", "openvino", "openvino:bf16", "executorch", "compiled",
    "cuda", "cuda_graph", "cuda_graph:tf32", "cuda_graph:fp16",
)  # fmt: skip
QUICK = (DEFAULT, "torch", "openvino", "cuda", "cuda_graph")


def main() -> None:
    """Run the benchmark."""
    parser = arguments("devices", __doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits", help="as `supernet train --data`")
    parser.add_argument(
        "--runtimes", default=",".join(RUNTIMES), help="names, with :precision where not fp32"
    )
    parser.add_argument("--subnets", type=int, default=30, help="measured on each runtime")
    parser.add_argument(
        "--known", type=int, default=20, help="of them learned from; the others are predicted"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of measuring on each, at most")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.subnets, args.known, args.seconds, args.runtimes = 14, 10, 1.0, ",".join(QUICK)
    result = Result("devices", vars(args))
    data = load_data(DataOptions(source=args.data))
    net = build(SupernetOptions(), data.task, seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: measured
            for name in args.runtimes.split(",")
            if (measured := measure(net, data, name, Path(folder), args.subnets, args.seconds)) is not None
        }
        int8(result, net, data, Path(folder))
    compared(result, net, found, args.known)
    result.finish(args.json)


def measure(
    net: Supernet, data: Dataset, name: str, folder: Path, subnets: int, seconds: float
) -> Profile | None:
    """A profile on one runtime; None where it is not installed."""
    runtime, _, precision = name.partition(":")
    used = DeviceOptions(runtime=runtime, precision=precision or "fp32", name=name.replace(":", "-"))
    try:
        local_device(used)
    except DeviceError as error:
        print(f"{name} is left out: {error}")
        return None
    smallest, largest, *others = spread(net.space, subnets, cost=net.costs().macs)
    archs = [smallest, largest, *Random(0).sample(others, len(others))]
    options = ProfileOptions(subnets=subnets, seconds=seconds)
    return profile(
        net, archs, lambda arch: data.task.example_inputs(net.input_values(arch)), folder / used.name,
        options=options, device=used, free_axes=data.task.free_axes, exports=folder / "onnx",
    )  # fmt: skip


def compared(result: Result, net: Supernet, found: Mapping[str, Profile], known: int) -> None:
    """Hold every runtime against the default, and its predictor against the measurements that it has not seen."""
    for name, measured in found.items():
        key, ms, genes, noise = name.replace(":", "_"), measured.median_ms, measured.genes, measured.noise_ms
        if DEFAULT in found:
            result.figures[f"{key}.spearman_to_onnxruntime"] = float(
                spearmanr(ms, found[DEFAULT].median_ms).statistic
            )
        others = {other: fitted(net, of, len(ms)) for other, of in found.items() if other != name}
        judged = compare(fitted(net, measured, known, others).predict(genes[known:]), ms[known:])
        result.figures[f"{key}.within10"] = judged.within_10
        result.rows.append(
            {
                "runtime": name, "version": measured.device.version, "smallest ms": float(ms.min()),
                "largest ms": float(ms.max()), "interval": float(np.median(noise / ms)),
                "repeat": measured.repeat.mean, "load": float(np.mean([m.load_average for m in measured.measurements])),
            }
        )  # fmt: skip


def fitted(
    net: Supernet, measured: Profile, known: int, references: Mapping[str, Predictor] | None = None
) -> Predictor:
    """The default predictor, fitted on the leading measurements of a profile."""
    costs, more = net.costs(), {"references": dict(references)} if references else {}
    predictor = predictors[PredictOptions().predictor](
        net.space, macs=costs.macs, params=costs.params, **more
    )
    predictor.fit(measured.genes[:known], measured.median_ms[:known], measured.noise_ms[:known])
    return predictor


def int8(result: Result, net: Supernet, data: Dataset, folder: Path) -> None:
    """The largest subnet in eight bits against float, calibrated on training images."""
    largest = net.space.largest()
    values = net.input_values(largest)
    file = export_onnx(
        net.extract(largest).eval(), data.task.example_inputs(values), folder / "largest.onnx"
    ).path
    examples = [data.task.inputs(batch, values) for batch in data.calibration_batches(64, 64)]
    ratios = fastest_types(file, examples)
    result.figures["int8_over_float"] = min(ratios.values())
    result.figures |= {f"int8_{types}": ratio for types, ratio in ratios.items()}


if __name__ == "__main__":
    main()
