"""The list of deliberate faults fits the code, and what is said of a fault is what its tests do."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.mutants import ROOT, Mutant, Trial, chosen, declared, tried
from supernet.errors import ConfigError, StateError, SupernetError


@pytest.mark.parametrize("name", declared())
def test_a_declared_fault_fits_the_code_once_and_leaves_python(name: str) -> None:
    mutant = declared()[name]
    compile(mutant.applied(ROOT), mutant.file, "exec")
    assert mutant.tests


def test_at_least_fifty_faults_are_spread_over_the_house() -> None:
    packages = Counter(mutant.file.partition("/")[0] for mutant in declared().values())
    assert sum(packages.values()) >= 50
    assert packages.keys() >= {"supernet", "hardware", "search", "zoo"} and min(packages.values()) >= 5


def test_a_pattern_that_fits_no_fault_is_refused() -> None:
    assert {mutant.file for mutant in chosen(declared(), "search/front.py").values()} == {"search/front.py"}
    with pytest.raises(ConfigError, match="did you mean 'never-distils'"):
        chosen(declared(), "never-distil")


SUM = Mutant("sums/sums.py", "sums are differences", "a + b", "a - b", ("tests/sums/test_sums.py",))
FAULTS = {
    "found": SUM,
    "found by the rest": Mutant("sums/sums.py", "zero is one", "ZERO = 0", "ZERO = 1", SUM.tests),
    "not found": Mutant("sums/sums.py", "one is two", "ONE = 1", "ONE = 2", SUM.tests),
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository: a sum, two constants, and tests of all but one of them."""
    # Four out of five parts of a second: what pytest takes to look for plug-ins that these tests do not need.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin")
    files = {
        "sums/sums.py": "ZERO = 0\nONE = 1\n\n\ndef add(a, b):\n    return a + b\n",
        "tests/sums/test_sums.py": "from sums.sums import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n",
        "tests/sums/test_zero.py": "from sums.sums import ZERO\n\n\ndef test_zero():\n    assert ZERO == 0\n",
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow: minutes"]\n',
    }
    for name, text in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(tmp_path / "tree")], check=True)
    return tmp_path / "tree"


def outcomes(faults: Mapping[str, Mutant], tree: Path, journal: Path | None = None) -> dict[str, Trial]:
    return {trial.name: trial for trial in tried(faults, tree, 5, journal, libraries=())}


def test_a_fault_is_caught_by_a_test_that_fails_and_survives_where_none_does(tree: Path) -> None:
    before = (tree / "sums/sums.py").read_text()
    found = outcomes(FAULTS, tree)
    assert {name: (trial.outcome, trial.by) for name, trial in found.items()} == {
        "found": ("caught", "tests/sums/test_sums.py::test_add"),
        "found by the rest": ("caught", "tests/sums/test_zero.py::test_zero"),
        "not found": ("survived", ""),
    }
    assert (tree / "sums/sums.py").read_text() == before


@pytest.mark.slow
def test_a_fault_whose_tests_never_end_is_not_caught(tree: Path) -> None:
    endless = Mutant("sums/sums.py", "it never ends", "return a", "while True: pass\n    return a", SUM.tests)
    assert outcomes({"endless": endless}, tree)["endless"].outcome == "timed_out"


def test_a_run_goes_on_with_the_faults_that_are_not_in_its_journal(tree: Path, tmp_path: Path) -> None:
    journal, sums = tmp_path / "journal", {"found": SUM}
    first = outcomes(sums, tree, journal)
    lines = journal.read_text().splitlines()
    assert outcomes(sums, tree, journal) == first and journal.read_text().splitlines() == lines
    both = outcomes({**sums, "not found": FAULTS["not found"]}, tree, journal)
    assert both["found"] == first["found"] and both["not found"].outcome == "survived"
    assert journal.read_text().splitlines()[: len(lines)] == lines
    (tree / "sums/sums.py").write_text((tree / "sums/sums.py").read_text() + "TWO = 2\n")
    with pytest.raises(StateError, match="another tree"):
        outcomes(sums, tree, journal)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            Mutant("sums/sums.py", "", "a * b", "", SUM.tests),
            "which holds it 0 times; adapt it in mutants.toml",
        ),
        (Mutant("sums/sums.py", "", "a", "", SUM.tests), "times; adapt"),
        (Mutant("sums/gone.py", "", "a", "", SUM.tests), "holds it 0 times"),
        (
            Mutant("sums/sums.py", "", "a + b", "", ("tests/gone.py",)),
            "names the test tests/gone.py, which is not",
        ),
        (
            Mutant("sums/sums.py", "", "a + b", "", (*SUM.tests, f"{SUM.tests[0]}::test_gone")),
            "::test_gone, which",
        ),
    ],
)
def test_a_fault_that_no_longer_fits_ends_the_run(fault: Mutant, message: str, tree: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        outcomes({"found": SUM, "stale": fault}, tree)


def test_a_test_that_fails_without_any_fault_ends_the_run(tree: Path) -> None:
    (tree / "tests/sums/test_zero.py").write_text("def test_zero():\n    assert False\n")
    with pytest.raises(
        SupernetError, match=r"test_zero\.py::test_zero fails or takes too long without any fault"
    ):
        outcomes({"found by the rest": FAULTS["found by the rest"]}, tree)
