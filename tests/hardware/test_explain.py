"""Where the time goes: nodes of the runtime, folded back to blocks."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from hardware.errors import DeviceError
from hardware.explain import Place, explain, origins, own_paths, places, read_trace, shares
from hardware.options import DeviceOptions
from supernet.presets import Mobile
from supernet.stages import stages
from tests.tiny import tiny_images, tiny_supernet


def test_the_blocks_of_a_subnet_share_its_time_and_its_multiply_adds() -> None:
    net = Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet().eval()
    arch = net.space.largest()
    found = explain(net, arch, tiny_images(1)[:, :1, :8, :8], runs=20)
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert sum(row.ms for row in found.rows) == pytest.approx(found.total_ms)
    assert sum(found.by_stage().values()) == pytest.approx(found.total_ms)
    assert sum(row.macs for row in found.rows) == net.costs().of(arch).macs
    drawn = [(stage.path, block.path) for stage in stages(net, arch) for block in stage.blocks]
    assert [(row.stage, row.block) for row in found.rows] == drawn
    assert all(row.share > 0 for row in found.rows if row.macs)
    assert any(row.fused for row in found.rows)


def test_modules_of_a_subnet_are_found_in_the_supernet_though_blocks_are_left_out() -> None:
    net = tiny_supernet()
    absent = net.slices(net.space.smallest()).absent
    found = own_paths(net, net.space.smallest())
    assert absent
    assert not absent & set(found.values())
    own = net.extract(net.space.smallest())
    for mine, theirs in found.items():
        assert isinstance(net.largest.get_submodule(theirs), type(own.get_submodule(mine)))


def test_what_is_in_no_block_belongs_to_the_block_before() -> None:
    stem, block = Place("stem", "stem"), Place("blocks", "blocks.1")
    modules = ["stem", "norm", "blocks.1.conv", "blocks.10.conv", "pool"]
    assert list(places(modules, [stem, block])) == [stem, stem, block, block, block]


def test_a_node_that_the_runtime_put_in_belongs_to_what_it_follows_or_else_to_what_it_feeds() -> None:
    names = [
        ("ReorderInput", "x", "a"),
        ("@0@0_nchwc", "a", "b"),
        ("fused @1@", "b", "c"),
        ("Reorder", "c", "y"),
    ]
    nodes = [helper.make_node("Relu", [given], [answer], name=name) for name, given, answer in names]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    run: onnx.GraphProto = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    assert origins(run) == {"ReorderInput": 0, "@0@0_nchwc": 0, "fused @1@": 1, "Reorder": 1}


def test_shares_are_of_the_last_calls_and_one_disturbed_call_does_not_move_them(tmp_path: Path) -> None:
    calls = [{"a": 9, "b": 1}, *({"a": 3, "b": 1} for _ in range(7)), {"a": 3, "b": 500}]
    events = [
        {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur}
        for call in calls
        for name, dur in call.items()
    ]
    events += [
        {"cat": "Node", "name": "a_fence_before", "dur": 7},
        {"cat": "Session", "name": "model_run", "dur": 99},
    ]
    (tmp_path / "trace.json").write_text(json.dumps(events))
    taken = read_trace(tmp_path / "trace.json")
    assert {name: len(of) for name, of in taken.items()} == {"a": 9, "b": 9}
    assert shares(taken, runs=8) == pytest.approx({"a": 0.75, "b": 0.25})


@pytest.mark.parametrize(
    "options", [DeviceOptions(runtime="torch"), DeviceOptions(address="http://localhost:1")]
)
def test_a_device_that_tells_nothing_of_its_nodes_is_refused(options: DeviceOptions) -> None:
    net = tiny_supernet()
    with pytest.raises(DeviceError, match="only onnxruntime on this machine"):
        explain(net, net.space.largest(), tiny_images(), device=options)
