from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from supernet.errors import StateError, SupernetError
from tests.zoo import made
from zoo.store import LocalStore, MissingError, open_store, read_index
from zoo.store.index import Index
from zoo.store.manifest import describe_file
from zoo.store.publish import publish
from zoo.store.pull import manifests
from zoo.store.verify import verify


def test_a_published_entry_is_whole_and_indexed(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest("digits-a"), made.manifest("digits-b"))
    assert set(read_index(store).entries) == {"digits-a", "digits-b"}
    found = sorted(path.name for path in (store.folder / "entries" / "digits-a").iterdir())
    assert found == ["README.md", "manifest.json", "model.onnx"]
    report = verify(store)
    assert (report.entries, report.files, report.damaged) == (2, 6, ())


def test_publishing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    before = (store.folder / "index.json").stat().st_mtime_ns
    made.store(tmp_path, made.manifest())
    assert (store.folder / "index.json").stat().st_mtime_ns == before


def test_an_id_is_never_given_to_other_content(tmp_path: Path) -> None:
    made.store(tmp_path, made.manifest())
    with pytest.raises(StateError, match="'digits-a' is published already with other content"):
        made.store(tmp_path, made.manifest(accuracy=50.0))


def test_a_file_that_is_missing_leaves_nothing_behind(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "zoo")
    with pytest.raises(StateError, match=r"cannot read .*nowhere\.onnx"):
        publish(store, made.manifest(), {"model.onnx": tmp_path / "nowhere.onnx"})
    assert not store.folder.exists()


def test_a_file_that_changed_meanwhile_leaves_nothing_behind(tmp_path: Path) -> None:
    from msgspec.structs import replace

    path = made.onnx_file(tmp_path / "model.onnx")
    manifest = replace(made.manifest(), files=(describe_file(path),))
    path.write_bytes(b"other")
    store = LocalStore(tmp_path / "zoo")
    with pytest.raises(StateError, match="has the sha256"):
        store.add(manifest, {"model.onnx": path})
    assert list((store.folder / "entries").iterdir()) == []
    assert not (store.folder / "index.json").exists()


def test_an_entry_left_by_a_crash_before_the_index_knew_it_is_replaced(tmp_path: Path) -> None:
    left = tmp_path / "zoo" / "entries" / "digits-a"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"")
    assert verify(made.store(tmp_path, made.manifest())).damaged == ()


def test_a_store_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "zoo").write_text("a file")
    with pytest.raises(StateError, match=r"cannot write .*zoo"):
        made.store(tmp_path, made.manifest())


def _publish(folder: Path, number: int) -> None:
    publish(
        LocalStore(folder / "zoo"), made.manifest(f"digits-{number}"), {"model.onnx": folder / "model.onnx"}
    )


def test_processes_that_publish_at_once_all_reach_the_index(tmp_path: Path) -> None:
    made.onnx_file(tmp_path / "model.onnx")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_publish, args=(tmp_path, number)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report = verify(LocalStore(tmp_path / "zoo"))
    assert (report.entries, report.damaged) == (6, ())


def test_a_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest("digits-a"), made.manifest("digits-b"))
    path = store.folder / "entries" / "digits-b" / "model.onnx"
    expected = describe_file(path).sha256
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    (damage,) = verify(store).damaged
    assert (damage.entry, damage.file) == ("digits-b", "model.onnx")
    assert damage.expected == expected
    assert damage.found == describe_file(path).sha256


def test_missing_changed_and_unlisted_files_are_all_reported(tmp_path: Path) -> None:
    store = made.store(tmp_path, *(made.manifest(f"digits-{letter}") for letter in "abc"))
    entries = store.folder / "entries"
    (entries / "digits-a" / "model.onnx").unlink()
    (entries / "digits-b" / "manifest.json").write_text("{}")
    (entries / "digits-c" / "surplus.txt").write_text("")
    found = [(damage.entry, damage.file) for damage in verify(store).damaged]
    assert found == [("digits-a", "model.onnx"), ("digits-b", "manifest.json"), ("digits-c", "surplus.txt")]


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    path = store.folder / "entries" / "digits-a" / "model.onnx"
    path.unlink()
    path.symlink_to(tmp_path / "made" / "digits-a.onnx")
    (damage,) = verify(store).damaged
    assert "symbolic link" in damage.found


@pytest.mark.parametrize("content", ["", "{", '{"entries": {"../up": "0"}}', '{"entries": {}, "more": 1}'])
def test_a_damaged_index_says_how_to_mend_it(content: str, tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    whole = (store.folder / "index.json").read_bytes()
    (store.folder / "index.json").write_text(content)
    with pytest.raises(StateError, match=r"index\.json is damaged.*reindex"):
        read_index(store)
    store.reindex()
    assert (store.folder / "index.json").read_bytes() == whole


def test_an_index_of_a_newer_version_says_so_and_not_that_it_is_damaged(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    path = store.folder / "index.json"
    newer = json.loads(path.read_text()) | {"schema_version": 2, "a_key_of_tomorrow": 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(StateError, match=r"index\.json has schema_version 2, .* a newer version wrote it"):
        read_index(store)


def test_a_deleted_index_is_no_empty_zoo(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest("digits-a"), made.manifest("digits-b"))
    index = (store.folder / "index.json").read_bytes()
    (store.folder / "index.json").unlink()
    for read in (verify, manifests):
        with pytest.raises(MissingError, match=r"holds entries and no index\.json; .* reindex"):
            read(store)
    with pytest.raises(MissingError, match="reindex"):
        made.store(tmp_path, made.manifest("digits-c"))
    store.reindex()
    assert (store.folder / "index.json").read_bytes() == index


def test_an_empty_folder_is_no_zoo_and_a_zoo_may_be_empty(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "zoo")
    with pytest.raises(MissingError, match="there is no folder"):
        store.reindex()
    store.folder.mkdir()
    with pytest.raises(MissingError, match=r"there is no zoo at .*zoo: it has no index\.json"):
        verify(store)
    store.reindex()
    report = verify(store)
    assert (report.entries, report.files, report.damaged) == (0, 0, ())


def test_entries_that_the_index_does_not_list_and_the_reverse_are_named(tmp_path: Path) -> None:
    store = made.store(tmp_path, *(made.manifest(f"digits-{letter}") for letter in "abc"))
    index = read_index(store).entries
    shutil.rmtree(store.folder / "entries" / "digits-a")
    listed = {entry: sha256 for entry, sha256 in index.items() if entry != "digits-b"}
    (store.folder / "index.json").write_bytes(Index(listed).to_bytes())
    missing, unlisted = verify(store).damaged
    assert (missing.entry, missing.file) == ("digits-a", "manifest.json")
    assert "is missing" in missing.found
    assert unlisted.entry == "digits-b"
    assert "an entry that the index does not list" in unlisted.found


def test_an_entry_under_another_name_is_found(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest("digits-a"))
    (store.folder / "entries" / "digits-a").rename(store.folder / "entries" / "digits-z")
    sha256 = read_index(store).entries["digits-a"]
    (store.folder / "index.json").write_bytes(Index({"digits-z": sha256}).to_bytes())
    (damage,) = verify(store).damaged
    assert "the manifest of 'digits-a'" in damage.found


def test_what_verifying_cannot_know_is_said_and_the_hash_of_the_index_tells(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    before = verify(store)
    path = store.folder / "entries" / "digits-a" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"97.0", b"99.0"))
    (store.folder / "index.json").write_bytes(Index({"digits-a": describe_file(path).sha256}).to_bytes())
    after = verify(store)
    assert before.damaged == after.damaged == ()
    assert "whether numbers were changed together with their hashes" in after.unseen
    assert before.index_sha256 != after.index_sha256 == describe_file(store.folder / "index.json").sha256


def test_a_zoo_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"there is no zoo at .*nowhere"):
        verify(LocalStore(tmp_path / "nowhere"))


def test_an_unknown_entry_names_the_nearest(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest("digits-knee"))
    with pytest.raises(MissingError, match="no entry 'digits-nee'; did you mean 'digits-knee'"):
        read_index(store).sha256("digits-nee")


def test_an_unknown_kind_of_store_names_the_known(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), LocalStore)
    assert isinstance(open_store(f"file://{tmp_path}"), LocalStore)
    with pytest.raises(
        SupernetError, match=r"no store is called 'gopher' \(there are: .*file, http, https\)"
    ):
        open_store("gopher://somewhere")


def test_the_index_holds_the_hash_of_the_manifest_on_disk(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    path = store.folder / "entries" / "digits-a" / "manifest.json"
    assert (
        json.loads((store.folder / "index.json").read_text())["entries"]["digits-a"]
        == describe_file(path).sha256
    )
