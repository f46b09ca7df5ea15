"""Images in files: class folders, decoding to a square of bytes, and image sets too large for memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from supernet.errors import DataError, did_you_mean

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "F"})


@dataclass(frozen=True)
class ImageFiles:
    """Images that stay on disk and are decoded when they are asked for; indexed like a tensor.

    Args:
        paths: one file per image.
        resolution: side of the square they are shown at, in pixels.
        channels: 1 (grey) or 3 (colour).
    """

    paths: tuple[Path, ...]
    resolution: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        """``(images, channels, height, width)``."""
        return torch.Size((len(self), self.channels, self.resolution, self.resolution))

    def take(self, indices: Tensor) -> ImageFiles:
        """Some of the images, still on disk."""
        return ImageFiles(tuple(self.paths[i] for i in indices.tolist()), self.resolution, self.channels)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The images at these places, bytes ``(indices, channels, height, width)``.

        Raises:
            DataError: naming the file that can not be decoded.
        """
        paths = [self.paths[i] for i in indices.tolist()]
        with ThreadPoolExecutor() as pool:
            squares = pool.map(lambda path: decode_square(path, self.resolution, self.channels), paths)
            return torch.from_numpy(np.stack(list(squares)))


def decode_square(path: Path, resolution: int, channels: int) -> NDArray[np.uint8]:
    """One image, its shorter side scaled to the resolution and its centre kept.

    Returns:
        Bytes ``(channels, resolution, resolution)``.

    Raises:
        DataError: when the file is no image, is damaged or can not be read.
    """
    try:
        with Image.open(path) as file:
            deep = file.mode.startswith("I") or file.mode == "F"
            image = (_eight_bits(file) if deep else file).convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot decode {path}: {error}; replace or remove the file") from error
    scale = resolution / min(image.size)
    if scale != 1:
        width, height = (max(resolution, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = ((side - resolution) // 2 for side in image.size)
    pixels = np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)
    return pixels[top : top + resolution, left : left + resolution].transpose(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit and float grey values on the scale of bytes; PIL alone would clip them."""
    values = np.asarray(image, dtype=np.float64)
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))


def native_size(path: Path) -> tuple[int, int]:
    """The shorter side of an image in pixels, and its channels (1 or 3).

    Raises:
        DataError: when the file is no image.
    """
    try:
        with Image.open(path) as image:
            return min(image.size), 1 if image.mode in _GREY_MODES else 3
    except OSError as error:
        raise DataError(f"cannot decode {path}: {error}; replace or remove the file") from error


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The image files of every class folder inside a folder, sorted by name.

    Raises:
        DataError: when the folder is missing or holds no class, or a class holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give an image folder that holds train/CLASS/IMAGE")
    classes = {
        entry.name: sorted(file for file in entry.rglob("*") if file.suffix.lower() in SUFFIXES)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not classes:
        raise DataError(f"{folder} holds no class folders; put the images of each class in one of its own")
    for name, files in classes.items():
        if not files:
            kinds = ", ".join(sorted(SUFFIXES))
            raise DataError(
                f"class {name!r} has no images in {folder / name}; add some ({kinds}) or remove it"
            )
    return classes


def labelled(
    folder: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Classes, files and labels of one split of an image folder.

    Args:
        folder: holds one folder per class.
        classes: what the labels count; None takes those found.

    Raises:
        DataError: as `class_folders`, and for a class that is not among ``classes``.
    """
    found = class_folders(folder)
    names = tuple(found) if classes is None else tuple(classes)
    for name in found:
        if name not in names:
            raise DataError(
                f"class {name!r} of {folder} is not in the train split{did_you_mean(name, names)}"
            )
    files = [file for name in found for file in found[name]]
    return names, files, [names.index(name) for name in found for _ in found[name]]
