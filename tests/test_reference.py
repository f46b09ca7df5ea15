"""What the packages say about themselves: names offered, modules listed, everything public explained."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ["supernet", "hardware", "predictors", "search", "zoo"]
FILES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PAGES = [path for path in FILES if path.name == "__init__.py"]


def dotted(path: Path) -> str:
    return ".".join(path.parent.parts)


@pytest.mark.parametrize("path", PAGES, ids=dotted)
def test_dir_shows_what_a_package_offers_and_all_of_it_can_be_had(path: Path) -> None:
    package = importlib.import_module(dotted(path))
    offered = set(getattr(package, "__all__", ()))
    assert offered <= set(dir(package))
    for name in offered:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        package.nothing_of_this_name  # noqa: B018


def test_dir_of_a_package_shows_the_api_before_anything_was_used() -> None:
    code = "import supernet; print(*(name for name in dir(supernet) if not name.startswith('_')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    import supernet

    assert set(done.stdout.split()) == set(supernet.__all__)


@pytest.mark.parametrize("path", PAGES, ids=dotted)
def test_the_page_of_a_package_names_each_of_its_modules(path: Path) -> None:
    page = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    inside = (ROOT / path).parent
    modules = {file.stem for file in inside.glob("*.py")} - {"__init__", "__main__"}
    modules |= {folder.parent.name for folder in inside.glob("*/__init__.py")}
    prefix = f"{dotted(path)}." if path.parent == Path("zoo") else ""
    assert not {name for name in modules if f"`{prefix}{name}`" not in page}
    listed = re.findall(r"^- `([\w.]+)`:", page, re.MULTILINE)
    assert not set(listed) - modules


@pytest.mark.parametrize("path", FILES, ids=str)
def test_everything_public_is_explained(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    found = [node for node in ast.walk(tree) if isinstance(node, kinds) and not node.name.startswith("_")]
    assert not [f"{path}:{node.lineno} {node.name}" for node in found if not ast.get_docstring(node)]


@pytest.mark.slow
def test_the_reference_is_built_from_the_docstrings(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="pip install 'supernet[docs]'")
    words = [sys.executable, "docs/reference.py", str(tmp_path)]
    subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )
    page = (tmp_path / "supernet" / "elastic" / "supernet.html").read_text(encoding="utf-8")
    assert "One set of shared weights that holds every network of a space" in page
    for path in FILES:
        module = dotted(path) if path.name == "__init__.py" else ".".join(path.with_suffix("").parts)
        if path.name != "__main__.py":
            assert (tmp_path / f"{module.replace('.', '/')}.html").exists(), module
