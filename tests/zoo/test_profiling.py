"""A profile that is cut short, and one that is not to be believed."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from hardware.device import Device
from hardware.errors import DeviceError
from hardware.measurement import SESSION, Measurement, Profile, Reference, RepeatError
from predictors.estimate import Estimate
from predictors.validate import by_region, compare
from supernet.errors import StateError, SupernetError
from supernet.presets import Mobile
from zoo.cli.documents import profiled
from zoo.cli.narrator import Narrator
from zoo.cli.profile_printing import print_profile
from zoo.pipeline import profiling
from zoo.pipeline.profiling import profile_device
from zoo.pipeline.run import open_run
from zoo.pipeline.workspace import Workspace

HERE = Device("desk", "chip", "Linux", "onnxruntime", "1", "CPU", "all", 1, 1, "fp32", 1, "unknown")


def test_a_profile_that_was_cut_short_goes_on_with_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, words = tmp_path / "run", ["profile.subnets=12", "device.threads=2"]
    net = Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()
    open_run(folder).keep()  # as a training leaves it

    def cut_short(net: object, archs: object, inputs: object, place: Path, **_: object) -> None:
        place.mkdir()
        raise DeviceError("no agent answers")

    monkeypatch.setattr(profiling, "profile", cut_short)
    with pytest.raises(DeviceError):
        profile_device(Workspace(open_run(folder, changes=words), net))
    assert open_run(folder, changes=words) == open_run(folder)
    with pytest.raises(StateError, match=r"was made with profile\.subnets = 12, now 13"):
        open_run(folder, changes=["profile.subnets=13"])


def test_a_predictor_that_there_is_not_does_not_stay_with_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    net = Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()
    open_run(folder).keep()
    with pytest.raises(SupernetError, match="did you mean 'tabular'"):
        profile_device(Workspace(open_run(folder, changes=["predict.predictor=tabula"]), net))
    assert open_run(folder).options.predict.predictor == "tabular"


def profile_of(repeat: float) -> Profile:
    """Twelve networks, of which a second measurement was so far off on average."""
    measurements = tuple(
        Measurement(str(i), (i,), HERE.id, 1.0 + i, 1.0 + i, 1.0 + i, 1.0, 0.01, 100, 5, "2026-01-01", 0.0)
        for i in range(12)
    )
    options = {"drift": 0.03}
    return Profile(
        "space", HERE, {}, Reference("0", (0,), 1.0), measurements, RepeatError(repeat, repeat, 2), 8, 6, 3.0, options
    )  # fmt: skip


def known_of(found: Profile) -> Any:
    """A profile, with predictions that are each 7 % too large."""
    true = found.median_ms
    off = Estimate(1.07 * true, 0.9 * true, 1.2 * true, 0.1 * true, "ms", 0.9)
    return SimpleNamespace(
        profile=found, validation=compare(off, true), regions=by_region(off, true), name="board",
        predictor=SimpleNamespace(model="line 100%"), held_out=2,
    )  # fmt: skip


def said_of(found: Profile) -> str:
    """What a person reads of it."""
    words = StringIO()
    print_profile(known_of(found), Narrator(Console(file=words, width=1000)))
    return " ".join(words.getvalue().split())


def with_sizes(found: Profile) -> Profile:
    """The same with files of 1 to 12 KiB, and the memory of the reference."""
    measurements = tuple(replace(m, file_bytes=1024 * (i + 1)) for i, m in enumerate(found.measurements))
    return replace(found, measurements=measurements, peak_mib=9.75)


def test_the_report_says_throughput_sizes_and_memory_or_that_they_are_not_available() -> None:
    plain = profile_of(0.01)
    where = "peak memory of the network beside which they were timed:"
    rate = "Throughput: 83 to 1,000 examples a second;"
    assert f"{rate} files: not available; {where} not available." in said_of(plain)
    assert f"{rate} files: 1 to 12 KiB; {where} 9.8 MiB." in said_of(with_sizes(plain))
    every = tuple(replace(m, peak_mib=10.0 + i) for i, m in enumerate(plain.measurements))
    said = said_of(replace(plain, measurements=every, peak_mib=9.75))
    assert f"{where} 9.8 MiB, and 10.0 to 21.0 MiB of all." in said


def test_a_program_is_told_them_network_by_network(tmp_path: Path) -> None:
    found = profiled(open_run(tmp_path / "run"), known_of(with_sizes(profile_of(0.01))), tmp_path / "x.png")
    assert found["peak_mib"] == 9.75
    for i, m in enumerate(found["measurements"], start=1):
        assert m["file_bytes"] == 1024 * i and m["examples_per_s"] * m["median_ms"] == pytest.approx(1000)


def test_second_measurements_lie_95_times_in_100_within_what_is_said() -> None:
    rng, inside = np.random.default_rng(0), []
    plain = profile_of(0.01)
    for _ in range(4000):
        # of four that were measured twice, and of one that will be, in a session of its own
        session = rng.normal(0, SESSION) * np.array([0, 0, 0, 0, 1])
        apart = np.abs(rng.normal(0, 0.02, size=5) + session)
        repeat = RepeatError(apart[:4].mean(), apart[:4].max(), 4)
        inside.append(apart[4] <= (replace(plain, repeat=repeat).second_ms / plain.median_ms)[0])
    assert 0.93 < np.mean(inside) < 0.98


def test_a_second_measurement_is_as_unsure_as_the_interval_of_the_first() -> None:
    measurements = tuple(replace(m, ci=0.1) for m in profile_of(0.0).measurements)
    wide = replace(profile_of(0.0), measurements=measurements)
    assert wide.second_ms == pytest.approx(np.hypot(0.1 * 2**0.5, 1.96 * SESSION) * wide.median_ms)
    assert "a second measurement is expected within 14.4% of the first, 95 times in 100" in said_of(wide)


@pytest.mark.parametrize(("repeat", "is_noisy"), [(0.27, True), (0.01, False)])
def test_a_profile_that_does_not_repeat_is_flagged(repeat: float, is_noisy: bool) -> None:
    said = said_of(profile_of(repeat))
    assert ("Note: the device was too noisy to be believed" in said) is is_noisy
    assert ("the folder profile/board of the run" in said) is is_noisy


def test_the_report_says_how_far_off_where_and_how_often() -> None:
    said = said_of(profile_of(0.01))
    assert "mean error 7.0%, 0% within 5 % and 100% within 10 %, Spearman 1.000, Kendall 1.000" in said
    assert "100% inside their 90% intervals" in said
    assert "Energy of the network beside which they were timed: not available." in said
    assert "the fastest third, the middle and the slowest, predictions are off by 7.0%, 7.0%, 7.0%" in said
    assert "8 windows were measured, and again 6 times because the machine drifted" in said


def test_what_does_not_run_there_is_said_with_its_reason() -> None:
    said = said_of(replace(profile_of(0.01), failed={"ab12": "no room for it"}))
    assert "Note: ab12 is left out, as it does not run there: no room for it." in said
