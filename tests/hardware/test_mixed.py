"""Files of mixed precision: some stages in eight bits, the others in float."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from hardware.errors import DeviceError
from hardware.explain import explain, own_paths
from hardware.export import export_onnx
from hardware.file_size import FileSizes
from hardware.mixed import quantise_stages, stage_of_nodes
from hardware.node_names import path_in
from hardware.options import DeviceOptions
from hardware.pool import ExportJob
from hardware.runners import OnnxRuntime, runtime_of
from hardware.sampling import spread
from hardware.template import Template
from supernet.elastic.inputs import Inputs
from supernet.errors import ConfigError
from supernet.precision import Precision
from tests.tiny import tiny_images, tiny_supernet

STAGES = ("conv_stem", "blocks.0", "blocks.1", "blocks.2", "conv_head", "classifier")
EXAMPLES = [Inputs.of(tiny_images(4, seed=1))]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest network: blocks are left out of its stages, and lists have closed the gaps."""
    net = tiny_supernet()
    path = tmp_path_factory.mktemp("float") / "x.onnx"
    return export_onnx(net.extract(net.space.smallest()), tiny_images(), path).path


def weights_by_stage(file: Path) -> Iterator[tuple[str, bool]]:
    """Of every weight that a file multiplies with, the stage, by its own name, and whether it is in eight bits."""
    graph = onnx.load(file).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made_of = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            name = made_of.get(node.input[1], node.input[1])
            parameter = name.removesuffix("_quantized")
            is_eight = stored[name].data_type == TensorProto.INT8
            yield max((s for s in STAGES if parameter.startswith(f"{s}.")), key=len), is_eight


@pytest.mark.parametrize("eight", [(), ("blocks.1",), ("conv_stem", "blocks.0", "classifier"), STAGES])
def test_exactly_the_stages_that_are_asked_for_are_in_eight_bits(
    eight: tuple[str, ...], file: Path, tmp_path: Path
) -> None:
    made = quantise_stages(file, eight, STAGES, EXAMPLES, tmp_path / "mixed.onnx", "u8s8")
    found = list(weights_by_stage(made))
    assert {stage for stage, _ in found} == set(STAGES)
    assert all(is_eight == (stage in eight) for stage, is_eight in found)
    assert (made.read_bytes() == file.read_bytes()) == (not eight)


def test_nodes_are_named_after_modules_of_the_network(file: Path) -> None:
    net, model = tiny_supernet(), onnx.load(file)
    modules = dict(net.extract(net.space.smallest()).named_modules())
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names) and all(path_in(name) in modules for name in names)
    assert set(stage_of_nodes(model, STAGES).values()) == set(STAGES)


def test_what_cannot_be_quantised_or_explained_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no example"):
        quantise_stages(file, STAGES, STAGES, [], tmp_path / "x.onnx", "u8s8")
    with pytest.raises(DeviceError, match="no precision 'mixt'; did you mean 'mixed'"):
        OnnxRuntime(DeviceOptions(precision="mixt"))
    with pytest.raises(DeviceError, match="runs in fp32"):
        runtime_of(DeviceOptions(runtime="torch", precision="mixed"))
    net = tiny_supernet()
    with pytest.raises(DeviceError, match="explain the network on a device with precision fp32"):
        explain(net, net.space.smallest(), tiny_images(), device=DeviceOptions(precision="mixed"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_sizes_are_told_within_one_percent_and_cut_files_are_those_that_were_traced(tmp_path: Path) -> None:
    precision = Precision.of(tiny_supernet(example=(1, 3, 32, 32)))
    net, space, rng = precision.net, precision.space, Random(0)
    template = Template.of(net.extract(space.largest()).eval(), Inputs.of(tiny_images()))
    archs = [*spread(space, 24), *(space.sample(rng) for _ in range(8))]
    sizes: list[int] = []
    for arch in archs:
        job = ExportJob(net.extract(arch).eval(), Inputs.of(tiny_images()), tmp_path / f"{arch.id}.onnx")
        whole = template.export(job, net.slices(arch).absent).path
        eight = precision.stages_in_eight(arch)
        made = quantise_stages(
            whole, eight, STAGES, EXAMPLES, tmp_path / "mixed.onnx", "u8s8", own_paths(net, arch)
        )
        assert all(is_eight == (stage in eight) for stage, is_eight in weights_by_stage(made))
        sizes.append(made.stat().st_size)
    genes = space.matrix(archs)
    told = FileSizes(precision, genes[:24], sizes[:24])(genes)
    assert np.abs(told / sizes - 1).max() < 0.01
    traced = export_onnx(net.extract(archs[0]).eval(), tiny_images(), tmp_path / "traced.onnx").path
    whole = tmp_path / f"{archs[0].id}.onnx"
    names = [
        [path_in(node.name) for node in onnx.load(path).graph.node if node.op_type == "Conv"]
        for path in (traced, whole)
    ]
    assert names[0] == names[1]
