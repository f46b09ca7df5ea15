"""An exported network in eight bits."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from hardware.export import export_onnx
from hardware.fastest_types import fastest_types
from hardware.options import ProfileOptions
from hardware.quantise import TYPES, FileNetwork, QuantiseOptions, kept_nodes, quantise
from supernet.elastic.inputs import Inputs
from supernet.errors import ConfigError
from tests.tiny import tiny_images, tiny_supernet


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = tiny_supernet()
    path = tmp_path_factory.mktemp("float") / "x.onnx"
    return export_onnx(net.extract(net.space.smallest()), tiny_images(), path).path


@pytest.mark.parametrize("types", TYPES)
def test_the_quantised_network_answers_nearly_what_the_whole_one_does(
    types: str, file: Path, tmp_path: Path
) -> None:
    examples = [Inputs.of(tiny_images(8, seed)) for seed in (1, 2)]
    small = quantise(file, examples, tmp_path / "int8.onnx", QuantiseOptions(types))
    expected, found = FileNetwork(file)(tiny_images(4)), FileNetwork(small)(tiny_images(4))
    assert found.shape == expected.shape
    assert 0 < (found - expected).abs().max() < 0.2 * expected.abs().max()
    net = tiny_supernet()
    with torch.no_grad():
        alone = net.extract(net.space.smallest())(tiny_images(4))
    assert torch.allclose(expected, alone, rtol=1e-4, atol=1e-5)


def test_first_and_last_stay_in_float_and_each_channel_has_a_scale_of_its_own(
    file: Path, tmp_path: Path
) -> None:
    model = onnx.load(file)
    heavy = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert kept_nodes(model, ("first", "last")) == [heavy[0].name, heavy[-1].name]
    small = onnx.load(quantise(file, [Inputs.of(tiny_images(4))], tmp_path / "int8.onnx"))
    stored = {tensor.name: tensor for tensor in small.graph.initializer}
    assert stored[heavy[0].input[1]].data_type == onnx.TensorProto.FLOAT
    assert stored[f"{heavy[1].input[1]}_quantized"].data_type == onnx.TensorProto.INT8
    assert list(stored[f"{heavy[1].input[1]}_scale"].dims) == [
        stored[f"{heavy[1].input[1]}_quantized"].dims[0]
    ]


def test_the_types_are_ranked_by_what_they_take_here(file: Path) -> None:
    quick = ProfileOptions(burst=3, drop=1, rounds=1, warm_calls=1, warm_ms=0)
    found = fastest_types(file, [Inputs.of(tiny_images(2))], options=quick)
    assert found.keys() == TYPES.keys()
    assert list(found.values()) == sorted(found.values())


def test_what_cannot_be_meant_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no types are called 'u8u8'"):
        QuantiseOptions("u8u8")
    with pytest.raises(ConfigError, match="no 'HardSwitch' to keep in float; did you mean 'HardSwish'"):
        quantise(file, [Inputs.of(tiny_images())], tmp_path / "x.onnx", QuantiseOptions(keep=("HardSwitch",)))
    with pytest.raises(ConfigError, match="no example"):
        quantise(file, [], tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
