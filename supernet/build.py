"""From the options of a run to a supernet: a preset by name, or any timm model made elastic."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import torch

from supernet.config import decode
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError, did_you_mean
from supernet.options import SupernetOptions
from supernet.presets import Preset, presets
from supernet.seeds import derive


def build(
    options: SupernetOptions, *, classes: int, channels: int = 3, resolution: int = 224, seed: int = 0
) -> Supernet:
    """The supernet that the options describe, with fresh weights (or timm's own, ``pretrained = true``).

    Args:
        options: ``model`` is a preset or a timm model; ``options`` are the fields of the preset, or the
            arguments of `elasticise` and of ``timm.create_model``.
        classes: of the classifier.
        channels: of the images.
        resolution: side of the images in pixels.
        seed: of the initial weights.

    Raises:
        SupernetError: when no preset and no timm model has that name.
        ConfigError: for an option the preset does not have.
        ConversionError: when the timm model cannot be made elastic as asked.
    """
    if options.model in presets:
        kind = presets[options.model]
        own = {"classes": classes, "channels": channels, "resolution": resolution, "seed": seed}
        known = {option.name for option in fields(kind)}  # type: ignore[arg-type]
        given: dict[str, Any] = {key: value for key, value in own.items() if key in known}
        preset: Preset = decode(given | options.options, cast(type[Any], kind), "supernet.options")
        return preset.supernet()
    return _from_timm(options, classes, channels, resolution, seed)


def _from_timm(options: SupernetOptions, classes: int, channels: int, resolution: int, seed: int) -> Supernet:
    import timm

    if not timm.is_model(options.model.partition(".")[0]):
        known = [*presets, *timm.list_models()]
        hint = did_you_mean(options.model, known).partition(" (")[0]
        raise SupernetError(
            f"no preset and no timm model is called {options.model!r}{hint}; "
            f"the presets are {', '.join(presets)}, and timm.list_models() names {len(known) - len(presets)} more"
        )
    from supernet.elastic.elasticise import elasticise

    own: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "weights"))
        return elasticise(options.model, (1, channels, resolution, resolution), **own | options.options)
