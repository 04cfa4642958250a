"""One job to one prediction: the heart, read from top to bottom.

Everything here is pure but for two named edges: `Fetcher` brings a picture's bytes, and an
`Engine` answers questions about its pixels.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from grounding.ask import Ask, Detection
from grounding.engines.base import Engine, Question, Reply
from grounding.errors import AnswerError, DataError
from grounding.geometry import Frame
from grounding.images.fetch import Fetcher
from grounding.images.prepare import PixelBounds, Prepared, prepare
from grounding.labelstudio.config import data_value, parse
from grounding.labelstudio.context import read_context
from grounding.labelstudio.controls import asks, regions
from grounding.qwen.answers import Answer, Verdict, read
from grounding.qwen.prompts import question, strict_question
from grounding.qwen.scores import scored

log = logging.getLogger(__name__)

MAX_AT_ONCE = 32
"""Questions of one task that wait at the engine together."""

UNDERSTOOD = (Verdict.FOUND, Verdict.NOTHING)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of one request, as plain JSON: what the answer depends on."""

    id: int | None
    data: Mapping[str, Any]
    label_config: str
    context: Mapping[str, Any] | None
    model_version: str

    def payload(self) -> dict[str, Any]:
        """Return the task as the ledger keeps it; `Task(**payload)` is its reverse."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tools:
    """What grounding needs: the model, the way to pictures, and the limits."""

    engine: Engine
    fetcher: Fetcher
    max_new_tokens: int
    max_image_pixels: int


@dataclass(frozen=True, slots=True)
class Grounded:
    """A prediction in Label Studio's form, the verdict over all answers, and what was dropped."""

    prediction: dict[str, Any]
    verdict: Verdict
    dropped: Mapping[str, int]


def ground(task: Task, tools: Tools) -> Grounded:
    """Answer one task: regions for every control of its labelling config that is asked for.

    Raises the `GroundingError` that tells why it cannot be answered. Where some questions of a
    task are understood and others are not, what was found is kept.
    """
    config = parse(task.label_config)
    wish = read_context(task.context, config)
    asked = [(control, some) for control in config.controls if (some := asks(control, wish))]
    if not asked:
        raise DataError("nothing was asked", code="prompt_empty", hint="Type what to look for")
    pictures = _pictures({control.data_key for control, _ in asked}, task, tools)
    answered = [answer(some, pictures[control.data_key], tools) for control, some in asked]
    drawn = [
        regions(control, _found(some, answers), pictures[control.data_key].image)
        for (control, some), answers in zip(asked, answered, strict=True)
    ]
    result = [region for one in drawn for region in one.result]
    unclear = [one for answers in answered for one in answers if not _clear(one)]
    if unclear and not result:
        raise _misunderstood(unclear[0])
    verdict = Verdict.FOUND if result else Verdict.NOTHING
    dropped = sum((one.dropped for one in drawn), Counter[str]())
    return Grounded(_prediction(result, task.model_version), verdict, dropped)


def answer(asked: Sequence[Ask], picture: Prepared, tools: Tools) -> list[Answer]:
    """Put every ask to the model, and once more in strict words where it was not understood.

    Greedy decoding would only repeat itself, so the second question differs from the first.
    """
    answers = _put([question(ask) for ask in asked], picture, tools)
    again = [i for i, one in enumerate(answers) if not _clear(one)]
    retried = _put([strict_question(asked[i]) for i in again], picture, tools)
    for i, second in zip(again, retried, strict=True):
        answers[i] = second
    return answers


def _clear(reply: Answer) -> bool:
    """Say whether a reply tells something: a truncated one may, by its complete items."""
    return reply.verdict in UNDERSTOOD or bool(reply.detections)


def _pictures(keys: Iterable[str], task: Task, tools: Tools) -> dict[str, Prepared]:
    profile = tools.engine.profile
    bounds = PixelBounds(profile.factor, profile.min_pixels, profile.max_pixels)
    prepared = {}
    for key in keys:
        data = tools.fetcher.fetch(data_value(task.data, key), task.id)
        prepared[key] = prepare(data, bounds, tools.max_image_pixels)
    return prepared


def _put(texts: Sequence[str], picture: Prepared, tools: Tools) -> list[Answer]:
    frame = tools.engine.profile.answer_frame(picture.model)
    questions = [Question(picture.pixels, text, tools.max_new_tokens) for text in texts]
    if not questions:
        return []
    # All at once, so that the engine can answer them in one batch.
    with ThreadPoolExecutor(max_workers=min(len(questions), MAX_AT_ONCE)) as pool:
        replies = list(pool.map(tools.engine.ask, questions))
    return [_read(reply, frame) for reply in replies]


def _read(reply: Reply, frame: Frame) -> Answer:
    """Return what a reply says, each detection with its score."""
    said = read(reply.text, frame, reply.complete)
    return replace(said, detections=scored(said.detections, reply.text, reply.tokens))


def _found(asked: Sequence[Ask], answers: Sequence[Answer]) -> list[tuple[Detection, Ask]]:
    pairs = zip(asked, answers, strict=True)
    return [(detection, ask) for ask, reply in pairs for detection in reply.detections]


def _prediction(result: list[dict[str, Any]], model_version: str) -> dict[str, Any]:
    scores = [region["score"] for region in result if "score" in region]
    score = {"score": sum(scores) / len(scores)} if scores else {}
    return {"result": result, "model_version": model_version, **score}


def _misunderstood(reply: Answer) -> AnswerError:
    return AnswerError(f"the model's answer was {reply.verdict}", code=f"output_{reply.verdict}")
