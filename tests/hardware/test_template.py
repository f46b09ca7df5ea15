"""A file that was cut from the graph of the largest network is the one that tracing the subnet gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from hardware import subnet_files
from hardware.errors import CutError
from hardware.export import export_onnx
from hardware.pool import ExportJob
from hardware.subnet_files import export_subnet, export_subnets, template_of
from hardware.template import Template
from supernet.elastic.inputs import Inputs
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture
from tests.tiny import tiny_images, tiny_supernet

IMAGES = Inputs.of(tiny_images())


@pytest.fixture(scope="module")
def net() -> Supernet:
    return tiny_supernet()


@pytest.fixture(scope="module")
def template(net: Supernet) -> Template:
    return Template.of(net.extract(net.space.largest()).eval(), IMAGES)


def nodes(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Kinds of the operations and their attributes, in order."""
    value = onnx.helper.get_attribute_value
    graph = onnx.load(path).graph
    return [(node.op_type, {a.name: value(a) for a in node.attribute}) for node in graph.node]


def shapes(path: Path) -> list[tuple[int, ...]]:
    return sorted(tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer)


def answers(path: Path, images: torch.Tensor) -> list[Any]:
    session = onnxruntime.InferenceSession(str(path))
    return list(session.run(None, {"input": images.numpy()}))


@pytest.mark.parametrize("draw", ["smallest", "sampled"])
def test_cutting_a_graph_and_tracing_the_subnet_give_one_network(
    net: Supernet, template: Template, draw: str, tmp_path: Path
) -> None:
    arch = net.space.smallest() if draw == "smallest" else net.space.sample(Random(1))
    subnet, absent = net.extract(arch).eval(), net.slices(arch).absent
    own = {"architecture": "[0]"}
    traced = export_onnx(subnet, IMAGES, tmp_path / "traced.onnx", properties=own)
    cut = template.export(ExportJob(subnet, IMAGES, tmp_path / "cut.onnx", properties=own), absent)
    assert nodes(cut.path) == nodes(traced.path)
    assert shapes(cut.path) == shapes(traced.path)
    assert (cut.inputs, cut.outputs, cut.properties) == (traced.inputs, traced.outputs, traced.properties)
    for images in (tiny_images(1), tiny_images(5)):
        for ours, theirs in zip(answers(cut.path, images), answers(traced.path, images), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.onnx", "traced.onnx"]


def test_a_block_in_the_middle_of_a_list_is_left_out(tmp_path: Path) -> None:
    first, middle, last = (nn.Linear(4, 4) for _ in range(3))
    x = Inputs.of(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    template = Template.of(nn.Sequential(first, middle, last).eval(), x)
    subnet = nn.Sequential(first, last).eval()
    cut = template.export(ExportJob(subnet, x, tmp_path / "cut.onnx"), frozenset({"1"}))
    assert shapes(cut.path) == [(4,), (4,), (4, 4), (4, 4)]


def test_a_cut_that_computes_something_else_leaves_no_file(
    net: Supernet, template: Template, tmp_path: Path
) -> None:
    arch = net.space.smallest()
    subnet = net.extract(arch).eval()
    subnet.register_forward_hook(lambda module, args, out: out * 1.001)
    with pytest.raises(CutError, match=r"cut graph is 1\.0e-03 off, more than 1e-05"):
        template.export(ExportJob(subnet, IMAGES, tmp_path / "cut.onnx"), net.slices(arch).absent)
    assert not list(tmp_path.iterdir())


def test_a_subnet_with_other_tensors_is_no_cut(template: Template, tmp_path: Path) -> None:
    job = ExportJob(nn.Linear(3, 2).eval(), Inputs.of(torch.zeros(2, 3)), tmp_path / "cut.onnx")
    with pytest.raises(CutError, match="the subnet holds 2 tensors"):
        template.export(job, frozenset())


class _Scripted:
    """A template that can cut only so many subnets."""

    def __init__(self, cuts: int) -> None:
        self.cuts = cuts

    def export(self, job: ExportJob, absent: frozenset[str]) -> Path:
        if not self.cuts:
            raise CutError("no further")
        self.cuts -= 1
        job.path.parent.mkdir(exist_ok=True)
        job.path.write_text("cut")
        return job.path


def _traced(jobs: Iterator[ExportJob], workers: int) -> Iterator[None]:
    for job in jobs:
        yield job.path.write_text("traced")  # type: ignore[misc]


def test_what_cannot_be_cut_is_traced_and_what_is_there_is_kept(
    net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = [net.space.sample(Random(seed)) for seed in range(4)]
    subnets = {arch: net.extract(arch).eval() for arch in archs}
    seen: list[tuple[int, int]] = []

    def written(cuts: int, some: Mapping[Architecture, nn.Module]) -> list[str]:
        """What the files hold that are there when a template that cuts so many has been used."""
        monkeypatch.setattr(subnet_files, "template_of", lambda *_: _Scripted(cuts))
        monkeypatch.setattr(subnet_files, "export_all", _traced)
        files = export_subnets(
            net, some, lambda arch: IMAGES, tmp_path / "onnx", progress=lambda *parts: seen.append(parts)
        )
        return [files[arch.id].read_text() for arch in some]

    assert written(2, dict(list(subnets.items())[:3])) == ["cut", "cut", "traced"]
    assert written(0, subnets) == ["cut", "cut", "traced", "traced"]
    assert seen == [(1, 3), (2, 3), (3, 3), (4, 4)]


def test_a_supernet_is_traced_once_and_its_files_have_the_weights_of_the_moment(tmp_path: Path) -> None:
    net = tiny_supernet()
    arch = net.space.sample(Random(2))

    def file(name: str) -> Path:
        """The subnet of now."""
        job = ExportJob(net.extract(arch).eval(), IMAGES, tmp_path / name)
        return export_subnet(net, arch, job, lambda arch: IMAGES).path

    first, again = file("first.onnx"), file("again.onnx")
    template = template_of(net, lambda arch: IMAGES)
    assert template_of(net, lambda arch: IMAGES.with_batch(7)) is template
    with torch.no_grad():
        next(net.parameters()).mul_(1.5)
    trained = file("trained.onnx")
    assert first.read_bytes() == again.read_bytes() != trained.read_bytes()
    assert template_of(net, lambda arch: IMAGES) is template
    np.testing.assert_allclose(
        answers(trained, tiny_images(3))[0], net.subnet(arch)(tiny_images(3)).detach(), rtol=1e-5, atol=1e-6
    )
