"""A front held against measurements of exported files, from which the predictor learns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from hardware.measurement import SESSION, Measurement, Profile, RepeatError
from predictors import Estimate
from search.archive import known_networks
from supernet.space import Architecture, Genes
from tests.zoo.road import Road
from zoo.cli import app
from zoo.pipeline import verifying
from zoo.pipeline.profiling import VERIFIED, Profiled, profiled
from zoo.pipeline.run import Run, open_run
from zoo.pipeline.searching import ARCHIVE, known_front, search_front
from zoo.pipeline.verifying import Check, Round, Verified, verify
from zoo.pipeline.workspace import Workspace, opened

pytestmark = pytest.mark.xdist_group("road")  # one process: it is walked once


@pytest.fixture
def workspace(road: Road, tmp_path: Path) -> Workspace:
    """A copy of a run that was searched."""
    shutil.copytree(road.folder, tmp_path / "run")
    found = open_run(tmp_path / "run")
    return opened(
        Run(found.folder, replace(found.options, search=replace(found.options.search, verify_evaluations=3)))
    )


def times(factor: float) -> object:
    """A device that takes so many times what was predicted of the largest network, give or take one part in 50."""

    def timed(
        workspace: Workspace, known: Profiled, files: Mapping[Architecture, Path], *rest: object
    ) -> Profile:
        ms = factor * known.predictor.predict(workspace.net.space.matrix(files)).mean
        like = known.profile.measurements[0]
        found = [
            replace(like, arch=arch.id, genes=arch.genes, median_ms=float(one), ci=0.02)
            for arch, one in zip(files, ms)
        ]
        return replace(known.profile, measurements=tuple(found))

    return timed


def check(measured_ms: float) -> Check:
    """A network of which 1 to 2 ms were predicted."""
    one = Estimate(*(np.array([ms]) for ms in (1.5, 1.0, 2.0, 0.3)), unit="ms", level=0.9)
    return Check(Architecture((0,), "space"), one, measurement(0, measured_ms), 1.0, 1.0)


def measurement(gene: int, ms: float) -> Measurement:
    """Of a network of one gene, within 10 %."""
    return Measurement(f"{gene}", (gene,), "here", ms, ms, ms, 1.0, 0.1, 1, 1, "2026-01-01", 0.0)


def test_points_of_a_front_hold_where_they_are_measured_within_what_was_predicted() -> None:
    inside, outside = check(1.9), check(2.1)
    assert inside.holds and not outside.holds and not check(0.9).holds
    assert Round(40, [inside, outside]).share == 1 - 1 / 40
    assert Round(2, [outside, outside]).share == 0 and Round(7, []).share == 1


def test_a_verified_latency_is_the_measured_one_and_the_others_are_predicted() -> None:
    class Ones:
        """Predicts 1 ms, from 0.5 to 2."""

        def predict(self, genes: Genes) -> Estimate:
            ms = (np.full(len(genes), value) for value in (1.0, 0.5, 2.0, 0.3))
            return Estimate(*ms, unit="ms", level=0.9)

    profile = SimpleNamespace(repeat=RepeatError(0.0, 0.0, 6))
    known = Profiled(profile, Ones(), Ones, verified={"3": measurement(3, 5.0)})  # type: ignore[arg-type]
    found = known.estimate(np.array([[2], [3], [4]]))
    assert found.mean.tolist() == [1.0, 5.0, 1.0]
    # 95 times in 100 a second measurement is as near as both intervals and two sessions allow; here 90 in 100
    reach = 5.0 * 1.645 / 1.96 * np.hypot(0.1 * 2**0.5, 1.96 * SESSION)
    assert found.low == pytest.approx([0.5, 5 - reach, 0.5], rel=1e-3)
    assert found.high == pytest.approx([2.0, 5 + reach, 2.0], rel=1e-3)


def verified(workspace: Workspace) -> Verified:
    known = [profiled(workspace)]
    return verify(workspace, known, search_front(workspace, known))


@pytest.mark.slow
def test_a_front_that_holds_is_measured_once_and_nothing_is_evaluated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "time_files", times(1.0))
    archive, before = workspace.run.search / ARCHIVE, profiled(workspace)
    paid = known_networks(archive)
    front = known_front(workspace, [before]).result.front
    found = verified(workspace)
    checks = found.rounds[""][0].checks
    assert [check.arch for check in checks] == [point.arch for point in front]
    assert found.holds("") and [each.share for each in found.rounds[""]] == [1.0]
    assert known_networks(archive) == paid
    # the file answers what the subnet inside the supernet does
    np.testing.assert_allclose([c.of_file for c in checks], [c.evaluated for c in checks], rtol=1e-4)
    # a later command has the measurements, as the latency of these networks and to learn from
    after = profiled(workspace)
    assert set(after.verified) == {check.arch.id for check in checks}
    told = known_front(workspace, [after]).result.evaluations
    measured = {check.arch: check.measured.median_ms for check in checks}
    assert all(e.values["latency"] == measured[e.arch] for e in told if e.arch in measured)
    assert len(after.predictor.learned_from.values) > len(before.predictor.learned_from.values)
    # and neither a latency nor an accuracy is paid for again
    monkeypatch.setattr(verifying, "time_files", None)
    monkeypatch.setattr(verifying, "FileNetwork", None)
    again = verified(workspace)
    assert [(each.checks, each.share) for each in again.rounds[""]] == [((), 1.0)]
    monkeypatch.setattr(verifying, "time_files", times(1.0))
    (workspace.run.profile / VERIFIED).unlink()
    assert [c.of_file for c in verified(workspace).rounds[""][0].checks] == [c.of_file for c in checks]


Exported = Callable[[Workspace, Sequence[Architecture], object], dict[Architecture, Path]]


def unread(asked: list[Architecture]) -> Exported:
    """Makes files that nobody runs, and notes of what."""

    def files(workspace: Workspace, archs: Sequence[Architecture], tell: object) -> dict[Architecture, Path]:
        """Empty ones."""
        asked.extend(archs)
        paths = {arch: workspace.run.folder / arch.id for arch in archs}
        for path in paths.values():
            path.touch()
        return paths

    return files


@pytest.mark.slow
def test_a_front_that_does_not_hold_is_learned_from_and_searched_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "exported", unread([]))
    monkeypatch.setattr(verifying, "_judged", lambda workspace, files, *rest: [0.0] * len(files))
    monkeypatch.setattr(verifying, "time_files", times(3.0))
    archive, before = workspace.run.search / ARCHIVE, profiled(workspace)
    paid = known_networks(archive)
    found = verified(workspace)
    rounds = found.rounds[""]
    assert rounds[0].share == 0 and not any(check.holds for check in rounds[0].checks)
    assert len(rounds) > 1 and paid < known_networks(archive) <= paid + 3 * (len(rounds) - 1)
    genes = workspace.net.space.matrix([rounds[0].checks[0].arch])
    ahead = [one.predictor.predict(genes).mean[0] for one in (before, found.known[0])]
    assert ahead[1] > 1.5 * ahead[0]


@pytest.mark.slow
def test_a_network_on_the_fronts_of_two_devices_is_exported_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Architecture] = []

    monkeypatch.setattr(verifying, "exported", unread(asked))
    monkeypatch.setattr(verifying, "_judged", lambda workspace, files, *rest: [0.0] * len(files))
    monkeypatch.setattr(verifying, "time_files", times(1.0))
    other = workspace.run.profile_on("other")
    other.mkdir()
    shutil.copy(workspace.run.profile / "profile.json", other)
    known = [profiled(workspace), profiled(workspace, "other")]
    searched = search_front(workspace, known)
    found = verify(workspace, known, searched)
    first = [{check.arch for check in found.rounds[one.name][0].checks} for one in known]
    assert first[0] & first[1] and set(asked) == first[0] | first[1]
    assert len(asked) == len(set(asked)) and not any((workspace.run.folder / a.id).exists() for a in asked)
    assert found.searched.result.ended == searched.result.ended == "budget"
    assert found.searched.result.scored == searched.result.scored


@pytest.mark.slow
def test_verify_can_be_typed_and_tells_predicted_beside_measured(road: Road, tmp_path: Path) -> None:
    shutil.copytree(road.folder, tmp_path / "run")
    words = [
        "search",
        "--run",
        str(tmp_path / "run"),
        "--verify",
        "--set",
        "search.verify_rounds=1",
        "--json",
    ]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["verified"][""]["rounds"]
    assert len(told) == 1 and len(told[0]["networks"]) == told[0]["points"]
    for network in told[0]["networks"]:
        inside = (
            network["predicted"]["low"][0]
            <= network["measured"]["median_ms"]
            <= network["predicted"]["high"][0]
        )
        assert network["holds"] == inside
        assert network["of_file"] == pytest.approx(network["evaluated"], rel=1e-4)
    assert (
        "predicted ms" in result.stderr and "points hold" in result.stderr
    ) or "point hold" in result.stderr
    assert not list((tmp_path / "run" / "search" / "verified").glob("*.onnx"))
