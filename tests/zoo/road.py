"""A run that was walked once from end to end, for all tests that look at what it left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supernet.space import Architecture
from zoo.cli import app
from zoo.pipeline.profiling import profiled
from zoo.pipeline.run import open_run
from zoo.pipeline.searching import evaluations as evaluated
from zoo.pipeline.workspace import Workspace, opened
from zoo.store.fetch import Cache
from zoo.store.manifest import Manifest
from zoo.store.protocol import open_store
from zoo.store.pull import manifests

TINY = {
    "data.resolution": 8,
    "supernet.options.widths": [8, 8, 16],
    "supernet.options.depths": [1, 2],
    "supernet.options.expands": [2, 3],
    "supernet.options.features": 32,
    "train.epochs": 2,
    "train.batch_size": 64,
    "train.calibration_examples": 128,
    "device.runtime": '"torch"',
    "profile.subnets": 10,
    "profile.seconds": 0.5,
    "profile.warm_ms": 1,
    "search.evaluations": 8,
    "search.population": 4,
    "search.examples": 128,
}


def typed(*words: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


AS_JSON = (
    "train",
    "profile",
    "search",
    "export --no-publish",
    "zoo list",
    "zoo verify",
    "show knee",
    "quickstart",
)


def alone(*words: str) -> str:
    """What a command prints on standard output when JSON is asked for."""
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stderr
    return result.stdout


@dataclass(frozen=True)
class Road:
    """A run that was walked once.

    Args:
        folder: of the run.
        home: where pulled files are cached.
        said: what each command printed.
    """

    folder: Path
    home: Path
    said: dict[str, str]

    @property
    def workspace(self) -> Workspace:
        return opened(open_run(self.folder))

    @property
    def entries(self) -> list[Manifest]:
        return manifests(open_store(self.folder / "zoo"), Cache(self.home))


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    home, run = tmp_path_factory.mktemp("home"), str(tmp_path_factory.mktemp("road") / "run")
    changes = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERNET_HOME", str(home))
        said = {
            "train": typed("train", "--run", run, *changes),
            "profile": typed("profile", "--run", run),
            "search": typed("search", "--run", run),
        }
        rest = Road(Path(run), home, said)
        largest = max(evaluated(rest.workspace, [profiled(rest.workspace)]), key=lambda e: e.values["params"])
        said["export"] = typed("export", "--run", run, "--arch", largest.arch.id)
        said["limited"] = typed("search", "--run", run, "--max-params", "1e6")
        said["still limited"] = typed("search", "--run", run)
        said["export limited"] = typed("export", "--run", run, "--no-publish")
        said["unlimited"] = typed("search", "--run", run, "--no-limits")
        said["quickstart"] = typed("quickstart", "--run", run)
        said["list"] = typed("zoo", "list", "--run", run)
        said["pull"] = typed("zoo", "pull", largest_entry(rest, largest.arch.id), "--run", run)
        said["best"] = typed("zoo", "pull", "--run", run, "--into", str(home / "mine"))
        said["verify"] = typed("zoo", "verify", "--run", run)
        said |= {f"{command} --json": alone(*command.split(), "--run", run) for command in AS_JSON}
        said["quiet"] = typed("search", "--run", run, "--quiet")
        for name in ("largest", "knee", largest.arch.id, "entry", "genes", "values"):
            said[f"show {name}"] = typed("show", _called(rest, largest.arch, name), "--run", run)
    return rest


def _called(road: Road, arch: Architecture, name: str) -> str:
    """An architecture under the other things it can be called."""
    space = road.workspace.net.space
    return {
        "entry": largest_entry(road, arch.id),
        "genes": json.dumps(arch.genes),
        "values": json.dumps(space.decode(arch)),
    }.get(name, name)


def largest_entry(road: Road, arch: str) -> str:
    return next(entry.id for entry in road.entries if entry.architecture.id == arch)
