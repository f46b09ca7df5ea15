"""Presets against their references: the same weights and inputs, the same outputs, MACs and parameters.

    python -m benchmarks.parity [--kit FILE [--more FILE]] [--quick] [--json FILE]

Every architecture is computed twice, inside the supernet and cut out of it; both are compared with the
reference, and with each other, where nothing but 0 will do. Without a kit the references of this
repository are read, one after the other (see references/README.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contract import Result, arguments
from benchmarks.kits import HEAD, REFERENCES, Case, Kit, load
from supernet.calibrate import calibrate
from supernet.elastic.costs import Cost
from supernet.space import Architecture

TOLERANCE = 2e-4


def main() -> None:
    """Compare every architecture of a kit, or of every reference in the repository."""
    parser = arguments("parity", __doc__ or "")
    parser.add_argument("--kit", type=Path, help="an .npz of reference weights and outputs")
    parser.add_argument(
        "--more", type=Path, action="append", default=[], help="more architectures of the kit"
    )
    options = parser.parse_args()
    if options.more and not options.kit:
        parser.error("--more holds architectures of a kit; say which with --kit")
    torch.set_num_threads(1)
    result = Result("parity", vars(options))
    for path in [options.kit] if options.kit else sorted(REFERENCES.glob("*.npz")):
        kit = load(path)
        for more in options.more:
            kit.add(more)
        measure(kit, kit.cases[: 3 if options.quick else None], result)
    result.finish(options.json)


def measure(kit: Kit, cases: list[Case], result: Result) -> None:
    """Add the rows of a kit, and bring the figures up to date."""
    for i, case in enumerate(cases):
        result.rows.append({"kit": kit.name, "architecture": i} | compare(kit, case))
    figures = result.figures
    figures["architectures"] = len(result.rows)
    figures["worst_relative_difference"] = max(row["difference"] for row in result.rows)
    figures["beyond_tolerance"] = sum(row["difference"] > TOLERANCE for row in result.rows)
    figures["worst_cut_out_difference"] = max(row["cut_out_difference"] for row in result.rows)
    for count in ("macs", "params"):
        wrong = [row[f"{count}_wrong"] for row in result.rows if f"{count}_wrong" in row]
        if wrong:
            figures[f"{count}_mismatches"] = sum(wrong)


@torch.no_grad()
def compare(kit: Kit, case: Case) -> dict[str, Any]:
    """One architecture: worst difference to the reference, to its cut-out self, and its costs."""
    arch = kit.preset.from_reference(case.config)
    row: dict[str, Any] = {"id": arch.id, "difference": 0.0, "cut_out_difference": 0.0}
    for name, inside, outside in outputs(kit, case, arch):
        expected = case.expected[name]
        row["difference"] = max(row["difference"], relative(inside, expected), relative(outside, expected))
        apart = float((inside - outside).abs().max())
        row["cut_out_difference"] = max(row["cut_out_difference"], apart)
    counted = case.expected.keys() & {"table", "params"}
    for count, pairs in COUNTS[kit.space](kit, case, arch).items() if counted else ():
        row[count] = pairs[0][0]
        row[f"{count}_wrong"] = int(any(ours != theirs for ours, theirs in pairs))
    return row


def outputs(kit: Kit, case: Case, arch: Architecture) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name of a reference output, and ours twice: from inside the supernet and from the cut-out subnet."""
    supernet, subnet = kit.supernet, kit.supernet.extract(arch)
    for name in case.expected.keys() & {"out_x64", "out_x96", "out_x75"}:
        x = kit.images(name.removeprefix("out_"))
        yield name, supernet(x, arch), subnet(x)
    if "y" in case.expected:
        yield "y", supernet(kit.images("x"), arch), subnet(kit.images("x"))
    if "out_eval" in case.expected:
        yield "out_eval", supernet(kit.images("x64"), arch), subnet(kit.images("x64"))
    if "out_train" in case.expected:
        inside = supernet.train()(kit.images("x64"), arch)
        supernet.eval()
        yield "out_train", inside, subnet.train()(kit.images("x64"))
    if "out_calibrated" in case.expected:
        batches = [kit.images("cal_a"), kit.images("cal_b")]
        statistics = calibrate(supernet.subnet(arch), batches, unbiased=True)
        x = kit.images("x64")
        yield "out_calibrated", supernet(x, arch, statistics), supernet.extract(arch, statistics).eval()(x)


def relative(ours: Tensor, reference: NDArray[Any]) -> float:
    """``max|difference| / max|reference|``."""
    return float(np.abs(ours.numpy() - reference).max() / np.abs(reference).max())


Pairs = dict[str, list[tuple[float, float]]]
"""Per kind of cost: what we count and what the reference counted, one pair per place."""


def count_ofa(kit: Kit, case: Case, arch: Architecture) -> Pairs:
    """MACs at 64 and 224 px, parameters."""
    subnet, table = kit.supernet.extract(arch), case.expected["table"]
    small, large = tabled(kit, arch, HEAD), tabled(kit, arch, 224)
    return {
        "macs": [(count, table[0]) for count in (macs(subnet, HEAD), small.macs)]
        + [(count, table[1]) for count in (macs(subnet, 224), large.macs)],
        "params": [(count, table[2]) for count in (params(subnet), small.params)],
    }


def count_attentive(kit: Kit, case: Case, arch: Architecture) -> Pairs:
    """MACs at 64 and 224 px; parameters without shortcuts, because the reference owns many it never runs."""
    subnet, table = kit.supernet.extract(arch), case.expected["table"]
    larger = kit.supernet.extract(kit.preset.from_reference(case.config | {"resolution": 224}))
    at_64, cost = macs(subnet, HEAD), tabled(kit, arch, HEAD)
    shortcuts = sum(value.numel() for name, value in subnet.named_parameters() if ".shortcut." in name)
    return {
        "macs": [(at_64, table[0]), (at_64, table[4]), (cost.macs, table[0]), (macs(larger, 224), table[1])],
        "params": [(count - shortcuts, table[3]) for count in (params(subnet), cost.params)],
    }


def count_transformer(kit: Kit, case: Case, arch: Architecture) -> Pairs:
    """Parameters; the reference does not count MACs exactly, so PyTorch's count stands in for it."""
    subnet, cost = kit.supernet.extract(arch), tabled(kit, arch, HEAD)
    return {
        "params": [(count, float(case.expected["params"])) for count in (params(subnet), cost.params)],
        "macs": [(cost.macs, macs(subnet, HEAD))],
    }


COUNTS: dict[str, Callable[[Kit, Case, Architecture], Pairs]] = {
    "ofa_mbv3": count_ofa,
    "ofa_proxyless": count_ofa,
    "ofa_resnet": count_ofa,
    "attentivenas": count_attentive,
    "autoformer": count_transformer,
}


def tabled(kit: Kit, arch: Architecture, pixels: int) -> Cost:
    """The costs the supernet looks up in its tables, for one image."""
    return kit.supernet.costs((1, 3, pixels, pixels)).of(arch)


def macs(network: nn.Module, pixels: int) -> int:
    """Multiply-adds of one square image, counted by PyTorch while running without data."""
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.empty(1, 3, pixels, pixels, device="meta"))
    return int(counter.get_total_flops()) // 2


def params(network: nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
