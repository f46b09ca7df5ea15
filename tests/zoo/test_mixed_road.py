"""A device of mixed precision from the profile to the exported file, as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

from hardware.quantise import FileNetwork
from search.archive import Archive
from supernet.errors import ConfigError, StateError
from tests.zoo.road import Road, alone, typed
from zoo.cli import app
from zoo.pipeline.comparing import compared
from zoo.pipeline.mixed import mixed, on
from zoo.pipeline.profiling import every_profiled, profiled
from zoo.pipeline.run import open_run
from zoo.pipeline.searching import archive_of, evaluations, objectives
from zoo.pipeline.workspace import opened

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("road")]


@pytest.fixture(scope="module")
def folder(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run that was searched in float, on PyTorch, and then for a device of mixed precision."""
    made = tmp_path_factory.mktemp("mixed") / "run"
    shutil.copytree(road.folder, made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERNET_HOME", str(made.parent / "home"))
        typed("device", "add", "fast", "--set", "precision=mixed")
        with pytest.raises(StateError, match="holds no profile of a device of mixed precision"):
            _ = mixed(opened(open_run(made))).types
        typed("profile", "--run", str(made), "--device", "fast")
    return made


@pytest.fixture(autouse=True)
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERNET_HOME", str(folder.parent / "home"))


def eight_in(file: Path) -> set[str]:
    """Parameters that a file holds in eight bits."""
    stored = onnx.load(file).graph.initializer
    eight = [t.name for t in stored if t.data_type == TensorProto.INT8 and t.name.endswith("_quantized")]
    return {name.removesuffix("_quantized") for name in eight}


def test_a_search_hands_out_eight_bits_only_where_they_were_measured_to_be_faster(folder: Path) -> None:
    told = json.loads(alone("search", "--run", str(folder), "--device", "fast"))
    workspace = on(opened(open_run(folder)), ["fast"])
    precision, known = workspace.precision, profiled(workspace, "fast")
    shares = told["precision"]["fast"]["in_eight_bits"]
    assert list(shares) == list(precision.stages)
    faster = {pair.mixed.arch for pair in compared(precision, known) if pair.faster}
    genes = [point["genes"] for point in told["devices"]["fast"]["front"]]
    for arch in map(workspace.net.space.architecture, genes):
        assert not precision.stages_in_eight(arch) or arch.id in faster
    np.testing.assert_allclose(list(shares.values()), precision.eight(np.array(genes)).mean(axis=0))
    assert not list(folder.rglob("*.draft")) and not list((folder / "search").rglob("*.onnx"))
    # what was known of networks in float was neither evaluated again nor changed
    plain = opened(open_run(folder))
    with Archive(archive_of(workspace), workspace.net.space) as archive:
        for goal in (goal for goal in objectives(workspace, [known]) if not goal.cheap):
            for one in evaluations(plain, every_profiled(plain)):
                row = precision.from_plain(plain.net.space.matrix([one.arch]))
                assert archive.look_up(goal, row)[0] == one.values[goal.name]


def test_a_network_in_float_is_judged_to_the_bit_as_without_a_choice_and_another_as_its_file(
    folder: Path,
) -> None:
    plain = opened(open_run(folder))
    chosen, arch = mixed(plain), plain.net.space.smallest()
    space = chosen.net.space
    (lifted,) = space.architectures(chosen.precision.from_plain(plain.net.space.matrix([arch])))
    assert chosen.judged(lifted) == plain.judged(arch)
    eight = space.smallest()
    assert chosen.precision.twin(eight) == lifted
    words = ["--no-publish", "--arch", json.dumps(eight.genes)]
    said = " ".join(typed("export", "--run", str(folder), "--device", "fast", *words).split())
    assert f"{eight.id} has stages in eight bits and was not measured to be faster" in said
    (file,) = (folder / "subnets" / "fast").rglob("model.onnx")
    in_float = {name for name, tensor in chosen.net.extract(eight).named_parameters() if tensor.dim() > 1}
    assert eight_in(file) == in_float
    found = chosen.evaluator.of(FileNetwork(file).eval(), chosen.net.input_values(eight))
    assert found == chosen.judged(eight) != plain.judged(arch)
    size = file.stat().st_size
    assert chosen.sizes(space.matrix([eight]))[0] == pytest.approx(size, rel=0.01)


def test_what_contradicts_itself_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no networks in common"):
        on(opened(open_run(folder)), ["fast", ""])
    words = ["export", "--run", str(folder), "--device", "fast", "--int8", "--arch", "largest"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ConfigError) and "leave out --int8" in str(result.exception)
