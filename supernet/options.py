"""What a run can be told about its data, its supernet and its training: plain values, no torch.

A configuration file is a picture of these dataclasses, section by section; the defaults are written
down here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Literal, get_args

from supernet.errors import ConfigError, did_you_mean
from supernet.memory.sizes import bytes_of

Plain = bool | int | float | str | list[int | float | str]
"""What an option of a registered thing can be in a configuration file."""
WeightsBy = Literal["name", "order"]
"""How the tensors of a file find those of a network."""
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Pillow's filters."""
Crop = Literal["centre", "squash"]
"""What of an image that is no square is shown: a square around its centre, or all of it, out of proportion."""
Order = Literal["auto", "taylor", "l1", "l2", "none"]
"""By what the units of a network are sorted before it learns."""
Precision = Literal["none", "bf16", "fp16"]
"""Of autocast; none computes in that of the weights."""
Regularise = Literal["all", "largest"]
"""Which lessons have dropout and stochastic depth."""
SAVED = "supernet:"
"""Before the folder of a supernet, where a model is named."""
TEACHERS = ("largest", "none", "finetuned")
"""Teachers that need no path."""

SMALLEST_SIDE, LARGEST_SIDE = 8, 4096
"""Pixels that an image must have for a network to find anything in it, and that it can have."""


@dataclass(frozen=True)
class DataOptions:
    """Which examples, and how they are split and shown.

    Args:
        source: ``digits``, ``folder:PATH`` or ``torchvision:NAME@ROOT`` to classify; ``scattered`` digits to
            segment; ``text`` or ``text:PATH`` to model a language.
        resolution: side of the square images in pixels; None takes the data's own (digits: 24, a folder the
            median of its images, at most 224).
        channels: 1 for grey, 3 for colour; None takes the data's own, and colour where some images have it.
        search_share: share of the images kept aside for the search, where the data brings no such split.
        test_share: share kept aside as test split, where the data brings none.
        split_seed: which images those are; apart from the training's seed, so that runs compare.
        preprocess: whose mean, deviation, filter and crop images are shown with, where the options below do not
            say: ``data`` is mean and deviation of the train split, bilinear, the whole square; ``model`` is what the
            timm model was trained with; ``auto`` is model where one begins with weights, else data.
        mean: subtracted from each channel, on a scale from 0 to 1.
        std: what each channel is divided by then.
        interpolation: the filter that scales an image.
        crop: ``centre`` shows a square of an image that is none, ``squash`` all of it.
        crop_share: how much of the side of that square is shown (timm's crop_pct).
        shift: largest random shift in training, as a share of the side.
        flip: mirror training images at random; None leaves it to the source (digits no, clothes yes).
        random_crop: instead of shifting, show a random part of a training image, of an area between these shares of
            the whole, at another ratio of its sides and scaled to the side; [0.08, 1.0] is usual for large data.
        auto_augment: change training images by a policy, as timm names them: ``rand-m9-mstd0.5-inc1``,
            ``original``, ``3a``, ``augmix-m3-w3``.
        colour_jitter: change brightness, contrast and saturation of training images by up to this share.
        erasing: share of the training images of which a random part is blotted out.
        mixup: mix images of a batch, and their labels, by shares from a beta distribution with this parameter
            (arXiv:1710.09412); 0 never does.
        cutmix: likewise paste a part of one image into another (arXiv:1905.04899); with both, either by chance.
        class_weights: in the loss, not in the metrics: ``balanced`` weighs all classes of the train split alike; a
            list has one weight for every class.
        corrupt: what becomes of an image that can not be decoded: ``fail`` ends the run with its name, ``skip``
            names it and goes on without; in training the next image takes its place.
        workers: processes that decode and augment the batches of the next steps; 0 leaves it to the training's own.
            Changes nothing but speed.
        length: of the rows a language model sees, in bytes.

    Raises:
        ConfigError: for a size or share outside its range.
    """

    source: str = "digits"
    resolution: int | None = None
    channels: int | None = None
    search_share: float = 0.15
    test_share: float = 0.22
    split_seed: int = 0
    preprocess: Literal["auto", "data", "model"] = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    crop: Crop | None = None
    crop_share: float | None = None
    shift: float = 0.1
    flip: bool | None = None
    random_crop: tuple[float, float] | None = None
    auto_augment: str | None = None
    colour_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    corrupt: Literal["fail", "skip"] = "fail"
    workers: int = 0
    length: int = 128

    def __post_init__(self) -> None:
        within("length", self.length, 2)
        within("resolution", self.resolution or SMALLEST_SIDE, SMALLEST_SIDE, LARGEST_SIDE)
        within("search_share", self.search_share, 0.001, 0.9)
        within("test_share", self.test_share, 0.001, 0.9)
        within("shift", self.shift, 0.0, 0.5)
        within("crop_share", 1.0 if self.crop_share is None else self.crop_share, 0.1, 1.0)
        within("erasing", self.erasing, 0.0, 1.0)
        for name in ("colour_jitter", "mixup", "cutmix", "workers"):
            within(name, getattr(self, name), 0)
        low, high = self.random_crop or (1.0, 1.0)
        if not 0 < low <= high <= 1:
            raise ConfigError(f"random_crop is {[low, high]}; give two shares of the area, e.g. [0.08, 1.0]")
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"channels is {self.channels}; it can be 1 (grey) or 3 (colour)")
        if self.search_share + self.test_share >= 1:
            raise ConfigError(
                f"search_share {self.search_share} and test_share {self.test_share} leave nothing to "
                "train on; keep their sum below 1"
            )


def absolute(source: str) -> str:
    """A data source whose path means the same from any folder.

    What stands behind the colon is a path or ``NAME@PATH``; where nothing lies there it is left as it is.
    """
    kind, _, rest = source.partition(":")
    name, at, place = rest.partition("@")
    for before, path in ((f"{kind}:", rest), (f"{kind}:{name}{at}", place)):
        if path and Path(path).expanduser().exists():
            return before + os.path.abspath(Path(path).expanduser())  # noqa: PTH100  (resolve follows links)
    return source


def title(source: str) -> str:
    """What people call the data of a source, without where they lie: ``cats`` for ``folder:/home/me/cats``."""
    _, _, rest = source.partition(":")
    name, at, place = rest.partition("@")
    if Path(rest).is_absolute():
        return Path(rest).name
    return name if at and Path(place).is_absolute() else source


@dataclass(frozen=True)
class SupernetOptions:
    """Which largest network, and what of it is elastic.

    Args:
        model: a preset (``mobile``), the name of a timm model, or ``supernet:FOLDER``: a supernet that was saved,
            which is trained on with the weights and choices it has.
        options: what that preset, or the conversion of a timm model, can be told.
        weights: file to begin with: safetensors, or a state_dict of tensors (.pth, .pt); None begins with fresh
            weights. A head for other classes, and a stem for other channels, are made to fit.
        weights_by: ``name`` wants the names of the network's own tensors, ``order`` only their order and shapes.
        offer: ``auto`` lets a study of a pretrained timm model decide which kinds of cuts are worth offering, where
            ``options.dims`` does not say (`supernet.offering`); ``all`` offers whatever can be cut.

    Raises:
        ConfigError: for weights from two places at once.
    """

    model: str = "mobile"
    options: dict[str, Plain] = field(default_factory=dict)
    weights: str | None = None
    weights_by: WeightsBy = "name"
    offer: Literal["auto", "all"] = "auto"

    def __post_init__(self) -> None:
        if self.weights is not None and self.options.get("pretrained"):
            raise ConfigError(
                f"weights is {self.weights!r} and options.pretrained is true; leave one of them out"
            )
        if self.saved is not None and (self.weights is not None or self.options):
            raise ConfigError(
                f"model is {self.model!r}, which brings its weights and what is elastic; "
                f"leave weights and options out"
            )

    @property
    def saved(self) -> str | None:
        """The folder of a supernet that is trained on; None for a network that begins anew."""
        return self.model.removeprefix(SAVED) if self.model.startswith(SAVED) else None

    @property
    def is_pretrained(self) -> bool:
        """Whether it begins with weights of a file, or timm's own."""
        return self.weights is not None or bool(self.options.get("pretrained"))


@dataclass(frozen=True)
class TrainOptions:
    """How the shared weights are trained: a linear warm-up, then down to zero.

    Args:
        epochs: passes over the train split, in all.
        restarts: epochs after which the schedule starts anew, with a warm-up of its own (arXiv:1608.03983). A
            training that has come to its end is trained on like this: the rate was zero, and only a second
            schedule goes further (``supernet train --until``).
        batch_size: images per step, over all processes; every lesson of the step sees all of them.
        accumulate: parts that the batch of a step is dealt out in, one after the other, to save memory. Where nothing
            looks at a batch as a whole (batch norm does), the gradients are those of the whole.
        amp: autocast while networks learn: ``bf16``, or ``fp16`` with a loss scale that adapts; evaluation and what
            is exported stay in single precision.
        clip_norm: largest norm of the gradient of a step, all lessons together; 0 does not clip.
        clip_value: largest entry of it; 0 does not clip.
        ema: decay of a moving average of weights and running statistics, e.g. 0.999; evaluation, and the supernet that
            is there in the end, have the average. It warms up: the decay is at most (1 + steps) / (10 + steps). 0
            keeps none.
        execution: how lessons run: ``plain``, or ``compiled`` by torch.compile in graphs that all widths share; or a
            mode that saves memory (docs/memory.md), for the whole network or for some of its modules by path:
            ``execution={"blocks.2" = "checkpoint"}``.
        memory: most bytes that a step may hold above what is there before it, such as ``2GiB``: the fastest modes that
            fit are then found by measuring, and the weights are those of ``plain``, bit for bit (of reversible stages
            in floating point: but for rounding). Empty for no limit.
        partial_channels: share of the input channels of each linear layer and convolution that learns, drawn by the
            seed (arXiv:2503.01905): a light way to adapt pretrained weights, which keeps that share of what layers are
            given, and of what the optimiser remembers. The head, biases and norms learn whole. 0 and 1 train all.
        regularise: ``largest`` leaves dropout and stochastic depth to the lessons of the largest, where the strategy
            does not say so itself.
        optimizer: by timm's name; ``sgd`` is with Nesterov momentum.
        schedule: of the learning rate after the warm-up: ``cosine``, ``tanh``, ``poly`` or ``constant``.
        lr: learning rate at the end of the warm-up.
        warmup: share of the steps of a schedule spent warming up.
        momentum: of optimisers that have one.
        weight_decay: not applied to norms and biases.
        layer_decay: learning rate of each layer over that of the layer after it, in timm's layers; 1 has one for all.
        label_smoothing: share of the label mass spread over all classes.
        strategy: which registered strategy deals out the lessons.
        strategy_options: the fields of that strategy.
        distil_after: share of the steps of a schedule after which lessons with a teacher also learn from it; 1 is
            never.
        distil_weight: weight of the teacher's answers then, against the labels'. By default 0.5 where the teacher
            knows something (trained before, or begun from trained weights) or the strategy brings a distance of its
            own, and 0 where the largest learns from nothing beside its pupils: there it never paid
            (docs/benchmarks.md, fidelity).
        teacher: ``largest``: the lesson that the strategy names, as a rule the largest subnet of the same step;
            ``none``; or a network that was trained before and teaches every lesson, that of the largest too:
            ``finetuned`` (the largest alone, by the same recipe, on these data first), a file with the weights of
            the largest, or the folder of a supernet whose largest teaches.
        block_distil_weight: of how far the stages of a pupil are from those of its teacher, beside its other losses,
            from the first step on: heals what was cut out of pretrained weights (``largest`` and ``finetuned`` only).
        teacher_epochs: that ``finetuned`` learns; 0 for those of the first schedule.
        reorder: before the first step, sort the units of the network so that narrow subnets keep the important
            ones: ``taylor`` (by the loss on as many training examples as calibrate), ``l1`` or ``l2`` (by the
            weights' norm), ``none``; ``auto`` is taylor where weights were given, else none.
        seed: of initial weights, order, augmentation and sampled architectures.
        evaluate_every: epochs between two looks at the search split; the last epoch is always looked at.
        evaluate_examples: of the search split that are looked at then, at most.
        watched: subnets between the smallest and the largest, spread over multiply-adds, that are followed too:
            looked at about five times, and drawn at the end as ``watched.png`` beside the checkpoint.
        calibration_examples: training examples that the statistics of an evaluated subnet are taken from.
        rollbacks: how often a training that blows up goes back to the end of its last good epoch, with half the
            learning rate from there on; the next time ends it.
        checkpoint_seconds: longest time without a checkpoint; one is written after every epoch too.
        device: where to train, as torch names it: ``cpu``, or ``cuda`` for a GPU.
        threads: of PyTorch in training and evaluation. More than one helps networks larger than the small
            presets only, and costs dearly where other programs want the cores too.

    Raises:
        ConfigError: for a number outside its range.
    """

    epochs: int = 20
    restarts: tuple[int, ...] = ()
    batch_size: int = 64
    accumulate: int = 1
    amp: Precision = "none"
    clip_norm: float = 0.0
    clip_value: float = 0.0
    ema: float = 0.0
    execution: str | dict[str, str] = "plain"
    memory: str = ""
    partial_channels: float = 0.0
    regularise: Regularise = "all"
    optimizer: str = "sgd"
    schedule: str = "cosine"
    lr: float = 0.1
    warmup: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    layer_decay: float = 1.0
    label_smoothing: float = 0.1
    strategy: str = "sandwich"
    strategy_options: dict[str, Plain] = field(default_factory=dict)
    distil_after: float = 0.5
    distil_weight: float | None = None
    teacher: str = "largest"
    teacher_epochs: int = 0
    block_distil_weight: float = 0.0
    reorder: Order = "auto"
    seed: int = 0
    evaluate_every: int = 1
    evaluate_examples: int = 2000
    watched: int = 3
    calibration_examples: int = 256
    rollbacks: int = 2
    checkpoint_seconds: float = 60.0
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_size",
            "accumulate",
            "evaluate_every",
            "evaluate_examples",
            "calibration_examples",
            "threads",
        ):
            within(name, getattr(self, name), 1)
        if list(self.restarts) != sorted({*self.restarts} & {*range(1, self.epochs)}):
            raise ConfigError(
                f"restarts is {list(self.restarts)}; it can be epochs from 1 to {self.epochs - 1}, ascending"
            )
        for name in (
            "warmup",
            "momentum",
            "label_smoothing",
            "distil_after",
            "partial_channels",
        ):
            within(name, getattr(self, name), 0.0, 1.0)
        for name in (
            "lr",
            "weight_decay",
            "clip_norm",
            "clip_value",
            "checkpoint_seconds",
            "seed",
            "teacher_epochs",
            "rollbacks",
            "watched",
        ):
            within(name, getattr(self, name), 0)
        if self.distil_weight is not None:
            within("distil_weight", self.distil_weight, 0.0, 1.0)
        within("layer_decay", self.layer_decay, 0.01, 1.0)
        within("ema", self.ema, 0.0, 0.999999)
        among("amp", self.amp, get_args(Precision))
        if self.memory:
            bytes_of(self.memory)
        if self.memory and self.execution != "plain":
            raise ConfigError(
                f"memory is {self.memory!r} and execution {self.execution!r}; the bytes decide how lessons run, "
                f"so leave execution at plain, or memory empty"
            )
        among("regularise", self.regularise, get_args(Regularise))
        within("block_distil_weight", self.block_distil_weight, 0)
        if self.block_distil_weight and self.teacher not in ("largest", "finetuned"):
            raise ConfigError(
                f"block_distil_weight is {self.block_distil_weight:g} and the teacher {self.teacher!r}, whose stages "
                f"can not be compared unit by unit; choose largest or finetuned"
            )

    @property
    def stretches(self) -> tuple[int, ...]:
        """Epochs of each schedule: one, and one more for every restart."""
        ends = (0, *self.restarts, self.epochs)
        return tuple(end - start for start, end in pairwise(ends))

    def until(self, epochs: int) -> TrainOptions:
        """The same training, then a schedule anew up to some epoch; itself where it ends there already.

        Raises:
            ConfigError: when it is longer than that.
        """
        if epochs < self.epochs:
            raise ConfigError(
                f"epochs is {self.epochs}; a training can be made longer, and {epochs} is shorter"
            )
        if epochs == self.epochs:
            return self
        return replace(self, epochs=epochs, restarts=(*self.restarts, self.epochs))

    def goes_on_from(self, earlier: TrainOptions) -> bool:
        """Whether the schedules of an earlier training are the first ones of this."""
        return self.stretches[: len(earlier.stretches)] == earlier.stretches


def within(name: str, value: float, low: float, high: float | None = None) -> None:
    """Check a number of an options class; no range holds infinity.

    Raises:
        ConfigError: naming the option, its value and the range.
    """
    if not (isfinite(value) and value >= low and (high is None or value <= high)):
        bounds = f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
        raise ConfigError(f"{name} is {value:g}; it can be {bounds}")


def among(name: str, value: str, known: Sequence[str]) -> None:
    """Check a word of an options class.

    Raises:
        ConfigError: naming the option, its value, the nearest word and all of them.
    """
    if value not in known:
        raise ConfigError(f"{name} is {value!r}{did_you_mean(value, known)}")
