"""Energy of a call, by counters that are files here."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from hardware import energy
from hardware.energy import Counter, Energy, counters, energy_of, in_words

CARDS = energy._cards


def zone(folder: Path, name: str, microjoules: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("10000000\n")
    return folder / "energy_uj"


@pytest.fixture(autouse=True)
def _no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_cards", list)


def test_packages_are_counted_once_and_their_parts_are_not(tmp_path: Path) -> None:
    path = zone(tmp_path / "intel-rapl:0", "package-0", 9_000_000)
    zone(tmp_path / "intel-rapl:0:0", "core", 1)
    (found,) = counters(tmp_path)
    assert (found.name, found.read(), found.range) == ("package-0", 9.0, 10.0)
    path.write_text("500000")
    assert found.since(9.0) == pytest.approx(1.5)  # it started again at ten


def test_where_nothing_counts_energy_is_not_available_and_not_zero(tmp_path: Path) -> None:
    unreadable = zone(tmp_path / "intel-rapl:0", "package-0", 1)
    unreadable.write_text("")
    assert counters(tmp_path) == [] and counters(tmp_path / "nothing") == []
    assert energy_of(lambda calls: [1] * calls, []) is None
    assert in_words(None) == "not available"


def test_a_call_takes_what_is_spent_beyond_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """At rest 2 watts; every call takes an eighth of a second and a joule on top of that."""
    clock = [0.0]
    joules = [100.0]

    def passes(seconds: float) -> None:
        clock[0] += seconds
        joules[0] += 2 * seconds

    def burst(calls: int) -> list[int]:
        for _ in range(calls):
            passes(0.125)
            joules[0] += 1
        return [125_000_000] * calls

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", passes)
    found = energy_of(burst, [Counter("package-0", lambda: joules[0])], seconds=5, calls=8)
    assert found is not None and found.calls == 40
    assert found.millijoules["package-0"] == pytest.approx(1000)
    assert in_words(found) == "1e+03 mJ a call (package-0)"


def test_what_is_not_above_rest_is_said_to_be_too_little() -> None:
    assert in_words(Energy({"package-0": -0.1}, 20)) == "too little to tell (package-0)"


def test_cards_that_count_are_read_in_joules_and_the_others_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts millijoules since the driver was loaded; cards before Volta answer with an error."""

    class NVMLError(Exception):
        """As `pynvml` has it."""

    millijoules = {"old": None, "new": 5000}

    def energy_consumption(handle: str) -> int:
        if millijoules[handle] is None:
            raise NVMLError("Not Supported")
        return int(millijoules[handle] or 0)

    nvml = SimpleNamespace(
        NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=["old", "new"].__getitem__,
        nvmlDeviceGetTotalEnergyConsumption=energy_consumption,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    (card,) = CARDS()
    assert (card.name, card.read()) == ("card 1", 5.0)
    millijoules["new"] = 5750
    assert card.since(5.0) == pytest.approx(0.75)


@pytest.mark.parametrize("missing", ["module", "driver"])
def test_without_the_module_or_the_driver_there_is_no_card(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise RuntimeError("Driver Not Loaded")

    monkeypatch.setitem(
        sys.modules, "pynvml", None if missing == "module" else SimpleNamespace(nvmlInit=no_driver)
    )
    assert list(CARDS()) == []


def test_a_zone_whose_range_is_not_told_is_left_out(tmp_path: Path) -> None:
    """Without its range nobody could say what was spent when the counter begins again."""
    path = zone(tmp_path / "intel-rapl:0", "package-0", 1)
    (path.parent / "max_energy_range_uj").unlink()
    assert counters(tmp_path) == []
