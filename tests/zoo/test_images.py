"""A published network and images: what it sees, how good it is, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from supernet.errors import DataError, StateError, SupernetError
from supernet.preprocessing import ImagePreprocessing
from tests.zoo import made
from zoo.cli import app
from zoo.store import LocalStore
from zoo.store.fetch import Cache
from zoo.store.images import judge, load_for_images, see
from zoo.store.load import load_onnx, open_pulled
from zoo.store.manifest import DatasetRecord, Manifest
from zoo.store.publish import publish
from zoo.store.pull import Pulled, pull

CLASSES = ("left", "middle", "right")
SHOWN = ImagePreprocessing.plain(9, 1).to_json()


def file_of_thirds(path: Path, said: dict[str, Any], classes: tuple[str, ...] = CLASSES) -> Path:
    """A network that sees which third of a picture of 9 px is the brightest."""
    thirds = np.kron(np.eye(3, dtype=np.float32), np.ones((3, 1), dtype=np.float32))
    weight = np.tile(thirds, (9, 1))  # (rows times columns, classes)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["output"]),
        ],
        "thirds",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 9, 9])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    properties = {
        "architecture": json.dumps([0, 0]),
        "weights_sha256": made.WEIGHTS,
        "preprocess": json.dumps(said, sort_keys=True),
        "classes": json.dumps(classes),
    }
    helper.set_model_props(model, properties)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def manifest(entry: str = "thirds", task: str = "image-classification", **changes: Any) -> Manifest:
    known: dict[str, Any] = {"name": "thirds", "splits": {"test": 9}, "preprocess": SHOWN, "classes": CLASSES}
    return replace(made.manifest(entry), task=task, dataset=DatasetRecord(**(known | changes)))


def picture(path: Path, bright: str, size: tuple[int, int] = (18, 18)) -> Path:
    """A dark picture with one bright third."""
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    third, at = size[0] // 3, CLASSES.index(bright)
    pixels[:, at * third : (at + 1) * third] = 200
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A store with a network of thirds, one whose inputs are not described, and a language model."""
    monkeypatch.setenv("SUPERNET_HOME", str(tmp_path / "home"))
    store = LocalStore(tmp_path / "zoo")
    file = file_of_thirds(tmp_path / "made" / "model.onnx", SHOWN)
    publish(store, manifest(), {"model.onnx": file})
    publish(store, manifest("text", "text-generation"), {"model.onnx": file})
    two = file_of_thirds(tmp_path / "made" / "two.onnx", SHOWN, CLASSES[:2])
    publish(store, manifest("two", classes=CLASSES[:2]), {"model.onnx": two})
    publish(
        store,
        manifest("old", preprocess={"resolution": 8}),
        {"model.onnx": file_of_thirds(tmp_path / "made" / "old.onnx", {"resolution": 8})},
    )
    return store


@pytest.fixture
def pulled(zoo: LocalStore, tmp_path: Path) -> Pulled:
    return pull(zoo, "thirds", into=tmp_path / "subnet", cache=Cache(tmp_path / "home"))


def typed(*words: str | Path) -> str:
    """What a command prints, on one line."""
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_pulled_folder_alone_is_enough_to_see(pulled: Pulled, tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{name}.png", name) for name in CLASSES]
    subnet = load_for_images(open_pulled(pulled.folder))
    assert [words.split(" (")[0] for words in see(subnet, files)] == list(CLASSES)
    assert all(words.count("%") == 3 for words in see(subnet, files))


@pytest.mark.parametrize("entry", ["id", "folder"])
def test_the_command_names_what_each_image_shows(
    entry: str, zoo: LocalStore, pulled: Pulled, tmp_path: Path
) -> None:
    files = [picture(tmp_path / f"{name}.png", name) for name in CLASSES]
    said = typed(
        "zoo", "demo", {"id": "thirds", "folder": pulled.folder}[entry], *files, "--store", zoo.folder
    )
    assert "thirds, trained on thirds, sees:" in said
    for name in CLASSES:
        assert f"{name}.png: {name} (100.0%)" in said


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Ten pictures, of which seven lie under their own name."""
    for i in range(10):
        name = CLASSES[i % 3]
        picture(tmp_path / "photos" / name / f"{i}.png", name if i < 7 else CLASSES[(i + 1) % 3])
    return tmp_path / "photos"


def test_a_labelled_folder_judges_as_one_counts(pulled: Pulled, labelled: Path) -> None:
    told: list[int] = []
    found = judge(load_for_images(pulled), labelled, lambda part, done, total: told.append(done))
    assert (found.result["accuracy"], found.result.examples, found.folder) == (70.0, 10, labelled)
    assert found.notes == () and told[-1] == 10
    said = typed("zoo", "evaluate", pulled.folder, f"folder:{labelled}")
    assert "70.0 %" in said and "here (10 images)" in said
    assert "97.0 %" in said and "95.0 to 99.0 %" in said and "test of digits, 360 images" in said


def test_classes_are_matched_by_name_and_what_is_missing_is_said(pulled: Pulled, tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "test" / "right" / "0.png", "right")
    (tmp_path / "photos" / "test" / "right" / "notes.txt").write_text("")
    found = judge(load_for_images(pulled), tmp_path / "photos")
    assert (found.result["accuracy"], found.folder) == (100.0, tmp_path / "photos" / "test")
    missing, skipped = found.notes
    assert "holds no image of 'left', 'middle'" in missing and skipped == "1 file skipped: 1 .txt"


REFUSED: dict[str, tuple[tuple[str, ...], type[SupernetError], str]] = {
    "no such image": (("demo", "thirds", "nowhere.png"), DataError, "there is no image nowhere.png"),
    "a folder": (("demo", "thirds", "empty"), DataError, "there is no image empty"),
    "no image": (("demo", "thirds", "words.txt"), DataError, "cannot decode words.txt"),
    "no such entry": (("demo", "third", "a.png"), StateError, "did you mean 'thirds'"),
    "no such folder": (("demo", "./nowhere", "a.png"), StateError, "nowhere holds no manifest.json"),
    "no entry in it": (("demo", "empty", "a.png"), StateError, "empty holds no manifest.json"),
    "a text": (("demo", "text", "a.png"), StateError, "text is for text-generation, which takes no images"),
    "undescribed": (("demo", "old", "a.png"), StateError, "does not say how an image becomes an input"),
    "a class without a name": (
        ("demo", "two", "a.png"),
        StateError,
        r"answers with \[1, 3\], .* names 2 classes",
    ),
    "not a folder": (("evaluate", "thirds", "digits"), DataError, "judged on folder:PATH, and 'digits'"),
    "no path": (("evaluate", "thirds", "folder:"), DataError, "judged on folder:PATH"),
    "not there": (("evaluate", "thirds", "folder:nowhere"), DataError, "there is no folder nowhere"),
    "only train": (("evaluate", "thirds", "folder:split"), DataError, "e.g. split/train"),
    "other classes": (
        ("evaluate", "thirds", "folder:others"),
        DataError,
        r"class 'lefts' of others is not known to the network; did you mean 'left'",
    ),
    "nothing": (("evaluate", "thirds", "folder:empty"), DataError, "empty holds no class folders"),
    "a text judged": (("evaluate", "text", "folder:others"), StateError, "which takes no images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shown_or_judged_is_refused(
    case: str, zoo: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    picture(tmp_path / "a.png", "left")
    picture(tmp_path / "others" / "lefts" / "0.png", "left")
    picture(tmp_path / "split" / "train" / "left" / "0.png", "left")
    words, kind, message = REFUSED[case]
    result = CliRunner().invoke(app, ["zoo", *words, "--store", str(zoo.folder)])
    assert isinstance(result.exception, kind), result.output
    assert re.search(message, str(result.exception))


def test_a_pulled_file_that_was_changed_is_refused(pulled: Pulled) -> None:
    path = pulled.path(".onnx")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StateError, match=r"model\.onnx has the sha256 .* pull the entry anew"):
        open_pulled(pulled.folder)


@pytest.mark.parametrize(
    "changes", [{"classes": ("a", "b", "c")}, {"preprocess": SHOWN | {"interpolation": "box"}}], ids=str
)
def test_a_manifest_that_contradicts_its_file_is_refused(
    changes: dict[str, Any], zoo: LocalStore, tmp_path: Path
) -> None:
    publish(zoo, manifest("other", **changes), {"model.onnx": tmp_path / "made" / "model.onnx"})
    with pytest.raises(StateError, match=f"the ONNX file says its {next(iter(changes))} is"):
        load_onnx(pull(zoo, "other", cache=Cache(tmp_path / "home")))


def test_what_is_to_be_known_of_the_data_is_said_before_they_are_learnt(tmp_path: Path) -> None:
    for i in range(12):
        picture(tmp_path / "photos" / "train" / CLASSES[i % 2] / f"{i}.png", "left")
    (tmp_path / "photos" / "train" / "left" / "notes.txt").write_text("")
    words = ["train", "--run", str(tmp_path / "run"), "--data", f"folder:{tmp_path / 'photos'}"]
    result = CliRunner().invoke(app, [*words, "--set", "supernet.model=mobil"])
    said = " ".join(result.output.split())
    assert "photos: 8 examples to train on" in said and "Note: 1 file skipped: 1 .txt." in said
    assert isinstance(result.exception, SupernetError) and "mobil" in str(result.exception)
