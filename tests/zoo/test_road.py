"""The whole road as a person types it, short enough for every change: train, profile, search, export, pull."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from hardware.measurement import Profile
from search.report import CHOSEN
from supernet.data import ImageDataset
from supernet.errors import ArchitectureError, StateError
from supernet.evaluate import Evaluator
from tests.supernet.test_preprocessing import by_hand, photograph
from tests.zoo.road import AS_JSON, Road
from zoo.cli import app
from zoo.pipeline.figure import _label
from zoo.pipeline.options import PredictOptions
from zoo.pipeline.profiling import profiled
from zoo.pipeline.run import open_run
from zoo.pipeline.searching import evaluations as evaluated
from zoo.store.fetch import Cache
from zoo.store.images import judge, load_for_images
from zoo.store.load import load_onnx
from zoo.store.protocol import open_store
from zoo.store.pull import pull

pytestmark = pytest.mark.xdist_group("road")  # one process: it is walked once


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", "networks after 2 epochs"),
        ("train", "Next: supernet profile --run"),
        ("profile", "10 subnets took"),
        ("profile", "On subnets it has not seen"),
        ("profile", "Predicted against measured: "),
        ("search", "8 networks evaluated (now), "),
        ("search", "The front as a picture: "),
        ("search", "Curves: tensorboard --logdir"),
        ("search", "what the front has in common: the usual value, and its share"),
        ("limited", "16 networks evaluated (8 of them now, the others were in the archive)"),
        ("quickstart", "16 networks evaluated (0 of them now, the others were in the archive)"),
        ("export", "published in"),
        ("quickstart", "every hash checked"),
        ("pull", "ONNX Runtime opens"),
        ("best", "every hash checked"),
        ("verify", "every byte is as the index says"),
    ],
)
def test_every_command_says_what_it_did(command: str, words: str, road: Road) -> None:
    assert words in " ".join(road.said[command].split())


@pytest.mark.parametrize("command", ["limited", "still limited", "export limited"])
def test_a_limit_that_is_in_force_is_said(command: str, road: Road) -> None:
    said = " ".join(road.said[command].split())
    assert "Limits in force: params <= 1,000,000 (they are kept with the run; --no-limits clears" in said


@pytest.mark.parametrize("command", ["search", "unlimited", "quickstart"])
def test_a_limit_that_was_cleared_is_gone(command: str, road: Road) -> None:
    assert "Limits in force" not in road.said[command]
    assert open_run(road.folder).options.search.max_params is None


@pytest.mark.parametrize("command", AS_JSON)
def test_a_result_can_be_had_as_json_alone(command: str, road: Road) -> None:
    document = json.loads(road.said[f"{command} --json"])
    assert document
    folder = {"zoo list": "store", "zoo verify": "", "show knee": "", "quickstart": ""}.get(command, "run")
    if folder:
        assert document[folder].startswith(str(road.folder))


def test_the_json_of_a_command_holds_what_it_says(road: Road) -> None:
    trained, searched, listed, shown, walked = (
        json.loads(road.said[f"{command} --json"])
        for command in ("train", "search", "zoo list", "show knee", "quickstart")
    )
    assert [epoch["epoch"] for epoch in trained["epochs"]] == [1, 2]
    found = {e.arch.id: e.values for e in evaluated(road.workspace, [profiled(road.workspace)])}
    assert searched["evaluated"] == 16 and searched["scored_now"] == 0 and searched["ended"] == "budget"
    genes = road.workspace.net.space.matrix(
        [road.workspace.net.space.architecture(one["genes"]) for one in searched["front"]]
    )
    depth = genes[:, road.workspace.net.space.index("blocks.0.depth")]
    (said,) = [one for one in searched["common"] if (one["stage"], one["kind"]) == ("blocks.0", "depth")]
    assert said["share"] == np.bincount(depth).max() / len(depth) and said["usual"] in (1, 2)
    assert all(network["values"] == found[network["network"]] for network in searched["front"])
    assert {entry["id"] for entry in listed["entries"]} == {entry.id for entry in road.entries}
    assert shown["network"] == searched["chosen"]["knee"] == walked["search"]["chosen"]["knee"]
    assert sum(stage["params"] for stage in shown["stages"]) == shown["known"]["cost"]["params"]
    assert shown["known"]["values"] == found[shown["network"]]


def test_the_curves_of_a_search_lie_beside_its_archive(road: Road) -> None:
    seen = EventAccumulator(str(road.folder / "search" / "tensorboard" / "search")).Reload()
    assert [event.step for event in seen.Scalars("evaluations_per_second")] == [4, 8]
    assert seen.Images("front")


def test_who_asks_for_quiet_is_told_nothing(road: Road) -> None:
    assert road.said["quiet"] == ""


def test_a_network_is_shown_whatever_it_is_called(road: Road) -> None:
    largest = next(
        entry.architecture.id for entry in road.entries if f"show {entry.architecture.id}" in road.said
    )
    same = {road.said[f"show {name}"] for name in (largest, "entry", "genes", "values")}
    assert len(same) == 1 and largest in same.pop()
    for word in ("parameters", "ms predicted", "accuracy", "blocks.0", "of 2", "█"):
        assert word in road.said["show knee"]


@pytest.mark.parametrize(
    ("arch", "answer"),
    [
        ("nobody", "no network is called 'nobody'"),
        ("[1]", "a genome of 1 genes"),
        ("[1, 2", "is no JSON"),
        ('["a"]', "a gene is an integer"),
        ('{"x": 1}', "the space has no choice 'x'"),
    ],
)
def test_what_is_no_network_is_answered_with_what_is(arch: str, answer: str, road: Road) -> None:
    result = CliRunner().invoke(app, ["show", arch, "--run", str(road.folder)])
    assert isinstance(result.exception, ArchitectureError) and answer in str(result.exception)


def test_a_latency_was_measured_and_is_predicted_for_what_was_not(road: Road) -> None:
    known = Profile.load(road.folder / "profile" / "profile.json")
    assert len(known.measurements) == 10
    assert (known.median_ms > 0).all()
    for entry in road.entries:
        (device,) = entry.devices
        assert device.device["id"] == known.device.id and device.runs > 0
        assert device.p10_ms <= device.median_ms <= device.p90_ms
        assert device.predicted_ms is not None and 0 < device.predicted_ms < math.inf


def test_the_profiles_of_other_devices_are_learned_from_and_this_one_is_not(
    road: Road, tmp_path: Path
) -> None:
    known = Profile.load(road.folder / "profile" / "profile.json")
    known.save(tmp_path / "here.json")
    replace(known, device=replace(known.device, name="board", threads=7)).save(tmp_path / "board.json")
    run = road.workspace.run
    options = replace(run.options, predict=PredictOptions(references=str(tmp_path)))
    found = profiled(replace(road.workspace, run=replace(run, options=options)))
    assert found.predictor.model.partition("references: ")[2].startswith("board (")
    assert "references" not in profiled(road.workspace).predictor.model


def test_every_accuracy_in_the_archive_is_that_of_the_trained_weights(road: Road) -> None:
    workspace = road.workspace
    found = evaluated(workspace, [profiled(workspace)])
    assert len(found) >= 8
    for evaluation in found[:4]:
        again = Evaluator(workspace.net, workspace.dataset, examples=128, calibration_examples=128)
        judged = again(evaluation.arch)
        assert evaluation.values["accuracy"] == pytest.approx(judged["accuracy"])
        assert evaluation.values["log loss"] == pytest.approx(judged["log loss"])
        assert evaluation.values["params"] == workspace.costs.of(evaluation.arch).params


def test_the_file_one_pulls_answers_as_its_manifest_promises(road: Road) -> None:
    data = road.workspace.dataset
    assert isinstance(data, ImageDataset) and road.entries
    for entry in road.entries:
        pulled = pull(open_store(road.folder / "zoo"), entry.id, cache=Cache(road.home))
        subnet, right = load_onnx(pulled), 0
        for images, labels in data.batches("test", 256):
            right += int((subnet(images.numpy()).argmax(1) == labels.numpy()).sum())
        promised = entry.metric("accuracy", "test")
        assert promised is not None
        assert promised.value == pytest.approx(100 * right / len(data.test), abs=0.3)
        assert entry.dataset.splits == {"train": len(data.train), "search": len(data.search), "test": 395}


def test_the_costs_of_an_entry_are_those_of_its_weights(road: Road) -> None:
    for entry in road.entries:
        tensors = load_file(road.folder / "zoo" / "entries" / entry.id / "model.safetensors")
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        counted = sum(t.size for name, t in tensors.items() if not name.endswith(statistics))
        assert entry.costs["params"] == counted


def test_what_was_listed_is_what_was_published(road: Road) -> None:
    assert f"{len(road.entries)} entries" in road.said["list"]
    assert all(entry.id in road.said["list"].replace("\n", "") for entry in road.entries)


def test_the_best_entry_was_put_where_it_was_asked_for(road: Road) -> None:
    test = {entry.id: metric.value for entry in road.entries if (metric := entry.metric()) is not None}
    ((pulled, files),) = re.findall(r"^\s*(\S+): (\d+) files", road.said["best"], re.MULTILINE)
    assert int(files) == len(list((road.home / "mine").iterdir()))
    assert test[pulled] == max(test.values())
    assert {path.name for path in (road.home / "mine").iterdir()} == {
        *("README.md", "manifest.json", "model.onnx", "model.safetensors")
    }


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("profile", "profile/predictions.png"),
        ("search", "front.png"),
        ("search", "common.png"),
        ("search", "hypervolume.png"),
    ],
)
def test_a_picture_lies_where_it_is_said(command: str, place: str, road: Road) -> None:
    assert str(road.folder / place) in road.said[command].replace("\n", "")
    with Image.open(road.folder / place) as image:
        assert image.size == (1500, 840)


def test_the_legend_tells_units_and_what_networks_are_ranked_by(road: Road) -> None:
    label = _label(road.workspace, "knee", {"accuracy": 40.0, "log loss": 1.234}, "0.1 ms measured")
    assert label == "knee\naccuracy 40.0 %\nlog loss 1.234 nats\n0.1 ms measured"


def test_the_picture_shows_the_chosen_ones(road: Road) -> None:
    pixels = np.asarray(Image.open(road.folder / "front.png").convert("RGB")).reshape(-1, 3)
    for colour in CHOSEN[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(1).sum() > 20, colour


def test_a_changed_option_that_work_rests_on_is_refused(road: Road) -> None:
    words = ["train", "--run", str(road.folder), "--set", "train.epochs=5"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, StateError)
    assert "train.epochs = 2, now 5 is asked" in str(result.exception)
    assert f"to train longer: supernet train --run {road.folder} --until 5" in str(result.exception)


def test_a_photograph_through_the_pulled_file_is_one_through_the_training(road: Road, tmp_path: Path) -> None:
    """By the manifest's words, with Pillow, numpy and ONNX Runtime alone, against the decoding of the training."""
    workspace, path = road.workspace, photograph(tmp_path / "photo.png")
    data = workspace.dataset
    assert isinstance(data, ImageDataset)
    decoded = data.normalise(torch.from_numpy(data.shown_as.decode(path))[None])
    for entry in road.entries:
        pulled = pull(open_store(road.folder / "zoo"), entry.id, cache=Cache(road.home))
        session = onnxruntime.InferenceSession(pulled.path(".onnx"))
        properties = session.get_modelmeta().custom_metadata_map
        for said in (entry.dataset.preprocess, json.loads(properties["preprocess"])):
            (answer,) = session.run(None, {"input": by_hand(path, said)})
            arch = workspace.net.space.architecture(entry.architecture.genes)
            subnet = workspace.net.extract(arch, workspace.evaluator.statistics(arch)).eval()
            (shown,) = data.task.inputs((decoded, None), workspace.net.input_values(arch)).tensors
            torch.testing.assert_close(torch.from_numpy(answer), subnet(shown), atol=1e-4, rtol=1e-4)
        assert json.loads(properties["classes"]) == list(entry.dataset.classes) == [str(i) for i in range(10)]


def test_a_published_network_is_as_good_on_the_files_of_the_test_split_as_its_manifest_says(
    road: Road, tmp_path: Path
) -> None:
    data, entry = road.workspace.dataset, road.entries[0]
    assert isinstance(data, ImageDataset)
    for i, (image, label) in enumerate(zip(data.test.images, data.test.labels.tolist())):
        path = tmp_path / "test" / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    pulled = pull(open_store(road.folder / "zoo"), entry.id, cache=Cache(road.home))
    judged = judge(load_for_images(pulled), tmp_path)
    for score in judged.result.scores:
        known = entry.metric(score.metric.name)
        assert known is not None and known.n == judged.result.examples
        assert score.value == pytest.approx(known.value, abs=1e-4)


def test_the_data_are_called_by_their_name_in_every_record(road: Road) -> None:
    for entry in road.entries:
        assert {entry.dataset.name, *(metric.dataset for metric in entry.metrics)} == {"digits"}
    assert "digits: 1,1" in " ".join(road.said["train"].split())
