"""How an image becomes an input: one value for training, evaluation and whoever pulls a published network."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from supernet.config import decode, to_plain
from supernet.errors import ConfigError, DataError
from supernet.options import LARGEST_SIDE, within

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is no image, or a damaged one."""


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """From an image file to what a network takes, in the order of the fields.

    Args:
        orientation: ``exif``: turned as the camera held it.
        colours: ``RGB``, or ``grey`` as Pillow's mode ``L``.
        crop: ``centre``: the largest square around the centre is kept.
        interpolation: the filter of Pillow that scales that square.
        resolution: side of the square then, in pixels.
        value_range: what the bytes 0 and 255 become.
        mean: subtracted from each channel.
        std: what each channel is divided by.
        input_resolution: side of what the network takes; another than ``resolution`` is reached last, on
            floats, bilinear and antialiased.

    Raises:
        ConfigError: when mean and std do not have one value for every channel, or a number is outside its range.
    """

    orientation: Literal["exif"] = "exif"
    colours: Literal["grey", "RGB"]
    crop: Literal["centre"] = "centre"
    interpolation: Interpolation = "bilinear"
    resolution: int
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_resolution: int

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ConfigError(
                f"mean is {self.mean} and std {self.std}; {self.colours} needs {self.channels} of each, "
                "deviations above zero"
            )
        within("resolution", self.resolution, 1, LARGEST_SIDE)
        within("input_resolution", self.input_resolution, 1, LARGEST_SIDE)
        if not self.value_range[0] < self.value_range[1]:
            raise ConfigError(f"value_range is {self.value_range}; give the smaller value first")

    @classmethod
    def plain(cls, resolution: int, channels: int) -> ImagePreprocessing:
        """Values from 0 to 1, for images whose mean and deviation are not known yet."""
        colours: Literal["grey", "RGB"] = "grey" if channels == 1 else "RGB"
        zeros, ones = (0.0,) * channels, (1.0,) * channels
        return cls(colours=colours, resolution=resolution, mean=zeros, std=ones, input_resolution=resolution)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ImagePreprocessing:
        """What a manifest or the properties of a file say; read strictly.

        Raises:
            ConfigError: for an unknown key, a missing one or a wrong value.
        """
        return decode(document, cls, "preprocess")

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` reads them back."""
        return to_plain(self)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return 1 if self.colours == "grey" else 3

    def normalised_with(self, mean: Tensor, std: Tensor) -> ImagePreprocessing:
        """The same with another mean and deviation, one value for each channel."""
        return replace(self, mean=tuple(mean.flatten().tolist()), std=tuple(std.flatten().tolist()))

    def for_inputs_of(self, side: int) -> ImagePreprocessing:
        """The same for a network that takes another side."""
        return replace(self, input_resolution=side)

    def decode(self, path: Path) -> NDArray[np.uint8]:
        """An image file as bytes ``(channels, resolution, resolution)``.

        Raises:
            DataError: when the file is no image, is damaged or can not be read.
        """
        try:
            with Image.open(path) as file:
                return self.square(file)
        except UNREADABLE as error:
            raise DataError(f"cannot decode {path}: {error}; replace or remove the file") from error

    def square(self, image: Image.Image) -> NDArray[np.uint8]:
        """An image as bytes ``(channels, resolution, resolution)``."""
        image = ImageOps.exif_transpose(image)
        deep = image.mode.startswith("I") or image.mode == "F"
        image = (_eight_bits(image) if deep else image).convert("L" if self.colours == "grey" else "RGB")
        size = (self.resolution, self.resolution)
        if image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling[self.interpolation.upper()])
        pixels = np.asarray(image, dtype=np.uint8).reshape(*size, self.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes ``(images, channels, height, width)`` as floats with mean and deviation taken away."""
        low, high = self.value_range
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (images.float() / (255 / (high - low)) + low - mean) / std

    def inputs(self, paths: Sequence[Path]) -> Tensor:
        """Image files as a network takes them, ``(images, channels, input_resolution, input_resolution)``.

        Raises:
            DataError: naming the file that can not be decoded.
        """
        images = torch.from_numpy(np.stack([self.decode(path) for path in paths]))
        return resized(self.normalise(images), self.input_resolution)

    def __str__(self) -> str:
        low, high = self.value_range
        steps = [
            "turned as its EXIF tag says",
            f"converted to {self.colours}",
            f"the largest square around the centre scaled to {self.resolution} px "
            f"({self.interpolation}, as Pillow's ImageOps.fit does)",
            f"bytes mapped to {low:g} to {high:g}",
            f"minus {_values(self.mean)}, divided by {_values(self.std)}",
        ]
        if self.input_resolution != self.resolution:
            steps.append(f"scaled to {self.input_resolution} px (bilinear, antialiased)")
        return "; ".join(steps)


def resized(images: Tensor, side: int) -> Tensor:
    """Images ``(batch, channels, height, width)`` at another side, bilinear and antialiased."""
    if images.shape[-1] == side and images.shape[-2] == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)


def _values(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit and float grey values on the scale of bytes; PIL alone would clip them."""
    values = np.asarray(image, dtype=np.float64)
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
