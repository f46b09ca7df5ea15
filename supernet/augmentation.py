"""What happens to training images before a network sees them: moved and mirrored here, all else by timm.

Every draw follows from the seed, the step and the image, so that a batch is the same whoever makes it and whenever.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supernet.config import to_plain
from supernet.errors import ConfigError
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing, pixels_of
from supernet.seeds import derive

_ASKED = ("random_crop", "auto_augment", "colour_jitter", "erasing", "mixup", "cutmix")
_TURNING = ("nearest", "bilinear", "bicubic")
"""Filters with which Pillow can turn an image."""


@dataclass(frozen=True)
class Augmentation:
    """What timm does to training images; nothing, unless the options ask for it.

    Args:
        options: of which `random_crop` and those below it matter.
        shown_as: how images are shown otherwise: their side, filter and mean.
        flip: whether a random crop is mirrored at random.

    Raises:
        ConfigError: for a policy that timm does not know.
    """

    options: DataOptions
    shown_as: ImagePreprocessing
    flip: bool

    def __post_init__(self) -> None:
        try:
            _ = self._steps
        except (AssertionError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"data.auto_augment is {self.options.auto_augment!r}, which timm does not take ({error!r}); it can be "
                f"rand-m9-mstd0.5-inc1, original, originalr, v0, v0r, 3a, augmix-m3-w3 and the like"
            ) from error

    def identity(self) -> dict[str, Any]:
        """What has to be equal for a training to go on with it, as JSON values."""
        return {name: value for name in _ASKED if (value := to_plain(self.options).get(name))}

    @property
    def crops(self) -> bool:
        """Whether a part of the whole image is shown, at a size that only the file has."""
        return self.options.random_crop is not None

    @property
    def repaints(self) -> bool:
        """Whether something happens to an image when it has its size."""
        return self.options.auto_augment is not None or self.options.colour_jitter > 0

    @cached_property
    def _steps(self) -> tuple[Callable[[Image.Image], Image.Image], Callable[[Image.Image], Image.Image]]:
        """timm's transforms of pictures: crop and mirror; then policy and colours."""
        if not (self.crops or self.repaints):
            return _as_it_is, _as_it_is
        from timm.data.transforms_factory import transforms_imagenet_train

        filters = self.shown_as.interpolation
        crop, paint, _ = transforms_imagenet_train(
            self.shown_as.resolution,
            scale=self.options.random_crop,
            hflip=0.5 * self.flip,
            color_jitter=self.options.colour_jitter or None,
            force_color_jitter=True,
            auto_augment=self.options.auto_augment,
            interpolation=filters if filters in _TURNING else "bicubic",
            mean=self.shown_as.mean,
            normalize=False,
            separate=True,
        )
        return crop, paint

    def picture(self, whole: Image.Image, seed: int) -> Tensor:
        """A random part of a picture, and changed as asked, as bytes ``(channels, side, side)``."""
        crop, paint = self._steps
        with drawing_from(seed):
            return torch.from_numpy(pixels_of(paint(crop(whole))))

    def repainted(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Bytes ``(images, channels, side, side)`` changed as asked, each with a seed of its own."""
        if not self.repaints:
            return images
        _, paint = self._steps
        changed = []
        for image, seed in zip(images, seeds):
            with drawing_from(seed):
                changed.append(torch.from_numpy(pixels_of(paint(picture_of(image)))))
        return torch.stack(changed)

    def erased(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Normalised images ``(images, channels, side, side)``, some with a blot of noise; changed in place."""
        if not self.options.erasing:
            return images
        from timm.data.random_erasing import RandomErasing

        erase = RandomErasing(self.options.erasing, mode="pixel", device="cpu")
        for image, seed in zip(images, seeds):
            with drawing_from(derive(seed, "erasing")):
                erase(image)
        return images

    def mixed(self, images: Tensor, labels: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Images of a batch mixed with each other; changed in place. The last of an odd number stays as it is.

        Returns:
            The images, and the share of every class in each, ``(images, classes)``; or the labels when none are mixed.
        """
        if not (self.options.mixup or self.options.cutmix):
            return images, labels
        from timm.data.mixup import Mixup

        mix = Mixup(self.options.mixup, self.options.cutmix, label_smoothing=0.0, num_classes=classes)
        even = len(images) // 2 * 2
        targets = torch.nn.functional.one_hot(labels, classes).float()
        if even:
            with drawing_from(seed):
                _, targets[:even] = mix(images[:even], labels[:even])
        return images, targets


def augmentation_of(options: DataOptions, shown_as: ImagePreprocessing, flip: bool) -> Augmentation | None:
    """What the options ask of timm; None when that is nothing.

    Raises:
        ConfigError: see `Augmentation`.
    """
    asked = any(getattr(options, name) for name in _ASKED)
    return Augmentation(options, shown_as, flip) if asked else None


def augment(images: Tensor, shift: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Each image moved by up to ``shift`` pixels either way, its edge repeated, and perhaps mirrored.

    Args:
        images: bytes ``(images, channels, height, width)``, left as they are.
    """
    count, channels, height, width = images.shape
    down, right = torch.randint(-shift, shift + 1, (2, count, 1), generator=rng)
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    if flip:
        mirrored = torch.rand(count, 1, generator=rng) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    moved = images.flatten(2).gather(2, places[:, None].expand(-1, channels, -1))
    return moved.view_as(images)


def picture_of(image: Tensor) -> Image.Image:
    """Bytes ``(channels, height, width)`` as Pillow holds them."""
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Seed the generators that Python, NumPy and PyTorch share, and put them back: timm draws from all three."""
    python: Any = random.getstate()
    arrays, tensors = np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
        torch.default_generator.set_state(tensors)


def _as_it_is(picture: Image.Image) -> Image.Image:
    return picture
