"""The arrows between the packages, and how light they start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
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


def module_name(path: Path) -> str:
    parts = path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts
    return ".".join(parts)


MODULES = {module_name(path): path for path in FILES}


def offered(package: str) -> dict[str, str]:
    """Which module each name that a package offers comes from (see `supernet.lazy`)."""
    for node in ast.parse((ROOT / MODULES[package]).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES":
            return dict(ast.literal_eval(node.value))
    return {}


OFFERED = {name: offered(name) for name, path in MODULES.items() if path.name == "__init__.py"}


def needs(path: Path) -> set[str]:
    """The modules of the house that a file imports, wherever in the file; what only type checkers see is left out."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                found.add(
                    inside if inside in MODULES else OFFERED.get(node.module, {}).get(alias.name, node.module)
                )
    return found & MODULES.keys() - {module_name(path)}


def test_no_module_needs_itself_by_way_of_others() -> None:
    graph = nx.DiGraph([(name, other) for name, path in MODULES.items() for other in needs(path)])
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    assert circles == []


LAYERS = ["zoo.store", "zoo.pipeline", "zoo.cli"]
ZOO = [path for path in FILES if path.parts[0] == "zoo" and len(path.parts) > 2]


def modules_imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", ZOO, ids=str)
def test_the_store_knows_no_pipeline_and_the_pipeline_no_command_line(path: Path) -> None:
    later = LAYERS[LAYERS.index(".".join(path.parts[:2])) + 1 :]
    assert not [name for name in modules_imported(path) if name.startswith(tuple(later))]


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[:2] != ("zoo", "cli")], ids=str)
def test_only_the_command_line_talks_to_a_terminal(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not imported(path) & {"rich", "typer"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_package_knows_only_those_before_it(path: Path) -> None:
    later = PACKAGES[PACKAGES.index(path.parts[0]) + 1 :]
    assert not imported(path) & {*later, "tests", "benchmarks"}


def test_the_command_starts_without_the_heavy_libraries() -> None:
    heavy = ["torch", "timm", "sklearn", "pymoo", "onnxruntime", "matplotlib"]
    code = f"import sys, zoo.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
