"""The last step of the road: ask the zoo for the best subnet within a limit, as a user would, and run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils._pytree import tree_map

from hardware.device import local_device
from supernet.evaluate import Result
from zoo.pipeline.prove import Proof
from zoo.pipeline.workspace import Workspace
from zoo.store import open_store
from zoo.store.load import load_onnx
from zoo.store.pull import Pulled, best, manifests, pull


@dataclass(frozen=True)
class PulledBack:
    """A published subnet that was pulled and run.

    Args:
        pulled: the entry, every hash checked.
        limit_ms: the latency it was asked to stay within.
        result: what the file is worth on some examples of the test split.
    """

    pulled: Pulled
    limit_ms: float
    result: Result


def pull_back(workspace: Workspace, proofs: Sequence[Proof]) -> PulledBack:
    """Pull the best published subnet that is no slower than the middle one of the proofs, and run it.

    Raises:
        InfeasibleError: when nothing published is that fast on this device.
        StateError: when an entry is damaged.
    """
    store = open_store(workspace.run.store)
    limit = sorted(proof.measured.median_ms for proof in proofs)[len(proofs) // 2] * 1.001
    here = local_device(workspace.run.options.device)
    pulled = pull(store, best(manifests(store), device=here.id, max_latency_ms=limit).id)
    network, task = load_onnx(pulled), workspace.dataset.task
    values = {k: v for k, v in pulled.manifest.architecture.values.items() if k == "resolution"}
    batch = next(workspace.dataset.batches("test", 256))
    inputs = task.inputs(batch, values if workspace.net.resizes_inputs else {})
    answers = network(*(tensor.numpy() for tensor in inputs.tensors))
    outputs = tree_map(torch.from_numpy, answers)
    return PulledBack(pulled, limit, Result(task.metrics(outputs, batch), inputs.batch))
