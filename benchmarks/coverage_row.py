"""One row of `benchmarks.coverage`, in a process of its own: it may crash, hang or run out of memory alone.

``python -m benchmarks.coverage_row OPTIONS`` with the options as JSON; the row is written after every
step, so that whatever ends the process leaves what was found before.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from benchmarks import coverage_checks as checks
from benchmarks.coverage_sets import build
from hardware.peak_memory import forget_peak, peak_bytes, resident_bytes
from supernet.elastic.elasticise import elasticise
from supernet.elastic.inputs import Inputs, output_tensors
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError
from supernet.files import write_atomically
from supernet.space import Architecture

CHECKS = 3
"""The checks after a conversion may take this many times the seconds of one."""


@dataclass(frozen=True)
class Options:
    """What a row is measured with.

    Args:
        set: of networks.
        model: which one.
        seconds: of CPU that a conversion may take.
        subnets: random ones compared, as far as the time for checks goes.
        seed: of weights, inputs and architectures.
        onnx: whether one subnet is held against ONNX Runtime.
    """

    set: str
    model: str
    seconds: float = 60.0
    subnets: int = 5
    seed: int = 0
    onnx: bool = False

    def to_json(self) -> str:
        """As `main` reads it."""
        return json.dumps(asdict(self))


class OutOfTime(BaseException):
    """The seconds of CPU are spent; no ``except Exception`` on the way holds it up."""


def main(text: str, into: Path) -> None:
    """Measure one row and write it."""
    options = Options(**json.loads(text))
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    row: dict[str, Any] = {"model": options.model, "outcome": "crashed", "reason": "while it was built"}

    def write() -> None:
        write_atomically(into, json.dumps(row))

    write()
    elasticise(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), (1, 4))  # what conversions import, imported
    before = resident_bytes()
    model, inputs = build(options.set, options.model, options.seed)
    with torch.no_grad():
        given = inputs.call(model)
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    forget_peak()
    row |= {"outcome": "timed out", "reason": f"more than {options.seconds:g} s of CPU"}
    write()
    start = time.process_time()
    try:
        with limited(options.seconds):
            one = inputs.with_batch(1)
            supernet = elasticise(model, args=one.args, kwargs=one.kwargs)
    except SupernetError as error:
        row |= {"outcome": "refused", "reason": str(error)[:200]}
    except OutOfTime:
        row["seconds"] = time.process_time() - start
    except Exception as error:  # whatever it is, it is the row's result
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = (str(error).strip().splitlines() or [""])[0][:120]
        row |= {
            "outcome": "crashed",
            "reason": f"{type(error).__name__}: {what} ({Path(where.filename).name}:{where.lineno})",
        }
    else:
        row |= {"outcome": "converted", "seconds": time.process_time() - start}
        row["memory_over_weights"] = max(0, peak_bytes() - before) / weights
        row["weights_mb"] = weights / 1e6
        del row["reason"]
        row |= found(supernet)
        write()
        for part in checked(supernet, inputs, one, given, options):
            row |= part
            write()
    write()


def found(supernet: Supernet) -> dict[str, Any]:
    """What became elastic."""
    record = supernet.conversion or {}
    kinds = {group["kind"] for group in record["groups"] if group["live"]}
    if any(dim.kind == "present" for dim in supernet.plan.dims.values()):
        kinds.add("depth")
    return {
        "choices": len(supernet.space),
        "live": sum(group["live"] for group in record["groups"]),
        "fixed": sum(group["reason"] is not None for group in record["groups"]),
        "share": record["elastic_parameters"] / record["parameters"],
        "log10": supernet.space.log10_size,
        "kinds": " ".join(sorted(kinds)),
    }


def checked(
    supernet: Supernet, inputs: Inputs, one: Inputs, given: Any, options: Options
) -> Iterator[dict[str, Any]]:
    """The checks, one result after the other, as far as the time goes.

    ``wrong``, ``training_wrong`` and ``costs_wrong`` count what differs, ``compared``, ``trained`` and
    ``counted`` the architectures that were looked at.
    """
    rng = Random(options.seed)
    row: dict[str, Any] = {"wrong": 0, "compared": 0, "training_wrong": 0, "trained": 0}
    row |= {"costs_wrong": 0, "counted": 0, "difference": 0.0}
    space = supernet.space
    try:
        with limited(CHECKS * options.seconds):
            with torch.no_grad():
                gap = checks.worst(inputs.call(supernet.subnet(space.largest())), given)
            _note(row, "wrong", "compared", ["the largest is not the given network"] if gap else [])
            _inside(row, supernet, inputs, space.smallest())
            yield row
            if any(leaf.is_floating_point() for _, leaf in output_tensors(given)):
                _note(row, "training_wrong", "trained", _trained(supernet, inputs, space.smallest(), options))
            for arch in (space.smallest(), space.sample(rng)):
                _note(row, "costs_wrong", "counted", checks.cost_differences(supernet, one, arch))
            yield row
            for arch in [space.sample(rng) for _ in range(options.subnets)]:
                _inside(row, supernet, inputs, arch)
            if any(leaf.is_floating_point() for _, leaf in output_tensors(given)):
                _note(
                    row, "training_wrong", "trained", _trained(supernet, inputs, space.sample(rng), options)
                )
            _note(row, "costs_wrong", "counted", checks.cost_differences(supernet, one, space.largest()))
            yield row
            if options.onnx:
                there = checks.onnx_difference(supernet.extract(space.sample(rng)), inputs)
                off = isinstance(there, float) and not there <= checks.ONNX_TOLERANCE
                row["wrong"] += off
                yield row | {"onnx": there}
    except OutOfTime:
        yield row | {"stopped": f"checks ended after {CHECKS * options.seconds:g} s"}
    except Exception as error:  # a subnet that does not run is wrong
        row["wrong"] += 1
        row["says"] = f"{type(error).__name__}: {str(error)[:160]}"
        yield row


def _inside(row: dict[str, Any], supernet: Supernet, inputs: Inputs, arch: Architecture) -> None:
    gap = checks.inside_and_alone(supernet, inputs, arch)
    _note(row, "wrong", "compared", [f"differs by {gap:.2g}"] if gap > checks.ROUNDING else [])
    row["difference"] = max(row["difference"], gap)


def _trained(supernet: Supernet, inputs: Inputs, arch: Architecture, options: Options) -> list[str]:
    return checks.in_training(supernet, inputs, arch, options.seed)


def _note(row: dict[str, Any], wrong: str, looked: str, odd: list[str]) -> None:
    row[looked] += 1
    row[wrong] += bool(odd)
    if odd:
        row.setdefault("says", f"{wrong}: {'; '.join(odd[:2])}"[:160])


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` when the block has taken that many seconds of CPU; a while later the process ends."""

    def out(number: int, frame: Any) -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        raise OutOfTime

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    usual: Callable[..., Any] | int | None = signal.signal(signal.SIGXCPU, out)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        signal.signal(signal.SIGXCPU, usual)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
