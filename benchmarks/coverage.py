"""How much of a network `elasticise` makes elastic, and whether everything about the result is right.

Each network is converted in a process of its own, within so many seconds of CPU. Then random subnets
inside the supernet are held against the same cut out (they have to be equal), in training too (loss and
every gradient), their costs against counting the cut-out networks, and for the 22 one of them in ONNX
Runtime against PyTorch, with the peers beside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.contract import Result, arguments
from benchmarks.coverage_row import Options
from benchmarks.coverage_sets import names
from supernet.errors import did_you_mean

SETS = ("timm22", "timm", "torchvision", "transformers")
QUICK = {
    "timm22": ("mobilenetv3_small_050", "vit_tiny_patch16_224"),
    "timm": ("mobilenetv3_small_050", "vit_tiny_patch16_224"),
    "torchvision": ("squeezenet1_1", "mnasnet1_0"),
    "transformers": ("distilbert", "vit"),
}
COLUMNS = (
    *("model", "outcome", "seconds", "memory_over_weights", "live", "share", "log10", "kinds"),
    *("wrong", "training_wrong", "costs_wrong", "onnx", "modelopt log10", "torch-pruning groups"),
)
WELL_COVERED_SHARE, WELL_COVERED_LOG10 = 0.95, 10.0
LARGE_MB = 100
"""Memory over weights says something where weights, and not Python or activations, are what is large."""


def main() -> None:
    parser = arguments("coverage", __doc__ or "")
    parser.add_argument("--set", default="timm22", choices=SETS, help="of networks")
    parser.add_argument("--models", type=lambda text: text.split(","), help="names of the set, by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU that a conversion may take")
    parser.add_argument("--subnets", type=int, default=5, help="random subnets compared per model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, metavar="FILE", help="keep rows here, and go on from those there"
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="leave the peers out where they are installed"
    )
    parser.add_argument("--no-onnx", action="store_true", help="leave the comparison with ONNX Runtime out")
    options = parser.parse_args()
    if options.models and not options.set.startswith("timm"):
        for name in options.models:
            if name not in names(options.set):
                parser.error(f"{options.set} has no {name!r}{did_you_mean(name, names(options.set))}")
    result = Result("coverage", {key: value for key, value in vars(options).items() if key != "json"})
    result.columns = COLUMNS if options.set == "timm22" else COLUMNS[:-3]
    for name in options.models or (QUICK[options.set] if options.quick else names(options.set)):
        row = row_of(name, options)
        result.rows.append(row)
        print(f"{name}: {in_words(row)}", flush=True)
    result.figures.update(figures(result.rows))
    result.finish(options.json)


def row_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: from the work file when it was measured with the same code and settings, else anew."""
    of_22 = options.set == "timm22" and not options.quick
    asked = Options(
        "timm" if options.set == "timm22" else options.set,
        name,
        options.seconds,
        options.subnets,
        options.seed,
        onnx=of_22 and not options.no_onnx,
    )
    with_peers = of_22 and not options.no_peers
    key = f"{engine()} {asked.to_json()} {with_peers}"
    if options.work is not None and options.work.exists():
        for line in options.work.read_text().splitlines():
            kept = json.loads(line)
            if kept["key"] == key:
                return dict(kept["row"])
    row = measured(asked) | (beside(name) if with_peers else {})
    if options.work is not None:
        with options.work.open("a") as file:
            file.write(json.dumps({"key": key, "row": row}) + "\n")
    return row


def measured(asked: Options) -> dict[str, Any]:
    """The row as its own process wrote it, and how that process ended when it did not end well."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks.coverage_row", asked.to_json(), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        row: dict[str, Any] = (
            json.loads(path.read_text()) if path.exists() else {"model": asked.model, "outcome": "crashed"}
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1][:160]
        row |= {"outcome": "crashed", "reason": f"ended with {done.returncode}: {last}"}
    return row


def engine() -> str:
    """What the conversion is made by: the committed tree of the package."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        ["git", "rev-parse", "HEAD:supernet"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


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


def in_words(row: dict[str, Any]) -> str:
    """A row in a line."""
    if row["outcome"] != "converted":
        return f"{row['outcome']}: {row.get('reason', '')}"
    odd = [key for key in ("wrong", "training_wrong", "costs_wrong") if row.get(key)]
    said = f" ({row['says']})" if "says" in row else ""
    return f"{row['seconds']:.1f} s, {row['share']:.2f} elastic, {', '.join(odd) or 'right'}{said}"


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of BENCHMARKS.md."""
    converted = [row for row in rows if row["outcome"] == "converted"]
    covered = [
        row
        for row in converted
        if row["share"] >= WELL_COVERED_SHARE and row["log10"] >= WELL_COVERED_LOG10 and not row.get("wrong")
    ]
    ended = {
        name.replace(" ", "_"): float(sum(row["outcome"] == name for row in rows))
        for name in ("refused", "crashed", "timed out")
    }
    wrong = {
        key: float(sum(bool(row.get(key)) for row in converted))
        for key in ("wrong", "training_wrong", "costs_wrong")
    }
    out = {
        "models": float(len(rows)),
        "converted": float(len(converted)),
        **ended,
        **wrong,
        "well_covered": float(len(covered)),
        "not_compared": float(sum(not row.get("compared") for row in converted)),
    }
    if converted:
        out["median_seconds"] = median(row["seconds"] for row in converted)
        out["most_seconds"] = max(row["seconds"] for row in converted)
        out["largest_difference"] = max(row.get("difference", 0.0) for row in converted)
    large = [row["memory_over_weights"] for row in converted if row["weights_mb"] >= LARGE_MB]
    return out | ({"most_memory_over_weights": max(large)} if large else {})


if __name__ == "__main__":
    main()
