"""Where data come from: one function for each word that can stand before the colon of ``--data``."""

from __future__ import annotations

from collections.abc import Callable

from supernet.errors import DataError, did_you_mean
from supernet.options import DataOptions
from supernet.registry import Registry
from supernet.tasks.task import Dataset

Progress = Callable[[str, int, int], None]
"""Called with what is being done to the data, how much of it is done, and how much there is."""

sources = Registry[Callable[[str, DataOptions, Progress], Dataset]](
    "data source",
    modules=(
        "supernet.image_sources",
        "supernet.image_folder",
        "supernet.tasks.segmentation",
        "supernet.tasks.language",
    ),
    group="supernet.sources",
)
"""A source gets what stands behind the colon, the options, and whom to tell how far it is; it brings three
splits and their task."""


def silent(part: str, done: int, total: int) -> None:
    """A progress that goes nowhere."""


def load_data(options: DataOptions, progress: Progress = silent) -> Dataset:
    """The data set that is asked for, split three ways, with its task.

    Args:
        progress: told while files are read that take their time.

    Raises:
        DataError: for a source that is unknown, missing or damaged, or has too few examples to split.
    """
    kind, _, rest = options.source.partition(":")
    if kind not in sources:
        raise DataError(
            f"no data source is called {kind!r}{did_you_mean(kind, sources)}; "
            "write digits, folder:PATH, torchvision:NAME@ROOT, scattered or text:PATH"
        )
    return sources[kind](rest, options, progress)


def tally(progress: Progress, part: str, total: int) -> Callable[[int], None]:
    """What to call with how much more of a part is done."""
    done = 0

    def more(count: int) -> None:
        """So much more is done."""
        nonlocal done
        done += count
        progress(part, done, total)

    return more
