"""What every registered store promises, whoever brings it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supernet.errors import StateError
from tests.zoo import made
from tests.zoo.hosts import HOSTS
from zoo.store import LocalStore, MissingError, Store, read_index, stores
from zoo.store.fetch import Cache
from zoo.store.publish import publish
from zoo.store.pull import manifests, pull
from zoo.store.verify import verify

CONTENT = bytes(range(256)) * 12_000
BIG = "entries/digits-a/model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three megabytes in two entries."""
    local = made.store(tmp_path, made.manifest("digits-b"))
    (tmp_path / "model.safetensors").write_bytes(CONTENT)
    publish(local, made.manifest(), {"model.safetensors": tmp_path / "model.safetensors"})
    return local.folder


@pytest.fixture(params=list(stores))
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[Store]:
    if request.param not in HOSTS:
        pytest.skip(f"tests/zoo/hosts.py says nothing about offering a folder as {request.param}://")
    with HOSTS[request.param](folder) as address:
        yield stores[request.param](address)


def test_every_store_of_the_house_has_a_host() -> None:
    own = [scheme for scheme in stores if stores[scheme].__module__.startswith("zoo.")]
    assert own == ["file", "http", "https"]
    assert set(own) <= HOSTS.keys()


def test_it_says_where_it_is_and_whether_that_is_far(store: Store) -> None:
    assert store.address
    assert store.remote in (True, False)


def test_it_gives_all_bytes_of_a_file(store: Store) -> None:
    begins, pieces = store.chunks(BIG)
    assert (begins, b"".join(pieces)) == (0, CONTENT)


@pytest.mark.parametrize("start", [1, 1_234_567, len(CONTENT) - 1])
def test_it_says_where_the_bytes_it_gives_begin(start: int, store: Store) -> None:
    begins, pieces = store.chunks(BIG, start)
    assert begins in (0, start)
    assert b"".join(pieces) == CONTENT[begins:]


def test_it_names_a_file_it_has_not(store: Store) -> None:
    with pytest.raises(MissingError, match=r"entries/digits-a/other\.onnx is missing"):
        store.chunks("entries/digits-a/other.onnx")


def test_it_can_be_asked_again_and_gives_the_same(store: Store) -> None:
    assert b"".join(store.chunks(BIG)[1]) == b"".join(store.chunks(BIG)[1])
    assert read_index(store) == read_index(store)


def test_its_entries_can_be_listed_pulled_and_verified(store: Store, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "home")
    assert [entry.id for entry in manifests(store, cache)] == ["digits-a", "digits-b"]
    assert pull(store, "digits-a", cache=cache).path(".safetensors").read_bytes() == CONTENT
    found = verify(store)
    assert (found.entries, found.damaged) == (2, ())


def test_a_store_that_is_no_folder_cannot_be_published_to(store: Store) -> None:
    if isinstance(store, LocalStore):
        pytest.skip("it is one")
    with pytest.raises(StateError, match="can only be read; publish to a folder"):
        publish(store, made.manifest("digits-c"), {})
