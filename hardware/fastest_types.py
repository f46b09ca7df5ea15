"""Which types of eight bits are fastest on a device: with VNNI unsigned activations are, and signed ones are slower."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from hardware.bursts import no_garbage_collection, warm_up
from hardware.export import feed
from hardware.onnx_session import OnnxSession
from hardware.options import DeviceOptions, ProfileOptions
from hardware.quantise import PLACES, TYPES, QuantiseOptions, quantise
from supernet.elastic.inputs import Inputs


def fastest_types(
    file: Path,
    examples: Iterable[Inputs],
    device: DeviceOptions | None = None,
    options: ProfileOptions | None = None,
    keep: tuple[str, ...] = PLACES,
) -> dict[str, float]:
    """The latency of a network in eight bits over that in float, by the types it can have; the fastest first.

    Each is timed in bursts by turns with the float network, and the ratio is the median of the bursts.

    Raises:
        ConfigError: as `quantise`.
        ExportError: as `quantise`, or when a network does not run.
    """
    batches, used, options = list(examples), device or DeviceOptions(), options or ProfileOptions()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, no_garbage_collection():
        whole = _session(file, batches[0], used, options) if batches else None
        for types in TYPES:
            small = quantise(file, batches, Path(folder) / f"{types}.onnx", QuantiseOptions(types, keep))
            assert whole is not None  # quantise has refused to work without examples
            found[types] = _ratio(_session(small, batches[0], used, options), whole, options)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _session(file: Path, batch: Inputs, device: DeviceOptions, options: ProfileOptions) -> OnnxSession:
    made = OnnxSession(str(file), device.optimisation, device.threads)
    made.give(feed(batch.with_batch(device.batch), made.inputs))
    warm_up(made, options)
    return made


def _ratio(session: OnnxSession, whole: OnnxSession, options: ProfileOptions) -> float:
    def burst(of: OnnxSession) -> float:
        """Median of a burst, in nanoseconds."""
        return median(of.burst(options.burst)[options.drop :])

    return median(burst(session) / burst(whole) for _ in range(options.rounds))
