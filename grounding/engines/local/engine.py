"""The engine in this process: any Qwen-VL checkpoint, run by transformers.

A request is checked and tokenised in the submitter's thread, so that a bad one fails alone. One
thread owns the model: the scheduler feeds the decode loop, and the loop's answers become the
requests' completions. Another prepares the pictures that come next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig

from grounding.engines.base import Completion, DeviceMemory, ModelRequest, Progress, resolve
from grounding.engines.detokenizer import Detokenizer
from grounding.engines.local.chat import Chat
from grounding.engines.local.checkpoint_files import OnProgress
from grounding.engines.local.decoding.endings import Endings, Ends
from grounding.engines.local.decoding.in_flight import InFlight, SlotOptions
from grounding.engines.local.decoding.model_runner import why_unfit
from grounding.engines.local.decoding.slots import default_limit
from grounding.engines.local.decoding.static_batch import BatchOptions, StaticBatch
from grounding.engines.local.encoder import (
    Encoder,
    PictureDigests,
    TokenizedRequest,
    find_prefix,
)
from grounding.engines.local.loading import Checkpoint, LoadOptions, load_checkpoint
from grounding.engines.local.scheduler import DecodeLoop, Pending, Scheduler, Watchdog
from grounding.errors import GroundingError, TaskError

log = logging.getLogger(__name__)


class LocalEngine:
    """Answers requests with a checkpoint in this process's memory; an `Engine`."""

    def __init__(self, checkpoint: Checkpoint, options: LoadOptions | None = None) -> None:
        """Take over the checkpoint's model; the model's thread starts at once."""
        options = options or LoadOptions()
        self.profile = checkpoint.profile
        self._patches = checkpoint.patches
        self._context = checkpoint.context
        self._device: torch.device = checkpoint.model.device
        self._chat = Chat(checkpoint.tokenizer, checkpoint.image_id)
        self._detokenizer = Detokenizer(checkpoint.tokenizer)
        watchdog = Watchdog(options.step_seconds)
        ends = Ends.of(checkpoint.model.generation_config, checkpoint.tokenizer)
        encoder = Encoder(checkpoint.patches, checkpoint.image_id, ends.pad, self._device)
        endings = Endings(ends, self._detokenizer)
        loop = _decode_loop(checkpoint, options, watchdog, encoder, endings)
        self._scheduler: Scheduler[TokenizedRequest, Completion] = Scheduler(loop, watchdog)

    @classmethod
    def load(
        cls,
        model: str,
        options: LoadOptions | None = None,
        on_progress: OnProgress | None = None,
    ) -> LocalEngine:
        """Return an engine with the checkpoint `model`, a hub id or a local folder.

        `on_progress` is called at each step of loading, from several threads. Raises
        `SettingError` where we do not run the checkpoint or there is no such device,
        `EngineError` where it cannot be downloaded or is damaged, `OutOfMemory` where the device
        has no room.
        """
        options = options or LoadOptions()
        report = on_progress or (lambda _: None)
        if options.torch_threads > 0:
            torch.set_num_threads(options.torch_threads)
        engine = cls(load_checkpoint(model, options, report), options)
        report(Progress("ready", 1.0, model))
        return engine

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Return a future for each request, in order; see `Engine`.

        A future raises `ImageError` where the pixels do not have a model frame's size,
        `TaskError` where the prompt is longer than the model reads, `OutOfMemory` where the view
        has no room even alone, `EngineError` where the model failed or is being unloaded,
        `DeviceBroken` where no later request can be answered in this process.
        """
        futures: list[Future[Completion]] = [Future() for _ in requests]
        ready: list[Pending[TokenizedRequest, Completion]] = []
        digests = PictureDigests()
        for request, future in zip(requests, futures, strict=True):
            tokenized = self._try_tokenize(request, digests)
            if isinstance(tokenized, GroundingError):
                resolve(future, tokenized)
            else:
                ready.append(Pending(tokenized, request.priority, future, request.deadline))
        self._scheduler.submit(ready)
        return futures

    def drain(self) -> None:
        """Do nothing: the model is here, and what runs or waits is answered soon."""

    def memory(self) -> DeviceMemory | None:
        """Return how full the GPU is; None on a CPU, and where the GPU answers no more."""
        if self._device.type != "cuda":
            return None
        try:
            free, total = torch.cuda.mem_get_info(self._device)
            return DeviceMemory(torch.cuda.get_device_name(self._device), total - free, total)
        except RuntimeError as exc:  # whoever runs the model tells of a broken device
            log.debug("the GPU does not tell its memory: %s", exc)
            return None

    def close(self) -> None:
        """End running answers at their next token; all unfinished futures get `EngineError`."""
        self._scheduler.close()

    def _try_tokenize(
        self, request: ModelRequest, digests: PictureDigests
    ) -> TokenizedRequest | GroundingError:
        try:
            return self._tokenize(request, digests)
        except GroundingError as exc:
            return exc
        # The tokenizer's edge: its errors have no common class, and each concerns one request.
        except Exception as exc:
            log.exception("a request cannot be tokenised")
            return TaskError(
                f"the request cannot be tokenised ({type(exc).__name__})", code="prompt_refused"
            )

    def _tokenize(self, request: ModelRequest, digests: PictureDigests) -> TokenizedRequest:
        request.check(self.profile.factor)
        pictures = tuple(view.pixels for view in request.views)
        parts = [
            part if isinstance(part, str) else self._patches.count_tokens(*part.pixels.size)
            for part in request.runs
        ]
        ids = self._chat.tokenize(parts, request.system)
        room = self._context - len(ids)
        if room < 1:
            raise TaskError(
                f"the prompt takes {len(ids)} tokens, the model reads {self._context}",
                code="prompt_too_long",
                hint="Shorten the prompt, or lower GROUNDING_MAX_PIXELS",
            )
        prefix, shared = find_prefix(
            ids, self._chat.image_id, [digests.of(one) for one in pictures]
        )
        return TokenizedRequest(
            ids,
            pictures,
            min(request.max_new_tokens, room),
            request.priority,
            request.stop,
            prefix=prefix,
            shared=shared,
            template=tuple(self._chat.tokenize_words(request.template)),
            on_tokens=partial(self._tell, request.on_text) if request.on_text else None,
            deadline=request.deadline,
        )

    def _tell(self, on_text: Callable[[str], None], ids: Sequence[int]) -> None:
        text, _ = self._detokenizer.decode(ids)
        try:
            on_text(text)
        # The watcher's edge: what it raises must not end the answers of others.
        except Exception:
            log.exception("the watcher of an answer failed")


def _decode_loop(
    checkpoint: Checkpoint,
    options: LoadOptions,
    watchdog: Watchdog,
    encoder: Encoder,
    endings: Endings,
) -> DecodeLoop[TokenizedRequest, Completion]:
    """Return the loop that runs the checkpoint's model: in flight, or in static batches."""
    model: Any = checkpoint.model
    # Whatever our own generation config leaves open, `generate` takes from this one.
    model.generation_config = GenerationConfig()
    if reason := _why_static(model, options):
        log.warning("answers are written in static batches: %s", reason)
        batches = BatchOptions(options.max_batch, options.repetition_penalty, watchdog.step)
        return StaticBatch(model, encoder, endings, batches)
    kept = options.picture_cache_bytes
    limit = default_limit(model.device) if kept is None else kept
    on_gpu = model.device.type == "cuda"
    static = on_gpu if options.static_steps is None else options.static_steps
    slots = SlotOptions.on(model.device, options.max_batch, limit, static=static)
    return InFlight(model, encoder, endings, slots)


def _why_static(model: Any, options: LoadOptions) -> str:
    """Return why the model cannot run in flight, or nothing."""
    if not options.in_flight:
        return "GROUNDING_IN_FLIGHT is false"
    if options.repetition_penalty != 1:
        return "GROUNDING_REPETITION_PENALTY is not 1"
    return why_unfit(model)
