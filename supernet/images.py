"""Images in files: which can be read here, what their headers say, and image sets that memory need not hold."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supernet.errors import DataError
from supernet.preprocessing import UNREADABLE, ImagePreprocessing
from supernet.wording import counted

log = logging.getLogger(__name__)
T = TypeVar("T")

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
HELPED: Mapping[str, str] = {
    ".avif": "Pillow 11.3 or newer",
    ".heic": "'supernet[heif]'",
    ".heif": "'supernet[heif]'",
}
"""Endings of images that not every Pillow reads, and what to install for them."""

GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "F"})
_AT_ONCE = 64


@cache
def readable() -> frozenset[str]:
    """Endings of the image files that can be read here, in lower case."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    known = Image.registered_extensions()
    return SUFFIXES | {ending for ending in HELPED if known.get(ending) in Image.OPEN}


class Pictures(Protocol):
    """Images that are opened one at a time, wherever they come from."""

    @property
    def parallel(self) -> bool:
        """Whether several may be opened at once, in threads."""
        ...

    def __len__(self) -> int: ...

    def name(self, place: int) -> str:
        """What a person calls the one at a place."""
        ...

    def open(self, place: int) -> AbstractContextManager[Image.Image]:
        """The one at a place, as it is stored.

        Raises:
            DataError: for what is no image.
        """
        ...


@dataclass(frozen=True)
class PictureFiles:
    """Image files.

    Args:
        paths: one per image.
    """

    paths: tuple[Path, ...]
    parallel = True

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, place: int) -> str:
        """The path."""
        return str(self.paths[place])

    def open(self, place: int) -> AbstractContextManager[Image.Image]:
        """The file, whose pixels are read when they are needed."""
        return Image.open(self.paths[place])


@dataclass(frozen=True)
class LazyImages:
    """Images that are decoded when they are asked for; indexed like a tensor.

    Args:
        pictures: where they come from.
        places: which of those, in order.
        preprocessing: how one becomes a square of bytes.
        corrupt: what becomes of one that can not be decoded: an error, or the next one takes its place.
    """

    pictures: Pictures
    places: Tensor
    preprocessing: ImagePreprocessing
    corrupt: Literal["fail", "skip"] = "fail"

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> torch.Size:
        """``(images, channels, height, width)``."""
        side = self.preprocessing.resolution
        return torch.Size((len(self), self.preprocessing.channels, side, side))

    def take(self, indices: Tensor) -> LazyImages:
        """Some of the images, not decoded."""
        return replace(self, places=self.places[indices])

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The images at these indices, bytes ``(indices, channels, height, width)``.

        Raises:
            DataError: naming the one that can not be decoded.
        """
        return self.read(indices)[0]

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images at these indices, and which they really are where some can not be decoded.

        Returns:
            Bytes ``(indices, channels, height, width)`` and ``(indices,)``.

        Raises:
            DataError: naming the one that can not be decoded, unless those are skipped.
        """
        found = self._mapped(lambda index: self.decoded(index, self.preprocessing.square), indices.tolist())
        squares, used = zip(*found)
        return torch.from_numpy(np.stack(squares)), torch.tensor(used)

    def _mapped(self, make: Callable[[int], T], indices: Sequence[int]) -> list[T]:
        if not self.pictures.parallel:
            return [make(index) for index in indices]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(make, indices))

    def decoded(self, index: int, make: Callable[[Image.Image], T]) -> tuple[T, int]:
        """What is made of one image, and which it really is.

        Args:
            make: given the image as it is stored, decodes it.

        Raises:
            DataError: naming the image that can not be decoded, unless those are skipped; when none is left.
        """
        for stand_in in range(index, index + len(self)):
            place = int(self.places[stand_in % len(self)])
            try:
                with self.pictures.open(place) as image:
                    return make(image), stand_in % len(self)
            except DataError:
                raise
            except UNREADABLE as error:
                refuse_or_tell(self.pictures.name(place), str(error), self.corrupt)
        raise DataError(f"none of {len(self):,} images can be decoded; replace or remove them")

    def in_memory(self, done: Callable[[int], None]) -> tuple[Tensor, Tensor]:
        """All images at once, ``(images, channels, height, width)``, and which they are: without those skipped.

        Args:
            done: told how many more are there.

        Raises:
            DataError: naming the one that can not be decoded, unless those are skipped.
        """
        images = torch.empty(self.shape, dtype=torch.uint8)
        used = torch.empty(len(self), dtype=torch.long)
        every = torch.arange(len(self))
        for part in torch.split(every, _AT_ONCE):
            images[part], used[part] = self.read(part)
            done(len(part))
        kept = (used == every).nonzero().flatten()
        return (images, kept) if len(kept) == len(self) else (images[kept], kept)


def refuse_or_tell(name: str, reason: str, corrupt: Literal["fail", "skip"]) -> None:
    """Note an image that can not be decoded.

    Raises:
        DataError: naming it, unless such images are skipped.
    """
    if corrupt == "fail":
        raise DataError(
            f"cannot decode {name}: {reason}; replace or remove the file, or go on without it: data.corrupt=skip"
        )
    _tell_once(name, reason)


@cache
def _tell_once(name: str, reason: str) -> None:
    log.warning("skipped %s, which can not be decoded: %s", name, reason)


@dataclass(frozen=True)
class Headers:
    """What the headers of some images say.

    Args:
        images: how many there are.
        grey: how many of them hold no colour.
        side: the median of their shorter sides, in pixels.
        sides: the smallest and the largest of those.
    """

    images: int
    grey: int
    side: int
    sides: tuple[int, int]


def read_headers(
    paths: Sequence[Path], looked: Callable[[int], None], corrupt: Literal["fail", "skip"] = "fail"
) -> Headers:
    """Sizes and colours of image files, which are not decoded.

    Args:
        looked: told how many more were looked at.
        corrupt: what becomes of a file that is no image.

    Raises:
        DataError: naming the file that is no image, unless those are skipped; when none is left.
    """
    found: list[tuple[int, bool]] = []
    with ThreadPoolExecutor() as pool:
        for header in pool.map(lambda path: _header(path, corrupt), paths):
            found += [header] if header else []
            looked(1)
    if not found:
        raise DataError(f"none of {len(paths):,} images can be read; replace or remove them")
    sides, grey = zip(*found)
    return Headers(len(found), sum(grey), round(median(sides)), (min(sides), max(sides)))


def _header(path: Path, corrupt: Literal["fail", "skip"]) -> tuple[int, bool] | None:
    """The shorter side in pixels, and whether the image is grey; None for a file that is skipped."""
    try:
        with Image.open(path) as image:
            return min(image.size), image.mode in GREY_MODES
    except UNREADABLE as error:
        refuse_or_tell(str(path), str(error), corrupt)
        return None


def skipped_words(files: Iterable[Path]) -> str:
    """How many files are no images that can be read here, by their ending, and what would read them.

    Returns:
        ``"12 files skipped: 10 .heic, 2 .txt; to read .heic, install 'supernet[heif]'"``.
    """
    counts = Counter(file.suffix.lower() or "without an ending" for file in files)
    listed = ", ".join(f"{count} {ending}" for ending, count in counts.most_common())
    helped: dict[str, list[str]] = {}
    for ending in sorted(counts.keys() & HELPED.keys()):
        helped.setdefault(HELPED[ending], []).append(ending)
    remedies = [f"; to read {' and '.join(endings)}, install {what}" for what, endings in helped.items()]
    return f"{counted(counts.total(), 'file')} skipped: {listed}{''.join(remedies)}"
