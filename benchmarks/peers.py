"""The peers, measured in the same run where they install: ``pip install -e '.[peers]'``, ``ofa`` with ``--no-deps``.

Each function returns None where its peer is not installed or fails on the network, so that a figure that could
not be measured stays absent.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


def modelopt(name: str) -> dict[str, float] | None:
    """Choices and log10 of the space that NVIDIA modelopt's ``autonas`` finds in a timm network, and its seconds."""
    return _apart(_modelopt, name) if find_spec("modelopt") else None


def torch_pruning(name: str) -> dict[str, float] | None:
    """Groups that torch-pruning finds in a timm network, and its seconds."""
    return _apart(_torch_pruning, name) if find_spec("torch_pruning") else None


def ofa_supernet() -> Any | None:
    """Once-for-all's MobileNetV3 supernet (width 1.0, 1000 classes), when it is installed."""
    if not find_spec("ofa"):
        return None
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

    return OFAMobileNetV3(
        ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4], dropout_rate=0
    )


def _modelopt(name: str) -> dict[str, float]:
    import modelopt.torch.nas as nas
    from modelopt.torch.opt.utils import named_hparams, search_space_size

    model, _ = _timm(name)
    start = time.perf_counter()
    model = nas.convert(model, "autonas")
    seconds = time.perf_counter() - start
    choices = [hparam for _, hparam in named_hparams(model, configurable=True)]
    return {
        "choices": len(choices),
        "log10": math.log10(max(1, search_space_size(model))),
        "seconds": seconds,
    }


def _torch_pruning(name: str) -> dict[str, float]:
    import torch_pruning

    model, example = _timm(name)
    start = time.perf_counter()
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)
    groups = sum(1 for _ in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
    return {"groups": groups, "seconds": time.perf_counter() - start}


def _timm(name: str) -> tuple[nn.Module, Tensor]:
    import timm

    model = timm.create_model(name, pretrained=False).eval()
    return model, torch.zeros(1, *model.default_cfg["input_size"])


def _apart(
    measure: Callable[[str], dict[str, float]], name: str, limit_s: float = 120
) -> dict[str, float] | None:
    """Run in a process of its own: a peer that hangs or breaks a library loses its own figure only."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, measure, name), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit_s):
            log.warning("%s: no answer on %s within %s s", measure.__name__, name, limit_s)
            return None
        return receiver.recv()
    except EOFError:
        log.warning("%s failed on %s", measure.__name__, name)
        return None
    finally:
        process.kill()
        process.join()


def _send(sender: Any, measure: Callable[[str], dict[str, float]], name: str) -> None:
    torch.set_num_threads(1)
    sender.send(measure(name))


if __name__ == "__main__":
    import sys

    for network in sys.argv[1:] or ["mobilenetv3_large_100"]:
        print(network, "modelopt", modelopt(network), "torch-pruning", torch_pruning(network))
