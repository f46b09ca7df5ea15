"""Several roads to each answer of a supernet: inside, cut out, in training, in ONNX Runtime, counted by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hardware.errors import ExportError
from hardware.export import check_onnx, export_onnx
from supernet.elastic.inputs import Inputs, output_tensors
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture

ROUNDING = 1e-6
"""Answers that differ by no more, relative to the largest of them, are those of one network."""
ONNX_TOLERANCE = 1e-4
"""Largest difference from PyTorch, over the largest answer, in single precision."""
GRADIENT_TOLERANCE = 1e-4
"""Largest difference of a gradient, over its largest entry: slices are strided, so kernels sum in another order."""
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)


def worst(ours: Any, theirs: Any) -> float:
    """The largest difference between two answers of any nesting; infinite where their shapes differ."""
    first, second = dict(output_tensors(ours)), dict(output_tensors(theirs))
    if first.keys() != second.keys() or any(first[k].shape != second[k].shape for k in first):
        return float("inf")
    gaps = [
        float((first[k].double() - second[k].double()).abs().max())
        for k in first
        if first[k].numel() and not torch.equal(first[k], second[k])
    ]
    return max((gap if gap == gap else float("inf") for gap in gaps), default=0.0)


@torch.no_grad()
def inside_and_alone(supernet: Supernet, inputs: Inputs, arch: Architecture) -> float:
    """How far the cut-out network is from the same one inside the supernet, relative to what it answers.

    As a rule not at all; of slices that are no contiguous memory some matrix products add up in another
    order.
    """
    alone = inputs.call(supernet.extract(arch))
    answers = [leaf for _, leaf in output_tensors(alone) if leaf.numel()]
    scale = max((float(leaf.abs().max()) for leaf in answers if leaf.is_floating_point()), default=1.0)
    return worst(inputs.call(supernet.subnet(arch)), alone) / max(1.0, scale)


def in_training(supernet: Supernet, inputs: Inputs, arch: Architecture, seed: int) -> list[str]:
    """What differs in one training step of a subnet inside the supernet from the same one cut out.

    Both get the same batch and the same state of the generator (dropout). Compared are the loss, every
    gradient, and the buffers that the step leaves behind; the supernet is left in evaluation mode
    without gradients.
    """
    alone = supernet.extract(arch).train()
    supernet.train().zero_grad(set_to_none=True)
    shared = _backward(supernet.subnet(arch), inputs, seed)
    single = _backward(alone, inputs, seed)
    supernet.eval()
    found = [] if abs(shared - single) <= 1e-5 * max(1.0, abs(single)) else [f"loss {shared} and {single}"]
    after = dict(supernet.extract(arch).named_buffers())
    for name, buffer in alone.named_buffers():
        if name not in after or not _close(after[name], buffer):
            found.append(f"buffer {name}")
    found += _gradients(supernet, alone, arch)
    supernet.zero_grad(set_to_none=True)
    return found


def _backward(network: nn.Module, inputs: Inputs, seed: int) -> float:
    torch.manual_seed(seed)
    outputs = [leaf for _, leaf in output_tensors(inputs.call(network)) if leaf.requires_grad]
    generator = torch.Generator().manual_seed(seed)
    loss = sum(
        ((leaf.float() * torch.randn(leaf.shape, generator=generator)).mean() for leaf in outputs),
        start=torch.zeros(()),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss)


def _gradients(supernet: Supernet, alone: nn.Module, arch: Architecture) -> list[str]:
    """Gradients of the cut-out network that the slices of the shared ones do not equal, and what lies outside."""
    with torch.no_grad():
        kept = [(parameter, parameter.data) for parameter in supernet.parameters()]
        for parameter, data in kept:
            parameter.data = torch.zeros_like(data) if parameter.grad is None else parameter.grad
        sliced = supernet.extract(arch)
        entries = sum(int(parameter.count_nonzero()) for parameter in supernet.parameters())
        for parameter, data in kept:
            parameter.data = data
        expected = dict(sliced.named_parameters())
        # A gradient whose terms cancel, as that of a shift before a softmax, is nothing but rounding.
        noise = ROUNDING * max(
            (float(p.grad.abs().max()) for p in alone.parameters() if p.grad is not None), default=0
        )
        found = []
        for name, parameter in alone.named_parameters():
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if name not in expected or not _close(expected[name], own, noise):
                found.append(f"gradient of {name}")
        within = sum(int(parameter.count_nonzero()) for parameter in expected.values())
    return found + ([f"{entries - within} gradient entries outside the subnet"] if entries != within else [])


def _close(a: Tensor, b: Tensor, noise: float = 1e-16) -> bool:
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    gap = (a.double() - b.double()).abs().max() if a.numel() else torch.zeros(())
    return bool(gap <= max(GRADIENT_TOLERANCE * (float(b.double().abs().max()) if b.numel() else 0.0), noise))


def cost_differences(supernet: Supernet, inputs: Inputs, arch: Architecture) -> list[str]:
    """Where the costs of an architecture, for these inputs, differ from counting the cut-out network."""
    # Where a parameter itself is handed to a module, the flop counter asks it for the gradient it does not have.
    alone, cost = supernet.extract(arch).eval().requires_grad_(False), supernet.costs().of(arch)
    macs, params = counted_macs(alone, inputs), sum(p.numel() for p in alone.parameters())
    return [
        f"{what} {ours:,} but {counted:,} counted"
        for what, ours, counted in (("macs", cost.macs, macs), ("params", cost.params, params))
        if ours != counted
    ]


@torch.no_grad()
def counted_macs(network: nn.Module, inputs: Inputs) -> int:
    """Multiply-adds of one call by torch's flop counter; of recurrent layers, which it does not see, by hand."""
    by_hand = 0

    def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal by_hand
        steps = args[0].numel() // args[0].shape[-1]
        by_hand += steps * sum(p.numel() for p in module.parameters(recurse=False) if p.dim() == 2)

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, RECURRENT)]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            inputs.call(network)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
    if isinstance(network, RECURRENT):
        return by_hand
    recurrent = {f".{name}" for name, m in network.named_modules() if isinstance(m, RECURRENT)}
    seen = sum(
        sum(flops.values())
        for name, flops in counter.get_flop_counts().items()
        if any(name.endswith(end) for end in recurrent)
    )
    return (counter.get_total_flops() - seen) // 2 + by_hand


def onnx_difference(module: nn.Module, inputs: Inputs) -> float | str:
    """Largest relative difference of ONNX Runtime from PyTorch; why there is none otherwise."""
    (x,) = inputs.tensors
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
