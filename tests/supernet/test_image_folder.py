"""A folder of photographs is looked at as a whole, and what is not used of it is said."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.data import ImageDataset, ImageSplits, Split, image_dataset
from supernet.errors import ConfigError, DataError
from supernet.image_folder import labelled
from supernet.images import readable
from supernet.options import DataOptions
from supernet.sources import load_data


def photograph(path: Path, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> None:
    random = np.random.default_rng(len(str(path)) + sum(map(ord, path.name)))
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten colour photographs of each of two classes."""
    for name in ("cat", "dog"):
        for i in range(10):
            photograph(tmp_path / "train" / name / f"{i}.png")
    return tmp_path


def load(root: Path, **options: int) -> ImageDataset:
    found = load_data(DataOptions(f"folder:{root}", **options))  # type: ignore[arg-type]
    assert isinstance(found, ImageDataset)
    return found


def test_grey_photographs_do_not_take_the_colour_of_the_others(root: Path) -> None:
    assert load(root).notes == ()
    photograph(root / "train" / "cat" / "000.png", "L")  # the first one of all
    found = load(root)
    assert found.channels == 3
    assert found.notes == ("1 grey image among 21 is read as colour",)
    photograph(root / "test" / "cat" / "0.png", "L")
    photograph(root / "test" / "dog" / "0.png", "L")
    assert load(root).notes == ("3 grey images among 23 are read as colour",)


def test_one_colour_photograph_makes_grey_ones_colour_and_what_was_asked_for_wins(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(10):
            photograph(tmp_path / "train" / name / f"{i}.png", "L")
    assert (load(tmp_path).channels, load(tmp_path).notes) == (1, ())
    photograph(tmp_path / "test" / "cat" / "0.png", "RGB")
    photograph(tmp_path / "test" / "dog" / "0.png", "L")
    assert load(tmp_path).channels == 3
    asked = load(tmp_path, channels=1)
    assert (asked.channels, asked.notes) == (1, ())


def test_photographs_of_many_sizes_are_shown_at_their_median_and_large_ones_smaller(root: Path) -> None:
    for i in range(12):
        photograph(root / "train" / "cat" / f"large{i}.png", size=(60, 40))
        photograph(root / "train" / "dog" / f"large{i}.png", size=(40, 50))
    found = load(root)
    assert found.resolution == 40
    assert "the shorter sides of the images are 16 to 40 px; all are shown at 40 px" in found.notes[0]
    assert load(root, resolution=24).notes == ()


def test_a_photograph_of_a_camera_is_not_shown_at_thousands_of_pixels(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(4):
            photograph(tmp_path / "train" / name / f"{i}.png", size=(400, 300))
    found = load(tmp_path)
    assert found.resolution == 224
    assert "are 300 to 300 px; all are shown at 224 px (data.resolution sets another)" in found.notes[0]


def test_files_that_are_not_used_are_counted_by_their_ending(root: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.heif", "d.txt", ".hidden", "e"):
        (root / "train" / "cat" / name).write_bytes(b"")
    (root / "train" / "beside.png").write_bytes(b"")
    if ".heic" in readable():
        pytest.skip("pillow-heif is installed")
    (note,) = load(root).notes
    assert note == (
        "6 files skipped: 2 .heic, 1 .png, 1 .heif, 1 .txt, 1 without an ending; "
        "to read .heic and .heif, install 'supernet[heif]'"
    )


def test_a_class_of_files_that_cannot_be_read_here_says_what_would(tmp_path: Path) -> None:
    if ".heic" in readable():
        pytest.skip("pillow-heif is installed")
    photograph(tmp_path / "train" / "cat" / "0.png")
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "train" / "dog" / "0.heic").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"'dog' has no images in .* \(1 file skipped: .*install 'supernet\[heif\]"
    ):
        load(tmp_path)


def test_a_format_is_read_where_pillow_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plug_in = ModuleType("pillow_heif")
    opened: list[str] = []

    def register_heif_opener() -> None:
        opened.append("called")
        monkeypatch.setitem(Image.EXTENSION, ".heic", "PNG")

    plug_in.register_heif_opener = register_heif_opener  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    readable.cache_clear()
    try:
        assert opened == [] and ".heic" in readable() and opened == ["called"]
        photograph(tmp_path / "cat" / "0.png")
        (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "0.heic")
        assert labelled(tmp_path).skipped == () and len(labelled(tmp_path).files) == 1
    finally:
        readable.cache_clear()


@pytest.mark.parametrize("ending", [".avif", ".webp"])
def test_what_this_pillow_reads_is_not_skipped(tmp_path: Path, ending: str) -> None:
    Image.init()
    if Image.EXTENSION.get(ending) not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {ending}")
    photograph(tmp_path / "cat" / f"0{ending}")
    assert labelled(tmp_path).skipped == ()


def test_a_single_class_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train holds one class, 'cat': every answer would be right"):
        load(tmp_path)


def test_one_class_is_refused_whoever_brings_it() -> None:
    split = Split(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))
    with pytest.raises(DataError, match="mine holds one class, 'cat'"):
        image_dataset(ImageSplits(("cat",), split), DataOptions("mine"))


def test_a_test_folder_that_lacks_a_class_says_which(root: Path) -> None:
    photograph(root / "test" / "dog" / "0.png")
    (note,) = load(root).notes
    assert note == "the test split holds no image of 'cat': its figures say nothing about that"


@pytest.mark.parametrize("side", [1, 7, 5000])
def test_a_side_of_no_use_is_refused(side: int) -> None:
    with pytest.raises(ConfigError, match=rf"resolution is {side}; it can be 8 to 4096"):
        DataOptions(resolution=side)


def test_reading_a_folder_says_how_far_it_is(root: Path) -> None:
    told: list[tuple[str, int, int]] = []
    load_data(DataOptions(f"folder:{root}"), lambda *said: told.append(said))
    for part in ("reading headers", "decoding images"):
        (total,) = {total for name, _, total in told if name == part}
        done = [done for name, done, _ in told if name == part]
        assert (done[-1], total) == (20, 20) and done == sorted(done)
