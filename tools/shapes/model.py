"""The checkpoint's shape and its files: a Qwen2.5-VL of a few million parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from tools.shapes import tokens

HIDDEN = 128
HEADS = 4
LAYERS = 7
PATCH = 14
MERGE = 2
FACTOR = PATCH * MERGE
MIN_PIXELS = 16 * FACTOR**2
MAX_PIXELS = 25 * FACTOR**2
"""Pictures have 16 to 25 image tokens: few are fast on a CPU, and 25 resolve a sixth of a side."""


def config(tokenizer: PreTrainedTokenizerFast | None = None) -> Qwen2_5_VLConfig:
    """Return the model's configuration, with the token ids of a tokenizer, by default our own."""
    tok = tokenizer or tokens.tokenizer()
    ids = {name: tok.convert_tokens_to_ids(name) for name in tokens.SPECIAL}
    return Qwen2_5_VLConfig(
        vision_config=_vision_settings(),
        text_config=_text_settings(len(tok), ids),
        image_token_id=ids[tokens.IMAGE],
        video_token_id=ids[tokens.VIDEO],
        vision_start_token_id=ids[tokens.VISION_START],
        vision_end_token_id=ids[tokens.VISION_END],
        tie_word_embeddings=True,
    )


def _vision_settings() -> dict[str, object]:
    """Return the vision tower's part of the configuration."""
    depth = 4
    return {
        "depth": depth,
        "hidden_size": HIDDEN,
        "num_heads": HEADS,
        "intermediate_size": 2 * HIDDEN,
        "out_hidden_size": HIDDEN,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        # Pictures are hardly larger than a window: every layer attends to all of it.
        "window_size": 8 * PATCH,
        "fullatt_block_indexes": list(range(depth)),
    }


def _text_settings(vocabulary: int, ids: dict[str, int]) -> dict[str, object]:
    """Return the decoder's part of the configuration; `ids` are those of the control tokens."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": 3 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": 2048,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [4, 6, 6],
        },
        "bos_token_id": ids[tokens.END],
        "eos_token_id": ids[tokens.TURN_END],
        "pad_token_id": ids[tokens.END],
        "tie_word_embeddings": True,
    }


def save(
    model: Qwen2_5_VLForConditionalGeneration,
    folder: Path,
    tokenizer: PreTrainedTokenizerFast | None = None,
    bounds: tuple[int, int] = (MIN_PIXELS, MAX_PIXELS),
) -> None:
    """Write all files of a checkpoint to `folder`: weights, configs, tokenizer, processor.

    `bounds` are the fewest and the most pixels of a view.
    """
    tok = tokenizer or tokens.tokenizer()
    ends = [tok.convert_tokens_to_ids(t) for t in (tokens.TURN_END, tokens.END)]
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=ends[1], bos_token_id=ends[1]
    )
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    _save_processor(folder, *bounds)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a run's state whole, in place of the former one: a run may be ended at any moment."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def warm(
    model: Qwen2_5_VLForConditionalGeneration,
    folder: Path,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> None:
    """Load the weights of the checkpoint in `folder`, which may have another vocabulary.

    Tokens in both vocabularies get their vector from the checkpoint; others are unchanged.
    """
    old = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    rows = AutoTokenizer.from_pretrained(folder).get_vocab()
    state, now = old.state_dict(), model.state_dict()
    for key in (key for key in now if key.endswith(("embed_tokens.weight", "lm_head.weight"))):
        vectors = now[key].clone()
        for token, row in (tokenizer or tokens.tokenizer()).get_vocab().items():
            if token in rows:
                vectors[row] = state[key][rows[token]]
        state[key] = vectors
    model.load_state_dict(state)


def _save_processor(folder: Path, least: int, most: int) -> None:
    size = {"shortest_edge": least, "longest_edge": most}
    Qwen2VLImageProcessorPil(
        size=size, patch_size=PATCH, merge_size=MERGE, temporal_patch_size=2
    ).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    # The class that installs with torchvision reads the same file under its own name, and
    # older releases read the pixel bounds from these two keys.
    settings |= {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": least,
        "max_pixels": most,
    }
    path.write_text(json.dumps(settings, indent=2) + "\n")
