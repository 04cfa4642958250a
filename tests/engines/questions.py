"""Questions about generated pictures, and what transformers alone answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    Qwen2VLImageProcessorPil,
)

from grounding.engines.base import Completion, ModelRequest
from grounding.engines.local.engine import LocalEngine
from grounding.testing import make_view

ATTENDING = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""The families whose layers all attend; these run in flight."""

FAMILIES = (*ATTENDING, "qwen3_5", "qwen3_5_moe")


def picture(wide: int, high: int, seed: int = 0, factor: int = 28) -> Image.Image:
    """Return a picture of `wide` by `high` image tokens."""
    blocks = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((wide * factor, high * factor), Image.Resampling.BICUBIC)


def request(
    wide: int, high: int, text: str, budget: int, seed: int = 0, factor: int = 28
) -> ModelRequest:
    """Return a request about a picture of `wide` by `high` image tokens."""
    return ModelRequest((make_view(picture(wide, high, seed, factor)), text), budget)


def questions(factor: int = 28) -> list[ModelRequest]:
    """Return requests that differ in all: the size of the picture, the text, the budget."""
    asked = ((4, 4, "find", 24), (9, 2, "the red box", 7), (3, 8, "点击红框", 16), (5, 5, "", 11))
    return [request(*one, seed, factor) for seed, one in enumerate(asked)]


def outcome(future: Future[Completion]) -> Completion | BaseException:
    """Return a future's completion or its error."""
    return future.exception(120) or future.result()


def ask_all(engine: LocalEngine, asked: Sequence[ModelRequest]) -> list[Completion | BaseException]:
    """Submit all together; return each one's completion or error."""
    return [outcome(future) for future in engine.submit(asked)]


def library_answer(folder: Path, question: ModelRequest) -> tuple[list[int], list[float]]:
    """Return the ids and log-probabilities that transformers alone gives, by its own parts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()
    images, pads = library_images(folder, question)
    rendered = library_prompt(tokenizer, question)
    for count in pads:
        rendered = rendered.replace("<|image_pad|>", "<|pad|>" * count, 1)
    ids = tokenizer(rendered.replace("<|pad|>", "<|image_pad|>"), return_tensors="pt")["input_ids"]
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        **images,
        max_new_tokens=question.max_new_tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=ends[1],
        return_dict_in_generate=True,
        output_scores=True,
    )
    logprobs = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    return out.sequences[0, ids.shape[1] :].tolist(), logprobs[0].tolist()


def library_images(folder: Path, question: ModelRequest) -> tuple[dict[str, Any], list[int]]:
    """Return the model's inputs for the views, and the number of tokens of each."""
    if not question.views:
        return {}, []
    processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
    images = processor(images=[view.pixels for view in question.views], return_tensors="pt")
    return dict(images), [int(grid.prod()) // 4 for grid in images["image_grid_thw"]]


def library_prompt(tokenizer: Any, question: ModelRequest) -> str:
    """Return the rendered chat template."""
    views = [{"type": "image"} for _ in question.views]
    content = [*views, {"type": "text", "text": question.text}]
    messages = [{"role": "user", "content": content}]
    if question.system is not None:
        system = [{"type": "text", "text": question.system}]
        messages.insert(0, {"role": "system", "content": system})
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
