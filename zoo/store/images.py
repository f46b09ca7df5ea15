"""A pulled network and images: what it sees on some, and how good it is on a labelled folder.

The entry alone is enough: its manifest says how an image becomes an input and what the answers mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from supernet.data import missing_words
from supernet.errors import ConfigError, DataError, StateError
from supernet.evaluate import Result
from supernet.image_folder import labelled
from supernet.images import skipped_words
from supernet.preprocessing import ImagePreprocessing
from supernet.sources import Progress, silent, tally
from supernet.tasks.classification import ImageClassification
from supernet.tasks.segmentation import Segmentation
from supernet.tasks.task import Score, added_up, main_tensor
from supernet.wording import counted
from zoo.store.load import OnnxSubnet, load_onnx
from zoo.store.manifest import Manifest
from zoo.store.pull import Pulled

IMAGE_TASKS = {kind.name: kind for kind in (ImageClassification, Segmentation)}
_AT_ONCE = 64


@dataclass(frozen=True)
class ImageSubnet:
    """A pulled network that takes images.

    Args:
        network: in ONNX Runtime.
        preprocessing: how an image becomes its input.
        task: what its answers mean.
    """

    network: OnnxSubnet
    preprocessing: ImagePreprocessing
    task: ImageClassification | Segmentation

    def answers(self, paths: Sequence[Path]) -> Any:
        """What the network answers to image files: logits ``(images, classes, ...)``.

        Raises:
            DataError: for a file that is missing or no image.
            StateError: when the network does not answer with one score for every class of its manifest.
        """
        answers = tree_map(torch.from_numpy, self.network(self.preprocessing.inputs(paths).numpy()))
        shape, classes = tuple(main_tensor(answers).shape), len(self.task.classes)
        if len(shape) < 2 or shape[1] != classes:
            raise StateError(
                f"{self.network.manifest.id} answers with {list(shape)}, and its manifest names "
                f"{counted(classes, 'class', 'classes')}; ask its publisher for the entry anew"
            )
        return answers


def load_for_images(pulled: Pulled) -> ImageSubnet:
    """The network of an entry, to be shown images.

    Raises:
        StateError: when its task has no images, its manifest does not say how one becomes an input, or as
            `load_onnx`.
    """
    manifest = pulled.manifest
    if manifest.task not in IMAGE_TASKS:
        raise StateError(
            f"{manifest.id} is for {manifest.task}, which takes no images; "
            f"entries for {' and '.join(IMAGE_TASKS)} do"
        )
    shown = image_preprocessing(manifest)
    task = IMAGE_TASKS[manifest.task](manifest.dataset.classes, shown.channels, shown.input_resolution)
    return ImageSubnet(load_onnx(pulled), shown, task)


def image_preprocessing(manifest: Manifest) -> ImagePreprocessing:
    """How an image becomes the input of an entry.

    Raises:
        StateError: when its manifest does not say so.
    """
    try:
        return ImagePreprocessing.from_json(manifest.dataset.preprocess)
    except ConfigError as error:
        raise StateError(
            f"the manifest of {manifest.id} does not say how an image becomes an input: {error}; "
            "export and publish the network anew"
        ) from error


def see(subnet: ImageSubnet, paths: Sequence[Path]) -> list[str]:
    """What a network sees on each of some image files, in words.

    Raises:
        DataError: for a file that is missing or no image.
    """
    for path in paths:
        if not path.is_file():
            raise DataError(f"there is no image {path}; give the paths of image files")
    parts = (subnet.task.decode(subnet.answers(part)) for part in _parts(paths))
    return [words for part in parts for words in part]


@dataclass(frozen=True)
class Judged:
    """How good a network is on a labelled folder.

    Args:
        folder: which one: that given, or its ``test``.
        result: the metrics of its task.
        notes: what a person should know of the folder.
    """

    folder: Path
    result: Result
    notes: tuple[str, ...]


def judge(subnet: ImageSubnet, root: Path, progress: Progress = silent) -> Judged:
    """Judge a network on a folder of images in class folders, matched with its classes by name.

    Args:
        root: holds CLASS/IMAGE, or ``test`` that does.

    Raises:
        StateError: when the network does not classify images.
        DataError: when the folder is missing, or holds a class that the network does not know.
    """
    task = subnet.task
    if not isinstance(task, ImageClassification):
        raise StateError(
            f"{subnet.network.manifest.id} is for {task.name}; a folder of classes can judge "
            f"{ImageClassification.name} only"
        )
    folder = _labelled_folder(root)
    found = labelled(folder, task.classes, of="known to the network")
    done = tally(progress, "judging images", len(found.files))
    scores: tuple[Score, ...] | None = None
    for part in torch.split(torch.arange(len(found.files)), _AT_ONCE):
        paths = [found.files[i] for i in part.tolist()]
        labels = torch.tensor([found.labels[i] for i in part.tolist()])
        scores = added_up(scores, task.metrics(subnet.answers(paths), (labels, labels)))
        done(len(paths))
    assert scores is not None
    skipped = [skipped_words(found.skipped)] if found.skipped else []
    notes = (*missing_words(task.classes, torch.tensor(found.labels), str(folder)), *skipped)
    return Judged(folder, Result(scores, len(found.files)), notes)


def _labelled_folder(root: Path) -> Path:
    if (root / "test").is_dir():
        return root / "test"
    if (root / "train").is_dir():
        raise DataError(
            f"{root} holds 'train' and no 'test'; give the folder whose class folders are to be judged, "
            f"e.g. {root / 'train'}"
        )
    return root


def _parts(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (paths[i : i + _AT_ONCE] for i in range(0, len(paths), _AT_ONCE))
