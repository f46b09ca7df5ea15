"""Networks of transformers, built from small configurations; where the bar speaks of depth, of twelve blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor

from benchmarks.coverage_sets import BATCH, BuiltNetwork
from supernet.elastic.inputs import Inputs

WORDS, TOKENS = 512, 16
SIZES = {"vocab_size": WORDS, "hidden_size": 128, "num_attention_heads": 8, "num_hidden_layers": 12}


def _tokens() -> Tensor:
    return torch.randint(10, WORDS, (BATCH, TOKENS))


def _masked() -> dict[str, Tensor]:
    """Token ids, of which the second sentence is shorter."""
    mask = torch.ones(BATCH, TOKENS, dtype=torch.long)
    mask[1:, -3:] = 0
    return {"input_ids": _tokens(), "attention_mask": mask}


def _made(model: Any, config: Any, inputs: Mapping[str, Tensor]) -> BuiltNetwork:
    return model(config), Inputs((), dict(inputs))


def _encoder(model: Any, config: Any, **more: Any) -> BuiltNetwork:
    return _made(model, config(**SIZES, intermediate_size=512, **more), _masked())


def _decoder(model: Any, config: Any, **more: Any) -> BuiltNetwork:
    return _made(model, config(**SIZES, intermediate_size=384, use_cache=False, **more), _masked())


def _distilbert() -> BuiltNetwork:
    config = transformers.DistilBertConfig(vocab_size=WORDS, dim=128, n_heads=8, n_layers=6, hidden_dim=512)
    return _made(transformers.DistilBertForSequenceClassification, config, _masked())


def _gpt2() -> BuiltNetwork:
    config = transformers.GPT2Config(vocab_size=WORDS, n_embd=128, n_head=8, n_layer=12, use_cache=False)
    return _made(transformers.GPT2LMHeadModel, config, _masked())


def _t5() -> BuiltNetwork:
    config = transformers.T5Config(
        vocab_size=WORDS,
        d_model=128,
        d_kv=16,
        d_ff=512,
        num_heads=8,
        num_layers=12,
        num_decoder_layers=12,
        use_cache=False,
        decoder_start_token_id=0,
    )
    inputs = _masked() | {"decoder_input_ids": _tokens()}
    return _made(transformers.T5ForConditionalGeneration, config, inputs)


def _whisper() -> BuiltNetwork:
    sizes = {"encoder_layers": 4, "decoder_layers": 4, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
    config = transformers.WhisperConfig(
        vocab_size=WORDS,
        d_model=64,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_mel_bins=20,
        max_source_positions=32,
        max_target_positions=32,
        use_cache=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **sizes,
    )
    inputs = {"input_features": torch.randn(BATCH, 20, 64), "decoder_input_ids": _tokens()}
    return _made(transformers.WhisperForConditionalGeneration, config, inputs)


def _vit() -> BuiltNetwork:
    sizes = {key: value for key, value in SIZES.items() if key != "vocab_size"}
    config = transformers.ViTConfig(**sizes, intermediate_size=512, image_size=64, patch_size=16)
    images = {"pixel_values": torch.randn(BATCH, 3, 64, 64)}
    return _made(transformers.ViTForImageClassification, config, images)


def _segformer() -> BuiltNetwork:
    config = transformers.SegformerConfig(num_labels=8)
    images = {"pixel_values": torch.randn(BATCH, 3, 64, 64)}
    return _made(transformers.SegformerForSemanticSegmentation, config, images)


def _clip() -> BuiltNetwork:
    shared = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    text = {**shared, "vocab_size": WORDS, "max_position_embeddings": 32, "eos_token_id": 2}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**shared, "image_size": 64, "patch_size": 16}, projection_dim=32
    )
    inputs = _masked() | {"pixel_values": torch.randn(BATCH, 3, 64, 64)}
    return _made(transformers.CLIPModel, config, inputs)


NETWORKS: Mapping[str, Callable[[], BuiltNetwork]] = {
    "bert": partial(_encoder, transformers.BertForSequenceClassification, transformers.BertConfig),
    "distilbert": _distilbert,
    "roberta": partial(_encoder, transformers.RobertaForMaskedLM, transformers.RobertaConfig),
    "gpt2": _gpt2,
    "llama": partial(
        _decoder, transformers.LlamaForCausalLM, transformers.LlamaConfig, num_key_value_heads=4
    ),
    "qwen2": partial(
        _decoder,
        transformers.Qwen2ForCausalLM,
        transformers.Qwen2Config,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    ),
    "mistral": partial(
        _decoder, transformers.MistralForCausalLM, transformers.MistralConfig, num_key_value_heads=4
    ),
    "t5": _t5,
    "whisper": _whisper,
    "vit": _vit,
    "segformer": _segformer,
    "clip": _clip,
}
FULLY_ELASTIC = ("bert", "gpt2", "llama", "qwen2", "t5")
"""Where hidden sizes, heads, the residual and depth have to be elastic."""
