"""Weights that a preset's authors published, by the names they gave them, into networks of ours.

Of some spaces the supernet was published, of some the networks that were searched in it and trained
again alone, of some nothing; `load_reference` and `load_searched` say which when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from supernet.elastic.supernet import Supernet
from supernet.errors import WeightsError, did_you_mean
from supernet.presets.preset import Preset, presets
from supernet.space import Architecture

State = Mapping[str, Any]
"""Tensors by name, or a checkpoint that keeps them under ``state_dict`` or ``model``."""


class Loadable(Preset, Protocol):
    """A preset that takes the weights of its reference's supernet."""

    def rename(self, name: str) -> str | None:
        """What a tensor of the reference's ``state_dict`` is called here; None when it has no use here."""


class Searched(Preset, Protocol):
    """A preset that takes the weights of networks that were searched in it and trained alone."""

    def rename_searched(self, name: str, arch: Architecture) -> str | None:
        """What a tensor of such a network is called in our cut-out one; None when it has no use there."""


def load_reference(preset: Preset, supernet: Supernet, state: State) -> None:
    """Copy the weights of the reference's supernet into ours.

    Args:
        state: tensors by the reference's own names, all of them, or the checkpoint that holds them.

    Raises:
        WeightsError: for a surplus or missing name, or a shape that differs (nothing is copied then);
            or when no weights of this supernet were published.
    """
    rename = getattr(preset, "rename", None)
    if rename is None:
        raise WeightsError(_unpublished(preset, "supernet", "rename"))
    _fill(supernet.largest, state, rename)


def load_searched(preset: Preset, config: Mapping[str, Any], state: State) -> nn.Module:
    """A network that the authors searched and trained alone: a plain module, in evaluation mode.

    Args:
        config: the dictionary that describes it, as `Preset.from_reference` takes it.
        state: its tensors by the reference's own names, or the checkpoint that holds them.

    Raises:
        ArchitectureError: when the dictionary describes nothing of this space.
        WeightsError: as for `load_reference`.
    """
    rename = getattr(preset, "rename_searched", None)
    if rename is None:
        raise WeightsError(_unpublished(preset, "searched network", "rename_searched"))
    arch = preset.from_reference(config)
    subnet = preset.supernet().extract(arch).eval()
    _fill(subnet, state, lambda name: rename(name, arch))
    return subnet


@torch.no_grad()
def _fill(network: nn.Module, state: State, rename: Callable[[str], str | None]) -> None:
    stored = network.state_dict()
    found: dict[str, Tensor] = {}
    for name, value in _tensors(state).items():
        # Networks that were trained on several devices are saved inside a wrapper.
        ours = rename(name.removeprefix("module."))
        if ours is None:
            continue
        if ours not in stored:
            raise WeightsError(
                f"the reference tensor {name!r} would be {ours!r} here{did_you_mean(ours, stored)}"
            )
        if value.shape != stored[ours].shape:
            raise WeightsError(
                f"the reference tensor {name!r} has shape {tuple(value.shape)}, {ours!r} has "
                f"{tuple(stored[ours].shape)}; were the preset's options those of the weights?"
            )
        found[ours] = value
    # Counters of batches are younger than some of the files, and nothing here reads them.
    missing = [name for name in stored if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"no reference tensor fills {missing[0]!r} ({len(missing)} of {len(stored)} are missing)"
        )
    for name, value in found.items():
        stored[name].copy_(value)


def _tensors(state: State) -> Mapping[str, Tensor]:
    inside = (state.get(key) for key in ("state_dict", "model"))
    return next((tensors for tensors in inside if isinstance(tensors, Mapping)), state)


def _unpublished(preset: Preset, what: str, method: str) -> str:
    name = next((name for name in presets if presets[name] is type(preset)), type(preset).__name__)
    instead = getattr(preset, "instead", "")
    known = ", ".join(name for name in presets if hasattr(presets[name], method))
    return f"no weights of a {what} of {name!r} were published{instead and f'; {instead}'} (there are some of: {known})"
