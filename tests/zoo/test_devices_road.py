"""One trained supernet, several devices: profiled side by side, searched together, asked for another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hardware import remote
from hardware.errors import DeviceError
from hardware.measurement import Profile
from hardware.template import Template
from search.archive import known_networks
from supernet.errors import SupernetError
from supernet.evaluate import Evaluator
from tests.zoo.road import Road
from zoo.cli import app
from zoo.pipeline.pick import pick
from zoo.pipeline.profiling import profiled
from zoo.pipeline.run import open_run
from zoo.pipeline.searching import ARCHIVE, evaluations, known_front
from zoo.pipeline.workspace import Workspace, opened
from zoo.store.protocol import open_store
from zoo.store.pull import best, manifests

pytestmark = pytest.mark.xdist_group("road")  # one process: it is walked once

AGENT = """
from hardware.agent import Agent, Limits
agent = Agent(("localhost", 0), Limits("secret"))
print(agent.server_port, flush=True)
agent.serve_forever()
"""
DEVICES = ("board", "plain", "eager")
BOTH = ("--device", "board", "--device", "eager")


@dataclass(frozen=True)
class Devices:
    """A run that goes on where the road ended, with devices.

    Args:
        folder: of the run.
        failed: what the profiling of four devices ended with, of which one was not there.
        said: what it and the commands after it printed.
        searched: what a search for two devices answered to a program.
        known: networks that the archive knew before that search, and after it.
        traced: how often the profile of all the devices traced the largest network.
        exported: what the export for one device answered.
    """

    folder: Path
    failed: str
    said: dict[str, str]
    searched: dict[str, Any]
    known: tuple[int, int]
    traced: int
    exported: dict[str, Any]

    @property
    def workspace(self) -> Workspace:
        return opened(open_run(self.folder))

    def typed(self, *words: str) -> str:
        """What a command of this run prints."""
        return _output(*words, "--run", str(self.folder))

    def document(self, *words: str) -> dict[str, Any]:
        """What it answers to a program."""
        return _document(*words, "--run", str(self.folder))

    def refused(self, *words: str) -> str:
        """The message it ends with."""
        result = CliRunner().invoke(app, [*words, "--run", str(self.folder)])
        assert isinstance(result.exception, SupernetError), result.output
        return str(result.exception)


def _output(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def _document(*words: str) -> dict[str, Any]:
    return json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    words = [sys.executable, "-c", AGENT]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as agent:
        assert agent.stdout is not None
        yield f"http://localhost:{agent.stdout.readline().strip()}"
        agent.kill()


@pytest.fixture(scope="module")
def walked(road: Road, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devices]:
    folder = tmp_path_factory.mktemp("devices") / "run"
    shutil.copytree(road.folder, folder)
    run = ("--run", str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERNET_HOME", str(folder.parent))
        patch.setenv(remote.TOKEN, "secret")
        patch.setattr(remote, "PAUSES", (0.01,))
        for name, how in (
            ("board", ["--address", address]),
            ("gone", ["--address", "http://localhost:1"]),
            ("plain", ["--set", "optimisation=disable"]),
            ("eager", ["--runtime", "torch"]),
        ):
            _output("device", "add", name, *how)
        traced, trace = [], Template.of
        patch.setattr(Template, "of", lambda *given: (traced.append(given), trace(*given))[1])
        named = [word for name in ("board", "gone", "plain", "eager") for word in ("--device", name)]
        tried = CliRunner().invoke(app, ["profile", *run, *named])
        assert isinstance(tried.exception, DeviceError), tried.output
        once = len(traced)
        before = known_networks(folder / "search" / ARCHIVE)
        searched = _document("search", *BOTH, *run)
        after = known_networks(folder / "search" / ARCHIVE)
        largest = next(e.architecture.id for e in road.entries if e.costs["params"] == _most(road))
        exported = _document("export", "--device", "board", "--arch", largest, *run)
        said = {"profile": " ".join(tried.output.split())}
        yield Devices(folder, str(tried.exception), said, searched, (before, after), once, exported)


def _most(road: Road) -> float:
    return max(entry.costs["params"] for entry in road.entries)


def test_a_device_that_is_not_there_costs_only_itself(walked: Devices) -> None:
    assert walked.failed.startswith("1 device of 4 could not be profiled: gone")
    assert "gone could not be profiled: no agent answers at http://localhost:1" in walked.said["profile"]
    assert open_run(walked.folder).devices == sorted(DEVICES)
    for name in DEVICES:
        found = Profile.load(walked.folder / "profile" / name / "profile.json")
        assert found.device.name == name and len(found.measurements) == 10
        assert str(walked.folder / "profile" / name / "predictions.png") in walked.said["profile"].replace(
            " ", ""
        )


def test_several_devices_are_measured_with_one_export(walked: Devices) -> None:
    assert walked.traced == 1


def test_devices_share_every_evaluation(walked: Devices) -> None:
    before, after = walked.known
    assert after - before == walked.searched["scored_now"] <= 8
    assert walked.searched["evaluated"] == after


def test_each_device_sees_a_front_of_its_own(walked: Devices) -> None:
    workspace = walked.workspace
    for name in ("board", "eager"):
        document = walked.searched["devices"][name]
        assert document["device"] == name
        assert [o["name"] for o in document["objectives"]][:2] == [f"latency_{name}", "params"]
        learnt = profiled(workspace, name)
        for network in document["front"]:
            predicted = learnt.predictor.predict(np.array([network["genes"]])).mean[0]
            assert network["values"][f"latency_{name}"] == pytest.approx(predicted)
        asked = known_front(workspace, [learnt]).result
        assert [n["network"] for n in document["front"]] == [e.arch.id for e in asked.front]
        assert document["chosen"] == {n: arch.id for n, arch in pick(workspace, learnt).archs.items()}
        with Image.open(walked.folder / f"front-{name}.png") as image:
            assert image.size == (1500, 840)
    together = {network["network"] for network in walked.searched["front"]}
    alone = [network["network"] for one in walked.searched["devices"].values() for network in one["front"]]
    assert together >= set(alone)


def test_the_archive_answers_for_another_device_without_an_evaluation(
    walked: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*_: object) -> None:
        raise AssertionError("a network was evaluated")

    monkeypatch.setattr(Evaluator, "__call__", evaluate)
    document = walked.document("front", "--device", "plain")
    assert document["scored_now"] == 0 and document["evaluated"] == walked.known[1]
    assert known_networks(walked.folder / "search" / ARCHIVE) == walked.known[1]
    assert document["devices"]["plain"]["chosen"].keys() == {"fastest", "knee", "best"}
    assert (walked.folder / "front-plain.png").exists()


def test_a_limit_is_for_all_devices_or_for_one(walked: Devices) -> None:
    workspace, learnt = walked.workspace, [profiled(walked.workspace, name) for name in ("board", "eager")]
    genes = workspace.net.space.matrix([e.arch for e in evaluations(workspace, learnt)])
    bounds = {known.name: known.predictor.predict(genes).high for known in learnt}
    ms = {"eager": float(np.median(bounds["eager"])), "board": float(bounds["board"].max())}
    limits = ["--max-latency-ms", f"eager={ms['eager']}", "--max-latency-ms", str(ms["board"])]
    words = ["front", *BOTH, *limits, "--run", str(walked.folder), "--json"]
    answered = CliRunner().invoke(app, words, catch_exceptions=False)
    assert (
        f"Limits in force: latency on board <= {ms['board']:g} ms and latency on eager <= {ms['eager']:g} ms."
        in " ".join(answered.stderr.split())
    )
    found = json.loads(answered.stdout)["devices"]
    assert {name: one["limits"]["max_latency_ms"] for name, one in found.items()} == ms
    front = np.array([network["genes"] for network in found["eager"]["front"]])
    assert (learnt[1].predictor.predict(front).high <= ms["eager"]).all()
    assert "nearest" in walked.refused("front", *BOTH, "--max-latency-ms", "eager=0.000001")


def test_networks_are_asked_for_by_the_latency_on_a_device(walked: Devices) -> None:
    workspace = walked.workspace
    known = {name: profiled(workspace, name) for name in ("board", "eager")}
    fastest = pick(workspace, known["eager"]).archs["fastest"]
    shown = walked.document("show", "fastest", "--device", "eager")
    assert shown["network"] == fastest.id and shown["known"]["device"] == "eager"
    limit = shown["known"]["values"]["latency_eager"] * 1.001
    (asked,) = [walked.document("show", f"latency_eager<={limit}")]
    assert asked["known"]["values"]["latency_eager"] <= limit
    assert {"latency", "latency_board", "latency_plain"} <= asked["known"]["values"].keys()
    assert "latency on board: " in walked.typed("show", "smallest", "--device", "board")


def test_what_is_published_for_a_device_was_measured_there_too(walked: Devices, address: str) -> None:
    (published,) = walked.exported["published"]
    store = manifests(open_store(str(walked.folder / "zoo")))
    entry = next(entry for entry in store if entry.id == published)
    own, board = entry.devices
    assert walked.exported["device"] == board.device["name"] == "board"
    assert (
        own.device["id"]
        != board.device["id"]
        == Profile.load(walked.folder / "profile" / "board" / "profile.json").device.id
    )
    (network,) = walked.exported["networks"]
    assert network["measured"]["median_ms"] == board.median_ms
    assert str(walked.folder / "subnets" / "board") in network["onnx"]["path"]
    assert best(store, device="board", max_latency_ms=board.median_ms).id == published


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("search --device bord", "holds no profile of the device 'bord'; did you mean 'board'?"),
        ("export --device gone", "run this first: supernet profile --run"),
        ("profile --device bord", "no device is called 'bord'; did you mean 'board'?"),
        ("profile --device board --device ../x", "no device can be called '../x'"),
        (
            "search --device board --max-latency-ms bord=3",
            "a device that this command is not; did you mean 'b",
        ),
        ("search --max-latency-ms board=3", "name it with --device board"),
        ("front --device board --max-latency-ms board=fast", "board=fast is no limit; write 12, or NAME=12"),
        ("export --device board --max-latency-ms board=-1", "--max-latency-ms is -1; give a positive number"),
    ],
)
def test_a_mistake_is_answered_with_what_is_accepted(words: str, answer: str, walked: Devices) -> None:
    assert answer in walked.refused(*words.split())


def test_the_time_of_a_network_is_explained_on_a_device_that_tells_it(walked: Devices) -> None:
    found = walked.document("explain", "smallest", "--device", "plain")
    assert Path(found["figure"]).read_bytes().startswith(b"\x89PNG")
    time = found["explained"]["time"]
    assert time["device"]["name"] == "plain" and time["total_ms"] > 0
    assert sum(row["share"] for row in time["rows"]) == pytest.approx(1)
    assert found["explained"]["savings"]
    assert "only onnxruntime on this machine" in walked.refused("explain", "smallest", "--device", "eager")
