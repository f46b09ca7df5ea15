"""Images in files: which can be read here, what their headers say, and image sets too large for memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supernet.errors import DataError
from supernet.preprocessing import UNREADABLE, ImagePreprocessing
from supernet.wording import counted

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
HELPED: Mapping[str, str] = {
    ".avif": "Pillow 11.3 or newer",
    ".heic": "'supernet[heif]'",
    ".heif": "'supernet[heif]'",
}
"""Endings of images that not every Pillow reads, and what to install for them."""

_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "F"})
_AT_ONCE = 64


@cache
def readable() -> frozenset[str]:
    """Endings of the image files that can be read here, in lower case."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    known = Image.registered_extensions()
    return SUFFIXES | {ending for ending in HELPED if known.get(ending) in Image.OPEN}


@dataclass(frozen=True)
class ImageFiles:
    """Images that stay on disk and are decoded when they are asked for; indexed like a tensor.

    Args:
        paths: one file per image.
        preprocessing: how a file becomes a square of bytes.
    """

    paths: tuple[Path, ...]
    preprocessing: ImagePreprocessing

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        """``(images, channels, height, width)``."""
        side = self.preprocessing.resolution
        return torch.Size((len(self), self.preprocessing.channels, side, side))

    def take(self, indices: Tensor) -> ImageFiles:
        """Some of the images, still on disk."""
        return ImageFiles(tuple(self.paths[i] for i in indices.tolist()), self.preprocessing)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The images at these places, bytes ``(indices, channels, height, width)``.

        Raises:
            DataError: naming the file that can not be decoded.
        """
        paths = [self.paths[i] for i in indices.tolist()]
        with ThreadPoolExecutor() as pool:
            return torch.from_numpy(np.stack(list(pool.map(self.preprocessing.decode, paths))))

    def in_memory(self, decoded: Callable[[int], None]) -> Tensor:
        """All images at once, ``(images, channels, height, width)``.

        Args:
            decoded: told how many more are there.

        Raises:
            DataError: naming the file that can not be decoded.
        """
        images = torch.empty(self.shape, dtype=torch.uint8)
        for part in torch.split(torch.arange(len(self)), _AT_ONCE):
            images[part] = self[part]
            decoded(len(part))
        return images


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


def read_headers(paths: Sequence[Path], looked: Callable[[int], None]) -> Headers:
    """Sizes and colours of image files, which are not decoded.

    Args:
        looked: told how many more were looked at.

    Raises:
        DataError: naming the file that is no image.
    """
    found: list[tuple[int, bool]] = []
    with ThreadPoolExecutor() as pool:
        for header in pool.map(_header, paths):
            found.append(header)
            looked(1)
    sides, grey = zip(*found)
    return Headers(len(found), sum(grey), round(median(sides)), (min(sides), max(sides)))


def _header(path: Path) -> tuple[int, bool]:
    """The shorter side in pixels, and whether the image is grey."""
    try:
        with Image.open(path) as image:
            return min(image.size), image.mode in _GREY_MODES
    except UNREADABLE as error:
        raise DataError(f"cannot decode {path}: {error}; replace or remove the file") from error


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
