"""Where data come from: one function for each word that can stand before the colon of ``--data``."""

from __future__ import annotations

from collections.abc import Callable

from supernet.errors import DataError, did_you_mean
from supernet.options import DataOptions
from supernet.registry import Registry
from supernet.tasks.task import Dataset

sources = Registry[Callable[[str, DataOptions], Dataset]](
    "data source",
    modules=("supernet.data", "supernet.tasks.segmentation", "supernet.tasks.language"),
    group="supernet.sources",
)
"""A source gets what stands behind the colon, and brings three splits and their task."""


def load_data(options: DataOptions) -> Dataset:
    """The data set that is asked for, split three ways, with its task.

    Raises:
        DataError: for a source that is unknown, missing or damaged, or has too few examples to split.
    """
    kind, _, rest = options.source.partition(":")
    if kind not in sources:
        raise DataError(
            f"no data source is called {kind!r}{did_you_mean(kind, sources)}; "
            "write digits, folder:PATH, torchvision:NAME@ROOT, scattered or text:PATH"
        )
    return sources[kind](rest, options)
