"""Every benchmark keeps its contract, in its quick form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FIGURES = {
    "mutants": {"tried", "caught", "share"},
    "costs": {"architectures_per_second", "mismatches"},
    "coverage": {"models", "converted", "wrong", "well_covered", "median_seconds"},
    "step_overhead": {
        *("train_ratio_largest", "train_ratio_random", "train_ratio_smallest", "extract_ms", "difference"),
    },
    "parity": {"worst_relative_difference", "macs_mismatches", "params_mismatches", "architectures"},
    "quickstart": {
        *("seconds", "largest_accuracy", "smallest_accuracy", "worst_gap_to_alone", "worst_onnx_difference"),
        "search_over_random",
    },
    "fidelity": {
        f"{strategy}.{figure}"
        for strategy in ("sandwich", "single_path")
        for figure in ("gap_equal_steps", "gap_equal_images", "tau", "tau_low", "tau_high", "seconds_ratio")
    }
    | {"alone.spread"},
    "training_speed": {
        *("sandwich.relative_images_per_second", "shift.relative_images_per_second"),
        *("sandwich.over_macs_share", "sandwich.over_cut_out", "waiting"),
    },
}
FIGURES |= {
    "pretrained": {
        *("gap_at_lite0", "gap_largest", "gap_smallest_to_cut_alone"),
        *("compute_over_siblings", "macs_over_siblings"),
    },
    "search": {"share.30", "worst_share.30", "share.40", "random.share.40", "nsga2.share.40", "duplicates"},
    "profiler": {"within_spread", "spearman", "within10", "export_share", "export_ratio"},
    "search_devices": {"share_together", "share_separate_same_total", "share_separate_third"},
    "latency_transfer": {*("spearman.10", "kendall.10", "mape.10", "within10.10", "worst_coverage90.10")},
    "latency_indevice": {*("spearman.20", "kendall.20", "mape.20", "within10.20", "worst_coverage90.20")},
    "accuracy_predictor": {"tau.50", "mae.50", "fit_seconds.50", "coverage90.50"},
    "cells": {"k4_memory", "k4_time", "mixed_reversible_memory"},
    "differentiable": {f"{name}.accuracy" for name in ("pc_darts", "gdas", "proxylessnas", "random")},
    "search_peers": {f"{p}.share.{n}" for p in ("guided", "pymoo", "linas", "random") for n in (60, 80)},
    "search_workers": {"processes.used", "processes.same"},
    "search_speed": {"candidates_per_second", "nsga2_ms_per_generation_1000"},
    "memory_approximate": {
        f"mobilenetv3_small_050.{key}"
        for key in ("int8.memory", "int8.time", "int8.error", "partial 0.25.memory")
    },
}
FIGURES["memory"] = {
    f"{way}.{figure}"
    for way in ("fused", "reversible", "torch_checkpoint")
    for figure in ("memory.2", "memory.4", "time.2", "time.4", "worst_gradient_error")
} | {"growth_over_parameter_gradients", "fixed_point.worst_gradient_error"}
FIGURES |= {
    f"coverage --set {of}": FIGURES["coverage"] | {"training_wrong", "costs_wrong", "crashed", "timed_out"}
    for of in ("timm22", "timm", "torchvision", "transformers")
}
ZERO = {
    *("mismatches", "wrong", "difference", "macs_mismatches", "params_mismatches"),
    *("training_wrong", "costs_wrong", "crashed", "timed_out", "duplicates"),
    *("fixed_point.worst_gradient_error", "torch_checkpoint.worst_gradient_error"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_writes_its_figures(name: str, tmp_path: Path) -> None:
    words = ["--quick", "--json", str(tmp_path / "figures.json")]
    if name.endswith("transformers"):
        pytest.importorskip("transformers")
    module, *options = name.split()
    command = [sys.executable, "-m", f"benchmarks.{module}", *options, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "figures.json").read_text())
    assert {"benchmark", "commit", "machine", "settings", "figures", "rows"} <= document.keys()
    assert FIGURES[name] <= document["figures"].keys()
    for key in ZERO & document["figures"].keys():
        assert document["figures"][key] == 0
