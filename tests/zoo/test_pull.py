from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from search.objective import InfeasibleError
from supernet.errors import StateError
from supernet.home import default_home
from tests.zoo import made
from zoo.store.fetch import Cache
from zoo.store.load import load_onnx
from zoo.store.manifest import Manifest, describe_file, hash_file
from zoo.store.pull import best, manifests, pull

ENTRIES = [
    made.manifest("digits-fast", accuracy=96.0, ms=0.5, params=1000),
    made.manifest("digits-knee", accuracy=98.0, ms=1.0, params=3000),
    made.manifest("digits-best", accuracy=99.0, ms=4.0, params=9000),
]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "home")


def test_a_pulled_entry_has_every_file_as_published(tmp_path: Path, cache: Cache) -> None:
    store = made.store(tmp_path, *ENTRIES)
    pulled = pull(store, "digits-knee", cache=cache)
    metric = pulled.manifest.metric()
    assert metric is not None and metric.value == 98.0
    for file in pulled.manifest.files:
        assert describe_file(pulled.folder / file.path, file.path) == file


def test_a_pulled_network_runs(tmp_path: Path, cache: Cache) -> None:
    subnet = load_onnx(pull(made.store(tmp_path, *ENTRIES), "digits-knee", cache=cache))
    images = np.ones((2, 4), dtype=np.float32)
    np.testing.assert_array_equal(subnet(images), [[18, 22, 26]] * 2)
    with pytest.raises(StateError, match=r"digits-knee takes .*\['batch', 4\].*float32\[2, 5\]"):
        subnet(np.ones((2, 5), dtype=np.float32))


def test_a_file_of_another_architecture_is_not_run(tmp_path: Path, cache: Cache) -> None:
    from zoo.store.publish import publish

    store = made.store(tmp_path)
    publish(store, ENTRIES[0], {"model.onnx": made.onnx_file(tmp_path / "other.onnx", genes=(1, 2))})
    with pytest.raises(StateError, match=r"its architecture is \[1, 2\], the manifest says \[0, 0\]"):
        load_onnx(pull(store, "digits-fast", cache=cache))


def test_a_file_of_other_weights_is_not_run(tmp_path: Path, cache: Cache) -> None:
    retrained = replace(ENTRIES[0], weights_sha256="ef" * 32)
    with pytest.raises(StateError, match=rf"its weights_sha256 is {made.WEIGHTS}, the manifest says efef"):
        load_onnx(pull(made.store(tmp_path, retrained), "digits-fast", cache=cache))


def test_a_flipped_byte_is_refused_and_nothing_is_kept(tmp_path: Path, cache: Cache) -> None:
    store = made.store(tmp_path, ENTRIES[0])
    path = store.folder / "entries" / "digits-fast" / "model.onnx"
    expected = describe_file(path).sha256
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    found = describe_file(path).sha256
    message = rf"entries/digits-fast/model\.onnx of .* is damaged: expected sha256 {expected}, found {found}"
    with pytest.raises(StateError, match=message):
        pull(store, "digits-fast", cache=cache)
    assert not cache.blob(expected).exists()
    assert not list(cache.home.rglob("*.part"))


def test_a_damaged_cache_is_mended(tmp_path: Path, cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    store = made.store(tmp_path, ENTRIES[0])
    file = pull(store, "digits-fast", cache=cache).manifest.file(".onnx")
    cache.blob(file.sha256).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        path = pull(store, "digits-fast", cache=cache).path(".onnx")
    assert "in the cache was damaged" in caplog.text
    assert describe_file(path).sha256 == file.sha256


def test_files_in_a_folder_of_ones_own_may_be_changed_without_harm(tmp_path: Path, cache: Cache) -> None:
    store = made.store(tmp_path, ENTRIES[0])
    pulled = pull(store, "digits-fast", into=tmp_path / "mine", cache=cache)
    pulled.path(".onnx").write_bytes(b"changed")
    file = pulled.manifest.file(".onnx")
    assert hash_file(cache.blob(file.sha256)) == file.sha256
    again = pull(store, "digits-fast", into=tmp_path / "mine", cache=cache)
    assert describe_file(again.path(".onnx")) == file


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "digits-best"),
        ({"max_latency_ms": 2.0}, "digits-knee"),
        ({"max_latency_ms": 2.0, "max_params": 2000}, "digits-fast"),
        ({"max_latency_ms": 1.0, "device": "id-desk"}, "digits-knee"),
        ({"max_latency_ms": 1.0, "device": "desk"}, "digits-knee"),
    ],
)
def test_the_most_accurate_entry_within_the_limits_is_the_best(
    limits: dict[str, float], expected: str, tmp_path: Path, cache: Cache
) -> None:
    assert best(manifests(made.store(tmp_path, *ENTRIES), cache), **limits).id == expected  # type: ignore[arg-type]


def test_where_less_is_better_the_least_is_the_best() -> None:
    def judged(entry: str, bits: float) -> Manifest:
        plain = made.manifest(entry, accuracy=bits)
        (metric,) = plain.metrics
        return replace(plain, metrics=(replace(metric, metric="bits per byte", unit="bits", sense="min"),))

    texts = [judged("text-a", 2.5), judged("text-b", 1.5), judged("text-c", 3.5)]
    assert best(texts).id == "text-b"
    with pytest.raises(StateError, match="judged by accuracy, bits per byte; say by which to choose"):
        best([*texts, *ENTRIES])
    assert best([*texts, *ENTRIES], metric="bits per byte").id == "text-b"


def test_of_equally_good_entries_the_faster_is_the_best() -> None:
    equal = [made.manifest(f"digits-{i}", accuracy=98.0, ms=ms) for i, ms in enumerate((3.0, 1.0, 2.0))]
    assert best(equal, device="desk").id == "digits-1"


def test_limits_that_nothing_meets_name_the_nearest_entry() -> None:
    with pytest.raises(
        InfeasibleError, match=r"latency <= 0\.1 ms; the nearest is digits-fast with latency 0\.5 ms"
    ):
        best(ENTRIES, max_latency_ms=0.1)


def test_an_unknown_device_names_the_known() -> None:
    with pytest.raises(StateError, match="nothing was measured on 'dsk'; did you mean 'desk'"):
        best(ENTRIES, device="dsk", max_latency_ms=1.0)


def test_a_latency_limit_needs_a_device_when_there_are_two() -> None:
    with pytest.raises(StateError, match="needs a device; measured were: desk, phone"):
        best([*ENTRIES, made.manifest("digits-other", device="phone")], max_latency_ms=1.0)


def test_a_zoo_without_the_metric_says_so() -> None:
    with pytest.raises(StateError, match="has the metric 'iou'"):
        best(ENTRIES, metric="iou")


def test_the_home_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPERNET_HOME", str(tmp_path))
    assert default_home() == tmp_path
