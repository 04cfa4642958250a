"""Tiny checkpoints with random weights: the whole way of a real one, in a second on a CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>", "<|box_start|>", "<|box_end|>"),
)
UNUSED_IDS = 7
"""Qwen's models have more ids than their tokenizers; so has this one."""

TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's own, for messages made of parts."""


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer of 256 bytes, two merges and Qwen's control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("b", "o"), ("bo", "x")]
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, *map("".join, merges)])}
    core = Tokenizer(BPE(vocabulary, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    # Qwen2.5 has added tokens that are not "special", too.
    core.add_tokens([AddedToken("<tool_call>", normalized=False, special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def save_checkpoint(folder: Path, family: str = "qwen2_5_vl") -> Path:
    """Write a random checkpoint of `family` into `folder`, as the hub's are laid out."""
    tok = tokenizer()
    model = _model(family, tok)
    ends = tok.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    # Qwen's own asks for sampling; an engine that used it would not repeat itself.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.5,
        repetition_penalty=1.7,
        no_repeat_ngram_size=2,
        eos_token_id=ends,
        pad_token_id=ends[1],
    )
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    patch = model.config.vision_config.patch_size
    factor = 2 * patch
    Qwen2VLImageProcessorPil(
        patch_size=patch,
        size={"shortest_edge": 4 * factor**2, "longest_edge": 16384 * factor**2},
    ).save_pretrained(folder)
    return folder


def _model(family: str, tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    torch.manual_seed(0)
    model = FAMILIES[family](tok)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                # Sharper than at birth: the answers depend on the picture, and no two
                # tokens are nearly equally likely.
                weights.mul_(6.0)
    return model.eval()


def _text(tok: PreTrainedTokenizerFast) -> dict[str, object]:
    return {
        "vocab_size": len(tok) + UNUSED_IDS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "bos_token_id": tok.pad_token_id,
        "eos_token_id": tok.eos_token_id,
        "pad_token_id": tok.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        "tie_word_embeddings": False,
    }


def _ids(tok: PreTrainedTokenizerFast) -> dict[str, int]:
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    image, video, start, end = (tok.convert_tokens_to_ids(f"<|{name}|>") for name in names)
    return {
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": start,
        "vision_end_token_id": end,
    }


def _qwen2(tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=_text(tok), vision_config=vision, **_ids(tok))
    return Qwen2VLForConditionalGeneration(config)


def _qwen2_5(tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "num_heads": 2,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(text_config=_text(tok), vision_config=vision, **_ids(tok))
    return Qwen2_5_VLForConditionalGeneration(config)


QWEN3_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 32,
    "num_heads": 2,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}


def _qwen3(tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    config = Qwen3VLConfig(text_config=_text(tok), vision_config=QWEN3_VISION, **_ids(tok))
    return Qwen3VLForConditionalGeneration(config)


def _qwen3_moe(tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    text = _text(tok) | experts
    config = Qwen3VLMoeConfig(text_config=text, vision_config=QWEN3_VISION, **_ids(tok))
    return Qwen3VLMoeForConditionalGeneration(config)


QWEN3_5_TEXT = {
    "num_hidden_layers": 3,
    "layer_types": ["full_attention", "linear_attention", "full_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [2, 1, 1],
        "partial_rotary_factor": 0.5,
    },
}
"""Layers of both kinds; every fourth of the published checkpoints attends."""

QWEN3_5_VISION = {k: v for k, v in QWEN3_VISION.items() if k != "deepstack_visual_indexes"}


def _qwen3_5(tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    text = _text(tok) | QWEN3_5_TEXT
    config = Qwen3_5Config(text_config=text, vision_config=QWEN3_5_VISION, **_ids(tok))
    return Qwen3_5ForConditionalGeneration(config)


def _qwen3_5_moe(tok: PreTrainedTokenizerFast) -> PreTrainedModel:
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    }
    text = _text(tok) | QWEN3_5_TEXT | experts
    config = Qwen3_5MoeConfig(text_config=text, vision_config=QWEN3_5_VISION, **_ids(tok))
    return Qwen3_5MoeForConditionalGeneration(config)


FAMILIES = {
    "qwen2_vl": _qwen2,
    "qwen2_5_vl": _qwen2_5,
    "qwen3_vl": _qwen3,
    "qwen3_vl_moe": _qwen3_moe,
    "qwen3_5": _qwen3_5,
    "qwen3_5_moe": _qwen3_5_moe,
}
