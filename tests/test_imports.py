"""The arrows between the packages, and how light they start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ["supernet", "hardware", "predictors", "search", "zoo"]
ROOT = Path(__file__).parent.parent
FILES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_package_knows_only_those_before_it(path: Path) -> None:
    later = PACKAGES[PACKAGES.index(path.parts[0]) + 1 :]
    assert not imported(path) & {*later, "tests", "benchmarks"}


def test_the_command_starts_without_the_heavy_libraries() -> None:
    heavy = ["torch", "timm", "sklearn", "pymoo", "onnxruntime", "matplotlib"]
    code = f"import sys, zoo.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
