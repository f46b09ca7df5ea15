"""A subnet as ONNX: the same numbers, only its own weights, and no trace of where it was made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from hardware.errors import ExportError
from hardware.export import OnnxFile, check_onnx, export_onnx, weight_hash
from supernet.elastic.inputs import Inputs
from tests.tiny import tiny_images, tiny_supernet


@pytest.fixture(scope="module")
def subnet() -> nn.Module:
    net = tiny_supernet()
    return net.extract(net.space.sample(Random(1)))


@pytest.fixture(scope="module")
def exported(subnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> OnnxFile:
    path = tmp_path_factory.mktemp("onnx") / "subnet.onnx"
    return export_onnx(subnet, tiny_images(), path, properties={"architecture": '{"width": 3}'})


def test_onnx_runtime_agrees_with_pytorch_at_three_batch_sizes(subnet: nn.Module, exported: OnnxFile) -> None:
    parity = check_onnx(exported.path, subnet, tiny_images(), batches=(1, 2, 5))
    assert parity.max_relative <= 1e-5
    assert parity.batches == (1, 2, 5)


def test_the_difference_is_that_of_the_largest_output_of_any_batch(tmp_path: Path) -> None:
    two, other = nn.Linear(3, 1, bias=False).eval(), nn.Linear(3, 1, bias=False).eval()
    nn.init.constant_(two.weight, 2.0)
    nn.init.constant_(other.weight, 1.5)
    file = export_onnx(two, torch.zeros(2, 3), tmp_path / "x.onnx").path
    noise = torch.Generator().manual_seed(0)
    sums = [torch.randn(batch, 3, generator=noise).sum(1).abs().max().item() for batch in (5, 1)]
    assert sums[0] > 2 * sums[1]
    parity = check_onnx(file, other, torch.zeros(2, 3), batches=(5, 1))
    assert parity.max_abs == pytest.approx(0.5 * max(sums))
    assert parity.max_relative == pytest.approx(0.5 / 1.5)


def test_the_file_holds_the_weights_of_the_subnet_and_no_more(subnet: nn.Module, exported: OnnxFile) -> None:
    # The exporter folds a batch norm into the weight before it, which leaves one bias per channel.
    norms = [module for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)]
    inside = {id(parameter) for norm in norms for parameter in norm.parameters()}
    weights = sum(p.numel() for p in subnet.parameters() if id(p) not in inside)
    initialisers = onnx.load(exported.path).graph.initializer
    stored = sum(len(i.raw_data) for i in initialisers if i.data_type == onnx.TensorProto.FLOAT)
    assert stored == 4 * (weights + sum(norm.num_features for norm in norms))


def test_no_slice_of_a_weight_is_in_the_graph(exported: OnnxFile) -> None:
    graph = onnx.load(exported.path).graph
    assert "Slice" not in Counter(node.op_type for node in graph.node)


def test_nothing_local_is_in_the_file(exported: OnnxFile) -> None:
    content = exported.path.read_bytes()
    for trace in (".py", "site-packages", "timm", str(Path.cwd()), f"{Path.home()}/"):
        assert trace.encode() not in content


def test_the_properties_are_read_back_by_onnx_runtime(subnet: nn.Module, exported: OnnxFile) -> None:
    found = onnxruntime.InferenceSession(str(exported.path)).get_modelmeta().custom_metadata_map
    assert found == exported.properties
    assert found["architecture"] == '{"width": 3}'
    assert found["weights_sha256"] == weight_hash(subnet)


def test_equal_networks_give_equal_bytes(subnet: nn.Module, exported: OnnxFile, tmp_path: Path) -> None:
    own = {"architecture": '{"width": 3}'}
    again = export_onnx(subnet, tiny_images(seed=3), tmp_path / "x.onnx", properties=own)
    assert again.sha256 == exported.sha256
    assert (tmp_path / "x.onnx").read_bytes() == exported.path.read_bytes()


def test_exporting_leaves_the_network_as_it_was(subnet: nn.Module, exported: OnnxFile) -> None:
    assert any(getattr(module, "inplace", False) for module in subnet.modules())


def test_the_weight_hash_sees_every_byte_and_no_order() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = weight_hash(net)
    turned = nn.Module()
    for name in ("1", "0"):
        turned.add_module(name, net.get_submodule(name))
    assert weight_hash(turned) == before
    with torch.no_grad():
        net[1].running_mean[0] += 1e-6
    assert weight_hash(net) != before
    square = nn.Bilinear(2, 2, 2)
    renamed = nn.Module()
    for name, parameter in (("bias", square.bias), ("weights", square.weight)):
        renamed.register_parameter(name, parameter)
    assert weight_hash(renamed) != weight_hash(square)
    flat = nn.Module()
    flat.register_parameter("weight", nn.Parameter(square.weight.detach().view(4, 2)))
    flat.register_parameter("bias", square.bias)
    assert weight_hash(flat) != weight_hash(square)


def test_a_network_in_training_mode_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    net[1].train()
    with pytest.raises(ExportError, match=r"'1' is in training mode; call \.eval\(\)"):
        export_onnx(net, tiny_images(), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_an_example_of_one_image_leaves_the_batch_free_too(
    subnet: nn.Module, exported: OnnxFile, tmp_path: Path
) -> None:
    own = {"architecture": '{"width": 3}'}
    alone = export_onnx(subnet, tiny_images(1), tmp_path / "x.onnx", properties=own)
    assert alone.sha256 == exported.sha256
    assert alone.inputs[0].shape == ("batch", 3, 32, 32)


class _Fused(nn.Module):
    """Ids and a mask by keyword, a dictionary of two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, *, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(ids) * mask[..., None]
        return {"scores": self.head(x), "mean": x.mean((1, 2))}


def test_inputs_and_outputs_keep_their_names_and_free_axes(tmp_path: Path) -> None:
    network = _Fused().eval()
    inputs = Inputs((torch.arange(10).view(2, 5) % 7,), {"mask": torch.rand(2, 5)})
    lengths = {"ids": {1: "length"}, "mask": {1: "length"}}
    file = export_onnx(network, inputs, tmp_path / "x.onnx", free_axes=lengths)
    assert [(port.name, port.dtype, port.shape) for port in file.inputs] == [
        ("ids", "int64", ("batch", "length")),
        ("mask", "float", ("batch", "length")),
    ]
    assert [port.name for port in file.outputs] == ["scores", "mean"]
    assert check_onnx(file.path, network, inputs).max_relative <= 1e-5
    longer = Inputs((torch.arange(18).view(2, 9) % 7,), {"mask": torch.rand(2, 9)})
    assert check_onnx(file.path, network, longer).max_relative <= 1e-5


def test_free_axes_of_an_unknown_input_name_the_nearest(tmp_path: Path) -> None:
    inputs = Inputs((torch.zeros(2, 5, dtype=torch.long),), {"mask": torch.rand(2, 5)})
    with pytest.raises(ExportError, match="'idz'; did you mean 'ids'"):
        export_onnx(_Fused().eval(), inputs, tmp_path / "x.onnx", free_axes={"idz": {1: "length"}})


class _Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_says_so_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="_Untraceable cannot be exported"):
        export_onnx(_Untraceable().eval(), tiny_images(), tmp_path / "x.onnx")


def test_a_damaged_file_ends_in_one_clear_error(subnet: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a network")
    with pytest.raises(ExportError, match="cannot run"):
        check_onnx(tmp_path / "x.onnx", subnet, tiny_images())
