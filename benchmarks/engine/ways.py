"""The ways of asking that `make bench` compares, and a deep checkpoint without knowledge.

The cookbook's way is written afresh after Qwen's grounding cookbook: the library's processor, one
picture and one `generate` at a time.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from grounding.engines.base import Completion, ModelRequest, Priority
from grounding.engines.local.decoding import in_flight
from grounding.engines.local.encoder import PictureDigests
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.media.views import View, whole
from grounding.settings import SHAPES

LAYERS, VISION_LAYERS = 28, 32
"""As many as Qwen2.5-VL-7B has; each is thin, so that a CPU runs them."""


@dataclass(frozen=True, slots=True)
class Query:
    """A picture as it was uploaded, the prompt about it, and the likely form of the answer.

    With `forced`, the answer is these tokens, whatever the model would write.
    """

    picture: Image
    prompt: str
    template: str = ""
    forced: tuple[int, ...] = ()

    @property
    def budget(self) -> int:
        """The most tokens of the answer."""
        return len(self.forced) or 200


class Cookbook:
    """One picture, one `generate`: the library resizes, cuts and decodes."""

    def __init__(self, folder: Path) -> None:
        self._model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(folder)

    def ask(self, queries: Sequence[Query], at_once: int = 1) -> list[str]:
        """Return the answers' texts; one query is asked after the other, whatever `at_once`."""
        return [self._ask(one) for one in queries]

    @torch.inference_mode()
    def _ask(self, query: Query) -> str:
        images = self._processor(images=[query.picture.convert("RGB")], return_tensors="pt")
        content = [{"type": "image"}, {"type": "text", "text": query.prompt}]
        prompt = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        pads = "<|image_pad|>" * (int(images["image_grid_thw"].prod()) // 4)
        ids = self._tokenizer(prompt.replace("<|image_pad|>", pads), return_tensors="pt")
        length = ids["input_ids"].shape[1]
        written = self._model.generate(
            **ids,
            **images,
            mm_token_type_ids=(ids["input_ids"] == self._model.config.image_token_id).int(),
            max_new_tokens=query.budget,
            do_sample=False,
            **_allow_only(query.forced, length),
        )
        return str(self._tokenizer.decode(written[0, length:], skip_special_tokens=True))


def _allow_only(forced: Sequence[int], prompt: int) -> Mapping[str, Any]:
    """Return what makes `generate` write `forced` behind a prompt of `prompt` tokens."""
    if not forced:
        return {}
    return {"prefix_allowed_tokens_fn": lambda _, ids: [forced[len(ids) - prompt]]}


class ForcedRow(in_flight.Row):
    """A row that takes the tokens of a given answer for those that the model would write."""

    answers: ClassVar[dict[tuple[int, ...], tuple[int, ...]]] = {}
    """By the prompt's tokens behind the picture; a prompt without an answer is free."""

    def _add(self, scored: tuple[int, float]) -> None:
        forced = self.answers.get(_words(self.request))
        super()._add((forced[len(self.ids)], scored[1]) if forced else scored)

    def accept(self, successors: Sequence[tuple[int, float]]) -> None:
        forced = self.answers.get(_words(self.request), ())
        said = forced[len(self.ids) : len(self.ids) + len(successors)]
        super().accept([(token, 0.0) for token in said] or successors)


def _words(request: Any) -> tuple[int, ...]:
    return tuple(request.ids[request.shared :])


class Engine:
    """The local engine, in flight or in static batches, with at most `rows` rows of bulk."""

    def __init__(self, folder: Path, rows: int, *, in_flight: bool = True) -> None:
        options = LoadOptions(device="cpu", max_batch=rows, in_flight=in_flight)
        self.engine = LocalEngine.load(str(folder), options)
        self.tokenizer = self.engine._chat._tokenizer
        profile = self.engine.profile
        self._bounds = profile.bounds
        self.steps = self.row_steps = 0
        self._count_steps()

    def _count_steps(self) -> None:
        loop: Any = self.engine._scheduler._loop
        if isinstance(loop, in_flight.InFlight):
            decode = loop._decode

            def count(rows: Sequence[in_flight.Row]) -> None:
                self.steps += bool(rows)
                self.row_steps += len(rows)
                decode(rows)

            loop._decode = count  # type: ignore[method-assign]

    def view(self, picture: Image) -> View:
        """Return a picture at the size that the model sees."""
        return whole(picture, self._bounds)

    def request(self, query: Query, view: View, priority: Priority = Priority.BULK) -> ModelRequest:
        """Return the request of a query."""
        parts = (view, query.prompt)
        request = ModelRequest(parts, query.budget, priority=priority, template=query.template)
        if query.forced:
            tokenized = self.engine._tokenize(request, PictureDigests())
            ForcedRow.answers[_words(tokenized)] = query.forced
        return request

    def forget(self) -> None:
        """Let go of the pictures and answers that are left of another round."""
        self.forget_pictures()
        loop: Any = self.engine._scheduler._loop
        if isinstance(loop, in_flight.InFlight):
            loop._memory.texts.clear()

    def forget_pictures(self) -> None:
        """Let go of the pictures that are left of another round."""
        loop: Any = self.engine._scheduler._loop
        if isinstance(loop, in_flight.InFlight):
            loop._prefixes.clear()

    def ask(self, queries: Sequence[Query], at_once: int) -> list[str]:
        """Return the answers' texts; a query is sent as soon as fewer than `at_once` are out."""
        room = threading.Semaphore(at_once)
        views: dict[int, View] = {}
        futures: list[Future[Completion]] = []
        for query in queries:
            room.acquire()
            if id(query.picture) not in views:
                views[id(query.picture)] = self.view(query.picture)
            (future,) = self.engine.submit([self.request(query, views[id(query.picture)])])
            future.add_done_callback(lambda _: room.release())
            futures.append(future)
        return [future.result().text for future in futures]


def save_deep_checkpoint(folder: Path, side: int = 448) -> PreTrainedTokenizerBase:
    """Write a random checkpoint as deep as the 7B into `folder`; return its tokenizer.

    All heads of queries share one of keys and values, as seven do in the 7B. The tokenizer is that
    of the shapes checkpoint. Pictures are shown at `side` by `side` pixels.
    """
    config = json.loads((SHAPES / "config.json").read_text())
    config["text_config"] |= {
        "num_hidden_layers": LAYERS,
        "layer_types": ["full_attention"] * LAYERS,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_key_value_heads": 1,
        "rope_parameters": {"mrope_section": [2, 3, 3], "rope_theta": 1e4, "rope_type": "default"},
    }
    config["vision_config"] |= {
        "depth": VISION_LAYERS,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "hidden_size": 64,
        "intermediate_size": 128,
        "out_hidden_size": 64,
    }
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(SHAPES / name, folder)
    Qwen2VLImageProcessorPil(
        size={"shortest_edge": side * side, "longest_edge": side * side}
    ).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)
