"""Runs requests on the model: greedily, every parameter stated here, the probabilities kept.

The checkpoints' own generation_config.json asks for sampling and a repetition penalty. A
coordinate's digits repeat, so a penalty moves boxes; nothing is taken from that file but the
ids that end an answer.

`StaticBatch` is a `DecodeLoop` over the library's `generate`: rows are padded on the left, a
batch starts and ends as one, and a step is a whole batch. A row's answer does not depend on the
other rows: in float32 exactly, in bfloat16 nearly (matrix products of other shapes round
differently, which may move a coordinate by a pixel).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from grounding.engines.base import Completion
from grounding.engines.local.decoding.endings import Endings, Ends
from grounding.engines.local.encoder import Encoder, TokenizedRequest
from grounding.errors import DeviceBroken, OutOfMemory

T = TypeVar("T")


def greedy_config(
    ends: Ends, *, max_new_tokens: int, repetition_penalty: float
) -> GenerationConfig:
    """Return the whole decoding of one batch: the likeliest token at each step, nothing else."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        max_new_tokens=max_new_tokens,
        repetition_penalty=repetition_penalty,
        eos_token_id=sorted(ends.eos),
        pad_token_id=ends.pad,
        use_cache=True,
    )


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps the log-probability of each step's likeliest token: 4 bytes instead of a vocabulary.

    Kept whole, the scores of 32 answers of 512 tokens would take 10 GB. `on_token` is called at
    each step.
    """

    def __init__(self, on_token: Callable[[], None] = lambda: None) -> None:
        self._steps: list[Tensor] = []
        self._on_token = on_token

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note one step of all rows, from `scores` of shape (rows, vocabulary); change nothing."""
        self._on_token()
        self._steps.append(scores.amax(-1) - scores.logsumexp(-1))
        return scores

    def rows(self) -> list[list[float]]:
        """Return the natural log-probabilities, a row of steps for each answer."""
        steps: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return steps


class RowEnds(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at the first of its own ends, or once its request is evicted or late."""

    def __init__(
        self,
        batch: Sequence[TokenizedRequest],
        evicted: Collection[TokenizedRequest],
        endings: Endings,
        device: torch.device,
    ) -> None:
        self._batch = batch
        self._evicted = evicted
        self._device = device
        self._watches = [endings.watch(one) for one in batch]
        self._written = 0
        self.lengths: dict[int, int] = {}
        """Tokens of the rows that ended here; what follows fills the batch."""

    def __call__(self, input_ids: Tensor, scores: object, **_: object) -> Tensor:
        """Say for each row whether it is done, as (rows,) booleans; called once a token."""
        self._written += 1
        for row, token in enumerate(input_ids[:, -1].int().tolist()):
            if row not in self.lengths and self._watches[row].push(token):
                self.lengths[row] = self._written
        done = [
            row in self.lengths or one in self._evicted or one.is_late
            for row, one in enumerate(self._batch)
        ]
        return torch.tensor(done, device=self._device)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How batches run: their most rows, the penalty, and what is called at each token."""

    max_batch: int = 8
    repetition_penalty: float = 1.0
    on_token: Callable[[], None] = lambda: None


class StaticBatch:
    """A `DecodeLoop` that runs one batch after the other; a step is a whole batch.

    A batch holds requests of one priority, because it takes as long as its longest answer.
    """

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        endings: Endings,
        options: BatchOptions | None = None,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._endings = endings
        self._options = options or BatchOptions()
        self._batch: list[TokenizedRequest] = []
        self._evicted: set[TokenizedRequest] = set()

    @property
    def joins(self) -> bool:
        """A batch that runs takes nobody in, so requests wait a moment for each other."""
        return False

    @property
    def room(self) -> int:
        """All rows, or none while a batch waits for its step."""
        return 0 if self._batch else self._options.max_batch

    def admit(self, requests: Sequence[TokenizedRequest]) -> int:
        """Take the first requests of equal priority, and return how many."""
        if not self.room or not requests:
            return 0
        alike = takewhile(lambda one: one.priority == requests[0].priority, requests)
        self._batch = list(alike)[: self._options.max_batch]
        return len(self._batch)

    def expect(self, requests: Sequence[TokenizedRequest]) -> None:
        """Prepare the pictures of the batch and of the one that follows it."""
        following = (*self._batch, *requests)
        self._encoder.expect([picture for one in following for picture in one.pictures])

    def close(self) -> None:
        """End the thread that cuts pictures."""
        self._encoder.close()

    def step(self) -> list[tuple[TokenizedRequest, Completion]]:
        """Answer the whole batch; evicted and late requests are missing in the result.

        Raises `OutOfMemory` where the batch does not fit, and `DeviceBroken` where no later
        request can be answered in this process.
        """
        if not self._batch:
            return []
        batch = self._batch
        recorder = Recorder(self._options.on_token)
        try:
            rows = run_on_device(lambda: self._generate(batch, recorder))
            answers = zip(batch, rows, recorder.rows(), strict=True)
            return [
                (request, self._endings.complete(request, row, logprobs))
                for request, row, logprobs in answers
                if request not in self._evicted and not request.is_late
            ]
        finally:
            self._batch = []
            self._evicted.clear()

    def evict(self, request: TokenizedRequest) -> None:
        """End a row at its next token."""
        self._evicted.add(request)

    def _generate(self, batch: Sequence[TokenizedRequest], recorder: Recorder) -> list[list[int]]:
        """Return the new tokens of each row, padded behind an end token; calls the model once."""
        inputs = self._encoder.encode(batch)
        prompt = inputs["input_ids"].shape[1]
        ends = RowEnds(batch, self._evicted, self._endings, self._encoder.device)
        with torch.inference_mode():
            written: Tensor = self._model.generate(
                **inputs,
                generation_config=greedy_config(
                    self._endings.ends,
                    max_new_tokens=max(one.budget for one in batch),
                    repetition_penalty=self._options.repetition_penalty,
                ),
                logits_processor=LogitsProcessorList([recorder]),
                stopping_criteria=StoppingCriteriaList([ends]),
            )
        rows: list[list[int]] = written[:, prompt:].tolist()
        return [row[: ends.lengths.get(number)] for number, row in enumerate(rows)]


def run_on_device(work: Callable[[], T]) -> T:
    """Return what `work` returns; `OutOfMemory` and `DeviceBroken` for torch's own errors.

    The memory is given back outside the handler, because torch's error holds the frames it came
    through, and with them the tensors. So this is no context manager, whose exit still has it.
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
