"""A published network and images, said to a person: ``supernet zoo demo`` and ``supernet zoo evaluate``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from supernet.errors import DataError
from zoo.cli.narrator import Narrator
from zoo.store import Store
from zoo.store.images import Judged, judge, load_for_images, see
from zoo.store.load import open_pulled
from zoo.store.manifest import Manifest
from zoo.store.pull import Pulled, pull


def entry_or_folder(entry: str, store: Callable[[], Store]) -> Pulled:
    """An entry by its id in a store, or the folder that one was pulled into.

    Raises:
        StateError: when there is no such entry, or the folder holds none.
    """
    is_place = os.sep in entry or Path(entry).is_dir()
    return open_pulled(Path(entry)) if is_place else pull(store(), entry)


def demo(pulled: Pulled, paths: Sequence[Path], narrator: Narrator) -> list[tuple[Path, str]]:
    """Say, and answer, what a network sees on each of some image files."""
    subnet = load_for_images(pulled)
    words = see(subnet, paths)
    narrator.say(f"{pulled.manifest.id}, trained on {pulled.manifest.dataset.name}, sees:")
    for path, seen in zip(paths, words):
        narrator.say(f"{path}: {seen}")
    return list(zip(paths, words))


def evaluate(pulled: Pulled, data: str, narrator: Narrator) -> Judged:
    """Say, and answer, how good a network is on a labelled folder, beside what its manifest says.

    Raises:
        DataError: when ``data`` is not ``folder:PATH``, or its classes are not those of the network.
    """
    kind, _, rest = data.partition(":")
    if kind != "folder" or not rest:
        raise DataError(f"a network is judged on folder:PATH, and {data!r} was given; PATH holds CLASS/IMAGE")
    subnet = load_for_images(pulled)
    with narrator.progress() as progress:
        found = judge(subnet, Path(rest).expanduser(), progress)
    for note in found.notes:
        narrator.say(f"Note: {note}.")
    narrator.table(f"{pulled.manifest.id} on {found.folder}", judged_rows(found, pulled.manifest))
    return found


def judged_rows(found: Judged, manifest: Manifest) -> list[dict[str, str]]:
    """Each metric here and in the manifest, as rows of a table."""
    rows = []
    for score in found.result.scores:
        metric = score.metric
        known = manifest.metric(metric.name)
        rows.append(
            {
                "metric": metric.name,
                f"here ({found.result.examples:,} images)": str(score),
                "published": metric.show(known.value) if known else "",
                "95 % interval": f"{known.ci[0]:.1f} to {known.ci[1]:.1f} %" if known and known.ci else "",
                "on": f"{known.split} of {known.dataset}, {known.n:,} images" if known else "",
            }
        )
    return rows
