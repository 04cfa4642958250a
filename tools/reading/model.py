"""The checkpoint's shape and files: that of the shapes checkpoint, for larger pictures."""

from __future__ import annotations

from pathlib import Path

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tools.reading.tokens import tokenizer
from tools.shapes import model as shapes

FACTOR = shapes.FACTOR
MIN_PIXELS, MAX_PIXELS = 44 * FACTOR**2, 56 * FACTOR**2
"""Pictures have 40 to 56 image tokens, of about one to two printed characters each."""


def config() -> Qwen2_5_VLConfig:
    """Return the model's configuration, with the token ids of our tokenizer."""
    return shapes.config(tokenizer())


def warm(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Take over the weights of a checkpoint of this shape; tokens that it lacks keep theirs."""
    shapes.warm(model, folder, tokenizer())


def save(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Write all files of a checkpoint to `folder`."""
    shapes.save(model, folder, tokenizer(), (MIN_PIXELS, MAX_PIXELS))
