"""A device is everything a latency depends on; two identities differ when any of it does."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from hardware.device import Device, local_device, pinned
from hardware.errors import DeviceError
from hardware.options import DeviceOptions
from supernet.errors import ConfigError, SupernetError


@pytest.mark.parametrize(
    "change", [{"optimisation": "basic"}, {"threads": 2}, {"batch": 8}, {"pin": False}, {"runtime": "torch"}]
)
def test_how_a_machine_is_used_is_part_of_its_identity(change: dict[str, object]) -> None:
    if change == {"pin": False} and not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system pins nothing")
    if change == {"threads": 2} and not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system pins nothing")
    assert local_device(replace(DeviceOptions(), **change)).id != local_device().id  # type: ignore[arg-type]


def test_the_name_is_for_people_and_changes_no_identity() -> None:
    named = local_device(DeviceOptions(name="my laptop"))
    assert named.name == "my laptop"
    assert named.id == local_device().id
    assert named == local_device()


def test_a_device_comes_back_from_json() -> None:
    device = local_device()
    assert Device.from_json(device.to_json()) == device
    assert device.to_json()["id"] == device.id


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_a_thread_is_pinned_while_it_measures_and_free_afterwards() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(RuntimeError, match="stop"), pinned(DeviceOptions(threads=1)):
        assert len(os.sched_getaffinity(0)) == 1
        raise RuntimeError("stop")
    assert os.sched_getaffinity(0) == before


def test_an_unknown_runtime_names_the_nearest() -> None:
    with pytest.raises(SupernetError, match="did you mean 'onnxruntime'"):
        local_device(DeviceOptions(runtime="onnxruntim"))


def test_an_unknown_optimisation_level_names_the_nearest() -> None:
    with pytest.raises(DeviceError, match="did you mean 'extended'"):
        local_device(DeviceOptions(optimisation="extend"))


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads is 0; it can be at least 1"):
        DeviceOptions(threads=0)
