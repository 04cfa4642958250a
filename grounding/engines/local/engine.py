"""The engine in this process: any Qwen-VL checkpoint, run by transformers.

A question is checked and tokenised in the asker's own thread, so that a bad one fails alone; one
thread owns the model and answers what many ask, in batches. Rows are padded on the left, and a
row's answer does not depend on its company: in float32 exactly, in bfloat16 nearly (matrix
products of other shapes round differently, which may move a coordinate by a pixel).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from grounding.engines.base import Completion, ModelRequest, Progress, Token
from grounding.engines.local.batching import Batcher
from grounding.engines.local.chat import Chat
from grounding.engines.local.decoding import Budgets, Ends, Recorder, greedy
from grounding.engines.local.detokenizer import Detokenizer
from grounding.engines.local.hub import OnProgress
from grounding.engines.local.loading import Checkpoint, load_checkpoint
from grounding.engines.local.watchdog import Watchdog
from grounding.errors import DeviceBroken, EngineError, OutOfMemory, TaskError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenizedRequest:
    """A question ready for the model.

    `ids` are the whole prompt's tokens, `pixels` the picture as (height, width, 3) bytes, and
    `budget` the most tokens of the answer.
    """

    ids: list[int]
    pixels: Tensor
    budget: int


class LocalEngine:
    """Answers questions with a checkpoint in this process's memory; an `Engine`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        max_batch: int = 8,
        repetition_penalty: float = 1.0,
        step_seconds: float = 0,
    ) -> None:
        self.profile = checkpoint.profile
        self._patches = checkpoint.patches
        self._model: Any = checkpoint.model
        self._context = checkpoint.context
        self._penalty = repetition_penalty
        self._chat = Chat.of(checkpoint.tokenizer, checkpoint.image_id)
        self._speller = Detokenizer(checkpoint.tokenizer)
        self._ends = Ends.of(self._model.generation_config, checkpoint.tokenizer)
        # Whatever our own generation config leaves open, `generate` takes from this one.
        self._model.generation_config = GenerationConfig()
        self._stop = threading.Event()
        self._watchdog = Watchdog(step_seconds)
        self._batcher = Batcher(self._answer, max_batch=max_batch, watchdog=self._watchdog)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        device: str | None = None,
        revision: str | None = None,
        profile: str | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        max_batch: int = 8,
        repetition_penalty: float = 1.0,
        torch_threads: int = 0,
        step_seconds: float = 0,
        on_progress: OnProgress | None = None,
    ) -> LocalEngine:
        """Return an engine with the checkpoint `model`, a hub id or a local folder.

        `device` is torch's name of it; by default the GPU if there is one. `revision` is the
        hub's. `profile` names the model family where the checkpoint's config does not. The pixel
        bounds are those of `Profile.bounded`. `torch_threads` above 0 sets torch's CPU threads
        for the whole process. A step of the model that takes longer than `step_seconds` ends the
        process; 0 lets it take its time. `on_progress` is told of each step of loading, from
        several threads.

        Raises `SettingError` where the checkpoint or device is none that we run, `EngineError`
        where it cannot be had or is damaged, `OutOfMemory` where the device has no room.
        """
        report = on_progress or (lambda _: None)
        if torch_threads > 0:
            torch.set_num_threads(torch_threads)
        checkpoint = load_checkpoint(
            model,
            device=device,
            revision=revision,
            profile=profile,
            pixels=(min_pixels, max_pixels),
            report=report,
        )
        engine = cls(
            checkpoint,
            max_batch=max_batch,
            repetition_penalty=repetition_penalty,
            step_seconds=step_seconds,
        )
        report(Progress("ready", 1.0, model))
        return engine

    def ask(self, question: ModelRequest) -> Completion:
        """Return the model's reply; blocks, and may be called from many threads at once.

        Raises `ImageError` where the pixels do not have a model frame's size, `TaskError` where
        the text is longer than the model reads, `OutOfMemory` where the picture has no room even
        alone, `EngineError` where the model failed or is being unloaded, `DeviceBroken` where no
        later question can be answered in this process.
        """
        return self._batcher.ask(self._prepare(question), urgent=question.urgent)

    def drain(self) -> None:
        """Do nothing: the model is here, and every question in hand is answered soon."""

    def close(self) -> None:
        """End the answer in hand at its next token; all who wait get `EngineError`."""
        self._stop.set()
        self._batcher.close()

    def _prepare(self, question: ModelRequest) -> TokenizedRequest:
        question.check(self.profile.factor)
        image = question.pixels
        ids = self._chat.ids(question.text, self._patches.tokens(*image.size))
        room = self._context - len(ids)
        if room < 1:
            raise TaskError(
                f"the question takes {len(ids)} tokens, the model reads {self._context}",
                code="question_too_long",
                hint="Shorten the prompt, or lower GROUNDING_MAX_PIXELS",
            )
        pixels = torch.from_numpy(np.array(image))
        return TokenizedRequest(ids, pixels, min(question.max_new_tokens, room))

    def _answer(self, batch: Sequence[TokenizedRequest]) -> list[Completion]:
        recorder = Recorder(self._watchdog.step)
        rows = _on_device(lambda: self._generate(batch, recorder))
        if self._stop.is_set():
            raise EngineError("the model is being unloaded", hint="Ask again once it is loaded")
        logprobs = recorder.rows()
        return [
            self._reply(row, prepared, probabilities)
            for row, prepared, probabilities in zip(rows, batch, logprobs, strict=True)
        ]

    def _reply(
        self, row: Sequence[int], asked: TokenizedRequest, logprobs: Sequence[float]
    ) -> Completion:
        ids, complete = self._ends.cut(row, asked.budget)
        text, ranges = self._speller.spell(ids)
        tokens = (
            Token(start, end, logprob)
            for (start, end), logprob in zip(ranges, logprobs, strict=False)
        )
        return Completion(text, complete, tuple(tokens), len(asked.ids))

    def _generate(self, batch: Sequence[TokenizedRequest], recorder: Recorder) -> list[list[int]]:
        """Return the new tokens of each row, padded behind its end; ask the model once."""
        inputs = self._inputs(batch)
        prompt = inputs["input_ids"].shape[1]
        budgets = torch.tensor([p.budget for p in batch], device=self._model.device)
        with torch.inference_mode():
            written: Tensor = self._model.generate(
                **inputs,
                generation_config=greedy(
                    self._ends,
                    max_new_tokens=max(p.budget for p in batch),
                    repetition_penalty=self._penalty,
                ),
                logits_processor=LogitsProcessorList([recorder]),
                stopping_criteria=StoppingCriteriaList([Budgets(prompt, budgets, self._stop)]),
            )
        rows: list[list[int]] = written[:, prompt:].tolist()
        return rows

    def _inputs(self, batch: Sequence[TokenizedRequest]) -> Mapping[str, Tensor]:
        """Return the model's inputs: rows padded on the left, the pictures' patches in one row."""
        device = self._model.device
        longest = max(len(p.ids) for p in batch)
        gaps = [longest - len(p.ids) for p in batch]
        ids = torch.tensor(
            [[self._ends.pad] * gap + p.ids for gap, p in zip(gaps, batch, strict=True)],
            device=device,
        )
        pictures = [p.pixels.to(device) for p in batch]
        sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
        return {
            "input_ids": ids,
            "attention_mask": (
                torch.arange(longest, device=device) >= torch.tensor(gaps, device=device)[:, None]
            ).long(),
            # Without these, generate numbers image tokens like words and says nothing about it.
            "mm_token_type_ids": (ids == self._chat.image_id).int(),
            "pixel_values": torch.cat([self._patches.cut(picture) for picture in pictures]),
            "image_grid_thw": torch.tensor([self._patches.grid(*size) for size in sizes]).to(
                device
            ),
        }


def _on_device(work: Callable[[], T]) -> T:
    """Return what `work` returns; `OutOfMemory` and `DeviceBroken` for torch's own errors.

    The memory is given back outside the handler, because torch's error holds the frames it came
    through, and with them the very tensors.
    """
    try:
        return work()
    except RuntimeError as exc:
        cause = next(iter(str(exc).splitlines()), "")
        if not isinstance(exc, torch.OutOfMemoryError) and "out of memory" not in cause:
            if _is_broken(exc):
                raise DeviceBroken(f"the device failed: {cause}") from exc
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise OutOfMemory(f"the device is out of memory: {cause}")


def _is_broken(exc: RuntimeError) -> bool:
    """Say whether each later call would fail too: CUDA's errors stay until the process ends."""
    return isinstance(exc, torch.AcceleratorError) or str(exc).startswith("CUDA error")
