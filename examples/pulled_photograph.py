"""A pulled network and your photograph: Pillow, numpy and ONNX Runtime, and nothing of this library.

supernet zoo pull --into subnet
python examples/pulled_photograph.py subnet photograph.jpg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def look(folder: Path, photograph: Path) -> tuple[str, float]:
    """The most likely class and how likely it is; the file itself says how it wants to be shown a photograph."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    said = session.get_modelmeta().custom_metadata_map
    shown, classes = json.loads(said["preprocess"]), json.loads(said["classes"])
    sides, low, high = (shown["resolution"],) * 2, *shown["value_range"]
    image = ImageOps.exif_transpose(Image.open(photograph)).convert(
        {"grey": "L", "RGB": "RGB"}[shown["colours"]]
    )
    filters, border = Image.Resampling[shown["interpolation"].upper()], (1 - shown["crop_share"]) / 2
    width, height = image.size
    if shown["crop"] == "centre":
        image = ImageOps.fit(image, sides, filters, bleed=border)
    else:
        kept = (border * width, border * height, (1 - border) * width, (1 - border) * height)
        image = image.resize(sides, filters, box=kept)
    x = np.asarray(image, np.float32).reshape(*sides, -1) / 255 * (high - low) + low
    x = ((x - shown["mean"]) / shown["std"]).astype(np.float32).transpose(2, 0, 1)
    side = (shown["input_resolution"],) * 2
    last = Image.Resampling.BICUBIC if shown["interpolation"] == "bicubic" else Image.Resampling.BILINEAR
    x = np.stack([np.asarray(Image.fromarray(plane).resize(side, last)) for plane in x])
    scores = np.exp(session.run(None, {"input": x[None]})[0][0].astype(np.float64))
    return classes[scores.argmax()], scores.max() / scores.sum()


if __name__ == "__main__":
    print("{} ({:.1%})".format(*look(Path(sys.argv[1]), Path(sys.argv[2]))))
