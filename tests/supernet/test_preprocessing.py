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

from supernet.build import data_for
from supernet.data import ImageDataset
from supernet.errors import ConfigError, DataError
from supernet.options import DataOptions, Interpolation, SupernetOptions
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


@pytest.mark.parametrize(
    "more", [{}, {"interpolation": "bicubic", "crop_share": 0.8, "random_crop": (0.2, 1.0)}]
)
def test_a_dataset_shows_its_files_as_it_says(tmp_path: Path, more: dict[str, Any]) -> None:
    for i in range(16):
        photograph(tmp_path / "train" / "ab"[i % 2] / f"{i:02d}.png", seed=i)
        photograph(tmp_path / "test" / "ab"[i % 2] / f"{i:02d}.png", size=(30, 41), seed=100 + i)
    data = load_data(DataOptions(f"folder:{tmp_path}", resolution=24, **more))
    ((images, _),) = data.batches("test", 16)
    files = sorted((tmp_path / "test").rglob("*.png"))
    for values in ({}, {"resolution": 16}):
        said = data.preprocessing(values)
        (shown,) = data.task.inputs((images, None), values).tensors
        expected = np.concatenate([by_hand(path, said) for path in files])
        torch.testing.assert_close(shown, torch.from_numpy(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_lesson_at_a_smaller_side_sees_what_was_cropped_at_the_largest(
    tmp_path: Path, interpolation: Interpolation
) -> None:
    for i in range(8):
        photograph(tmp_path / "train" / "ab"[i % 2] / f"{i:02d}.png", size=(90, 70), seed=i)
    options = DataOptions(
        f"folder:{tmp_path}", resolution=32, random_crop=(0.3, 1.0), interpolation=interpolation
    )
    data = load_data(options)
    batch = data.batch(0, 4, seed=0)
    for side in (32, 24, 16):
        (shown,) = data.task.inputs(batch, {"resolution": side}).tensors
        filters = Image.Resampling[interpolation.upper()]
        planes = [Image.fromarray(plane.numpy()) for plane in batch[0].flatten(0, 1)]
        expected = np.stack([np.asarray(plane.resize((side, side), filters)) for plane in planes])
        torch.testing.assert_close(shown.flatten(0, 1), torch.from_numpy(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("crop", ["center", "squash"])
def test_an_image_is_shown_as_timm_shows_it(tmp_path: Path, crop: str) -> None:
    from timm.data import create_transform

    path = photograph(tmp_path / "a.png", size=(150, 120))
    trained = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "interpolation": "bicubic", "crop_pct": 0.875}
    theirs = create_transform(56, is_training=False, crop_mode=crop, **trained)(Image.open(path))
    options = DataOptions(
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        interpolation="bicubic",
        crop="squash" if crop == "squash" else "centre",
        crop_share=0.875,
    )
    ours = ImagePreprocessing.asked(options, 56, 3).inputs([path])[0]
    # theirs scales the whole image and cuts then, to whole pixels
    assert (ours - theirs).abs().mean() < 0.03 < (ours - theirs.flip(2)).abs().mean()


LITE = SupernetOptions("tf_efficientnet_lite0", weights="weights.pth")


def test_a_model_that_begins_with_weights_is_shown_images_as_it_was_trained() -> None:
    trained = {
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "interpolation": "bicubic",
        "crop": "centre",
        "crop_share": 0.875,
    }
    found = data_for(DataOptions(), LITE)
    assert found == replace(DataOptions(), preprocess="data", **trained)  # type: ignore[arg-type]
    asked = DataOptions(mean=(0.1, 0.2, 0.3), interpolation="box")
    assert data_for(asked, LITE) == replace(found, mean=(0.1, 0.2, 0.3), interpolation="box")
    assert data_for(DataOptions(), replace(LITE, weights=None, options={"pretrained": True})) == found
    assert data_for(DataOptions(preprocess="model"), replace(LITE, weights=None)) == found


@pytest.mark.parametrize(
    ("data", "supernet"),
    [
        (DataOptions(), replace(LITE, weights=None)),
        (DataOptions(preprocess="data"), LITE),
        (DataOptions(), SupernetOptions("mobile", weights="weights.pth")),
        (DataOptions(), SupernetOptions("tf_efficientnet_lite0.no_such_tag", weights="weights.pth")),
    ],
)
def test_any_other_model_leaves_it_to_the_data(data: DataOptions, supernet: SupernetOptions) -> None:
    assert data_for(data, supernet) == data


def test_a_model_whose_training_nobody_knows_is_refused_where_it_is_to_decide() -> None:
    with pytest.raises(ConfigError, match="timm does not say how 'mobile' was trained"):
        data_for(DataOptions(preprocess="model"), SupernetOptions("mobile"))
    with pytest.raises(ConfigError, match=r"no model is known here; give supernet\.build\.data_for"):
        load_data(DataOptions(resolution=8, preprocess="model"))


def test_one_mean_stands_for_all_channels_and_three_become_one_for_grey() -> None:
    colour = load_data(DataOptions(resolution=8, channels=3, mean=(0.5,), std=(0.25,)))
    assert (colour.preprocessing()["mean"], colour.preprocessing()["std"]) == ([0.5] * 3, [0.25] * 3)
    grey = load_data(DataOptions(resolution=8, mean=(0.25, 0.5, 0.75)))
    assert grey.preprocessing()["mean"] == [0.5] and grey.preprocessing()["std"] != [1.0]
    with pytest.raises(ConfigError, match=r"mean is \[0.1, 0.2\], for images of 1 channels"):
        load_data(DataOptions(resolution=8, mean=(0.1, 0.2)))


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
        ({"crop_share": 1.5}, "crop_share is 1.5; it can be 0.1 to 1"),
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
