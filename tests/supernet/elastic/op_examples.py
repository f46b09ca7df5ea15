"""For every op with a rule, a small network that runs it: what the contract of rules is checked on.

The width of the stem is never written into the op as a number: a network whose code insists on a size can not be
cut, whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

A = torch.ops.aten
Op = Callable[[Tensor], Any]


class Around(nn.Module):
    """A layer of 12 channels, the op, and a linear layer over all entries of its answer.

    Args:
        stem: what the op is given comes out of it.
        op: a function, or a module with weights of its own.
        x: one input.
    """

    def __init__(self, stem: nn.Module, op: Op, x: Tensor) -> None:
        super().__init__()
        self.stem, self.op = stem, op
        with torch.no_grad():
            self.head = nn.Linear(self.features(x).shape[1], 5)

    def features(self, x: Tensor) -> Tensor:
        """The answer of the op as ``(batch, entries)`` numbers."""
        y = self.op(self.stem(x))
        y = y if isinstance(y, Tensor) else torch.cat([part.float().flatten(1) for part in y], 1)
        return y.to(x.dtype).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class With(nn.Module):
    """An op that reads weights: called with its input and parameters of these shapes."""

    def __init__(self, op: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.op = op
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x: Tensor) -> Any:
        return self.op(x, *self.weights)


class After(nn.Module):
    """A module, and a function of what it answers."""

    def __init__(self, module: nn.Module, then: Op) -> None:
        super().__init__()
        self.module, self.then = module, then

    def forward(self, x: Tensor) -> Any:
        return self.then(self.module(x))


STEMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tokens": (lambda: nn.Linear(6, 12), (2, 4, 6)),
    "signal": (lambda: nn.Conv1d(3, 12, 3, padding=1), (2, 3, 8)),
    "maps": (lambda: nn.Conv2d(3, 12, 3, padding=1), (2, 3, 8, 8)),
    "volume": (lambda: nn.Conv3d(3, 12, 1), (2, 3, 4, 4, 4)),
}
"""What the op is given: ``(2, 4, 12)``, or channels second and then one, two or three axes."""


def attention(x: Tensor) -> Tensor:
    """Three heads of four over ``(batch, tokens, 12)``, queries, keys and values alike."""
    heads = x.unflatten(-1, (-1, 4)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads * 2, heads).transpose(1, 2).flatten(2)


def _both(op: Callable[..., Any], x: Tensor) -> Any:
    return op(x, x.abs() + 1)


TOKENS: dict[str, Callable[[], Op]] = {
    **{
        name: partial(lambda name: getattr(A, name), name)
        for name in (
            *("clone", "contiguous", "alias", "detach", "lift_fresh_copy", "hardswish", "hardsigmoid"),
            *("hardtanh", "relu6", "silu", "mish", "gelu", "log_sigmoid", "absolute", "negative"),
            *("special_erf", "special_expit", "zeros_like", "ones_like"),
        )
    },
    **{
        name: partial(lambda name: partial(_both, getattr(A, name)), name)
        for name in (
            *("multiply", "divide", "subtract", "true_divide", "floor_divide", "greater", "less"),
            *("not_equal", "maximum", "minimum", "type_as", "expand_as", "reshape_as", "view_as", "copy"),
        )
    },
    **{
        name: partial(lambda name: partial(getattr(A, name), dim=1), name)
        for name in (
            *("softmax", "log_softmax", "_safe_softmax", "cumsum", "logcumsumexp", "sort", "argsort"),
            *("mean", "sum", "amax", "amin", "var", "std", "prod", "logsumexp", "max", "min", "any", "all"),
            *("argmax", "argmin", "var_mean", "std_mean"),
        )
    },
    "_softmax": lambda: lambda x: A._softmax(x, -1, False),
    "flip": lambda: lambda x: A.flip(x, [1]),
    "roll": lambda: lambda x: A.roll(x, [1], [1]),
    "linalg_vector_norm": lambda: lambda x: A.linalg_vector_norm(x, 2, [1]),
    "norm": lambda: lambda x: A.norm(x, 2, [1]),
    "dropout": lambda: lambda x: A.dropout(x, 0.5, False),
    "feature_dropout": lambda: lambda x: A.feature_dropout(x, 0.5, False),
    "to": lambda: lambda x: A.to(x, torch.float64),
    "_to_copy": lambda: lambda x: A._to_copy(x, dtype=torch.float64),
    "__and__": lambda: lambda x: A.__and__(x > 0, x < 1),
    "__or__": lambda: lambda x: A.__or__(x > 1, x < 0),
    "where": lambda: lambda x: A.where(x > 0, x, -2 * x),
    "masked_fill": lambda: lambda x: A.masked_fill(x, x < 0, 0.5),
    "addcmul": lambda: lambda x: A.addcmul(x, x, x),
    "addcdiv": lambda: lambda x: A.addcdiv(x, x, x.abs() + 1),
    "lerp": lambda: lambda x: A.lerp(x, -x, 0.3),
    "linear": lambda: nn.Linear(12, 8),
    "layer_norm": lambda: nn.LayerNorm(12),
    "rms_norm": lambda: nn.RMSNorm(12),
    "prelu": lambda: nn.PReLU(),
    "scaled_dot_product_attention": lambda: attention,
    "matmul": lambda: lambda x: A.matmul(x, x.transpose(1, 2)),
    "bmm": lambda: lambda x: A.bmm(x.transpose(1, 2), x),
    "mm": lambda: With(lambda x, w: A.mm(x.flatten(0, 1), w).unflatten(0, (2, 4)), (12, 7)),
    "mv": lambda: With(lambda x, w: A.mv(x.flatten(0, 1), w).view(2, 4), (12,)),
    "addmv": lambda: With(lambda x, b, w: A.addmv(b, x.flatten(0, 1), w).view(2, 4), (8,), (12,)),
    "dot": lambda: With(lambda x, w: A.dot(x[0, 0], w) * x, (12,)),
    "vdot": lambda: With(lambda x, w: A.vdot(x[0, 0], w) * x, (12,)),
    "addmm": lambda: With(lambda x, b, w: A.addmm(b, x.flatten(0, 1), w).unflatten(0, (2, 4)), (7,), (12, 7)),
    "baddbmm": lambda: lambda x: A.baddbmm(x[:, :, :1], x, x.transpose(1, 2)),
    "addbmm": lambda: lambda x: A.addbmm(x[0, :, :1], x, x.transpose(1, 2)) + x.sum(-1, keepdim=True),
    "bilinear": lambda: With(lambda x, w: A.bilinear(x, x, w), (3, 12, 12)),
    "cdist": lambda: lambda x: A.cdist(x, x * 2),
    "_cdist_forward": lambda: lambda x: A._cdist_forward(x, x * 2, 2.0, None),
    "einsum": lambda: lambda x: A.einsum("btc,bsc->bts", [x, x]),
    "view": lambda: lambda x: A.view(x, [2, 2, 2, x.shape[2]]),
    "reshape": lambda: lambda x: A.reshape(x, [2, 2, 2, x.shape[2]]),
    "_unsafe_view": lambda: lambda x: A._unsafe_view(x, [2, 4 * x.shape[2]]),
    "flatten": lambda: lambda x: A.flatten(x, 1, 2),
    "unflatten": lambda: lambda x: A.unflatten(x, 1, [2, 2]),
    "permute": lambda: lambda x: A.permute(x, [0, 2, 1]),
    "glu": lambda: lambda x: A.glu(x, 2),
    "movedim": lambda: lambda x: A.movedim(x, 1, 2),
    "transpose": lambda: lambda x: A.transpose(x, 1, 2),
    "transpose_": lambda: lambda x: A.transpose_(x.clone(), 1, 2),
    "swapaxes": lambda: lambda x: A.swapaxes(x, 1, 2),
    "t": lambda: lambda x: A.t(x.flatten(0, 1)).unflatten(1, (2, 4)).transpose(0, 1),
    "numpy_T": lambda: lambda x: A.numpy_T(x).permute(2, 0, 1),
    "unsqueeze": lambda: lambda x: A.unsqueeze(x, 1),
    "squeeze": lambda: lambda x: A.squeeze(x[:, :1], 1),
    "expand": lambda: lambda x: A.expand(x[:, :1], [2, 3, x.shape[2]]),
    "broadcast_to": lambda: lambda x: A.broadcast_to(x[:, :1], [2, 3, x.shape[2]]),
    "repeat": lambda: lambda x: A.repeat(x, [1, 2, 1]),
    "tile": lambda: lambda x: A.tile(x, [1, 1, 2]),
    "repeat_interleave": lambda: lambda x: A.repeat_interleave(x, 2, 2),
    "select": lambda: lambda x: A.select(x, 1, 2),
    "unbind": lambda: lambda x: A.unbind(x, 1),
    "getitem": lambda: lambda x: x.split(3, 1)[0],
    "slice": lambda: lambda x: A.slice(x, 1, 1, 3),
    "split": lambda: lambda x: A.split(x, x.shape[2] // 2, 2),
    "split_with_sizes": lambda: lambda x: A.split_with_sizes(x, [1, 3], 1)[::-1],
    "chunk": lambda: lambda x: A.chunk(x, 3, 2),
    "tensor_split": lambda: lambda x: A.tensor_split(x, 2, 2),
    "unsafe_split": lambda: lambda x: A.unsafe_split(x, x.shape[2] // 2, 2),
    "unsafe_chunk": lambda: lambda x: A.unsafe_chunk(x, 2, 2),
    "cat": lambda: lambda x: A.cat([x, 2 * x], 2),
    "concat": lambda: lambda x: A.concat([x, 2 * x], 1),
    "concatenate": lambda: lambda x: A.concatenate([x, 2 * x], 2),
    "stack": lambda: lambda x: A.stack([x, 2 * x], 2),
    "index": lambda: lambda x: A.index(x, [None, torch.tensor([2, 0])]),
    "index_select": lambda: lambda x: A.index_select(x, 1, torch.tensor([2, 0])),
    "gather": lambda: lambda x: A.gather(x, 1, torch.zeros(2, 1, 12, dtype=torch.long)),
    "take_along_dim": lambda: lambda x: A.take_along_dim(x, torch.zeros(2, 1, 12, dtype=torch.long), 1),
    "embedding": lambda: With(lambda x, w: x + A.embedding(w, torch.tensor([0, 2, 1, 1])), (3, 12)),
    "empty_like": lambda: lambda x: 0 * torch.ops.aten.empty_like(x).nan_to_num(0, 0, 0) + x,
    "full_like": lambda: lambda x: A.full_like(x, 2.0) * x,
    "rand_like": lambda: lambda x: 0 * A.rand_like(x) + x,
    "randn_like": lambda: lambda x: 0 * A.randn_like(x) + x,
    "zeros": lambda: lambda x: x + A.zeros(x.shape[1:]),
    "ones": lambda: lambda x: x + A.ones(x.shape[1:]),
    "full": lambda: lambda x: x + A.full(x.shape[1:], 2.0),
    "new_zeros": lambda: lambda x: x + A.new_zeros(x, x.shape[1:]),
    "new_ones": lambda: lambda x: x + A.new_ones(x, x.shape[1:]),
    "new_full": lambda: lambda x: x + A.new_full(x, x.shape[1:], 2.0),
    "pad": lambda: lambda x: A.pad(x, [0, 0, 1, 1]),
    "constant_pad_nd": lambda: lambda x: A.constant_pad_nd(x, [0, 0, 1, 1]),
    "unfold": lambda: lambda x: A.unfold(x, 1, 2, 1),
    "_assert_tensor_metadata": lambda: lambda x: x.to(x.dtype),
    "lstm": lambda: After(nn.LSTM(12, 8, batch_first=True), lambda y: y[0]),
    "gru": lambda: After(nn.GRU(12, 8, batch_first=True), lambda y: y[0]),
    "rnn_tanh": lambda: After(nn.RNN(12, 8, batch_first=True), lambda y: y[0]),
    "rnn_relu": lambda: After(nn.RNN(12, 8, batch_first=True, nonlinearity="relu"), lambda y: y[0]),
    "lstm_cell": lambda: After(_First(nn.LSTMCell(12, 8)), lambda y: y[0]),
    "gru_cell": lambda: _First(nn.GRUCell(12, 8)),
    "rnn_tanh_cell": lambda: _First(nn.RNNCell(12, 8)),
    "rnn_relu_cell": lambda: _First(nn.RNNCell(12, 8, nonlinearity="relu")),
    "elsewhere": lambda: torch.ops.supernet_elsewhere.elsewhere,
}


class _First(nn.Module):
    """A module on the first token."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        return self.module(x[:, 0])


SIGNAL: dict[str, Callable[[], Op]] = {
    "conv1d": lambda: nn.Conv1d(12, 8, 3),
    "conv_transpose1d": lambda: nn.ConvTranspose1d(12, 8, 3),
    "avg_pool1d": lambda: lambda x: A.avg_pool1d(x, [2]),
    "max_pool1d": lambda: lambda x: A.max_pool1d(x, [2]),
    "adaptive_avg_pool1d": lambda: lambda x: A.adaptive_avg_pool1d(x, [2]),
    "adaptive_max_pool1d": lambda: lambda x: A.adaptive_max_pool1d(x, [2])[0],
}

MAPS: dict[str, Callable[[], Op]] = {
    "conv2d": lambda: nn.Conv2d(12, 8, 3),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(12, 8, 3, stride=2),
    "convolution": lambda: With(
        lambda x, w: A.convolution(x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1), (8, 12, 3, 3)
    ),
    "batch_norm": lambda: nn.BatchNorm2d(12),
    "instance_norm": lambda: With(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (12,), (12,)),
    "group_norm": lambda: nn.GroupNorm(3, 12),
    "avg_pool2d": lambda: lambda x: A.avg_pool2d(x, [2, 2]),
    "max_pool2d": lambda: lambda x: A.max_pool2d(x, [2, 2]),
    "max_pool2d_with_indices": lambda: lambda x: A.max_pool2d_with_indices(x, [2, 2])[0],
    "adaptive_avg_pool2d": lambda: lambda x: A.adaptive_avg_pool2d(x, [2, 2]),
    "_adaptive_avg_pool2d": lambda: lambda x: A._adaptive_avg_pool2d(x, [2, 2]),
    "adaptive_max_pool2d": lambda: lambda x: A.adaptive_max_pool2d(x, [2, 2])[0],
    "upsample_bilinear2d": lambda: lambda x: A.upsample_bilinear2d(x, [4, 4], False),
    "upsample_nearest2d": lambda: lambda x: A.upsample_nearest2d(x, [4, 4]),
    "_upsample_nearest_exact2d": lambda: lambda x: A._upsample_nearest_exact2d(x, [4, 4]),
    "upsample_bicubic2d": lambda: lambda x: A.upsample_bicubic2d(x, [4, 4], False),
    "_upsample_bicubic2d_aa": lambda: lambda x: A._upsample_bicubic2d_aa(x, [4, 4], False),
    "_upsample_bilinear2d_aa": lambda: lambda x: A._upsample_bilinear2d_aa(x, [4, 4], False),
    "reflection_pad2d": lambda: lambda x: A.reflection_pad2d(x, [1, 1, 1, 1]),
    "replication_pad2d": lambda: lambda x: A.replication_pad2d(x, [1, 1, 1, 1]),
    "pixel_shuffle": lambda: lambda x: A.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda: lambda x: A.pixel_unshuffle(x, 2),
    "im2col": lambda: lambda x: A.im2col(x, [2, 2], [1, 1], [0, 0], [2, 2]),
    "col2im": lambda: (
        lambda x: A.col2im(
            A.im2col(x, [2, 2], [1, 1], [0, 0], [2, 2]), [8, 8], [2, 2], [1, 1], [0, 0], [2, 2]
        )
    ),
}

VOLUME: dict[str, Callable[[], Op]] = {
    "conv3d": lambda: nn.Conv3d(12, 8, 3),
    "conv_transpose3d": lambda: nn.ConvTranspose3d(12, 8, 2),
}

EXAMPLES: dict[str, tuple[str, Callable[[], Op]]] = {
    name: (kind, make)
    for kind, table in {"tokens": TOKENS, "signal": SIGNAL, "maps": MAPS, "volume": VOLUME}.items()
    for name, make in table.items()
}
"""Name of an op to what it is shown (see `STEMS`) and a maker of the op."""

SILENT = {
    "_assert_scalar": "says something about a number and makes no tensor",
    "_assert_async": "says something about a tensor and makes none",
    "sym_constrain_range_for_size": "says something about a number and makes no tensor",
}
"""Ops that take part in no computation, and have no example."""


def example(name: str) -> tuple[nn.Module, Tensor]:
    """A network that runs the op of that name, in evaluation mode, and an input of it."""
    kind, make = EXAMPLES[name]
    stem, shape = STEMS[kind]
    torch.manual_seed(0)
    x = torch.randn(shape)
    return Around(stem(), make(), x).eval(), x
