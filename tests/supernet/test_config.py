"""Configuration files are read strictly and written back whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from supernet.config import decode, override, read_toml, to_toml, without
from supernet.errors import ConfigError
from supernet.options import DataOptions, SupernetOptions, TrainOptions


@dataclass(frozen=True)
class Limits:
    latency_ms: float | None = None
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Run:
    train: TrainOptions = field(default_factory=TrainOptions)
    data: DataOptions = field(default_factory=DataOptions)
    supernet: SupernetOptions = field(default_factory=SupernetOptions)
    limits: dict[str, Limits] = field(default_factory=dict)
    more: tuple[Limits, ...] = ()
    mode: Literal["fast", "exact"] = "fast"
    folder: Path = Path("run")


def test_an_unknown_key_names_its_path_and_the_nearest_known_one(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[train]\nepoch = 3\n")
    with pytest.raises(ConfigError, match=r"run\.toml: unknown key 'train\.epoch'; did you mean 'epochs'\?"):
        read_toml(path, Run)


def test_an_unknown_key_deep_in_a_table_of_tables_is_found() -> None:
    with pytest.raises(ConfigError, match=r"'limits\.phone\.latency'; did you mean 'latency_ms'"):
        decode({"limits": {"phone": {"latency": 3}}}, Run)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"train": {"epochs": "ten"}}, r"train\.epochs is 'ten'; an integer is accepted"),
        ({"train": {"epochs": 2.5}}, r"train\.epochs is 2\.5; an integer is accepted"),
        ({"train": {"epochs": True}}, r"train\.epochs is True; an integer is accepted"),
        ({"train": 3}, r"train is 3; a table of options is accepted"),
        ({"mode": "fats"}, r"mode is 'fats'; one of 'fast', 'exact' is accepted; did you mean 'fast'\?"),
        ({"limits": {"a": {"sizes": [1, "b"]}}}, r"limits\.a\.sizes is \[1, 'b'\]; a list, each an integer"),
        ({"limits": {"a": {"latency_ms": "x"}}}, r"latency_ms is 'x'; a number or left out is accepted"),
        ({"more": [{}, {"size": 1}]}, r"unknown key 'more\[1\]\.size'; did you mean 'sizes'"),
        ({"train": {"epochs": 0}}, r"train\.epochs is 0; it can be at least 1"),
        ({"data": {"search_share": 0.5, "test_share": 0.5}}, r"data\.search_share .* sum below 1"),
        ({"data": {"channels": 2}}, r"data\.channels is 2; it can be 1 \(grey\)"),
        ({"supernet": {"options": {"depth": {"a": 1}}}}, r"supernet\.options\.depth is "),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_accepted(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(document, Run)


def test_a_missing_key_without_a_default_is_named() -> None:
    @dataclass(frozen=True)
    class Needs:
        path: str

    with pytest.raises(ConfigError, match=r"'path' is missing; a string is accepted"):
        decode({}, Needs)


def test_an_integer_serves_where_a_number_is_asked() -> None:
    assert decode({"train": {"lr": 1}}, Run).train.lr == 1.0


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    run = Run(
        train=TrainOptions(lr=1e-5, strategy_options={"between": 3, "names": ["a", 'quo"te\n']}),
        data=DataOptions(source="folder:C:\\été\x7f", resolution=32, flip=False),
        limits={"a phone": Limits(2.5, (3,)), "b": Limits(float("inf"))},
        more=(Limits(1.0), Limits(2.0)),
        folder=Path("some/where"),
    )
    path = tmp_path / "run.toml"
    path.write_text(to_toml(run), encoding="utf-8")
    assert read_toml(path, Run) == run


def test_overrides_replace_values_and_leave_the_document_alone() -> None:
    document = {"train": {"epochs": 3}, "folder": "x"}
    changed = override(
        document, ["train.lr = 0.5", "mode=exact", "supernet.options.d=[1, 2]", "train.epochs=4"]
    )
    run = decode(changed, Run)
    assert (run.train.lr, run.train.epochs, run.mode) == (0.5, 4, "exact")
    assert run.supernet.options == {"d": [1, 2]}
    assert document == {"train": {"epochs": 3}, "folder": "x"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [("epochs", "section.key=value"), ("=3", "section.key=value"), ("folder.x=3", "not a table")],
)
def test_an_override_that_sets_nothing_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override({"folder": "x"}, [assignment])


@pytest.mark.parametrize("content", [b"[train\n", b"a = \n", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.toml"):
        read_toml(path, Run)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none\.toml: No such file"):
        read_toml(tmp_path / "none.toml", Run)


def test_options_and_config_need_no_torch() -> None:
    code = "import sys, supernet.config, supernet.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_value_that_is_forgotten_is_as_by_default_and_nothing_else_changes() -> None:
    document = {"train": {"epochs": 3, "lr": 0.2}, "mode": "exact"}
    forgotten = without(document, ["train.epochs", "mode", "nowhere.at_all"])
    assert forgotten == {"train": {"lr": 0.2}}
    assert document["train"] == {"epochs": 3, "lr": 0.2}
    assert decode(forgotten, Run).train == TrainOptions(lr=0.2)
