"""The peak of activations against a run of the same graph that frees every result after its last reader."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import timm
import torch
from timm.models.densenet import DenseNet
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, fx, nn

from supernet.elastic.elasticise import elasticise
from tests.supernet.elastic.nets import images, seeded, small_vit
from tests.tiny import tiny_supernet


class Measuring(fx.Interpreter):
    """Runs a graph call by call and adds up the memory of all results that are still there.

    Args:
        given: what the graph is given, by name; it does not count.
    """

    def __init__(self, module: fx.GraphModule, given: list[Any]) -> None:
        super().__init__(module)
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.peak = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function":
            memory: dict[int, int] = {}
            for value in (*self.env.values(), result):
                for tensor in value if isinstance(value, tuple | list) else (value,):
                    if isinstance(tensor, Tensor) and tensor.dim():
                        storage = tensor.untyped_storage()
                        memory[storage.data_ptr()] = 4 * (storage.nbytes() // tensor.element_size())
            self.peak = max(self.peak, sum(n for where, n in memory.items() if where not in self.given))
        return result


def measured(model: nn.Module, x: Tensor) -> int:
    program = torch.export.export(model, (x,), strict=False)
    stored = {**program.state_dict, **program.constants}
    given = [
        x if spec.target is None else stored[spec.target] for spec in program.graph_signature.input_specs
    ]
    run = Measuring(program.graph_module, given)
    with torch.no_grad():
        run.run(*given)
    return run.peak


class Recurrent(nn.Module):
    """Answers with one of the three results of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0].transpose(0, 1).reshape(-1, 12))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vit": (small_vit, (1, 3, 32, 32)),
    "swin": (
        lambda: SwinTransformer(
            img_size=32,
            patch_size=4,
            embed_dim=16,
            depths=(2, 2),
            num_heads=(2, 2),
            window_size=4,
            num_classes=4,
        ),
        (1, 3, 32, 32),
    ),
    "densenet": (lambda: DenseNet(8, (2, 2), num_classes=4), (1, 3, 32, 32)),
    "mobilenet": (lambda: timm.create_model("mobilenetv3_small_050", num_classes=4), (1, 3, 64, 64)),
    "lstm": (Recurrent, (1, 5, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_is_what_a_run_holds_that_frees_results_after_their_last_reader(name: str) -> None:
    make, shape = NETWORKS[name]
    supernet = elasticise(seeded(make), images(*shape), verify=False)
    arch = supernet.space.largest()
    assert supernet.costs().of(arch).peak_activation_bytes == measured(supernet.extract(arch), images(*shape))


@pytest.mark.parametrize("seed", range(3))
def test_smaller_architectures_hold_what_a_run_of_the_cut_out_network_holds(seed: int) -> None:
    vit = elasticise(seeded(small_vit), images(1, 3, 32, 32))
    for supernet in (vit, tiny_supernet()):
        arch = supernet.space.sample(Random(seed))
        cost = supernet.costs((1, 3, 32, 32)).of(arch)
        assert cost.peak_activation_bytes == measured(supernet.extract(arch), images(1, 3, 32, 32))


@pytest.mark.slow
def test_the_peak_of_a_whole_vision_transformer_is_what_its_run_holds() -> None:
    model = seeded(lambda: timm.create_model("vit_tiny_patch16_224"))
    supernet = elasticise(model, images(1, 3, 224, 224), verify=False)
    arch = supernet.space.largest()
    assert supernet.costs().of(arch).peak_activation_bytes == measured(
        supernet.extract(arch), images(1, 3, 224, 224)
    )
