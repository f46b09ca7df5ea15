"""Every registry is filled the same way: modules listed once, and entry points of other distributions."""

from __future__ import annotations

import logging
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from hardware.runners import runtimes
from predictors import predictors
from predictors.zero_cost import scores
from search import searchers
from search.workers import workers
from supernet.differentiable import methods
from supernet.elastic.origins import makers
from supernet.elastic.rules import rules
from supernet.elastic.subnet import executions
from supernet.errors import SupernetError
from supernet.memory.modes import modes
from supernet.networks import networks
from supernet.presets import presets
from supernet.registry import Registry
from supernet.sources import sources
from supernet.strategies import strategies
from zoo.store import stores

ALL = {
    "supernet.sources": sources,
    "supernet.rules": rules,
    "supernet.executions": executions,
    "supernet.modes": modes,
    "supernet.networks": networks,
    "supernet.origins": makers,
    "supernet.presets": presets,
    "supernet.strategies": strategies,
    "supernet.methods": methods,
    "supernet.runtimes": runtimes,
    "supernet.predictors": predictors,
    "supernet.scores": scores,
    "supernet.searchers": searchers,
    "supernet.workers": workers,
    "supernet.stores": stores,
}
_numbers = count()


class Installer:
    """Puts distributions with entry points where Python finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, code: str, points: str) -> Registry[object]:
        """Install one distribution; the registry whose group its entry points are of."""
        number = next(_numbers)
        group, module = f"supernet.test{number}", f"installed{number}"
        (self.folder / f"{module}.py").write_text(code.replace("GROUP", group))
        info = self.folder / f"plug_in{number}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug-in{number}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{points.replace('MODULE', module)}\n")
        registry = Registry[object]("fruit", group=group)
        registry.register("apple")("an apple")
        return registry


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Installer(tmp_path)


@pytest.mark.parametrize("group", ALL)
def test_a_plug_in_of_another_distribution_is_in_its_registry(group: str) -> None:
    registry = ALL[group]
    assert registry.group == group
    assert "elsewhere" in registry and "elsewhere" in list(registry)
    found = registry["elsewhere"]
    assert found.__module__.startswith("supernet_elsewhere.")  # type: ignore[attr-defined]


@pytest.mark.parametrize("group", ALL)
def test_a_name_nobody_registered_is_answered_with_the_nearest(group: str) -> None:
    with pytest.raises(SupernetError, match="did you mean 'elsewhere'"):
        ALL[group]["elsewere"]


def test_a_registry_holds_what_its_modules_and_the_entry_points_register(install: Installer) -> None:
    fruits = install("pear = 'a pear'", "pear = MODULE:pear")
    assert list(fruits) == ["apple", "pear"]
    assert len(fruits) == 2
    assert fruits["pear"] == "a pear"


def test_a_plug_in_is_not_loaded_for_a_name_the_package_has_itself(install: Installer) -> None:
    fruits = install("raise RuntimeError('loaded')", "pear = MODULE:pear")
    assert fruits["apple"] == "an apple"
    assert not fruits._broken


def test_a_plug_in_that_does_not_import_is_named_and_the_rest_works(
    install: Installer, caplog: pytest.LogCaptureFixture
) -> None:
    fruits = install("import a_library_nobody_has", "pear = MODULE:pear")
    with caplog.at_level(logging.WARNING):
        assert list(fruits) == ["apple"]
    assert "the plug-in 'pear'" in caplog.text and "a_library_nobody_has" in caplog.text
    assert "plug-in" in caplog.text and "1.2" in caplog.text
    with pytest.raises(
        SupernetError, match=r"'pear' is a plug-in that cannot be loaded: .*nobody_has.*uninst"
    ):
        fruits["pear"]
    with pytest.raises(SupernetError, match=r"no fruit is called 'plum'.*cannot be loaded: pear"):
        fruits["plum"]
    assert fruits["apple"] == "an apple"


@pytest.mark.parametrize("code", ["1/0", "def pear(: ...", ""])
def test_whatever_a_plug_in_raises_it_does_not_take_the_others_along(code: str, install: Installer) -> None:
    fruits = install(code, "pear = MODULE:pear\nplum = MODULE:plum")
    assert list(fruits) == ["apple"]


def test_a_plug_in_does_not_take_the_name_of_another(
    install: Installer, caplog: pytest.LogCaptureFixture
) -> None:
    fruits = install("apple = 'not an apple'", "apple = MODULE:apple")
    with caplog.at_level(logging.WARNING):
        assert list(fruits) == ["apple"]
    assert fruits["apple"] == "an apple"
    assert "'apple' is already registered" in caplog.text


def test_an_entry_point_may_be_a_module_that_registers_by_itself(tmp_path: Path, install: Installer) -> None:
    fruits = install("import held; held.fruits.register('pear')('a pear')", "anything = MODULE")
    (tmp_path / "held.py").write_text("fruits = None")
    import held  # type: ignore[import-not-found]

    held.fruits = fruits
    assert list(fruits) == ["apple", "pear"]


def test_a_name_is_registered_once() -> None:
    fruits = Registry[object]("fruit")
    fruits.register("apple")("an apple")
    with pytest.raises(SupernetError, match="a fruit called 'apple' is already registered"):
        fruits.register("apple")("another")


def test_the_modules_of_a_registry_are_imported_when_it_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "stall.py").write_text(
        "from supernet.registry import Registry\nfruits = Registry('fruit', modules=('orchard',))\n"
    )
    (tmp_path / "orchard.py").write_text(
        "from stall import fruits\nassert 'plum' not in fruits\nfruits.register('pear')('a pear')\n"
    )
    import stall  # type: ignore[import-not-found]

    assert "orchard" not in sys.modules
    assert "pear" in stall.fruits and "plum" not in stall.fruits


def test_a_package_starts_without_what_its_registries_hold() -> None:
    code = (
        "import sys, supernet.strategies, supernet.presets, predictors, search; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
