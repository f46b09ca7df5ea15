"""Images in class folders: ``train/CLASS/IMAGE`` and, where they exist, ``val/`` and ``test/`` likewise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from supernet.data import ImageDataset, ImageSplits, Split, image_dataset, need_two
from supernet.errors import DataError, did_you_mean
from supernet.images import SUFFIXES, Headers, LazyImages, PictureFiles, read_headers, readable, skipped_words
from supernet.options import SMALLEST_SIDE, DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.sources import Progress, sources, tally
from supernet.wording import counted

MEMORY_BYTES = 2 << 30
"""Folders that decode to more than this stay on disk."""

LARGEST_NATIVE = 224
"""Photographs of thousands of pixels are shown at this side unless another is asked for."""


@dataclass(frozen=True)
class LabelledFiles:
    """Image files in class folders.

    Args:
        classes: names, in the order that the labels count.
        files: sorted by class and name.
        labels: one for each file.
        skipped: files that are no images, or none that can be read here.
    """

    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    skipped: tuple[Path, ...]


def labelled(
    folder: Path, classes: Sequence[str] | None = None, *, of: str = "in the train split"
) -> LabelledFiles:
    """The image files of every class folder inside a folder; hidden ones are no part of it.

    Args:
        folder: holds one folder per class.
        classes: what the labels count; None takes those found.
        of: whose classes those are, for messages.

    Raises:
        DataError: when the folder is missing or holds no class, a class holds no image, or is not among
            ``classes``.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give a folder that holds CLASS/IMAGE")
    inside = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = {entry.name: _files(entry) for entry in inside if entry.is_dir()}
    if not found:
        raise DataError(f"{folder} holds no class folders; put the images of each class in one of its own")
    names = tuple(found) if classes is None else tuple(classes)
    images: list[tuple[Path, int]] = []
    skipped = [entry for entry in inside if not entry.is_dir()]
    for name, files in found.items():
        if name not in names:
            raise DataError(f"class {name!r} of {folder} is not {of}{did_you_mean(name, names)}")
        good = [file for file in files if _is_image(file)]
        bad = [file for file in files if not _is_image(file)]
        if not good:
            raise DataError(_without_images(folder / name, bad))
        images += [(file, names.index(name)) for file in good]
        skipped += bad
    paths, labels = zip(*images)
    return LabelledFiles(names, paths, labels, tuple(skipped))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in readable()


def _without_images(folder: Path, skipped: Sequence[Path]) -> str:
    words = f" ({skipped_words(skipped)})" if skipped else ""
    kinds = ", ".join(sorted(SUFFIXES))
    return f"class {folder.name!r} has no images in {folder}{words}; add some ({kinds}) or remove it"


@sources.register("folder")
def folder(rest: str, options: DataOptions, progress: Progress) -> ImageDataset:
    """An image folder; what it does not bring of the three splits is split off."""
    root = Path(rest).expanduser()
    if not rest or not root.is_dir():
        raise DataError(
            f"there is no folder {rest!r}; write folder:PATH with a folder that holds train/CLASS/IMAGE"
        )
    if not (root / "train").is_dir():
        inside = (entry.name for entry in root.iterdir() if entry.is_dir())
        raise DataError(
            f"{root} holds no folder 'train'{did_you_mean('train', inside)}; put train/CLASS/IMAGE there"
        )
    parts = {"train": labelled(root / "train")}
    need_two(parts["train"].classes, str(root / "train"))
    for name in ("val", "test"):
        if (root / name).is_dir():
            parts[name] = labelled(root / name, parts["train"].classes)
    shown, notes = _decided(parts, options, progress)
    skipped = [file for part in parts.values() for file in part.skipped]
    notes += [skipped_words(skipped)] if skipped else []
    done = tally(progress, "decoding images", sum(len(part.files) for part in parts.values()))
    splits = {name: _split(part, shown, options, done) for name, part in parts.items()}
    found = ImageSplits(
        parts["train"].classes, splits["train"], splits.get("val"), splits.get("test"), notes=tuple(notes)
    )
    return image_dataset(found, options, progress)


def _decided(
    parts: Mapping[str, LabelledFiles], options: DataOptions, progress: Progress
) -> tuple[ImagePreprocessing, list[str]]:
    """How the images of a folder are shown, and what of that was not asked for.

    What the options leave open, the whole folder decides: colour wins, and the median of the sides.
    """
    if options.resolution and options.channels:
        return ImagePreprocessing.asked(options, options.resolution, options.channels), []
    paths = [path for part in parts.values() for path in part.files]
    return decided(
        read_headers(paths, tally(progress, "reading headers", len(paths)), options.corrupt), options
    )


def decided(found: Headers, options: DataOptions) -> tuple[ImagePreprocessing, list[str]]:
    """How images of such headers are shown, and what of that was not asked for."""
    notes = []
    channels = options.channels or (1 if found.grey == found.images else 3)
    if options.channels is None and 0 < found.grey < found.images:
        are = "is" if found.grey == 1 else "are"
        notes.append(f"{counted(found.grey, 'grey image')} among {found.images:,} {are} read as colour")
    side = options.resolution or min(max(found.side, SMALLEST_SIDE), LARGEST_NATIVE)
    low, high = found.sides
    if options.resolution is None and not low == high == side:
        notes.append(
            f"the shorter sides of the images are {low} to {high} px; all are shown at {side} px "
            "(data.resolution sets another)"
        )
    return ImagePreprocessing.asked(options, side, channels), notes


def _split(
    part: LabelledFiles, shown: ImagePreprocessing, options: DataOptions, done: Callable[[int], None]
) -> Split:
    """In memory where that is small; images of which random parts are shown are decoded anew every time."""
    files = LazyImages(PictureFiles(part.files), torch.arange(len(part.files)), shown, options.corrupt)
    split = Split(files, torch.tensor(part.labels))
    return split if options.random_crop else split.in_memory(MEMORY_BYTES, done)
