"""Which choices pay, and what is smaller and slower: from a profile, without a device."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.device import Device
from hardware.measurement import Measurement, Profile, Reference, RepeatError
from predictors import Estimate
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture, Genes
from supernet.stages import choices_by_stage
from tests.tiny import tiny_supernet
from zoo.pipeline.explaining import savings, smaller_and_slower
from zoo.pipeline.profiling import Profiled

HERE = Device("d", "chip", "Linux", "onnxruntime", "1", "CPU", "all", 1, 1, "fp32", 1, "x")


class Slope:
    """Every kernel step takes 0.2 ms, a wide width 0.1 ms more than any other; a block costs a millisecond."""

    def __init__(self, net: Supernet) -> None:
        self._net = net

    def predict(self, genes: Genes) -> Estimate:
        """See `Predictor`."""
        ms = np.array(
            [5.0 + self._of(self._net.space.decode(a)) for a in self._net.space.architectures(genes)]
        )
        return Estimate(ms, ms, ms, ms, "ms", 0.9)

    def _of(self, values: dict[str, object]) -> float:
        kernels = sum(0.2 for name, value in values.items() if name.endswith("kernel") and value == 5)
        widest = {name: self._net.space[name].values[-1] for name in values if name.endswith("width")}
        return kernels + sum(0.1 for name, most in widest.items() if values[name] == most)


def measured(arch: Architecture, ms: float, ci: float = 0.01) -> Measurement:
    return Measurement(arch.id, arch.genes, HERE.id, ms, ms, ms, ms, ci, 9, 5, "2026-01-01", 0.0)


def profile(*measurements: Measurement) -> Profile:
    reference = Reference(measurements[0].arch, measurements[0].genes, 1.0)
    return Profile("space", HERE, {}, reference, measurements, RepeatError(0.005, 0.01, 2), 1, 0, 1.0, {})


def known(net: Supernet, *measurements: Measurement) -> Profiled:
    slope = Slope(net)
    return Profiled(profile(*measurements), slope, lambda: slope)  # type: ignore[arg-type, return-value]


def test_choices_are_told_stage_by_stage_and_kind_by_kind() -> None:
    net = tiny_supernet()
    found = choices_by_stage(net)
    assert found["blocks.1", "kernel"] == ["blocks.1.0.kernel", "blocks.1.1.kernel"]
    assert sorted(name for names in found.values() for name in names) == sorted(
        c.name for c in net.space.choices
    )


def test_a_smaller_value_pays_by_what_it_saves_beyond_the_next_larger() -> None:
    net = tiny_supernet()
    found = savings(net, known(net, measured(net.space.largest(), 5.0)))
    at = {(saving.stage, saving.kind, saving.values): saving for saving in found}
    kernel = at["blocks.1", "kernel", (3, 3)]
    assert kernel.ms == pytest.approx(0.4) and kernel.verdict == "saves" and not kernel.is_measured
    narrower, narrowest = (s for s in found if (s.stage, s.kind) == ("blocks.1", "width"))
    assert (narrower.verdict, narrowest.verdict) == ("saves", "nothing")
    assert narrowest.ms == pytest.approx(0.2) and narrowest.more_ms == pytest.approx(0.0)
    assert "kernel 3 in blocks.1 saves 0.4 ms more" in str(kernel)
    assert "saves nothing more" in str(narrowest)


def test_what_was_measured_is_not_predicted_and_what_costs_is_said() -> None:
    net = tiny_supernet()
    largest = net.space.largest()
    values = net.space.decode(largest)
    small = net.space.encode(values | {"blocks.2.0.kernel": 3, "blocks.2.1.kernel": 3})
    found = savings(net, known(net, measured(largest, 5.0), measured(small, 6.0)))
    (saving,) = (s for s in found if (s.stage, s.kind) == ("blocks.2", "kernel"))
    assert saving.is_measured and saving.ms == -1.0 and saving.verdict == "costs"
    assert str(saving) == "kernel 3 in blocks.2 costs 1 ms more than the next larger (measured)"


def test_a_network_smaller_in_both_costs_and_slower_beyond_the_intervals_is_called_out() -> None:
    net = tiny_supernet()
    small, large = net.space.smallest(), net.space.largest()
    macs, params = np.array([1.0, 2.0]), np.array([10.0, 40.0])
    (found,) = smaller_and_slower(profile(measured(small, 2.0), measured(large, 1.0)), macs, params)
    assert (found.small, found.large, found.macs, found.params) == (small.id, large.id, 0.5, 0.25)
    assert "is smaller than" in str(found) and "2 against 1 ms" in str(found)
    touching = profile(measured(small, 2.0, 0.4), measured(large, 1.0, 0.3))
    assert not smaller_and_slower(touching, macs, params)
    assert not smaller_and_slower(profile(measured(small, 2.0), measured(large, 1.0)), macs, params[::-1])
