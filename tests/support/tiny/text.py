"""Text and image encoders, with tokenizers made here: one token for each character."""

from __future__ import annotations

import string
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    SiglipVisionConfig,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

_CLIP_PIECES = [*string.printable, *(char + "</w>" for char in string.printable), "<|startoftext|>", "<|endoftext|>"]
_T5_PIECES = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.digits, *string.punctuation]


def clip_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer of 16 tokens."""
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(_CLIP_PIECES)}, merges=[], model_max_length=16)


def clip(width: int = 16, *, projected: bool = False) -> Any:
    """Return a CLIP text encoder; ``projected``: with an embedding of the whole text."""
    config = CLIPTextConfig(
        vocab_size=len(_CLIP_PIECES), hidden_size=width, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16, bos_token_id=len(_CLIP_PIECES) - 2,
        eos_token_id=len(_CLIP_PIECES) - 1, pad_token_id=len(_CLIP_PIECES) - 1, projection_dim=width,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5_tokenizer() -> T5Tokenizer:
    return T5Tokenizer(vocab=[(piece, 0.0) for piece in _T5_PIECES], extra_ids=0)


def t5() -> T5EncoderModel:
    """Return a T5 encoder, 32 wide."""
    return T5EncoderModel(
        T5Config(vocab_size=len(_T5_PIECES) + 8, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    )


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of 32 tokens with Gemma's special tokens."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *string.printable]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>",
        model_max_length=32,
    )  # fmt: skip


def gemma3() -> Gemma3ForConditionalGeneration:
    """Return a Gemma 3, 32 wide."""
    text = Gemma3TextConfig(
        vocab_size=len(string.printable) + 8, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, sliding_window=16,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))


def qwen_tokenizer() -> Qwen2Tokenizer:
    pieces = ["<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values()]
    return Qwen2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=32)


def qwen3() -> Qwen3Model:
    """Return a Qwen 3, 32 wide."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=300, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, max_position_embeddings=64,
        )
    )  # fmt: skip
