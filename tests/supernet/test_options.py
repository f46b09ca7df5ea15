"""Where data lie, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from supernet.options import absolute, title


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("folder:cats", "folder:{here}/cats"),
        ("folder:./cats/../cats", "folder:{here}/cats"),
        ("folder:me@home", "folder:{here}/me@home"),
        ("torchvision:CIFAR10@cats", "torchvision:CIFAR10@{here}/cats"),
        ("text:a.txt", "text:{here}/a.txt"),
        ("folder:{here}/cats", "folder:{here}/cats"),
        ("folder:nowhere", "folder:nowhere"),
        ("digits", "digits"),
        ("text", "text"),
        ("elsewhere:60", "elsewhere:60"),
    ],
)
def test_a_path_means_the_same_from_any_folder(
    typed: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cats", "me@home"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    meant = meant.format(here=tmp_path)
    assert absolute(typed.format(here=tmp_path)) == meant
    monkeypatch.chdir("/")
    assert absolute(meant) == meant


def test_a_symbolic_link_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cats").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    assert absolute("folder:cats") == f"folder:{tmp_path}/cats"


@pytest.mark.parametrize(
    ("source", "called"),
    [
        ("digits", "digits"),
        ("folder:/home/me/cats", "cats"),
        ("folder:/home/me@work/cats", "cats"),
        ("torchvision:CIFAR10@/data", "CIFAR10"),
        ("text:/usr/lib/books", "books"),
        ("text", "text"),
        ("elsewhere:60", "elsewhere:60"),
    ],
)
def test_data_are_called_what_people_call_them(source: str, called: str) -> None:
    assert title(source) == called
