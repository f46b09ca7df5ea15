"""What the supernet of a run offers: as its options say, or as a study of its pretrained network decided, once."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from supernet.config import decode, to_plain
from supernet.errors import ConfigError
from supernet.files import write_atomically
from supernet.offering import Offer, is_undecided, offer
from supernet.options import SupernetOptions
from supernet.tasks.task import Dataset
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run

OFFER = "offer.json"


def offered(run: Run, dataset: Dataset, progress: Progress = silent) -> SupernetOptions:
    """The options of the supernet that is trained; a study that was made is read again.

    Raises:
        SpaceError: when nothing of the network is elastic.
        SupernetError: see `supernet.build.build`.
    """
    options = run.options.supernet
    if not is_undecided(options):
        return options
    about = {"supernet": to_plain(options), "seed": run.options.train.seed, "data": dataset.identity()}
    found = _kept(run.folder / OFFER, json.loads(json.dumps(about)))
    if found is None:
        told = partial(progress, "what is worth cutting")
        found = offer(options, dataset, run.options.train, lambda done, total: told(done, total, ""))
        write_atomically(
            run.folder / OFFER, json.dumps({"about": about, "offer": asdict(found)}, indent=1) + "\n"
        )
    return found.applied(options)


def offer_of(run: Run) -> Offer | None:
    """What a study decided for this run; None where there was none."""
    return _kept(run.folder / OFFER) if is_undecided(run.options.supernet) else None


def _kept(path: Path, about: dict[str, Any] | None = None) -> Offer | None:
    """The offer in a file, when it is one and, where that is given, about this."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if about is not None and document["about"] != about:
            return None
        return decode(document["offer"], Offer)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return None
