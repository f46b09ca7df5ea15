"""The list of everything that can be set is complete, and every line of it means something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from supernet.config import decode, override, to_plain
from supernet.errors import ConfigError
from supernet.presets import presets
from supernet.settings import Setting, meanings_of
from supernet.strategies import strategies
from zoo.pipeline.options import RunOptions
from zoo.pipeline.settings import MODEL, STRATEGY, find_settings, named_settings, names_for, run_settings


def leaves(options: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in an object made of dataclasses, with its dotted path."""
    for field in fields(options):
        path, value = f"{where}{field.name}", getattr(options, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def test_every_option_of_a_run_is_listed_with_its_default() -> None:
    defaults = dict(leaves(RunOptions()))
    assert [setting.key for setting in run_settings()] == list(defaults)
    for setting in run_settings():
        if setting.default != "none" and not isinstance(defaults[setting.key], dict):
            document = override(to_plain(RunOptions()), [f"{setting.key}={setting.default}"])
            assert decode(document, RunOptions) == RunOptions(), setting.key


@pytest.mark.parametrize("setting", [*run_settings(), *named_settings()], ids=lambda s: f"{s.of}:{s.key}")
def test_every_option_says_what_it_accepts_and_means(setting: Setting) -> None:
    assert setting.accepts
    assert setting.meaning.endswith((".", ")")) or len(setting.meaning.split()) > 1


def test_the_options_of_every_strategy_and_preset_are_listed() -> None:
    listed = {(setting.of, setting.key) for setting in named_settings()}
    for registry, section in ((strategies, STRATEGY), (presets, MODEL)):
        for name in registry:
            own = {(name, f"{section}.{field.name}") for field in fields(registry[name]) if field.init}  # type: ignore[arg-type]
            assert own <= listed


def test_one_option_is_listed_with_the_names_it_can_be() -> None:
    found = find_settings("train.schedule")
    assert len(found.rows) == 1 and "cosine" in found.names
    assert find_settings("train.").names == [] == names_for("train.epochs")
    assert {"sgd", "adamw"} <= set(names_for("train.optimizer"))
    assert {"mobile", "unet", "resnet18"} <= set(names_for("supernet.model"))
    for key in ("data.source", "train.device", "device.runtime", "predict.predictor", "search.searcher"):
        assert dict(leaves(RunOptions()))[key] in names_for(key)


def test_an_option_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"begins with 'train.epoks'; did you mean 'train.epochs'"):
        find_settings("train.epoks")


class _Parent:
    """Something.

    Args:
        a: what it is; the words
            may go on.
        b: another.

    Raises:
        ValueError: no argument.
    """


class _Child(_Parent):
    """Something else.

    Args:
        b: its own ``words``.
    """


def test_a_meaning_is_read_off_the_docstring_and_inherited() -> None:
    assert meanings_of(_Child) == {"a": "what it is; the words may go on.", "b": "its own words."}
