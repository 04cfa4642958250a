"""One job to one prediction: the heart, read from top to bottom.

Everything here is pure but for two named edges: `Fetches` brings a picture's bytes, and an
`Engine` answers questions about its pixels.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from grounding.engines.base import Completion, Engine, ModelRequest
from grounding.errors import AnswerError, DataError, EngineAway
from grounding.geometry import Frame
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.controls import regions
from grounding.labelstudio.data import picture_address
from grounding.labelstudio.interactive.context import read_context
from grounding.labelstudio.plan import PromptDefaults, asks
from grounding.media.cache import ImageCache
from grounding.media.decoding import Decoder
from grounding.media.fetch import Fetches
from grounding.media.views import PixelBounds, View, whole
from grounding.queries import Finding, Locate
from grounding.qwen.answers import Answer, Verdict, read
from grounding.qwen.caveats import add_caveats
from grounding.qwen.prompts import question, strict_question
from grounding.qwen.scores import score_findings

log = logging.getLogger(__name__)

MAX_AT_ONCE = 32
"""Questions of one task that wait at the engine together."""

UNDERSTOOD = (Verdict.FOUND, Verdict.NOTHING)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of one request, as plain JSON: what the answer depends on.

    `context` is what an annotator does, and None where none waits. `extra_params` and `prompt`
    are what the project has told us beside its requests.
    """

    id: int | None
    data: Mapping[str, Any]
    label_config: str
    context: Mapping[str, Any] | None
    model_version: str
    project: str = ""
    extra_params: str = ""
    prompt: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the task as the ledger keeps it; `Task(**payload)` is its reverse."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What grounding needs: the model, the way to pictures, and the limits.

    With `urgent` a person waits for the answer, and is likely to ask about the picture again.
    """

    engine: Engine
    fetcher: Fetches
    max_new_tokens: int
    max_image_pixels: int
    labels_per_question: int = 1
    urgent: bool = False
    image_cache: ImageCache = field(default_factory=ImageCache)
    decoder: Decoder = field(default_factory=Decoder)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A prediction in Label Studio's form, the verdict over all answers, and what happened.

    `dropped` counts the detections that became no region, by reason; `warnings` counts what was
    noticed while reading the answers, by answer.
    """

    prediction: dict[str, Any]
    verdict: Verdict
    dropped: Mapping[str, int]
    warnings: Mapping[str, int]


def predict(task: Task, tools: WorkerContext) -> TaskResult:
    """Answer one task: regions for every control of its labelling config that is asked for.

    Raises the `GroundingError` that tells why it cannot be answered. Where some questions of a
    task are understood and others are not, what was found is kept.
    """
    config = parse(task.label_config, task.extra_params)
    wish = read_context(task.context, config)
    asked = asks(config, wish, PromptDefaults(task.data, task.prompt, tools.labels_per_question))
    if not asked:
        raise DataError("nothing was asked", code="prompt_empty", hint="Type what to look for")
    pictures = _pictures([control for control, _ in asked], task, tools)
    answered = [
        answer(some, picture, tools) for (_, some), picture in zip(asked, pictures, strict=True)
    ]
    drawn = [
        regions(control, _found(some, answers), picture.image)
        for (control, some), picture, answers in zip(asked, pictures, answered, strict=True)
    ]
    result = [region for one in drawn for region in one.result]
    every = [one for answers in answered for one in answers]
    unclear = [one for one in every if not _clear(one)]
    if unclear and not result:
        raise _misunderstood(unclear[0])
    return TaskResult(
        _prediction(result, task.model_version),
        Verdict.FOUND if result else Verdict.NOTHING,
        dropped=sum((one.dropped for one in drawn), Counter[str]()),
        warnings=_warnings(task, every),
    )


def answer(asked: Sequence[Locate], picture: View, tools: WorkerContext) -> list[Answer]:
    """Put every ask to the model, and once more in strict words where it was not understood.

    Greedy decoding would only repeat itself, so the second question differs from the first.
    """
    profile = tools.engine.profile
    frame = profile.answer_frame(picture.frame)
    answers = _put([question(ask, frame, profile.prompts) for ask in asked], picture, tools)
    again = [i for i, one in enumerate(answers) if not _clear(one)]
    stricter = [strict_question(asked[i], frame, profile.prompts) for i in again]
    retried = _put(stricter, picture, tools)
    for i, second in zip(again, retried, strict=True):
        answers[i] = second
    return answers


def _clear(reply: Answer) -> bool:
    """Say whether a reply tells something: a truncated one may, by its complete items."""
    return reply.verdict in UNDERSTOOD or bool(reply.detections)


def _pictures(controls: Sequence[Control], task: Task, tools: WorkerContext) -> list[View]:
    """Return each control's picture; those of the same data and bounds share one."""
    sights = [(control.data_key, _bounds(control, tools)) for control in controls]
    known = {sight: tools.image_cache.find(_album_key(task, *sight)) for sight in sights}
    found = {sight: picture for sight, picture in known.items() if picture}
    missing = [sight for sight in known if sight not in found]
    keys = dict.fromkeys(key for key, _ in missing)
    files = {key: tools.fetcher.fetch(picture_address(task.data, key), task.id) for key in keys}
    for key, bounds in missing:
        file = files[key]
        with tools.decoder.decode(file, tools.max_image_pixels, urgent=tools.urgent) as decoded:
            picture = found[key, bounds] = whole(decoded, bounds)
        if tools.urgent:  # pre-labelling looks at each picture once
            tools.image_cache.keep(_album_key(task, key, bounds), picture)
    return [found[sight] for sight in sights]


def _album_key(task: Task, data_key: str, bounds: PixelBounds) -> Hashable:
    """Return what a kept picture belongs to: its own task, which no other project can name."""
    address = picture_address(task.data, data_key).encode(errors="replace")
    return task.project, task.id, hashlib.sha256(address).digest(), bounds


def _bounds(control: Control, tools: WorkerContext) -> PixelBounds:
    options = control.options
    profile = tools.engine.profile.within(options.min_pixels, options.max_pixels)
    return PixelBounds(profile.factor, profile.min_pixels, profile.max_pixels)


def _put(texts: Sequence[str], picture: View, tools: WorkerContext) -> list[Answer]:
    frame = tools.engine.profile.answer_frame(picture.frame)
    questions = [
        ModelRequest(picture.pixels, text, tools.max_new_tokens, tools.urgent) for text in texts
    ]
    if not questions:
        return []
    # All at once, so that the engine can answer them in one batch.
    with ThreadPoolExecutor(max_workers=min(len(questions), MAX_AT_ONCE)) as pool:
        asked = [pool.submit(tools.engine.ask, question) for question in questions]
    if errors := [error for one in asked if (error := one.exception())]:
        raise min(errors, key=_innocence)
    return [_read(one.result(), frame) for one in asked]


def _innocence(error: BaseException) -> int:
    """Rank what went wrong: of a task's questions, the one most to blame speaks for it."""
    return (1 if error.suspect else 2) if isinstance(error, EngineAway) else 0


def _read(reply: Completion, frame: Frame) -> Answer:
    """Return what a reply says, each detection with its score and what to look at twice."""
    said = add_caveats(read(reply.text, frame, reply.complete))
    return replace(said, detections=score_findings(said.detections, reply.text, reply.tokens))


def _found(asked: Sequence[Locate], answers: Sequence[Answer]) -> list[tuple[Finding, Locate]]:
    pairs = zip(asked, answers, strict=True)
    return [(detection, ask) for ask, reply in pairs for detection in reply.detections]


def _warnings(task: Task, answers: Iterable[Answer]) -> Mapping[str, int]:
    warnings = Counter(str(note) for one in answers for note in one.warnings)
    if warnings:
        counts = ", ".join(f"{count} {note}" for note, count in warnings.items())
        log.info("task %s: answers with %s", task.id, counts)
    return warnings


def _prediction(result: list[dict[str, Any]], model_version: str) -> dict[str, Any]:
    # By id: a shape and its label are two results of one region.
    scores = {region["id"]: region["score"] for region in result if "score" in region}
    score = {"score": sum(scores.values()) / len(scores)} if scores else {}
    return {"result": result, "model_version": model_version, **score}


def _misunderstood(reply: Answer) -> AnswerError:
    cause = f"the model's answer was {reply.verdict}"
    if reply.verdict is Verdict.REFUSED:
        return AnswerError(cause, code="output_refused")
    if reply.verdict is Verdict.TRUNCATED:
        return AnswerError(cause, code="output_truncated")
    return AnswerError(cause)
