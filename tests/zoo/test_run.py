"""A run keeps what it was told, and refuses what would contradict earlier work."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from supernet import elasticise
from supernet.config import read_toml
from supernet.errors import ConfigError, StateError
from zoo.pipeline.options import RunOptions
from zoo.pipeline.run import find_run, folder_named, open_run
from zoo.pipeline.workspace import Workspace, read


def test_options_are_kept_beside_the_run(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", changes=["train.epochs=3"])
    assert run.options.train.epochs == 3
    run.keep()
    assert open_run(tmp_path / "run").options == run.options
    assert read_toml(tmp_path / "run" / "config.toml", RunOptions) == run.options


def test_the_defaults_are_what_an_empty_file_describes(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert open_run(tmp_path / "run", empty).options == RunOptions()


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.toml")), ids=str)
def test_every_configuration_of_the_repository_is_read(path: Path) -> None:
    read_toml(path, RunOptions)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'train.epoch'.*did you mean 'epochs'"):
        open_run(tmp_path / "run", changes=["train.epoch=3"])
    assert not (tmp_path / "run").exists()


def test_what_earlier_work_rests_on_cannot_change(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    open_run(folder, changes=["train.epochs=3"]).keep()
    open_run(folder, changes=["train.epochs=4"]).keep()
    (folder / "training").mkdir()
    with pytest.raises(StateError, match=r"train.epochs = 4, now 5 is asked; .*--run"):
        open_run(folder, changes=["train.epochs=5"])
    assert open_run(folder, changes=["search.evaluations=7"]).options.search.evaluations == 7


def test_what_changes_no_number_may_change_in_a_training_that_has_begun(tmp_path: Path) -> None:
    open_run(tmp_path).keep()
    (tmp_path / "training").mkdir()
    changed = open_run(tmp_path, changes=["data.workers=2", "data.corrupt=skip"]).options.data
    assert (changed.workers, changed.corrupt) == (2, "skip")
    assert open_run(tmp_path, changes=["train.memory=2GiB"]).options.train.memory == "2GiB"
    with pytest.raises(StateError, match=r"data.mixup = 0.0, now 0.2 is asked"):
        open_run(tmp_path, changes=["data.mixup=0.2"])


def test_options_that_are_lists_are_kept_as_they_were_typed(tmp_path: Path) -> None:
    typed = ["data.random_crop=[0.2, 1.0]", "data.class_weights=[1, 2.5]", "data.mean=[0.5]"]
    run = open_run(tmp_path, changes=typed)
    run.keep()
    data = open_run(tmp_path).options.data
    assert (data.random_crop, data.class_weights, data.mean) == ((0.2, 1.0), (1.0, 2.5), (0.5,))
    assert (
        open_run(tmp_path, changes=["data.class_weights=balanced"]).options.data.class_weights == "balanced"
    )


def test_a_run_that_begins_with_weights_shows_images_as_its_model_was_trained(tmp_path: Path) -> None:
    changes = ["supernet.model=tf_efficientnet_lite0", "supernet.weights=w.pth", "data.resolution=8"]
    for extra, mean in (["data.channels=3", [0.5] * 3], ["data.channels=1", [0.5]]):
        run = open_run(tmp_path, changes=[*changes, extra])
        for dataset in (read(run), Workspace(run, None).dataset):  # type: ignore[arg-type]
            said = dataset.preprocessing()
            assert (said["mean"], said["interpolation"], said["crop_share"]) == (mean, "bicubic", 0.875)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot write"):
        open_run(tmp_path / "file" / "run").keep()


def test_without_a_name_the_run_used_last_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StateError, match=r"holds none; name one with --run"):
        find_run(None)
    assert find_run(None, "default") == Path("runs/default")
    for name in ("a", "b", "c"):
        open_run(Path("runs") / name).keep()
    assert find_run(None) == Path("runs/c")
    open_run(Path("runs/a"))
    assert find_run(None) == find_run(None, "default") == Path("runs/a")


@pytest.mark.parametrize("typed", ["", " "])
def test_a_blank_folder_is_not_the_current_one(typed: str) -> None:
    with pytest.raises(StateError, match=rf"--run '{typed}' names no folder"):
        find_run(typed)
    assert folder_named(".", "--run") == Path()


def test_a_run_goes_on_with_its_data_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    open_run(folder, changes=["data.source=folder:cats"]).keep()
    (folder / "training").mkdir()
    assert (
        open_run(folder, changes=["data.source=folder:cats"]).options.data.source == f"folder:{tmp_path}/cats"
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_run(folder).options.data.source == f"folder:{tmp_path}/cats"
    assert open_run(folder, changes=["data.source=folder:../cats"]).options == open_run(folder).options


@pytest.mark.parametrize("side", [8, 16])
def test_an_architecture_of_a_smaller_resolution_says_how_its_inputs_are_made(
    side: int, tmp_path: Path
) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    net = elasticise(network.eval(), (2, 1, 16, 16), dims=["hidden"], resolution=(8, 16), verify=False)
    workspace = Workspace(open_run(tmp_path, changes=["data.resolution=16"]), net)
    arch = net.space.largest() if side == 16 else net.space.smallest()
    said = workspace.preprocess(arch)
    assert (said["resolution"], said["input_resolution"]) == (16, side)
    assert workspace.example(arch).tensors[0].shape == (2, 1, side, side)
