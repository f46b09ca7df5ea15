"""What a hostile or broken store cannot do: fill the disk, leave its folder, stop a pull without a word."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
from collections import namedtuple
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import StateError
from tests.zoo import made
from tests.zoo.hosts import Server, served
from zoo.store import LocalStore, open_store, read_index
from zoo.store.fetch import Cache
from zoo.store.index import INDEX
from zoo.store.manifest import MANIFEST, describe_file, parse
from zoo.store.protocol import OversizeError, StalledTransferError, within
from zoo.store.publish import publish
from zoo.store.pull import manifests, pull
from zoo.store.verify import verify
from zoo.store.web import TIMEOUT_S, WebStore

SIZE = 2_000_000
ENDLESS = 64 << 20


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    store = made.store(tmp_path)
    big = tmp_path / "model.safetensors"
    big.write_bytes(os.urandom(SIZE))
    (tmp_path / "classes.txt").write_text("zero\none\n")
    publish(store, made.manifest(), {"model.safetensors": big, "classes.txt": tmp_path / "classes.txt"})
    return store


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "home")


def big_of(store: LocalStore) -> Path:
    return store.folder / "entries" / "digits-a" / "model.safetensors"


def part_of(store: LocalStore, cache: Cache) -> Path:
    return cache.blob(describe_file(big_of(store)).sha256).with_suffix(".part")


def asked(server: Server) -> list[str | None]:
    return [wanted for path, wanted in server.asked if path.endswith(".safetensors")]


def reindexed(store: LocalStore, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest by hand, and the index so that it names what came out."""
    path = store.folder / "entries" / "digits-a" / MANIFEST
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    entries = {"digits-a": sha256(path.read_bytes()).hexdigest()}
    (store.folder / INDEX).write_text(json.dumps({"entries": entries, "schema_version": 1}))


# No more than was promised


@pytest.mark.parametrize("length", [None, str(SIZE + ENDLESS), "-1", "many"])
def test_a_file_that_goes_on_beyond_its_promised_size_is_stopped_there(
    length: str | None, local: LocalStore, cache: Cache
) -> None:
    entry = sum(file.size for file in manifests(local, cache)[0].files)
    written = [0]
    with served(local.folder) as (server, store):
        server.surplus, server.only, server.length = ENDLESS, ".safetensors", length
        with pytest.raises(
            OversizeError, match=r"safetensors of http.* may have 2,000,000 bytes, and .* came"
        ):
            pull(store, "digits-a", cache=cache, progress=lambda done, whole, words: written.append(done))
        assert server.sent < ENDLESS / 2
    assert max(written) <= entry
    assert not list(cache.home.rglob("*.part"))


@pytest.mark.parametrize("name", [INDEX, MANIFEST])
def test_an_index_or_a_manifest_that_never_ends_is_stopped(
    name: str, local: LocalStore, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.store.index.INDEX_BYTES", 1 << 20)
    monkeypatch.setattr("zoo.store.fetch.MANIFEST_BYTES", 1 << 20)
    with served(local.folder) as (server, store):
        server.surplus, server.only, server.length = ENDLESS, name, None
        with pytest.raises(OversizeError, match=rf"{name} of http.* may have 1,048,576 bytes, and 1,.* came"):
            pull(store, "digits-a", cache=cache)
        assert server.sent < ENDLESS / 2
    assert not list(cache.home.rglob("*.part"))


def test_a_local_file_that_grew_is_stopped_at_its_promised_size(local: LocalStore, cache: Cache) -> None:
    with big_of(local).open("ab") as file:
        file.write(bytes(SIZE))
    with pytest.raises(OversizeError, match="may have 2,000,000 bytes"):
        pull(local, "digits-a", cache=cache)
    assert not list(cache.home.rglob("*.part"))
    (damage,) = verify(local).damaged
    assert "may have 2,000,000 bytes" in damage.found


def test_verifying_reads_no_more_than_was_promised(local: LocalStore) -> None:
    with served(local.folder) as (server, store):
        server.surplus, server.only, server.length = ENDLESS, ".safetensors", None
        (damage,) = verify(store).damaged
        assert server.sent < ENDLESS / 2
    assert damage.file == "model.safetensors"


def test_what_is_within_its_size_passes_to_the_last_byte() -> None:
    assert b"".join(within([b"ab", b"c"], 3, "it")) == b"abc"
    passed = []
    with pytest.raises(OversizeError, match="it may have 2 bytes, and 3 came"):
        passed += within([b"ab", b"c"], 2, "it")  # type: ignore[arg-type]


def test_a_promise_larger_than_the_disk_is_refused_before_anything_is_read(
    local: LocalStore, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(SIZE, SIZE - 1000, 1000))
    with served(local.folder) as (server, store):
        with pytest.raises(StateError, match=r"2,00.* bytes and .*home has room for 1,000; free some space"):
            pull(store, "digits-a", cache=cache)
        assert not [path for path, _ in server.asked if path.endswith(".safetensors")]
        part_of(local, cache).parent.mkdir(parents=True)
        part_of(local, cache).write_bytes(big_of(local).read_bytes()[: SIZE - 10])
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(SIZE, 0, 10_000))
        pull(store, "digits-a", cache=cache)


# Nothing outside its folder


@pytest.mark.parametrize("hash_", ["/{victim}", "../../../{victim}", "", "0" * 63, "G" * 64, "0" * 63 + "\n"])
def test_a_hash_that_is_none_names_no_file(hash_: str, local: LocalStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    where = hash_.format(victim=victim.relative_to("/") if hash_.startswith("/") else "victim")
    (local.folder / INDEX).write_text(json.dumps({"entries": {"digits-a": where}, "schema_version": 1}))
    with (
        served(local.folder) as (_, store),
        pytest.raises(StateError, match=r"index\.json is damaged.*no SHA-256"),
    ):
        pull(store, "digits-a", cache=Cache(tmp_path / "home"))
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../../up.json", "leaves its entry"),
        ("/etc/up.json", "leaves its entry"),
        ("a\nb.json", "cannot be printed"),
        ("\x1b[2Ja.json", "cannot be printed"),
        ("manifest.json", "listed among the files that it describes"),
        ("run.py", "is refused"),
    ],
)
def test_a_listed_file_stays_inside_its_entry(
    path: str, message: str, local: LocalStore, cache: Cache
) -> None:
    def rename(document: dict[str, Any]) -> None:
        record = {"path": path, "size": 1, "sha256": "0" * 64, "format": "json"}
        document["files"] = [record, *document["files"]]

    reindexed(local, rename)
    with pytest.raises(StateError, match=message):
        pull(local, "digits-a", cache=cache)
    assert not list(cache.home.rglob("up.json"))
    assert verify(local).damaged


@pytest.mark.parametrize("nested", ["[" * 100_000, "[" * 100 + "]" * 100, '{"a":' * 100_000])
def test_json_nested_without_end_is_an_error_and_no_crash(
    nested: str, local: LocalStore, cache: Cache
) -> None:
    path = local.folder / "entries" / "digits-a" / MANIFEST
    text = path.read_text().replace('"resolution": 8', f'"resolution": {nested}')
    path.write_text(text)
    digest = describe_file(path).sha256
    (local.folder / INDEX).write_text(json.dumps({"entries": {"digits-a": digest}, "schema_version": 1}))
    with pytest.raises(StateError, match=r"manifest\.json (is damaged|is no valid)"):
        manifests(local, cache)
    (damage,) = verify(local).damaged
    assert damage.file == MANIFEST
    (local.folder / INDEX).write_text(nested)
    with pytest.raises(StateError, match=r"index\.json is damaged"):
        read_index(local)


def test_an_entry_without_the_costs_that_are_listed_is_refused() -> None:
    document = json.loads(made.manifest().to_bytes()) | {"costs": {}}
    with pytest.raises(StateError, match="the costs lack 'params'"):
        parse(json.dumps(document).encode(), "here")


# No silence


def test_a_server_that_never_answers_is_asked_once_and_named(local: LocalStore, cache: Cache) -> None:
    with served(local.folder) as (server, store):
        store.timeout_s, server.stalls = 0.2, 9
        message = r"index\.json sent nothing for 0\.2 seconds; try again later, .*SUPERNET_TIMEOUT_S=0\.6"
        with pytest.raises(StalledTransferError, match=message):
            pull(store, "digits-a", cache=cache)
        assert len(server.asked) == 1


def test_a_file_that_never_comes_is_asked_for_once_and_leaves_nothing(
    local: LocalStore, cache: Cache
) -> None:
    with served(local.folder) as (server, store):
        store.timeout_s, server.stalls, server.only = 0.2, 9, ".safetensors"
        with pytest.raises(StalledTransferError, match=r"model\.safetensors sent nothing"):
            pull(store, "digits-a", cache=cache)
        assert asked(server) == [None]
    assert not part_of(local, cache).exists()


def test_a_transfer_that_stalls_is_told_of_and_goes_on(
    local: LocalStore, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    with served(local.folder) as (server, store):
        store.timeout_s, server.stalls, server.only = 0.2, 2, ".safetensors"
        server.stall_after = 300_000
        with caplog.at_level(logging.WARNING):
            pulled = pull(store, "digits-a", cache=cache)
        assert asked(server) == [None, "bytes=300000-", "bytes=600000-"]
    assert caplog.text.count("sent nothing for 0.2 seconds") == 2
    assert pulled.path(".safetensors").read_bytes() == big_of(local).read_bytes()


def test_how_long_a_server_may_be_silent_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERNET_TIMEOUT_S", raising=False)
    assert WebStore("http://127.0.0.1:9").timeout_s == TIMEOUT_S == 20
    monkeypatch.setenv("SUPERNET_TIMEOUT_S", "2.5")
    assert WebStore("http://127.0.0.1:9").timeout_s == 2.5
    for wrong in ("0", "-1", "nan", "inf", "soon"):
        monkeypatch.setenv("SUPERNET_TIMEOUT_S", wrong)
        with pytest.raises(StateError, match=f"SUPERNET_TIMEOUT_S is '{wrong}'; a number of seconds above 0"):
            open_store("http://127.0.0.1:9")


def test_progress_is_told_of_every_byte_and_ends_at_all_of_them(local: LocalStore, cache: Cache) -> None:
    told: list[tuple[int, int, str]] = []

    def tell(*said: Any) -> None:
        told.append(said)

    with served(local.folder) as (server, store):
        server.cut_after, server.cuts = 700_000, 1
        manifest = pull(store, "digits-a", cache=cache, progress=tell).manifest
    whole = sum(file.size for file in manifest.files)
    done = [number for number, _, _ in told]
    assert done == sorted(done) and done[-1] == whole and len(told) > len(manifest.files)
    assert {total for _, total, _ in told} == {whole}
    assert {words for _, _, words in told} == {file.path for file in manifest.files}
    told.clear()
    pull(local, "digits-a", cache=cache, progress=tell)
    assert [number for number, _, _ in told][-1] == whole


@pytest.mark.parametrize("status", [416, 500, 403])
def test_a_server_that_refuses_everything_is_named(status: int, local: LocalStore, cache: Cache) -> None:
    with served(local.folder) as (server, store):
        server.always = status
        with pytest.raises(StateError, match=f"answers HTTP {status}"):
            pull(store, "digits-a", cache=cache)


@pytest.mark.parametrize("address", ["http://[::1", "http://", "http://a:port", "http://a b", "https://\x00"])
def test_an_address_that_is_none_is_an_error_of_the_user(address: str) -> None:
    with pytest.raises(StateError):
        read_index(open_store(address))


# A full disk, and a kill


def _pull(address: str, home: Path, into: Path | None, prepare: Callable[[], None], errors: Any) -> None:
    prepare()
    try:
        pull(open_store(address), "digits-a", into=into, cache=Cache(home))
    except StateError as error:
        errors.put(str(error))


def in_a_process(
    store: str, home: Path, into: Path | None = None, prepare: Callable[[], None] = lambda: None
) -> tuple[multiprocessing.Process, Any]:
    context = multiprocessing.get_context("fork")
    errors = context.SimpleQueue()
    process = context.Process(target=_pull, args=(store, home, into, prepare, errors))
    process.start()
    return process, errors  # type: ignore[return-value]


def no_file_beyond(size: int) -> Callable[[], None]:
    """The system itself refuses to write, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_keeps_what_can_be_resumed_and_no_more(local: LocalStore, cache: Cache) -> None:
    with served(local.folder) as (server, store):
        process, errors = in_a_process(store.address, cache.home, prepare=no_file_beyond(1_500_000))
        process.join()
        assert "cannot keep entries/digits-a/model.safetensors" in (message := errors.get())
        assert "File too large; free some space, or choose another place with SUPERNET_HOME" in message
        part = part_of(local, cache)
        assert part.read_bytes() == big_of(local).read_bytes()[:1_500_000]
        assert list(cache.home.rglob("*.part")) == [part]
        pulled = pull(store, "digits-a", cache=cache)
        assert asked(server) == [None, "bytes=1500000-"]
    assert pulled.path(".safetensors").read_bytes() == big_of(local).read_bytes()
    assert not list(cache.home.rglob("*.part"))


def test_a_disk_without_room_for_a_byte_keeps_nothing(local: LocalStore, cache: Cache) -> None:
    manifests(local, cache)
    process, errors = in_a_process(str(local.folder), cache.home, prepare=no_file_beyond(0))
    process.join()
    assert "cannot keep" in errors.get()
    assert not list(cache.home.rglob("*.part"))


def test_a_disk_that_fills_while_copying_leaves_whole_files_only(
    local: LocalStore, cache: Cache, tmp_path: Path
) -> None:
    pull(local, "digits-a", cache=cache)
    into = tmp_path / "mine"
    process, errors = in_a_process(str(local.folder), cache.home, into, no_file_beyond(1_500_000))
    process.join()
    assert "cannot write" in (message := errors.get()) and "File too large; free some space" in message
    assert [path.name for path in into.iterdir()] == ["classes.txt"]
    pulled = pull(local, "digits-a", into=into, cache=cache)
    for file in pulled.manifest.files:
        assert describe_file(into / file.path, file.path) == file


@pytest.mark.parametrize("sent", [0, 1_000])
def test_a_killed_pull_keeps_every_byte_that_came(
    sent: int, local: LocalStore, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(local.folder) as (server, store):
        server.stalls, server.stall_after, server.only = 1, sent, ".safetensors"
        monkeypatch.setenv("SUPERNET_TIMEOUT_S", "1000")
        process, _ = in_a_process(store.address, cache.home)
        assert server.stalled.wait(20)
        part, waits = part_of(local, cache), 0
        while sent and not (part.exists() and part.stat().st_size == sent) and waits < 500:
            waits += 1
            process.join(0.01)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert part.exists() == (sent > 0)
        pull(store, "digits-a", cache=cache)
        assert asked(server) == [None, f"bytes={sent}-" if sent else None]


def test_a_part_that_is_whole_is_not_fetched_again(local: LocalStore, cache: Cache) -> None:
    part = part_of(local, cache)
    part.parent.mkdir(parents=True)
    shutil.copyfile(big_of(local), part)
    with served(local.folder) as (server, store):
        pull(store, "digits-a", cache=cache)
        assert asked(server) == []


def test_what_a_killed_copy_left_goes_with_the_next_pull(
    local: LocalStore, cache: Cache, tmp_path: Path
) -> None:
    into = tmp_path / "mine"
    into.mkdir()
    (into / ".model.safetensors.part").write_bytes(b"half")
    manifest = pull(local, "digits-a", into=into, cache=cache).manifest
    assert {path.name for path in into.iterdir()} == {MANIFEST, *(file.path for file in manifest.files)}


def test_a_folder_in_the_way_of_a_file_is_named(local: LocalStore, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "mine" / "model.safetensors").mkdir(parents=True)
    with pytest.raises(StateError, match=r"cannot write .*mine/model\.safetensors: Is a directory"):
        pull(local, "digits-a", into=tmp_path / "mine", cache=cache)
    cache.blob(describe_file(big_of(local)).sha256).unlink()
    cache.blob(describe_file(big_of(local)).sha256).mkdir()
    with pytest.raises(StateError, match=r"cannot keep .*: Is a directory"):
        pull(local, "digits-a", cache=cache)
