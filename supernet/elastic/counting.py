"""Which calls multiply, and how often: a call that nobody declared is an unknown, never a zero.

One multiply-add is one MAC, as in `torch.utils.flop_counter` (which counts two FLOPs for it): those of
convolutions, of products of matrices and vectors, and of attention. Work entry by entry, sums, norms,
pooling, interpolation and look-ups count nothing, by declaration.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from supernet.elastic.groups import Axis, fixed
from supernet.elastic.walk import Walk, op_name

Macs = tuple[tuple[Axis, ...], ...]

NO_MACS = frozenset(
    """
    view view_as reshape reshape_as _unsafe_view _reshape_alias flatten unflatten squeeze unsqueeze expand
    expand_as broadcast_to permute transpose swapaxes swapdims movedim moveaxis t numpy_T matrix_H mT mH adjoint
    ravel select slice narrow split split_with_sizes unsafe_split unsafe_split_with_sizes tensor_split chunk
    unsafe_chunk hsplit vsplit dsplit unbind alias detach cat concat concatenate stack hstack vstack
    dstack column_stack block_diag repeat tile repeat_interleave flip fliplr flipud rot90 roll unfold unfold_copy
    as_strided diagonal diag diag_embed diagonal_scatter tril triu meshgrid cartesian_prod view_as_real
    view_as_complex real imag
    index index_select index_put _unsafe_index _unsafe_index_put index_add index_copy index_fill gather
    take take_along_dim scatter scatter_add scatter_reduce select_scatter slice_scatter slice_inverse
    masked_select masked_scatter masked_fill nonzero nonzero_static argwhere embedding embedding_bag
    _embedding_bag one_hot im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
    clone contiguous to _to_copy type_as lift_fresh lift_fresh_copy copy pin_memory to_dense
    zeros ones empty full arange linspace logspace eye scalar_tensor rand randn randint randperm normal
    zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty
    new_full tril_indices triu_indices empty_strided new_empty_strided empty_permuted hann_window hamming_window
    bernoulli multinomial
    dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout rrelu
    hardswish log_sigmoid floor_divide __and__ __or__ __xor__ __iand__ __ior__ __ixor__ special_erf special_expit
    absolute negative multiply divide subtract true_divide fix arctan2 greater greater_equal less less_equal
    not_equal logical_not fill zero polar complex prelu where glu
    softmax _softmax _safe_softmax log_softmax _log_softmax  softplus celu selu
    mean sum prod amax amin aminmax max min any all argmax argmin var std var_mean std_mean logsumexp norm
    linalg_vector_norm frobenius_norm nuclear_norm median nanmedian nanmean nansum mode quantile count_nonzero
    cumsum cumprod cummax cummin logcumsumexp diff trapezoid sort argsort msort topk kthvalue  _unique2
    unique_consecutive unique_dim searchsorted bucketize histc bincount isin
    batch_norm native_batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit
    _batch_norm_impl_index instance_norm layer_norm native_layer_norm rms_norm _fused_rms_norm group_norm
    native_group_norm  renorm pairwise_distance cosine_similarity
    avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
    max_pool2d_with_indices max_pool3d_with_indices max_unpool2d max_unpool3d  
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d
    upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    grid_sampler grid_sampler_2d grid_sampler_3d affine_grid_generator
    pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d _pad_circular
    outer ger addr cross linalg_cross
    fake_quantize_per_tensor_affine fake_quantize_per_channel_affine quantize_per_tensor dequantize
    mse_loss l1_loss smooth_l1_loss huber_loss cross_entropy_loss nll_loss nll_loss_nd nll_loss2d
    binary_cross_entropy binary_cross_entropy_with_logits kl_div
    getitem item _local_scalar_dense is_nonzero sym_size sym_numel sym_stride size numel
    _assert_tensor_metadata _assert_scalar _assert_async sym_constrain_range sym_constrain_range_for_size
    eq equal allclose isfinite isnan isinf isreal isclose
    """.split()  # noqa: SIM905
)
"""Calls that multiply no matrices, beside those that PyTorch itself tags as entry by entry."""


def macs_of(walk: Walk, node: Node, declared: bool) -> tuple[Macs, bool]:
    """The multiply-adds of a call, and whether they are known.

    What a rule says counts; then what is declared to have none; then what `torch.utils.flop_counter`
    sees in the call, which is constant because a call without a rule keeps all it reads whole.

    Args:
        declared: whether the rule of the call declares that it has none.
    """
    if node in walk.macs:
        return walk.macs[node], True
    name = op_name(node)
    form = name if name.startswith("_") else name.removesuffix("_")
    if declared or form in NO_MACS or is_pointwise(node) or not _reads_numbers(node):
        return (), True
    seen = _seen(node)
    return (((fixed(seen),),), True) if seen else ((), False)


def is_pointwise(node: Node) -> bool:
    """Whether PyTorch says that a call, or its form that is not in place, works entry by entry."""
    if torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return True
    packet = getattr(torch.ops.aten, op_name(node).removesuffix("_"), None)
    if packet is None or getattr(node.target, "namespace", "aten") != "aten":
        return False
    own = str(getattr(node.target, "_overloadname", ""))
    overload = getattr(packet, own if own in packet.overloads() else packet.overloads()[0])
    return torch.Tag.pointwise in overload.tags


def _reads_numbers(node: Node) -> bool:
    values = (source.meta.get("val") for source in node.all_input_nodes)
    return any(
        each.is_floating_point() or each.is_complex()
        for value in values
        for each in (value if isinstance(value, tuple | list) else (value,))
        if isinstance(each, Tensor)
    )


def _seen(node: Node) -> int:
    """Multiply-adds that `torch.utils.flop_counter` finds in one call, run on tensors without entries."""

    def value(read: Node) -> Any:
        """The tensors without entries that stand for a result."""
        return read.meta["val"]

    values = [source.meta.get("val") for source in node.all_input_nodes]
    modes = [each.fake_mode for each in values if isinstance(each, torch._subclasses.FakeTensor)]
    if not modes or not isinstance(node.target, torch._ops.OpOverload):
        return 0
    args, kwargs = tree_map_only(Node, value, (node.args, dict(node.kwargs)))
    try:
        with modes[0], FlopCounterMode(display=False) as counter:
            node.target(*args, **kwargs)
    except (RuntimeError, NotImplementedError, KeyError, TypeError, ValueError):
        return 0
    return int(counter.get_total_flops()) // 2
