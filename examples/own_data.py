"""Your own images: a folder with one folder per class becomes three splits, a supernet learns them, a subnet is judged.

Here the folder is made from scikit-learn's digits; yours lies somewhere already.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits

from supernet import DataOptions, Evaluator, SupernetOptions, Trainer, TrainOptions, load_data
from supernet.build import build


def write_folder(root: Path) -> None:
    """``root/train/CLASS/IMAGE.png``: 60 images of each of three digits."""
    digits = load_digits()
    for label in (0, 1, 7):
        folder = root / "train" / f"digit-{label}"
        folder.mkdir(parents=True)
        for i, image in enumerate(digits.images[digits.target == label][:60]):
            Image.fromarray((image * 15).astype("uint8")).save(folder / f"{i}.png")


def main() -> None:
    """Load, train, judge."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder))
        data = load_data(DataOptions(source=f"folder:{folder}", resolution=16))
        print(data.task.classes, {split: data.count(split) for split in ("train", "search", "test")})
        options = {"widths": [8, 16, 16], "depths": [1, 2], "features": 32}
        net = build(SupernetOptions("mobile", options), data.task)
        trainer = Trainer(net, data, TrainOptions(epochs=4, batch_size=32))
        trainer.run()
        print(trainer.words())
        judge = Evaluator(net, data, "test")
        for name, arch in (("largest", net.space.largest()), ("smallest", net.space.smallest())):
            result = judge(arch)
            print(f"{name}: {result['accuracy']:.1f} % right on {result.examples} images nobody saw")


if __name__ == "__main__":
    main()
