"""How an image becomes an input: one value for training, evaluation and whoever pulls a published network."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from supernet.config import decode, to_plain
from supernet.errors import ConfigError, DataError
from supernet.options import LARGEST_SIDE, Crop, DataOptions, Interpolation, within

UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is no image, or a damaged one."""


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """From an image file to what a network takes, in the order of the fields.

    Args:
        orientation: ``exif``: turned as the camera held it.
        colours: ``RGB``, or ``grey`` as Pillow's mode ``L``.
        crop: ``centre``: the largest square around the centre is kept; ``squash``: all of it.
        crop_share: how much of either side of that is kept, around the centre.
        interpolation: the filter of Pillow that scales what is kept.
        resolution: side of the square then, in pixels.
        value_range: what the bytes 0 and 255 become.
        mean: subtracted from each channel.
        std: what each channel is divided by.
        input_resolution: side of what the network takes; another than ``resolution`` is reached last, on
            floats and antialiased: bicubic where ``interpolation`` is, else bilinear.

    Raises:
        ConfigError: when mean and std do not have one value for every channel, or a number is outside its range.
    """

    orientation: Literal["exif"] = "exif"
    colours: Literal["grey", "RGB"]
    crop: Crop = "centre"
    crop_share: float = 1.0
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
        within("crop_share", self.crop_share, 0.1, 1.0)
        within("resolution", self.resolution, 1, LARGEST_SIDE)
        within("input_resolution", self.input_resolution, 1, LARGEST_SIDE)
        if not self.value_range[0] < self.value_range[1]:
            raise ConfigError(f"value_range is {self.value_range}; give the smaller value first")

    @classmethod
    def plain(cls, resolution: int, channels: int) -> Self:
        """Values from 0 to 1, for images whose mean and deviation are not known yet."""
        colours: Literal["grey", "RGB"] = "grey" if channels == 1 else "RGB"
        zeros, ones = (0.0,) * channels, (1.0,) * channels
        return cls(colours=colours, resolution=resolution, mean=zeros, std=ones, input_resolution=resolution)

    @classmethod
    def asked(cls, options: DataOptions, resolution: int, channels: int) -> Self:
        """With the filter and the crop that options ask for, and their mean and deviation so far as they say.

        Raises:
            ConfigError: for a mean or a deviation that is not for so many channels.
        """
        plain = cls.plain(resolution, channels)
        asked = {name: getattr(options, name) for name in ("interpolation", "crop", "crop_share")}
        for name in ("mean", "std"):
            values = getattr(options, name)
            asked[name] = None if values is None else _for_channels(name, values, channels)
        return replace(plain, **{name: value for name, value in asked.items() if value is not None})

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
        image = self.upright(image)
        size = (self.resolution, self.resolution)
        if image.size != size or self.crop_share < 1:
            image = self._cropped(image, size)
        return pixels_of(image)

    def upright(self, image: Image.Image) -> Image.Image:
        """A whole image as the camera held it, in the colours that are shown."""
        image = ImageOps.exif_transpose(image)
        deep = image.mode.startswith("I") or image.mode == "F"
        return (_eight_bits(image) if deep else image).convert("L" if self.colours == "grey" else "RGB")

    def _cropped(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        scaling, border = Image.Resampling[self.interpolation.upper()], (1 - self.crop_share) / 2
        if self.crop == "centre":
            return ImageOps.fit(image, size, scaling, bleed=border)
        width, height = image.size
        kept = (border * width, border * height, (1 - border) * width, (1 - border) * height)
        return image.resize(size, scaling, box=kept)

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes ``(images, channels, height, width)`` as floats with mean and deviation taken away."""
        low, high = self.value_range
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (images.float() / (255 / (high - low))).add_(low).sub_(mean).div_(std)

    def inputs(self, paths: Sequence[Path]) -> Tensor:
        """Image files as a network takes them, ``(images, channels, input_resolution, input_resolution)``.

        Raises:
            DataError: naming the file that can not be decoded.
        """
        images = torch.from_numpy(np.stack([self.decode(path) for path in paths]))
        return resized(self.normalise(images), self.input_resolution, self.interpolation)

    def __str__(self) -> str:
        low, high = self.value_range
        steps = [
            "turned as its EXIF tag says",
            f"converted to {self.colours}",
            f"{self._kept_words()} scaled to {self.resolution} px ({self.interpolation}, as Pillow does)",
            f"bytes mapped to {low:g} to {high:g}",
            f"minus {_values(self.mean)}, divided by {_values(self.std)}",
        ]
        if self.input_resolution != self.resolution:
            steps.append(f"scaled to {self.input_resolution} px ({_mode(self.interpolation)}, antialiased)")
        return "; ".join(steps)

    def _kept_words(self) -> str:
        kept = (
            "the largest square around the centre"
            if self.crop == "centre"
            else "the image, out of proportion,"
        )
        return kept if self.crop_share == 1 else f"{kept}, {self.crop_share:.4g} of its sides,"


def resized(images: Tensor, side: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Images ``(batch, channels, height, width)`` at another side, antialiased.

    Args:
        interpolation: of the images before; bicubic stays bicubic, all others become bilinear.
    """
    if images.shape[-1] == side and images.shape[-2] == side:
        return images
    return F.interpolate(images, (side, side), mode=_mode(interpolation), antialias=True)


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """A grey or colour picture as bytes ``(channels, height, width)``."""
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, -1).transpose(2, 0, 1).copy()


def _mode(interpolation: Interpolation) -> str:
    return "bicubic" if interpolation == "bicubic" else "bilinear"


def _for_channels(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A value for each channel: one stands for all, and those of three colours become their mean for grey."""
    if len(values) == channels:
        return tuple(values)
    if len(values) == 1:
        return tuple(values) * channels
    if channels == 1 and len(values) == 3:
        return (sum(values) / 3,)
    raise ConfigError(f"{name} is {list(values)}, for images of {channels} channels; give one value for each")


def _values(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit and float grey values on the scale of bytes; PIL alone would clip them."""
    values = np.asarray(image, dtype=np.float64)
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
