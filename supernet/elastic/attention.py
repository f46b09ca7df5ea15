"""PyTorch's attention layer with fewer heads than its width is made of.

`torch.nn.MultiheadAttention` takes its width for the heads times their size, so it cannot run with
some of its heads. `NarrowAttention` can: same parameters, same arguments, same answers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function


class NarrowAttention(nn.MultiheadAttention):
    """Attention whose heads together may be narrower (or wider) than what they attend to.

    The class of a layer of a supernet, and of a cut-out layer that has lost some of its heads. It is
    never constructed: an `torch.nn.MultiheadAttention` is given this class. Where heads and width fit,
    it does what that one does; elsewhere that one's own code runs with `multi_head_attention_forward`
    in the place of PyTorch's function of that name.
    """

    @property
    def _qkv_same_embed_dim(self) -> bool:
        # PyTorch asks this before a whole encoder layer takes a fused path, which needs heads and width to fit.
        # The layer's own value is not read from __dict__, where the compiler of PyTorch 2.11 finds this property again.
        return self.in_proj_weight is not None and self.fits

    @property
    def fits(self) -> bool:
        """Whether heads times their size is the width."""
        inner, width = self.out_proj.weight.shape[1], self.embed_dim
        # Both ways answer alike, so this is no comparison that a check of sizes has to hear of.
        return bool(inner == width if torch.compiler.is_compiling() else int(inner) == int(width))

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """As `torch.nn.MultiheadAttention`: ``(batch, tokens, width)`` if ``batch_first``."""
        if self.fits:
            return super().forward(*args, **kwargs)
        with _Narrowing():
            return super().forward(*args, **kwargs)


class _Narrowing(TorchFunctionMode):
    """Puts the function below in the place of PyTorch's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = multi_head_attention_forward if func is F.multi_head_attention_forward else func
        return func(*args, **(kwargs or {}))


def multi_head_attention_forward(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """As the function of that name in `torch.nn.functional`, with heads of any number.

    Whoever watches PyTorch's functions sees one call of that name, as of PyTorch's.

    Raises:
        NotImplementedError: for keys and values that the layer adds itself.
        RuntimeError: for ``is_causal`` without the mask that it is a hint about.
    """
    given = tuple(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    if has_torch_function(given):
        return handle_torch_function(multi_head_attention_forward, given, *args, **kwargs)
    return _attend(*args, **kwargs)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Queries ``(tokens, batch, width)``, or without a batch; the heads are made of the projections' rows."""
    if bias_k is not None or bias_v is not None or add_zero_attn:
        raise NotImplementedError("attention that adds keys and values of its own keeps all its heads")
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal is a hint about attn_mask; give the mask too")
    weights: Any = q_proj_weight, k_proj_weight, v_proj_weight
    if in_proj_weight is not None:
        weights = in_proj_weight.chunk(3)
    biases: Any = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        _of_heads(F.linear(each, weight, bias), num_heads)
        for each, weight, bias in zip((query, key, value), weights, biases)
    )
    mask = _mask(attn_mask, key_padding_mask, q)
    dropout, shown = dropout_p if training else 0.0, None
    if need_weights:
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        shown = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
        out = shown @ v
        shown = shown.mean(1) if average_attn_weights else shown
    else:
        out = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    out = F.linear(out.permute(2, 0, 1, 3).flatten(-2), out_proj_weight, out_proj_bias)
    if query.dim() == 3:
        return out, shown
    return out.squeeze(1), None if shown is None else shown.squeeze(0)


def _of_heads(projected: Tensor, heads: int) -> Tensor:
    """``(tokens, batch, heads * size)``, or without a batch, as ``(batch, heads, tokens, size)``."""
    batched = projected if projected.dim() == 3 else projected.unsqueeze(1)
    return batched.view(*batched.shape[:2], heads, -1).permute(1, 2, 0, 3)


def _mask(attn_mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
    """What is added to the scores ``(batch, heads, queries, keys)``, of masks of numbers."""
    parts = []
    if attn_mask is not None:
        of_heads = attn_mask.dim() == 3
        parts.append(attn_mask.view(*q.shape[:2], *attn_mask.shape[1:]) if of_heads else attn_mask)
    if padding is not None:
        parts.append((padding if padding.dim() == 2 else padding.unsqueeze(0))[:, None, None])
    return sum(parts[1:], parts[0]) if parts else None


def narrowed(plain: type[nn.Module]) -> type[nn.Module]:
    """The class that stands for a module's own in a supernet: its own, but for PyTorch's attention."""
    return NarrowAttention if plain is nn.MultiheadAttention else plain
