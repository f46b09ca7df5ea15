"""The weight-sharing engine: spaces, elastic networks, training. It knows torch and timm, and no device.

The idea: an architecture is a value that travels as an argument, `Supernet` holds one set of weights for all of
them, and the subnet one runs is the subnet one cuts out. ``net = elasticise(model, example)`` makes a supernet of
a network, ``net.report()`` says what became elastic, ``net.space`` holds the architectures, ``net(x, arch)`` runs
one, ``net.extract(arch)`` cuts it out.

The parts, in the order one would read them. What an architecture is:

- `space`: choices, architectures, and the space that holds them
- `encoding`: architectures as numbers a model can learn from
- `graph`: an architecture as a graph, drawn and compared
- `stages`: an architecture stage by stage
- `precision`: every stage in float or in eight bits, as one more choice

The networks:

- `elastic`: the engine: largest network, plan, subnets, costs, conversion; its own page lists its parts
- `memory`: execution modes: what a network keeps of its forward pass, and what it computes again
- `reversible`: networks that can be run backwards, so that training need not keep their activations
- `presets`: the published supernets, each a page
- `networks`: small plain networks for tasks that timm has none for
- `build`: from the options of a run to a supernet
- `weights`: weights from a file, fitted to a network or refused

Learning and judging:

- `tasks`: what goes in, what is learnt, how good an answer is; a task and its data are one file
- `sources`: where data come from
- `data`: images to train, to search and to test on: three splits that share no image
- `image_sources`: images that other libraries bring
- `image_folder`: images in class folders
- `images`: images in files, decoded when they are needed
- `torch_dataset`: any dataset of PyTorch's kind
- `augmentation`: what happens to training images, as a function of seed, step and image
- `ahead`: batches made before they are needed
- `preprocessing`: how an image becomes an input, as one value for training and for whoever pulls a network
- `strategies`: which subnets learn what in a step
- `losses`: how far answers are from targets, or a teacher's
- `teaching`: what a lesson learns from beside the targets
- `trainer`: data, lessons, loss, step
- `differentiable`: logits per choice that learn beside the weights: DARTS and what came of it
- `lessons`: what the lessons of a step do
- `budget`: the modes in which they make do with a number of bytes
- `splitting`: a supernet in parts, with weights of their own for values that disagree
- `features`: what a network computes on its way to an answer
- `healing`: block by block, what was cut learns to do what the whole one does
- `ordering`: important units first, before the first step
- `heads`: a pretrained network becomes acquainted with other data, for a moment
- `partial_channels`: a few input channels of each layer learn: a light way to adapt
- `stepping`: from losses to moved weights
- `ranks`: the processes that train together
- `recipe`: optimiser, schedule and device
- `probing`: what a subnet is worth on a batch, without anything moving
- `guard`: a training that blows up goes back
- `record`: what a training saw
- `curves`: curves and pictures for TensorBoard
- `sight`: speed, memory, gradients, and what a few subnets become through a training
- `checkpoint`: the state of a training in one file
- `same_training`: whether a checkpoint is of the training that is to go on
- `calibrate`: batch-norm statistics of one subnet, as data
- `evaluate`: how good a subnet's answers are
- `sensitivity`: what each kind of cut costs
- `offering`: what of a pretrained network is worth making elastic

What everything leans on:

- `options`: what a run can be told
- `config`: a TOML file is a picture of the options, read strictly
- `settings`: what can be set, read off the code
- `registry`: named things of one kind, from this package or a plug-in
- `seeds`: randomness that arrives as an argument
- `files`: files that are whole or absent
- `lines`: files that grow by a line at a time
- `lock`: one process at a time
- `home`: where the user's own things lie
- `versions`: which version of a format is read
- `errors`: the errors a user can cause
- `plain`: text from outside, as it can be shown
- `wording`: how numbers are said
- `drawing`: the look that all figures share
- `lazy`: why ``import supernet`` is quick
- `kernel_cache`: room for the kernels of many shapes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.kernel_cache import make_room
from supernet.lazy import offers

make_room()

if TYPE_CHECKING:
    from supernet.elastic.elasticise import elasticise as elasticise
    from supernet.elastic.supernet import Supernet as Supernet
    from supernet.errors import SupernetError as SupernetError
    from supernet.evaluate import Evaluator as Evaluator
    from supernet.options import (
        DataOptions as DataOptions,
        SupernetOptions as SupernetOptions,
        TrainOptions as TrainOptions,
    )
    from supernet.sources import load_data as load_data
    from supernet.space import Architecture as Architecture, Choice as Choice, SearchSpace as SearchSpace
    from supernet.torch_dataset import from_dataset as from_dataset
    from supernet.trainer import Trainer as Trainer

_MODULES = {
    "elasticise": "supernet.elastic.elasticise",
    "Supernet": "supernet.elastic.supernet",
    "SearchSpace": "supernet.space",
    "Choice": "supernet.space",
    "Architecture": "supernet.space",
    "load_data": "supernet.sources",
    "from_dataset": "supernet.torch_dataset",
    "Trainer": "supernet.trainer",
    "Evaluator": "supernet.evaluate",
    "DataOptions": "supernet.options",
    "SupernetOptions": "supernet.options",
    "TrainOptions": "supernet.options",
    "SupernetError": "supernet.errors",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
