"""Small language models of `transformers`, built from configurations: nothing is downloaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers", reason="the extra [language] is not installed")


def ids(batch: int = 2, tokens: int = 7, seed: int = 0) -> torch.Tensor:
    """Random tokens ``(batch, tokens)`` of a vocabulary of 60."""
    return torch.randint(1, 60, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def masked() -> torch.Tensor:
    """An attention mask that hides the end of the second sequence."""
    return torch.tensor([[1] * 7, [1] * 5 + [0] * 2])


def bert(blocks: int = 2, **options: Any) -> nn.Module:
    """BERT: layer norms after the sums."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4} | options
    config = transformers.BertConfig(
        vocab_size=60, num_hidden_layers=blocks, max_position_embeddings=32, **sizes
    )
    return transformers.BertForMaskedLM(config)


def gpt2(blocks: int = 2, **options: Any) -> nn.Module:
    """GPT-2: weights stored the other way round, and embeddings tied to the classifier."""
    sizes = {"n_embd": 32, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0} | options
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=60, n_positions=32, n_layer=blocks, **sizes)
    )


def llama(blocks: int = 2, **options: Any) -> nn.Module:
    """Llama with two query heads to each head of keys and values."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 4,
    }
    config = transformers.LlamaConfig(
        vocab_size=60, num_hidden_layers=blocks, max_position_embeddings=32, **(sizes | options)
    )
    return transformers.LlamaForCausalLM(config)


def qwen2(blocks: int = 2) -> nn.Module:
    """Qwen2: grouped queries with biases, and tied embeddings."""
    config = transformers.Qwen2Config(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=blocks,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=32,
        tie_word_embeddings=True,
    )
    return transformers.Qwen2ForCausalLM(config)


def t5(blocks: int = 2) -> nn.Module:
    """T5: an encoder and a decoder, position biases that the first block hands on."""
    config = transformers.T5Config(
        vocab_size=60,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=blocks,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    return transformers.T5ForConditionalGeneration(config)


def inputs_of(name: str) -> dict[str, Any]:
    """What the network of that name is called with."""
    if name == "t5":
        return {
            "input_ids": ids(),
            "attention_mask": masked(),
            "decoder_input_ids": ids(tokens=5, seed=1),
        }
    return {"input_ids": ids(), "attention_mask": masked()}


NETWORKS = {"bert": bert, "gpt2": gpt2, "llama": llama, "qwen2": qwen2, "t5": t5}
