"""From the options of a run to a supernet: a preset, a network of our own or any timm model, for a task."""

from __future__ import annotations

import inspect
import logging
from dataclasses import fields, replace
from math import ceil
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from supernet.config import decode, to_plain
from supernet.elastic.elasticise import elasticise
from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, SupernetError, did_you_mean
from supernet.networks import made, networks
from supernet.options import Crop, DataOptions, SupernetOptions
from supernet.presets import Preset, presets
from supernet.seeds import derive
from supernet.tasks.task import Task, main_tensor
from supernet.weights import Fitted, clear, head_of, load_weights, sha256_of

log = logging.getLogger(__name__)

ANY_SIZE = frozenset({"resolution", "length"})
"""What a network need not be told of its task: many take inputs of any size."""


def build(options: SupernetOptions, task: Task, *, seed: int = 0) -> Supernet:
    """The supernet that the options describe, with fresh weights, those of a file, or timm's own.

    Which weights it began with is part of its origin, under ``weights``.

    Args:
        options: ``model`` is a preset, a network of `supernet.networks`, a timm model, or ``supernet:FOLDER`` for
            one that was saved; ``options`` are the fields of the preset, or the arguments of the network and of
            `elasticise`; ``weights`` a file.
        task: says what the network has to fit, and how it is called.
        seed: of the initial weights.

    Raises:
        SupernetError: when nothing has that name, or what has it is for another task.
        ConfigError: for an option that is not there, or images too small for the network.
        ConversionError: when the network cannot be made elastic as asked.
        WeightsError: when the file is missing or damaged, or its tensors do not fit.
        StateError: when no supernet lies in the folder.
    """
    if options.saved is not None:
        return _continued(Path(options.saved), options, task)
    if options.model in presets:
        supernet = _preset(options, task, seed)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "weights"))
            made = _from_network if options.model in networks else _from_timm
            supernet = made(options, task)
    _check_side(supernet, options.model, task)
    _begin_with(supernet, options, task)
    return supernet


def data_for(data: DataOptions, supernet: SupernetOptions) -> DataOptions:
    """The options of the data, with what they leave open of how images are shown taken from the model.

    A timm model that begins with weights expects the mean, deviation, filter and crop it was trained with. The
    answer is for `load_data`.

    Raises:
        ConfigError: when the model is asked for by ``preprocess`` and timm does not know how it was trained.
    """
    if data.preprocess == "data" or (data.preprocess == "auto" and not supernet.is_pretrained):
        return data
    trained = _trained_with(supernet.model)
    if trained is None:
        if data.preprocess == "auto":
            return data
        raise ConfigError(
            f"data.preprocess is 'model', and timm does not say how {supernet.model!r} was trained; "
            f"choose 'data', or set data.mean, data.std, data.interpolation and data.crop_share"
        )
    if data.crop is None and trained["crop"] not in get_args(Crop):
        raise ConfigError(
            f"{supernet.model!r} was trained with the crop {trained['crop']!r}; "
            f"set data.crop to one of {', '.join(get_args(Crop))}"
        )
    left = {name: value for name, value in trained.items() if getattr(data, name) is None}
    return replace(data, preprocess="data", **left)


def _trained_with(model: str) -> dict[str, Any] | None:
    """How timm says the images of a model are shown, by our options; None where it says nothing."""
    if model in presets or model in networks:
        return None
    import timm

    try:
        known = timm.get_pretrained_cfg(model)
    except RuntimeError:  # a tag that timm does not have; building the model will say so
        return None
    if known is None:
        return None
    return {
        "mean": tuple(known.mean),
        "std": tuple(known.std),
        "interpolation": known.interpolation,
        "crop": {"center": "centre"}.get(known.crop_mode, known.crop_mode),
        "crop_share": known.crop_pct,
    }


def _begin_with(supernet: Supernet, options: SupernetOptions, task: Task) -> None:
    """Load the weights that were asked for, and note which they are."""
    began: dict[str, Any] = {}
    if options.options.get("pretrained"):
        began = {"timm": options.model, "fresh": _made_anew(supernet.largest)}
    if options.weights is not None:
        fitted = load_weights(
            supernet.largest,
            options.weights,
            by=options.weights_by,
            channels=task.network.get("channels"),
            leave=supernet.plan.matrices,
            model=options.model,
        )
        log.info("began with %s", fitted)
        began = to_plain(fitted)
    if began:
        clear(supernet.largest, began["fresh"])
        supernet.origin = {**(supernet.origin or {}), "weights": began}


def _made_anew(network: nn.Module) -> list[str]:
    """Tensors of the head of a pretrained timm model, when it was pretrained on another number of classes."""
    theirs = getattr(network, "pretrained_cfg", {}).get("num_classes")
    return [] if theirs == getattr(network, "num_classes", theirs) else sorted(head_of(network))


def _continued(folder: Path, options: SupernetOptions, task: Task) -> Supernet:
    """A supernet that was saved, with its weights and in its order, when it answers what the task asks."""
    supernet = Supernet.load(folder)
    largest = supernet.space.largest()
    example = task.example_inputs(supernet.input_values(largest))
    asked = ", ".join(f"{name} {size}" for name, size in task.network.items())
    try:
        with torch.inference_mode():
            answer = main_tensor(example.call(supernet.subnet(largest)))
    except (RuntimeError, IndexError) as error:
        raise SupernetError(
            f"the supernet in {folder} does not run on {task.name} with {asked}: {error}"
        ) from error
    classes = task.network.get("classes", answer.shape[1])
    if answer.shape[1] != classes:
        raise SupernetError(
            f"the supernet in {folder} answers with {answer.shape[1]} classes, the data have {classes}; "
            f"train it on data of the same classes"
        )
    began = Fitted(WEIGHTS, sha256_of(folder / WEIGHTS), "name", len(supernet.state_dict()))
    supernet.origin = {**(supernet.origin or {}), "weights": to_plain(began), "continued": True}
    return supernet


def _preset(options: SupernetOptions, task: Task, seed: int) -> Supernet:
    _classifies(options.model, task)
    kind = presets[options.model]
    own = {**task.network, "seed": seed}
    known = {option.name for option in fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {key: value for key, value in own.items() if key in known}
    preset: Preset = decode(given | options.options, cast(type[Any], kind), "supernet.options")
    return preset.supernet()


def _from_network(options: SupernetOptions, task: Task) -> Supernet:
    kind = networks[options.model]
    known = inspect.signature(kind).parameters
    own = {key: value for key, value in task.network.items() if key in known}
    surplus = sorted(task.network.keys() - own.keys() - ANY_SIZE)
    if surplus:
        raise SupernetError(f"the network {options.model!r} knows no {surplus[0]}, which {task.name} needs")
    conversion = inspect.signature(elasticise).parameters
    for name in options.options:
        if name not in known and name not in conversion:
            raise ConfigError(f"supernet.options has no {name!r}{did_you_mean(name, {*known, *conversion})}")
    arguments = own | {key: value for key, value in options.options.items() if key in known}
    rest: dict[str, Any] = {key: value for key, value in options.options.items() if key not in known}
    supernet = elasticise(made(kind, arguments), task.example_inputs(), **rest)
    supernet.origin = {"network": options.model, "kwargs": arguments}
    return supernet


def _from_timm(options: SupernetOptions, task: Task) -> Supernet:
    import timm

    if not timm.is_model(options.model.partition(".")[0]):
        known = [*presets, *networks, *timm.list_models()]
        hint = did_you_mean(options.model, known).partition(" (")[0]
        raise SupernetError(
            f"no preset, network or timm model is called {options.model!r}{hint}; the presets are "
            f"{', '.join(presets)}, the networks {', '.join(networks)}; these and timm's "
            f"{len(timm.list_models()):,}: supernet settings supernet.model"
        )
    _classifies(options.model, task)
    own: dict[str, Any] = {"num_classes": task.network["classes"], "in_chans": task.network["channels"]}
    return elasticise(options.model, task.example_inputs().with_batch(1), **own | options.options)


def _classifies(model: str, task: Task) -> None:
    """Refuse to train for one task what answers another."""
    if task.name != "image-classification":
        raise SupernetError(
            f"{model!r} classifies images, the data are for {task.name}; "
            f"the networks for other tasks are {', '.join(networks)}"
        )


def _check_side(supernet: Supernet, model: str, task: Task) -> None:
    """Refuse images of which the network leaves one pixel and scales that down again: it would see padding."""
    if "resolution" not in task.network:
        return
    elastic = supernet.resizes_inputs
    side = min(supernet.space["resolution"].values) if elastic else task.network["resolution"]
    needed, seen = _needed_side(supernet, task, int(side)), int(side)
    if needed <= seen:
        return
    while needed > seen:
        seen = 1 << needed.bit_length()
        needed = _needed_side(supernet, task, seen)
    option = "supernet.options.resolution" if elastic else "data.resolution"
    raise ConfigError(f"images of {side} px are too small for {model!r}; {option} can be {needed} or more")


def _needed_side(supernet: Supernet, task: Task, side: int) -> int:
    """The least side at which every layer that scales down has as many pixels as it makes one of.

    Args:
        side: of the images that are tried; when they turn out too small, the answer is too.
    """
    needed = [1]

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """How large the images have to be for one layer."""
        stride = layer.stride if isinstance(layer.stride, tuple | list) else (layer.stride,)
        if isinstance(inputs[0], Tensor) and inputs[0].dim() == 4:
            needed.append(ceil(side / min(inputs[0].shape[-2:]) * (max(stride) - 1)) + 1)

    network = supernet.subnet(supernet.space.largest()).eval()
    for layer in network.modules():
        if isinstance(getattr(layer, "stride", None), int | tuple | list):
            layer.register_forward_pre_hook(look)
    with torch.inference_mode():
        task.example_inputs({"resolution": side}).with_batch(1).call(network)
    return max(needed)
