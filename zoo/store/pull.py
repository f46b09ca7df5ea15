"""Getting an entry out of a store: by its id, or the best one under limits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from search.objective import InfeasibleError
from supernet.errors import StateError, did_you_mean
from supernet.files import write_atomically
from zoo.store.fetch import Cache
from zoo.store.index import entry_file
from zoo.store.manifest import MANIFEST, Manifest, hash_file, parse
from zoo.store.protocol import Store

Progress = Callable[[int, int, str], None]
"""Called with the bytes of an entry that are there, those it has, and the file they belong to."""


@dataclass(frozen=True)
class Pulled:
    """An entry on this machine, every file checked.

    Args:
        manifest: what it says about itself.
        folder: where its files lie.
    """

    manifest: Manifest
    folder: Path

    @property
    def files(self) -> list[Path]:
        """Every file that was placed: those of the manifest, and the manifest."""
        return [*(self.folder / file.path for file in self.manifest.files), self.folder / MANIFEST]

    def path(self, ending: str) -> Path:
        """The first file with that ending, for example ``".onnx"``.

        Raises:
            StateError: when there is none.
        """
        return self.folder / self.manifest.file(ending).path


def manifests(store: Store, cache: Cache | None = None) -> list[Manifest]:
    """What every entry says about itself, sorted by id.

    Raises:
        StateError: when the index or a manifest is damaged, or the store cannot be reached.
    """
    cache = cache or Cache()
    return [
        _manifest(store, entry, sha256, cache) for entry, sha256 in sorted(cache.index(store).entries.items())
    ]


def pull(
    store: Store,
    entry: str,
    *,
    into: Path | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Pulled:
    """An entry with all its files, checked against their hashes.

    Args:
        store: where from.
        entry: its id.
        into: folder to put the files in; None for a place in the cache.
        cache: what was downloaded before; the user's own when None.
        progress: told as the bytes arrive.

    Raises:
        MissingError: when there is no such entry; the message names the nearest.
        StateError: when a file is not what the manifest says, or cannot be had or kept.
    """
    cache = cache or Cache()
    sha256 = cache.index(store).sha256(entry)
    manifest = _manifest(store, entry, sha256, cache)
    folder = into or cache.home / "entries" / f"{entry}-{sha256[:12]}"
    cache.check_space(manifest.files)
    whole, done = sum(file.size for file in manifest.files), 0
    with cache.locked(folder):
        for file in manifest.files:
            tell = partial(_tell, progress, done, whole, file.path)
            blob = cache.fetch(store, entry_file(entry, file.path), file.sha256, file.size, tell)
            _place(blob, folder / file.path, file.sha256, own=into is not None)
            done += file.size
            tell(file.size)
        write_atomically(folder / MANIFEST, manifest.to_bytes())
    return Pulled(manifest, folder)


def _tell(progress: Progress | None, before: int, whole: int, path: str, done: int) -> None:
    if progress:
        progress(before + done, whole, path)


def best(
    entries: Sequence[Manifest],
    *,
    device: str | None = None,
    max_latency_ms: float | None = None,
    max_params: float | None = None,
    metric: str | None = None,
    split: str = "test",
) -> Manifest:
    """The subnet with the best metric under the limits.

    Args:
        entries: from `manifests`.
        device: id or name of the device a latency must have been measured on; needed for a latency
            limit unless all entries agree on one.
        max_latency_ms: limit on the measured median.
        max_params: limit on the parameters.
        metric: what decides, among the entries that have it; None for the first one of each.
        split: of the data it was taken on.

    Raises:
        StateError: when no entry has the metric, or the device is unknown; the message names the known.
        InfeasibleError: when nothing meets the limits; the message names the nearest entry.
    """
    judged = {m.id: m for m in entries if m.kind == "subnet" and m.metric(metric, split) is not None}
    if not judged:
        known = {record.metric for m in entries for record in m.metrics if record.split == split}
        raise StateError(
            f"no subnet of the zoo has the metric {metric or 'any'!r} on the split {split!r}"
            f"{did_you_mean(metric or '', known)}; publish one first"
        )
    _one_metric(judged.values(), metric, split)
    if device is None and max_latency_ms is not None:
        device = _only_device(list(judged.values()))
    limits = {"latency": (max_latency_ms, "ms"), "params": (max_params, "")}
    costs = {m.id: _costs(m, device) for m in judged.values()}
    if device is not None:
        costs = {entry: cost for entry, cost in costs.items() if "latency" in cost}
        if not costs:
            raise StateError(
                f"nothing was measured on {device!r}{did_you_mean(device, _devices(judged.values()))}"
            )
    asked = {name: limit for name, (limit, _) in limits.items() if limit is not None}
    excess = {
        entry: sum(max(cost.get(name, float("inf")) / limit - 1, 0.0) for name, limit in asked.items())
        for entry, cost in costs.items()
    }
    within = [judged[entry] for entry, over in excess.items() if over == 0]
    if not within:
        nearest = min(excess, key=lambda entry: (excess[entry], entry))
        wanted = " and ".join(
            f"{name} <= {limit:,g} {limits[name][1]}".strip() for name, limit in asked.items()
        )
        has = ", ".join(
            f"{name} {costs[nearest].get(name, float('nan')):,.6g} {limits[name][1]}".strip()
            for name in asked
        )
        raise InfeasibleError(f"no subnet of the zoo has {wanted}; the nearest is {nearest} with {has}")
    return max(within, key=lambda m: (_quality(m, metric, split), -costs[m.id].get("latency", 0.0), m.id))


def _quality(manifest: Manifest, metric: str | None, split: str) -> float:
    """A metric, so that more is better."""
    found = manifest.metric(metric, split)
    assert found is not None
    return found.value if found.sense == "max" else -found.value


def _one_metric(entries: Iterable[Manifest], metric: str | None, split: str) -> None:
    """Make sure that all entries are ranked by the same metric.

    Raises:
        StateError: when the zoo holds networks of several kinds and none was named.
    """
    found = {record.metric for m in entries if (record := m.metric(metric, split)) is not None}
    if len(found) > 1:
        raise StateError(
            f"the zoo holds networks judged by {', '.join(sorted(found))}; say by which to choose (metric)"
        )


def _manifest(store: Store, entry: str, sha256: str, cache: Cache) -> Manifest:
    name = entry_file(entry, MANIFEST)
    manifest = parse(cache.fetch(store, name, sha256).read_bytes(), f"{store.address}/{name}")
    if manifest.id != entry:
        raise StateError(
            f"{store.address}/{name} is the manifest of {manifest.id!r}; its publisher should reindex"
        )
    return manifest


def _place(blob: Path, target: Path, sha256: str, *, own: bool) -> None:
    """A file under its own name: a hard link inside the cache, a copy where the user may change it."""
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists() and hash_file(target) == sha256:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        if own:
            shutil.copyfile(blob, part)
        else:
            os.link(blob, part)
        part.replace(target)
    except OSError as error:
        raise StateError(
            f"cannot write {target}: {error.strerror}; free some space, or choose a folder that can be written to"
        ) from error
    finally:
        # also because renaming one hard link onto another of the same file does nothing, and leaves both
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _costs(manifest: Manifest, device: str | None) -> dict[str, float]:
    costs = {"params": manifest.costs["params"]} if "params" in manifest.costs else {}
    known = manifest.latency(device) if device is not None else None
    return costs | ({"latency": known.median_ms} if known is not None else {})


def _devices(entries: Iterable[Manifest]) -> set[str]:
    return {str(d.device["name"]) for m in entries for d in m.devices}


def _only_device(entries: Sequence[Manifest]) -> str:
    ids = {str(d.device["id"]) for m in entries for d in m.devices}
    if len(ids) != 1:
        raise StateError(
            f"a latency limit needs a device; measured were: {', '.join(sorted(_devices(entries))) or 'none'}"
        )
    return ids.pop()
