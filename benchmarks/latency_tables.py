"""Published tables of measured latencies as spaces of ours: genes, exact costs, columns, milliseconds.

``DIR/<space>_archs.npz`` holds the architectures; a file of latencies holds ``devices`` and ``latency_ms``
``(architectures, devices)``. Sources: NAS-Bench-201, FBNet and OFA as measured for HELP (arXiv:2106.08630) and
HW-NAS-Bench (arXiv:2103.10584); HAT (arXiv:2005.14187), whose one file holds both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_kit import LAYERS, STAGES, ofa_space
from predictors.columns import Describe
from predictors.estimate import Values
from supernet.encoding import Encoding
from supernet.space import Choice, Genes, SearchSpace

NB201_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NB201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
FBNET_OPS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
FBNET_STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
"""Layers, channels and stride of each."""
OFA_CHANNELS, OFA_STRIDES = (24, 40, 80, 112, 160), (2, 2, 2, 1, 2)


@dataclass(frozen=True)
class Networks:
    """The architectures of one table.

    Args:
        space: they are of.
        genes: one row for each ``(architectures, choices)``.
        macs: of genes.
        features: of genes; None for `Encoding.ordinal`.
        live: which have a path from input to output; the others' latency is that of hardly anything.
        adapted: how many of the first may be measured; HELP tests on the rest.
    """

    space: SearchSpace
    genes: Genes
    macs: Callable[[Genes], Values]
    features: Describe | None
    live: NDArray[np.bool_]
    adapted: int


def networks(space: str, folder: Path) -> Networks:
    """The architectures of ``nb201``, ``fbnet`` or ``ofa``."""
    with np.load(folder / f"{space}_archs.npz", allow_pickle=False) as file:
        rows = file["arch" if space == "ofa" else "ops"].astype(np.int64)
    return {"nb201": _nb201, "fbnet": _fbnet, "ofa": _ofa}[space](rows)


def latencies(path: Path) -> dict[str, Values]:
    """Milliseconds ``(architectures,)`` of every device of a file."""
    with np.load(path, allow_pickle=False) as file:
        table = file["latency_ms"].astype(np.float64)
        return {str(device): table[:, i] for i, device in enumerate(file["devices"])}


def hat(path: Path) -> dict[str, tuple[Networks, Values]]:
    """Every setting of a file of HAT: its networks, and the milliseconds of encoder and decoder together."""
    found = {}
    with np.load(path, allow_pickle=False) as file:
        for setting in file.files:
            if setting != "columns":
                rows = file[setting].astype(np.float64)
                found[setting] = _hat(rows[:, :10]), rows[:, 10] + rows[:, 11]
    return found


def made_up(folder: Path, count: int = 2500) -> Path:
    """A folder like that of the tables, with NAS-Bench-201 networks on eight devices that do not exist."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 5, (count, 6))
    table = _nb201(rows)
    columns = np.hstack([np.log(table.macs(rows))[:, None], _nb201_features(rows)[:, 60:70] / 6])
    rules = np.abs(rng.normal(size=(columns.shape[1], 3))) @ rng.uniform(size=(3, 8))
    noise = np.exp(0.02 * rng.normal(size=(count, 8)))
    np.savez(folder / "nb201_archs.npz", ops=rows)
    names = np.array([f"{family}_{batch}" for family in ("one", "two", "three", "four") for batch in (1, 32)])
    ms = np.exp(columns @ rules / 4) * noise
    np.savez(folder / "nb201_latency_dev.npz", devices=names, latency_ms=ms)
    return folder


def _nb201(rows: Genes) -> Networks:
    space = SearchSpace(tuple(Choice(f"edge.{a}.{b}", NB201_OPS) for a, b in NB201_EDGES))
    return Networks(space, rows, _nb201_macs, _nb201_features, _nb201_live(rows).any(axis=1), 900)


def _nb201_live(genes: Genes) -> NDArray[np.bool_]:
    """Which edges lie on a path from input to output ``(architectures, 6)``."""
    forward = np.zeros((len(genes), 4), dtype=np.bool_)
    backward = forward.copy()
    forward[:, 0] = backward[:, 3] = True
    for i, (start, end) in enumerate(NB201_EDGES):
        forward[:, end] |= forward[:, start] & (genes[:, i] > 0)
    for i, (start, end) in reversed(list(enumerate(NB201_EDGES))):
        backward[:, start] |= backward[:, end] & (genes[:, i] > 0)
    starts, ends = np.array(NB201_EDGES).T
    return (genes > 0) & forward[:, starts] & backward[:, ends]


def _nb201_macs(genes: Genes, used: NDArray[np.bool_] | None = None) -> Values:
    """Of the network for 32 x 32 images with three stages of five cells: all edges, as PyTorch runs them, or some."""
    cell = np.array([0, 0, 16 * 16, 9 * 16 * 16, 0]) * 32 * 32  # channels double where the image is halved
    edges = (cell[genes] * (1 if used is None else used)).sum(1)
    stem = 27 * 16 * 32 * 32
    reductions = sum((9 * c * 2 * c + 9 * 4 * c * c + 2 * c * c) * (512 // c) ** 2 for c in (16, 32)) // 4
    return np.asarray(15 * edges + stem + reductions + 640, dtype=np.float64)


def _nb201_features(genes: Genes) -> Values:
    """Operations of every edge, all and live ones, how often each, what each node adds up, and depth."""
    live = _nb201_live(genes)
    every = (genes[:, :, None] == np.arange(5)).astype(np.float64)
    used = every * live[:, :, None]
    sums = np.stack([live[:, [0]].sum(1), live[:, [1, 2]].sum(1), live[:, [3, 4, 5]].sum(1)], axis=1)
    weight = np.array([0, 0, 1, 1, 1])[genes]
    depth = np.zeros((len(genes), 4))
    for i, (start, end) in enumerate(NB201_EDGES):
        along = np.where(live[:, i], depth[:, start] + weight[:, i], 0)
        depth[:, end] = np.maximum(depth[:, end], along)
    flat = [part.reshape(len(genes), -1) for part in (every, used)]
    costs = [_nb201_macs(genes), _nb201_macs(genes, live)]
    more = np.stack([*costs, np.log(costs[1])], axis=1)
    return np.hstack([*flat, every.sum(1), used.sum(1), sums, depth[:, 3:], more])


def _fbnet(rows: Genes) -> Networks:
    space = SearchSpace(tuple(Choice(f"layers.{i}.op", FBNET_OPS) for i in range(22)))
    everything = np.ones(len(rows), dtype=np.bool_)
    return Networks(space, rows, lambda g: _fbnet_costs(g)[0].sum(1), _fbnet_features, everything, 4000)


def _fbnet_costs(genes: Genes) -> tuple[Values, Values]:
    """Multiply-adds and numbers read and written of every layer, for 32 x 32 images ``(architectures, 22)``."""
    macs, moved = np.zeros((2, 22, len(FBNET_OPS)))
    layer, before, side = 0, 16, 32
    for layers, after, first in FBNET_STAGES:
        for i in range(layers):
            stride = first if i == 0 else 1
            for op, name in enumerate(FBNET_OPS):
                macs[layer, op], moved[layer, op] = _fbnet_layer(name, before, after, side, stride)
            layer, before, side = layer + 1, after, side // stride
    places = np.arange(22)
    return macs[places, genes], moved[places, genes]


def _fbnet_layer(name: str, before: int, after: int, side: int, stride: int) -> tuple[float, float]:
    small = side // stride
    if name == "skip":
        if before == after and stride == 1:
            return 0, 0
        return before * after * small**2, before * side**2 + after * small**2
    kernel, expand, *groups = (int(part[1:]) for part in name.split("_"))
    wide, group = before * expand, groups[0] if groups else 1
    macs = before * wide * side**2 / group + kernel**2 * wide * small**2 + wide * after * small**2 / group
    return macs, (before + wide) * side**2 + (wide + after) * small**2


def _fbnet_features(genes: Genes) -> Values:
    """Operation of every layer, how often each, and what every layer and all of them cost."""
    every = (genes[:, :, None] == np.arange(len(FBNET_OPS))).astype(np.float64)
    macs, moved = _fbnet_costs(genes)
    totals = [macs.sum(1), moved.sum(1), (genes != FBNET_OPS.index("skip")).sum(1), np.log(moved.sum(1) + 1)]
    return np.hstack([every.reshape(len(genes), -1), every.sum(1), macs, np.stack(totals, axis=1)])


def _ofa(rows: Genes) -> Networks:
    resolutions = tuple(np.unique(rows[:, 45]).tolist())
    kit = ofa_space()
    space = SearchSpace((*kit.choices, Choice("resolution", resolutions)))
    names = [f"stages.{i // LAYERS}.{i % LAYERS}.kernel" for i in range(20)]
    names += [name.replace("kernel", "expand") for name in names]
    names += [f"stages.{i}.depth" for i in range(STAGES)] + ["resolution"]
    genes = np.zeros((len(rows), len(space)), dtype=np.int64)
    for column, name in enumerate(names):
        values = np.array(space[name].values)
        genes[:, space.index(name)] = np.abs(rows[:, column, None] - values).argmin(1)
    genes = space.canonical(genes)

    def features(genes: Genes) -> Values:
        """The usual columns, and what every layer costs."""
        macs, moved = _ofa_costs(space, genes)
        side = np.array(resolutions)[genes[:, space.index("resolution")]] / 224
        more = [side**2, macs.sum(1), moved.sum(1), np.log(moved.sum(1))]
        return np.hstack([Encoding(space).ordinal(genes), macs, np.stack(more, axis=1)])

    everything = np.ones(len(rows), dtype=np.bool_)
    return Networks(space, genes, lambda g: _ofa_costs(space, g)[0].sum(1), features, everything, 4000)


def _ofa_costs(space: SearchSpace, genes: Genes) -> tuple[Values, Values]:
    """Multiply-adds and numbers read and written of every layer ``(architectures, 20)``."""

    def values(name: str) -> Values:
        return np.array(space[name].values, dtype=np.float64)[genes[:, space.index(name)]]

    macs, moved = np.zeros((2, len(genes), STAGES * LAYERS))
    side, before = np.ceil(values("resolution") / 2), 16
    for stage, (after, stride) in enumerate(zip(OFA_CHANNELS, OFA_STRIDES)):
        for layer in range(LAYERS):
            small = np.ceil(side / (stride if layer == 0 else 1))
            kernel, wide = (values(f"stages.{stage}.{layer}.{kind}") for kind in ("kernel", "expand"))
            wide = wide * before
            live = values(f"stages.{stage}.depth") > layer
            column = stage * LAYERS + layer
            macs[:, column] = live * (before * wide * side**2 + (kernel**2 + after) * wide * small**2)
            moved[:, column] = live * ((before + wide) * side**2 + (wide + after) * small**2)
            side, before = small, after
    return macs, moved


def _hat(rows: Values) -> Networks:
    """Ten numbers of a transformer: for encoder and decoder width, layers, hidden width and heads, and attention."""
    names = ("encoder.width", "encoder.layers", "encoder.hidden", "encoder.heads", "decoder.width")
    names += ("decoder.layers", "decoder.hidden", "decoder.heads", "decoder.cross", "decoder.cross_layers")
    values = [np.unique(column) for column in rows.T]
    space = SearchSpace(tuple(Choice(name, tuple(v.tolist())) for name, v in zip(names, values)))
    genes = np.stack([np.searchsorted(v, column) for v, column in zip(values, rows.T)], axis=1)

    def table(genes: Genes) -> Values:
        return np.stack([v[column] for v, column in zip(values, genes.T)], axis=1)

    live = np.ones(len(rows), dtype=np.bool_)
    return Networks(
        space, genes, lambda g: _hat_costs(table(g))[1], lambda g: _hat_features(table(g)), live, 0
    )


def _hat_costs(rows: Values) -> tuple[Values, Values]:
    """Multiply-adds of a token in the encoder, and in the decoder, which runs once for every word."""
    width, layers, hidden, _, out, deep, wide, *_ = rows.T
    encoder = layers * (4 * width**2 + 2 * width * hidden)
    decoder = deep * (6 * out**2 + 2 * out * wide + 2 * out * width)
    return encoder, decoder


def _hat_features(rows: Values) -> Values:
    """The numbers, what both parts cost, and what the decoder does in each of its layers."""
    encoder, decoder = _hat_costs(rows)
    deep = rows[:, 5]
    layered = [deep * rows[:, i] for i in (4, 6, 7, 8, 9)]
    more = [encoder, decoder, *layered, deep**2, np.log(deep), np.log(encoder), np.log(decoder), deep == 1]
    return np.hstack([rows, np.stack(more, axis=1)])
