"""A store behind servers that know ranges, ignore them, or hang up half-way."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest

from supernet.errors import StateError
from tests.zoo import made
from tests.zoo.hosts import Server, served
from zoo.store import LocalStore, MissingError, open_store
from zoo.store.fetch import Cache
from zoo.store.manifest import describe_file
from zoo.store.publish import publish
from zoo.store.pull import pull
from zoo.store.verify import verify
from zoo.store.web import InterruptedTransferError, WebStore

BIG = 3_000_000


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    store = made.store(tmp_path)
    big = tmp_path / "model.safetensors"
    big.write_bytes(bytes(range(256)) * (BIG // 256))
    onnx = made.onnx_file(tmp_path / "model.onnx")
    publish(store, made.manifest(), {"model.safetensors": big, "model.onnx": onnx})
    return store


def _big(store: LocalStore) -> Path:
    return store.folder / "entries" / "digits-a" / "model.safetensors"


def _requests(server: Server) -> list[str | None]:
    return [wanted for path, wanted in server.asked if path.endswith(".safetensors")]


def test_an_entry_comes_over_http_as_it_was_published(local: LocalStore, tmp_path: Path) -> None:
    with served(local.folder) as (_, store):
        pulled = pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert pulled.path(".safetensors").read_bytes() == _big(local).read_bytes()
        assert verify(store).damaged == ()


def test_a_second_pull_fetches_only_the_index(local: LocalStore, tmp_path: Path) -> None:
    with served(local.folder) as (server, store):
        pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        server.asked.clear()
        pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert [path for path, _ in server.asked] == ["/index.json"]


def test_a_cut_transfer_goes_on_where_it_stopped(local: LocalStore, tmp_path: Path) -> None:
    with served(local.folder) as (server, store):
        server.cut_after, server.cuts = 1_000_000, 2
        pulled = pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert _requests(server) == [None, "bytes=1000000-", "bytes=2000000-"]
    assert pulled.path(".safetensors").read_bytes() == _big(local).read_bytes()


def test_a_server_without_ranges_begins_anew(local: LocalStore, tmp_path: Path) -> None:
    with served(local.folder) as (server, store):
        server.ranges, server.cut_after, server.cuts = False, 1_000_000, 1
        pulled = pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert _requests(server) == [None, "bytes=1000000-"]
    assert pulled.path(".safetensors").read_bytes() == _big(local).read_bytes()


def test_a_server_that_begins_elsewhere_than_asked_is_not_believed(local: LocalStore, tmp_path: Path) -> None:
    with served(local.folder) as (server, store):
        server.begins_at, server.cut_after, server.cuts = 0, 1_000_000, 1
        pulled = pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert _requests(server) == [None, "bytes=1000000-"]
    assert pulled.path(".safetensors").read_bytes() == _big(local).read_bytes()


def test_a_server_that_always_hangs_up_is_an_error_and_the_next_call_goes_on(
    local: LocalStore, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "home")
    with served(local.folder) as (server, store):
        server.cut_after, server.cuts = 100_000, 100
        with pytest.raises(InterruptedTransferError, match="ended after 400,000 of 2,999,808 bytes"):
            pull(store, "digits-a", cache=cache)
        server.cuts = 0
        pull(store, "digits-a", cache=cache)
        assert _requests(server)[-1] == "bytes=400000-"


def test_a_stale_part_is_thrown_away_and_the_file_read_whole(local: LocalStore, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "home")
    blob = cache.blob(describe_file(_big(local)).sha256)
    blob.parent.mkdir(parents=True)
    blob.with_suffix(".part").write_bytes(b"of another day")
    with served(local.folder) as (_, store):
        assert (
            pull(store, "digits-a", cache=cache).path(".safetensors").read_bytes() == _big(local).read_bytes()
        )


def test_a_flipped_byte_on_the_server_is_refused(local: LocalStore, tmp_path: Path) -> None:
    expected = describe_file(_big(local)).sha256
    content = bytearray(_big(local).read_bytes())
    content[-1] ^= 1
    _big(local).write_bytes(content)
    with served(local.folder) as (_, store):
        with pytest.raises(
            StateError, match=f"safetensors of http.* is damaged: expected sha256 {expected}, found"
        ):
            pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert [damage.file for damage in verify(store).damaged] == ["model.safetensors"]


def test_offline_answers_from_the_cache_or_names_what_is_missing(local: LocalStore, tmp_path: Path) -> None:
    offline = Cache(tmp_path / "home", offline=True)
    with served(local.folder) as (_, store):
        with pytest.raises(StateError, match=r"offline, and the index of http.* was never read"):
            pull(store, "digits-a", cache=offline)
        Cache(tmp_path / "home").index(store)
        with pytest.raises(StateError, match=r"offline, and entries/digits-a/manifest\.json of http"):
            pull(store, "digits-a", cache=offline)
        pull(store, "digits-a", cache=Cache(tmp_path / "home"))
    assert pull(store, "digits-a", cache=offline).path(".onnx").exists()


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(
        StateError, match=r"http://127\.0\.0\.1:9/index\.json cannot be reached.*offline=True"
    ):
        Cache(Path("unused")).index(WebStore("http://127.0.0.1:9"))


def test_a_web_store_without_an_index_says_it_is_missing(tmp_path: Path) -> None:
    with served(tmp_path) as (_, store), pytest.raises(MissingError, match="404"):
        Cache(tmp_path / "home").index(store)


def test_a_web_store_cannot_be_published_to(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="can only be read; publish to a folder"):
        publish(WebStore("http://127.0.0.1:9"), made.manifest(), {})


def _pull(address: str, home: Path) -> None:
    pull(open_store(address), "digits-a", cache=Cache(home))


def test_two_processes_that_pull_the_same_download_it_once(local: LocalStore, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with served(local.folder) as (server, store):
        workers = [context.Process(target=_pull, args=(store.address, tmp_path / "home")) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
        assert _requests(server) == [None]


def test_a_pull_that_was_killed_half_way_goes_on(local: LocalStore, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    part = Cache(tmp_path / "home").blob(describe_file(_big(local)).sha256).with_suffix(".part")
    with served(local.folder) as (server, store):
        server.cut_after, server.cuts = 1_000_000, 1
        worker = context.Process(target=_killed_after_first_cut, args=(store.address, tmp_path / "home"))
        worker.start()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        assert part.stat().st_size == 1_000_000
        pulled = pull(store, "digits-a", cache=Cache(tmp_path / "home"))
        assert _requests(server) == [None, "bytes=1000000-"]
    assert pulled.path(".safetensors").read_bytes() == _big(local).read_bytes()


def _killed_after_first_cut(address: str, home: Path) -> None:
    import os

    from zoo.store import fetch

    fetch.log.setLevel("INFO")
    fetch.log.info = lambda *args: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign, assignment]
    _pull(address, home)
