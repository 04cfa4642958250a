"""The checkpoint's shape and files: that of the shapes checkpoint, for larger pictures."""

from __future__ import annotations

from pathlib import Path

from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tools.reading.tokens import tokenizer
from tools.shapes import model as shapes
from tools.shapes.tokens import END, IMAGE, SPECIAL, TURN_END, VIDEO, VISION_END, VISION_START

FACTOR = shapes.FACTOR
MIN_PIXELS, MAX_PIXELS = 44 * FACTOR**2, 56 * FACTOR**2
"""Pictures have 40 to 56 image tokens, of about one to two printed characters each."""


def config() -> Qwen2_5_VLConfig:
    """Return the model's configuration, with the token ids of our tokenizer."""
    ids = {name: tokenizer().convert_tokens_to_ids(name) for name in SPECIAL}
    text = shapes.text_settings(len(tokenizer()), ids)
    return Qwen2_5_VLConfig(
        vision_config=shapes.vision_settings(),
        text_config=text,
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=True,
    )


def warm(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Take over the weights of a checkpoint of this shape; tokens that it lacks keep theirs."""
    shapes.warm(model, folder, tokenizer())


def save(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Write all files of a checkpoint to `folder`."""
    ends = [tokenizer().convert_tokens_to_ids(t) for t in (TURN_END, END)]
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=ends[1], bos_token_id=ends[1]
    )
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    shapes.save_processor(folder, MIN_PIXELS, MAX_PIXELS)
