from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

from supernet.errors import StateError
from supernet.plain import plain
from tests.zoo import made
from zoo.store.card import card
from zoo.store.manifest import (
    FileRecord,
    LicenceRecord,
    Manifest,
    describe_architecture,
    describe_file,
    parse,
)


def _document() -> dict[str, object]:
    return json.loads(made.manifest().to_bytes())


def test_a_manifest_is_read_back_as_it_was_and_hashes_the_same() -> None:
    one = made.manifest()
    two = parse(one.to_bytes(), "here")
    assert one == two
    assert one.sha256 == two.sha256


def test_the_hash_of_an_architecture_begins_with_its_id() -> None:
    arch = made.SPACE.largest()
    record = describe_architecture(made.SPACE, arch)
    assert record.id == arch.id == record.sha256[:12]
    assert record.values == {"depth": 2, "width": 24}


def test_an_unknown_key_is_named_with_its_place() -> None:
    document = _document()
    document["dataset"] |= {"colour": "red"}  # type: ignore[operator]
    with pytest.raises(StateError, match=r"here is no valid manifest: .*`colour`.*\$\.dataset"):
        parse(json.dumps(document).encode(), "here")


@pytest.mark.parametrize("key", ["id", "files", "licences", "metrics", "weights_sha256"])
def test_a_missing_key_is_named(key: str) -> None:
    document = _document()
    del document[key]
    with pytest.raises(StateError, match=f"`{key}`"):
        parse(json.dumps(document).encode(), "here")


def test_another_schema_is_refused() -> None:
    newer = _document() | {"schema_version": 3, "a_key_of_tomorrow": 1}
    with pytest.raises(StateError, match=r"manifest here has schema_version 3, .* reads 2; a newer version"):
        parse(json.dumps(newer).encode(), "here")


def test_genes_that_were_changed_by_hand_are_noticed() -> None:
    document = _document()
    document["architecture"]["genes"] = [1, 0]  # type: ignore[index]
    with pytest.raises(StateError, match="genes of the architecture"):
        parse(json.dumps(document).encode(), "here")


@pytest.mark.parametrize(
    "path", ["../a.onnx", "/a.onnx", "a/../b.onnx", "a//b.onnx", "c:\\a.onnx", "a\\b.onnx"]
)
def test_a_path_that_leaves_its_entry_is_refused(path: str) -> None:
    with pytest.raises(StateError, match="leaves its entry"):
        FileRecord(path=path, size=1, sha256="0" * 64, format="onnx")


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.bin", "model", ".onnx"])
def test_a_file_that_could_run_code_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(StateError, match=r"is refused; accepted are .*\.onnx"):
        describe_file(tmp_path / name)


@pytest.mark.parametrize("entry", ["", "Upper", "../up", "a b", ".hidden"])
def test_an_id_that_is_no_plain_name_is_refused(entry: str) -> None:
    with pytest.raises(StateError, match="is no id"):
        replace(made.manifest(), id=entry)


def test_the_card_tells_licence_accuracy_and_latency() -> None:
    text = card(made.manifest())
    front = text.split("---")[1]
    assert 'license: "apache-2.0"' in front
    assert json.loads(front.split("model-index: ")[1])[0]["results"][0]["metrics"][0]["value"] == 97.0
    assert "| desk | 1 | 0.9 to 1.2 | 1.1 | 100 | 2026-01-01 |" in text
    assert "| digits | test | accuracy | 97 % | 95 to 99 | 360 |" in text


HOSTILE = [
    "a|b",
    "a\nb | c",
    "<script>x</script>",
    "[x](http://a)",
    "`x` *y* _z_ ~~w~~",
    "a` *b* `c",
    "# x",
    "&lt;",
    "![x](y)",
    "\\",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_the_card_is_text_and_nothing_else(name: str) -> None:
    hostile = replace(made.manifest(), **_named(made.manifest(), name))

    def seen(text: str) -> tuple[list[str], list[str]]:
        page = _Page()
        page.feed(
            MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text.split("---\n", 2)[2])
        )
        return page.tags, [cell.strip() for cell in page.cells]

    tags, cells = seen(card(hostile))
    assert tags == seen(card(replace(hostile, **_named(hostile, "x"))))[0]
    assert plain(name) in cells


@pytest.mark.parametrize("name", [*HOSTILE, "a: b", "\u2028x", "\x7f", "'\"", "- x", "\U0001f600"])
def test_the_front_matter_is_read_back_as_it_was(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    front = card(replace(made.manifest(), task=name)).split("---\n")[1]
    assert yaml.safe_load(front)["pipeline_tag"] == name


def _named(manifest: Manifest, name: str) -> dict[str, Any]:
    """The parts of a manifest that hold a name, with another one."""
    (device,) = manifest.devices
    return {
        "devices": (replace(device, device={"id": name, "name": name}),),
        "parent": name,
        "dataset": replace(manifest.dataset, name=name, preprocess={name: name}),
        "versions": {name: "1"},
        "licences": LicenceRecord(weights=name, data=name),
        "space": replace(manifest.space, name=name),
    }


class _Page(HTMLParser):
    """The tags of a page in order, and the text of its table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.tags[-1] == "td":
            self.cells[-1] += data


def test_a_restart_is_told_and_one_that_never_was_is_absent() -> None:
    entry = made.manifest()
    assert b"restarts" not in entry.to_bytes() and "schedule anew" not in card(entry)
    longer = replace(entry, recipe=replace(entry.recipe, epochs=5, restarts=(3,)))
    assert parse(longer.to_bytes(), "here") == longer
    assert "for 5 epochs, with a schedule anew after 3, seeds" in card(longer)


def test_the_card_tells_how_an_example_becomes_an_input() -> None:
    entry = made.manifest()
    assert "becomes an input: turned as its EXIF tag says; converted to grey; the largest square" in card(
        entry
    )
    text = replace(entry, dataset=replace(entry.dataset, preprocess={"length": 16, "tokens": "bytes"}))
    assert "becomes an input: length 16, tokens bytes." in card(text)
