"""What a network promises to whoever calls it, among all that it returns.

Models of `transformers` return their state beside their answer: the cache for the next token, hidden
states, attention maps. A narrower network has a narrower state, and nobody is misled by that; so only
the answer is held to its shape and compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

STATE = frozenset(
    """
    past_key_values mems hidden_states attentions cross_attentions global_attentions router_logits
    encoder_last_hidden_state encoder_hidden_states encoder_attentions
    decoder_hidden_states decoder_attentions
    text_model_output vision_model_output vision_hidden_states image_hidden_states
    """.split()  # noqa: SIM905
)
"""Names under which `transformers` returns what is on the way to the answer."""


def answers(outputs: Any) -> list[Tensor]:
    """The tensors of an answer, in order; all that was returned when nothing but state was."""
    return list(_tensors(outputs)) or [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Mapping):
        for name, value in outputs.items():
            if name not in STATE:
                yield from _tensors(value)
    elif isinstance(outputs, tuple | list):
        for value in outputs:
            yield from _tensors(value)
    else:
        yield from (leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))
