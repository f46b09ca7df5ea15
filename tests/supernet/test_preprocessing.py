"""A photograph becomes an input in one way: by this value, by a few lines of Pillow and numpy, by the training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.nn import functional as F

from supernet.data import ImageDataset
from supernet.errors import ConfigError, DataError
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.sources import load_data

SIDEWAYS = 6
"""What a phone writes that was held upright: turn me by a quarter, clockwise."""


def photograph(path: Path, size: tuple[int, int] = (50, 37), mode: str = "RGB", seed: int = 0) -> Path:
    """Smooth noise, so that a filter shows, as a file of that size."""
    random = np.random.default_rng(seed)
    channels = 1 if mode == "L" else 3
    coarse = torch.from_numpy(random.random((1, channels, 9, 9)))
    smooth = F.interpolate(coarse, (size[1], size[0]), mode="bicubic").clamp(0, 1)[0]
    pixels = (255 * smooth.permute(1, 2, 0)).byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels).save(path)
    return path


def by_hand(path: Path, said: dict[str, Any]) -> NDArray[np.float32]:
    """One image as a network takes it, by what a manifest says alone: Pillow and numpy, nothing of ours."""
    assert (said["orientation"], said["crop"]) == ("exif", "centre")
    border = (1 - said["crop_share"]) / 2
    image = ImageOps.exif_transpose(Image.open(path)).convert({"grey": "L", "RGB": "RGB"}[said["colours"]])
    side, low, high = said["resolution"], *said["value_range"]
    image = ImageOps.fit(image, (side, side), Image.Resampling[said["interpolation"].upper()], bleed=border)
    values = np.asarray(image, np.float32).reshape(side, side, -1) / 255 * (high - low) + low
    values = (values - np.float32(said["mean"])) / np.float32(said["std"])
    last = (said["input_resolution"],) * 2
    smoothly = Image.Resampling.BICUBIC if said["interpolation"] == "bicubic" else Image.Resampling.BILINEAR
    planes = (Image.fromarray(values[:, :, i]) for i in range(values.shape[2]))
    return np.stack([np.asarray(plane.resize(last, smoothly)) for plane in planes])[None]


SHOWN = ImagePreprocessing(
    colours="RGB", resolution=24, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), input_resolution=24
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"interpolation": "lanczos"},
        {"interpolation": "nearest"},
        {"interpolation": "bicubic", "input_resolution": 17},
        {"crop_share": 0.875, "interpolation": "bicubic"},
        {"resolution": 50, "input_resolution": 50},
        {"input_resolution": 16},
        {"value_range": (-1.0, 1.0)},
        {"colours": "grey", "mean": (0.5,), "std": (0.5,)},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_it_says_is_what_it_does(tmp_path: Path, change: dict[str, Any], mode: str) -> None:
    shown = replace(SHOWN, **change)
    path = photograph(tmp_path / "a.png", mode=mode)
    said = json.loads(json.dumps(shown.to_json()))
    torch.testing.assert_close(shown.inputs([path]), torch.from_numpy(by_hand(path, said)), atol=2e-5, rtol=0)
    assert ImagePreprocessing.from_json(said) == shown


def test_every_filter_shows_another_picture(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    filters = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
    seen = {replace(SHOWN, interpolation=name).decode(path).tobytes() for name in filters}
    assert len(seen) == len(filters)


def test_a_dataset_shows_its_files_as_it_says(tmp_path: Path) -> None:
    for i in range(16):
        photograph(tmp_path / "train" / "ab"[i % 2] / f"{i:02d}.png", seed=i)
        photograph(tmp_path / "test" / "ab"[i % 2] / f"{i:02d}.png", size=(30, 41), seed=100 + i)
    data = load_data(DataOptions(f"folder:{tmp_path}", resolution=24))
    ((images, _),) = data.batches("test", 16)
    files = sorted((tmp_path / "test").rglob("*.png"))
    for values in ({}, {"resolution": 16}):
        said = data.preprocessing(values)
        (shown,) = data.task.inputs((images, None), values).tensors
        expected = np.concatenate([by_hand(path, said) for path in files])
        torch.testing.assert_close(shown, torch.from_numpy(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_a_photograph_taken_sideways_is_turned_upright(tmp_path: Path, ending: str) -> None:
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[:, :24] = 255  # the left half of the sensor is the upper half of the scene
    image = Image.fromarray(pixels)
    tags = image.getexif()
    tags[0x0112] = SIDEWAYS
    image.save(tmp_path / f"a.{ending}", exif=tags)
    (shown,) = ImagePreprocessing.plain(32, 1).decode(tmp_path / f"a.{ending}")
    assert shown[:14].min() > 200 and shown[18:].max() < 50


def test_digits_go_the_road_that_their_files_would_go(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    enlarged = load_data(DataOptions("digits", resolution=20))
    assert isinstance(enlarged, ImageDataset)
    raw = np.round(load_digits().images[:20] * (255 / 16)).astype(np.uint8)
    files = []
    for i, image in enumerate(raw):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(files[-1])
    shown = ImagePreprocessing.from_json(enlarged.preprocessing()).inputs(files)
    known = torch.cat(
        [images for split in ("train", "search", "test") for images, _ in enlarged.batches(split, 500)]
    )
    for image in shown:
        assert (known == image).flatten(1).all(1).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (0.5,)}, "RGB needs 3 of each"),
        ({"std": (0.5, 0.5, 0.0)}, "deviations above zero"),
        ({"resolution": 0}, "resolution is 0; it can be 1 to 4096"),
        ({"input_resolution": 10**9}, "input_resolution is 1e.09; it can be 1 to 4096"),
        ({"value_range": (1.0, 1.0)}, "give the smaller value first"),
    ],
)
def test_a_value_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SHOWN, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colours": "BGR"}, r"preprocess\.colours is 'BGR'; one of 'grey', 'RGB'"),
        ({"interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ({"scale": "bytes / 255"}, "unknown key 'preprocess.scale'"),
        ({"crop": None}, r"preprocess\.crop is None"),
    ],
)
def test_what_others_say_is_read_strictly(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImagePreprocessing.from_json(SHOWN.to_json() | change)


def test_its_words_name_every_step() -> None:
    words = str(replace(SHOWN, input_resolution=16))
    assert all(part in words for part in ("EXIF", "RGB", "24 px", "bilinear", "0 to 1", "0.4, 0.5", "16 px"))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"cannot decode .*a\.png"):
        SHOWN.inputs([tmp_path / "a.png"])
