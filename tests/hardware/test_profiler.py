"""Profiling: ratios beside a reference, and a kill that costs one window at most."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from torch import nn

from hardware import profiler
from hardware.bursts import _window, half_width, measure, next_window
from hardware.device import local_device
from hardware.energy import Counter, Energy
from hardware.errors import DeviceError, ExportError
from hardware.journal import Burst, Journal, Window
from hardware.measurement import Profile
from hardware.options import DeviceOptions, ProfileOptions
from hardware.profiler import _measurement, profile
from hardware.runners import Runner, runtimes
from hardware.sampling import spread
from supernet.elastic.inputs import Inputs
from supernet.elastic.supernet import Supernet
from supernet.errors import StateError
from tests.tiny import tiny_images, tiny_supernet

FAKE = DeviceOptions(runtime="fake")
QUICK = ProfileOptions(subnets=6, window=2, warm_ms=0)


class _FakeRunner:
    """Takes one nanosecond for each parameter, times how busy the machine is at the moment."""

    def __init__(self, parameters: int, rng: Random) -> None:
        self.parameters, self.rng = parameters, rng

    def burst(self, calls: int) -> list[int]:
        return [int(self.parameters * self.rng.choice((1000, 1000, 1001, 9000))) for _ in range(calls)]


class _Fake:
    version, provider, optimisation, precision, reads_onnx = "1", "none", "none", "fp32", False

    def __init__(self, options: DeviceOptions) -> None:
        self.rng = Random(0)

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        return _FakeRunner(sum(p.numel() for p in module.parameters()), self.rng)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(runtimes._entries, "fake", _Fake)
    yield


@pytest.fixture(scope="module")
def net() -> Supernet:
    return tiny_supernet()


def run(net: Supernet, folder: Path, **more: object) -> Profile:
    archs = spread(net.space, 6)
    return profile(net, archs, tiny_images(), folder, **{"options": QUICK, "device": FAKE} | more)  # type: ignore[arg-type]


def test_latencies_are_those_of_the_machine_though_many_calls_are_disturbed(
    net: Supernet, tmp_path: Path
) -> None:
    found = run(net, tmp_path)
    for measurement in found.measurements:
        subnet = net.extract(net.space.architecture(measurement.genes))
        true_ms = sum(p.numel() for p in subnet.parameters()) * 1000 / 1e6
        assert measurement.median_ms == pytest.approx(true_ms, rel=0.01)
    assert found.repeat.archs == 6
    assert (found.second_ms < 0.05 * found.median_ms).all()
    assert found.repeat.largest < 0.01


def test_a_run_that_was_killed_goes_on_and_measures_the_same_set(net: Supernet, tmp_path: Path) -> None:
    whole = run(net, tmp_path / "whole")

    def killed(step: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(net, tmp_path / "cut", progress=killed)
    journal = tmp_path / "cut" / "journal.jsonl"
    kept = journal.read_text()
    journal.write_text(kept + '{"phase": "first", "rou')
    resumed = run(net, tmp_path / "cut")
    assert journal.read_text().startswith(kept)
    assert [m.arch for m in resumed.measurements] == [m.arch for m in whole.measurements]

    def order(folder: Path) -> list[list[str]]:
        lines = (folder / "journal.jsonl").read_text().splitlines()[1:]
        return [sorted(json.loads(line)["bursts"]) for line in lines][: 3 * QUICK.rounds]

    assert order(tmp_path / "cut") == order(tmp_path / "whole")


def test_a_finished_profile_is_read_and_not_measured_again(net: Supernet, tmp_path: Path) -> None:
    first = run(net, tmp_path)
    again = run(net, tmp_path, progress=lambda *_: pytest.fail("measured again"))
    assert again == first
    assert Profile.load(tmp_path / "profile.json") == first


def test_a_folder_of_another_profile_is_refused(net: Supernet, tmp_path: Path) -> None:
    run(net, tmp_path)
    with pytest.raises(StateError, match="journal of a profile with another options"):
        run(net, tmp_path, options=ProfileOptions(subnets=6, window=2, warm_ms=0, seed=1))


def test_a_later_measurement_shares_the_reference_of_the_first(net: Supernet, tmp_path: Path) -> None:
    first = run(net, tmp_path / "first")
    later = run(net, tmp_path / "later", against=first)
    assert later.reference == first.reference
    np.testing.assert_allclose(later.median_ms, first.median_ms, rtol=0.01)


def test_a_reference_of_another_device_is_refused(net: Supernet, tmp_path: Path) -> None:
    first = run(net, tmp_path / "first")
    with pytest.raises(DeviceError, match="profile this device anew"):
        run(net, tmp_path / "later", against=first, device=DeviceOptions(runtime="fake", batch=2))


def test_a_damaged_profile_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text('{"format": 1}')
    with pytest.raises(StateError, match="damaged"):
        Profile.load(tmp_path / "profile.json")
    with pytest.raises(StateError, match="no profile can be read"):
        Profile.load(tmp_path / "missing.json")


def test_throughput_is_the_images_of_all_calls_over_their_time(net: Supernet, tmp_path: Path) -> None:
    found = run(net, tmp_path, device=DeviceOptions(runtime="fake", batch=4))
    seconds = [m.median_ms * 10 / 1e3 for m in found.measurements]
    np.testing.assert_allclose(found.examples_per_s, [4 * 10 / spent for spent in seconds])


def test_what_an_earlier_version_did_not_write_is_not_available(net: Supernet, tmp_path: Path) -> None:
    found = run(net, tmp_path)
    document = json.loads((tmp_path / "profile.json").read_text())
    del document["peak_mib"]
    for measurement in document["measurements"]:
        del measurement["file_bytes"]
    assert Profile.from_json(document) == found
    assert found.peak_mib is None and {m.file_bytes for m in found.measurements} == {None}


class _Scripted:
    """Calls that take what a script says, in nanoseconds."""

    def __init__(self, *bursts: list[int]) -> None:
        self.bursts = iter(bursts)

    def burst(self, calls: int) -> list[int]:
        return next(self.bursts)


def test_a_ratio_is_to_the_reference_before_and_after_it() -> None:
    slower = Window(
        "first", 0, 0, Burst.of([100] * 4), Burst.of([300] * 4), {"a": Burst.of([400] * 4)}, 1, 0.0, "", 0.0
    )
    assert slower.ratio("a") == pytest.approx(2.0)
    assert slower.drift == pytest.approx(2.0)


def test_the_percentiles_of_calls_are_on_the_scale_of_the_median(net: Supernet, tmp_path: Path) -> None:
    arch, device = net.space.smallest(), local_device(FAKE)
    windows = []
    for number, busy in enumerate((1.0, 3.0, 3.0)):
        around = Burst(*[0.1 * busy] * 4, calls=9)
        bursts = {arch.id: Burst(0.19 * busy, 0.2 * busy, 0.21 * busy, 0.25 * busy, calls=9)}
        windows.append(Window("first", number, 0, around, around, bursts, 1, 1.0, "", 0.0))
    found = _measurement(windows, arch, device, reference_ms=0.1)
    assert (found.p10_ms, found.median_ms, found.p90_ms) == pytest.approx((0.19, 0.2, 0.25))


def test_leading_calls_do_not_count_and_the_calmest_attempt_is_kept() -> None:
    options = ProfileOptions(burst=4, drop=2, drift=0.05)
    cold = [9_000_000, 8_000_000]
    reference = _Scripted(*([*cold, ns, ns] for ns in (100, 200, 100, 110, 100, 150)))
    network = _Scripted(*([*cold, ns, ns] for ns in (400, 500, 600)))
    window = _window("first", 0, 0, {"a": network}, reference, options)
    assert (window.before.p50, window.after.p50) == (100 / 1e6, 110 / 1e6)
    assert window.bursts["a"] == Burst(*[500 / 1e6] * 4, calls=2)
    assert window.attempts == 3


def test_a_network_is_timed_until_its_interval_is_narrow_or_the_time_is_over(tmp_path: Path) -> None:
    options = ProfileOptions(window=2, rounds=2, spread=0.05)
    known = Burst.of([1000])

    def due(second: int, seconds: float) -> list[str] | None:
        """Who is measured after two rounds of a second each, in which a restless network took 1,000 and ``second``."""
        with Journal(tmp_path / f"{second}", {"space": "s"}) as journal:
            for number, restless in enumerate((1000, second)):
                bursts = {"calm": Burst.of([1000 + number]), "restless": Burst.of([restless])}
                if len(journal.windows) == number:
                    journal.add(Window("first", number, 0, known, known, bursts, 1, 1.0, "", 0.0))
            found = next_window(journal, "first", ["calm", "restless"], options, seconds)
        return None if found is None else found[2]

    assert due(2000, seconds=3.0) == ["restless"]
    assert due(2000, seconds=1.5) is None
    assert due(1001, seconds=3.0) is None


def _stately(journal: Journal, *windows: tuple[str, float, float]) -> Journal:
    """Rounds of one window each: a phase, and what the reference and the network ``a`` took in it."""
    for number, (phase, reference, network) in enumerate(windows, start=len(journal.windows)):
        around, of_a = Burst(*[reference] * 4, calls=9), Burst(*[network] * 4, calls=9)
        journal.add(Window(phase, number, 0, around, around, {"a": of_a}, 1, 1.0, "", 0.0))
    return journal


def test_windows_of_a_busy_machine_do_not_count_though_they_agree(tmp_path: Path) -> None:
    options = ProfileOptions(rounds=3)
    busy, calm = [("first", 2.0, 1.0)] * 5, [("first", 1.0, 0.6)] * 2
    with _stately(Journal(tmp_path / "journal", {}), *busy, *calm) as journal:
        due = next_window(journal, "first", ["a"], options, 99.0)
        assert due and due[2] == ["a"]  # five windows agree, but of another state than two of the calm ones
        assert [w.ratio("a") for w in journal.counted("first", options)["a"]] == [0.5, 0.6, 0.6]
        _stately(journal, ("first", 1.05, 0.63))
        assert next_window(journal, "first", ["a"], replace(options, rounds=8), 99.0)
        counted = [w.ratio("a") for w in journal.counted("first", options)["a"]]
        assert counted == pytest.approx([0.6, 0.6, 0.6]) and journal.level_ms("first", options) == 1.0


def test_calm_is_as_calm_as_an_earlier_profile_was(tmp_path: Path) -> None:
    options = ProfileOptions(rounds=2)
    windows = [("first", 2.0, 1.0)] * 4
    with _stately(Journal(tmp_path / "alone", {}), *windows) as alone:
        assert next_window(alone, "first", ["a"], options, 99.0) is None
    with _stately(Journal(tmp_path / "against", {}, best_ms=1.0), *windows) as against:
        assert next_window(against, "first", ["a"], options, 99.0)
        assert next_window(against, "first", ["a"], options, 3.0) is None  # it never is: the time is over
        assert against.calm("first", options) == [] and len(against.counted("first", options)["a"]) == 2


CALM = [("first", 1.0, 0.6)] * 3


@pytest.mark.parametrize(
    ("windows", "best_ms", "level"),
    [
        pytest.param([("first", 1.02, 0.5)] * 3, 1.0, 1.02, id="a calm session is believed"),
        pytest.param([("first", 1.04, 0.5)] * 3, 1.0, 1.0, id="a machine that is slower is not"),
        pytest.param([("first", 2.0, 1.0)] * 3, 1.0, 1.0, id="a busy one is brought to an earlier calm"),
        pytest.param([*CALM, *[("first", 2.0, 1.0)] * 9], 2.0, 2.0, id="so is one calmer than that was"),
        pytest.param(
            [*CALM, *[("repeat", 2.0, 1.0)] * 9], None, 1.0, id="a busy repeat to that of the first"
        ),
        pytest.param(
            [*CALM, *(("repeat", r, 0.6) for r in (1.05, *[1.1] * 9))], None, 1.0, id="by more than luck"
        ),
    ],
)
def test_what_a_ratio_is_of(
    windows: list[tuple[str, float, float]], best_ms: float | None, level: float, tmp_path: Path
) -> None:
    options = ProfileOptions(rounds=2)
    with _stately(Journal(tmp_path / "journal", {}, best_ms), *windows) as journal:
        assert journal.level_ms(windows[-1][0], options) == pytest.approx(level)
        calmest = {w.reference_ms for w in journal.counted("first", options)["a"]}
    assert calmest == {min(reference for phase, reference, _ in windows if phase == "first")}


def test_a_journal_goes_on_where_what_is_calm_was_told_otherwise(tmp_path: Path) -> None:
    options = ProfileOptions(rounds=1, window=1, spread=9.0)
    with Journal(tmp_path / "journal", {}) as journal:
        for number, index in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1)):
            around = Burst(*[1.0] * 4, calls=9)
            arch = {"a" if index == 0 else "b": around}
            journal.add(Window("first", number, index, around, around, arch, 1, 1.0, "", 0.0))
        assert next_window(journal, "first", ["a", "b"], options, 99.0) is None


def test_a_phase_does_not_know_how_calm_the_machine_was_later(tmp_path: Path) -> None:
    options = ProfileOptions(rounds=2)
    windows = [("first", 2.0, 1.0)] * 3 + [("repeat", 1.0, 0.6)] * 3
    with _stately(Journal(tmp_path / "journal", {}), *windows) as journal:
        assert next_window(journal, "first", ["a"], options, 99.0) is None
        assert len(journal.calm("first", options)) == len(journal.calm("repeat", options)) == 3


class _Flickering:
    """A machine of two states: in the busy one a network of many parameters loses more than a small one."""

    version, provider, optimisation, precision, reads_onnx = "1", "none", "none", "fp32", False

    def __init__(self, options: DeviceOptions) -> None:
        self.bursts = 0

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        parameters, machine = sum(p.numel() for p in module.parameters()), self

        class Network:
            def burst(self, calls: int) -> list[int]:
                machine.bursts += 1
                busy = machine.bursts // 97 % 2 == 0
                return [int(1000 * (parameters**1.1 * 1.5 if busy else parameters))] * calls

        return Network()


def test_a_machine_of_two_states_is_measured_in_its_calm_one(
    net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtimes._entries, "fake", _Flickering)
    found = run(net, tmp_path / "a")
    for measurement in found.measurements:
        subnet = net.extract(net.space.architecture(measurement.genes))
        assert measurement.median_ms == pytest.approx(sum(p.numel() for p in subnet.parameters()) / 1e3)
    assert not found.busy and found.is_quiet
    calmer = replace(found, reference=replace(found.reference, ms=1e-3))  # than the machine is ever again
    impatient = run(net, tmp_path / "b", against=calmer, options=replace(QUICK, seconds=0.1))
    assert impatient.busy == 6 and not impatient.is_quiet


def test_one_disturbed_burst_does_not_widen_the_interval() -> None:
    calm = [1.0, 1.001, 0.999, 1.0005, 0.9995, 1.0]
    assert half_width([*calm, 5.0]) < 0.01
    assert half_width([1.0]) == float("inf")


def test_onnx_runtime_measures_real_subnets(net: Supernet, tmp_path: Path) -> None:
    options = ProfileOptions(subnets=3, warm_ms=5, seconds=2)
    found = profile(net, spread(net.space, 3), tiny_images(), tmp_path, options=options)
    assert found.device.runtime == "onnxruntime"
    assert found.measurements[0].ratio < found.measurements[1].ratio
    assert found.measurements[1].ratio == pytest.approx(1, rel=0.2)
    assert not (tmp_path / "onnx").exists()


@pytest.mark.parametrize("seconds", [-1.0, 60.0])
def test_the_last_word_on_a_measurement_is_that_it_is_done(tmp_path: Path, seconds: float) -> None:
    told: list[tuple[int, int]] = []
    options = ProfileOptions(window=1, rounds=3, burst=3, drop=0, warm_calls=1, warm_ms=0, spread=9.0)
    network = _Scripted(*[[1000] * 3] * 40)
    with Journal(tmp_path / "journal", {"space": "s"}) as journal:
        measure(
            "first",
            {"a": network, "b": network},
            network,
            journal,
            options,
            seconds,
            lambda done, total: told.append((done, total)),
        )
        assert told[-1] == (len(journal.windows), len(journal.windows))
        assert len(journal.windows) == (4 if seconds < 0 else 6)


def test_a_network_that_does_not_run_costs_only_itself(
    net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, runs = spread(net.space, 6)[2], _Fake.load
    parameters = sum(p.numel() for p in net.extract(bad).parameters())

    def load(self: _Fake, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        if sum(p.numel() for p in module.parameters()) == parameters:
            raise ExportError("no room for it")
        return runs(self, module, file, inputs)

    monkeypatch.setattr(_Fake, "load", load)
    found = run(net, tmp_path / "a")
    assert found.failed == {bad.id: "no room for it"}
    assert [m.arch for m in found.measurements] == [a.id for a in spread(net.space, 6) if a != bad]
    assert Profile.load(tmp_path / "a" / "profile.json") == found
    with pytest.raises(ExportError, match="every other, does not run on the device: no room for it"):
        profile(net, [bad], tiny_images(), tmp_path / "b", options=QUICK, device=FAKE)


def test_energy_is_kept_where_it_is_counted(
    net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = Energy({"package-0": 1.5}, 20)
    monkeypatch.setattr(profiler, "energy_of", lambda burst, found: spent if len(burst(3)) == 3 else None)
    for counts in ([], [Counter("package-0", lambda: 0.0)]):
        monkeypatch.setattr(profiler, "counters", lambda counts=counts: counts)
        place = tmp_path / f"{len(counts)}"
        assert run(net, place).energy == (spent if counts else None)
        assert Profile.load(place / "profile.json").energy == (spent if counts else None)
