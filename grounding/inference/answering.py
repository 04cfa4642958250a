"""Asks the model: queries and what is seen of each become requests, and completions answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grounding.engines.base import Completion, ModelRequest, Priority
from grounding.errors import AnswerError, EngineAway
from grounding.inference.branches import Look, Question, ask_by_branches
from grounding.labelstudio.controls.base import PlannedQuery
from grounding.labelstudio.interactive.status import IN_FRACTIONS
from grounding.media.views import View
from grounding.queries import Finding
from grounding.qwen.answers import Answer, Note, Verdict
from grounding.qwen.queries import (
    lists_places,
    read_answer,
    sketch_answer,
    write_prompt,
    write_system,
)
from grounding.qwen.queries.spans import write_time

if TYPE_CHECKING:
    from grounding.pipeline import WorkerContext

NO_PLACE = "the model's numbers are no place in the picture"
FAMILY_HINT = "Ask again; if it stays so, see that GROUNDING_PROFILE names the model's family"


@dataclass(frozen=True, slots=True)
class Answered:
    """A query, its answer, and a view of what it is about: of a film, some frame."""

    planned: PlannedQuery
    answer: Answer
    view: View


def ask_model(planned: Sequence[Question], worker: WorkerContext) -> list[Answer]:
    """Return the answer to each query; one about a large taxonomy is asked level by level."""
    return ask_by_branches(planned, lambda some: _ask_twice(some, worker))


def _ask_twice(planned: Sequence[Question], worker: WorkerContext) -> list[Answer]:
    """Return the answer to each query, asked twice where the first answer cannot be read.

    Greedy decoding would repeat itself, so the second prompt differs: it is stricter.
    """
    answers = _ask(planned, worker)
    unclear = [i for i, answer in enumerate(answers) if not is_clear(answer)]
    retried = _ask([planned[i] for i in unclear], worker, strict=True)
    for i, answer in zip(unclear, retried, strict=True):
        answers[i] = answer
    return answers


def _ask(
    planned: Sequence[Question], worker: WorkerContext, *, strict: bool = False
) -> list[Answer]:
    # All at once, so that the engine can answer them together.
    requests = [_request(one, look, worker, strict=strict) for one, look in planned]
    futures = worker.engine.submit(requests)
    _await(futures, worker)
    completions = _results_of(futures)
    return [
        _read(one, look, completion, worker)
        for (one, look), completion in zip(planned, completions, strict=True)
    ]


def _request(
    planned: PlannedQuery, look: Look, worker: WorkerContext, *, strict: bool
) -> ModelRequest:
    profile = worker.engine.profile
    frame = profile.answer_frame(look[0].frame)
    prompt = write_prompt(planned.query, frame, profile.prompts, strict=strict)
    priority = Priority.INTERACTIVE if worker.urgent else Priority.BULK
    return ModelRequest(
        (*_parts(look), prompt),
        worker.max_new_tokens,
        system=write_system(planned.query, frame),
        priority=priority,
        form="places" if lists_places(planned.query, profile.prompts) else "free",
        template=sketch_answer(planned.query, profile.prompts),
        deadline=worker.deadline,
    )


def _parts(look: Look) -> Iterator[View | str]:
    """Yield the views, each frame of a film after its time."""
    for view in look:
        if view.time is not None:
            yield write_time(view.time)
        yield view


LOOK_SECONDS = 2.0
"""How often a slot that waits for the model looks whether the answer is still wanted."""
URGENT_LOOK_SECONDS = 0.25
"""The same for an annotator's, whose next request waits for the row of one that they left."""


def _await(futures: Sequence[Future[Completion]], worker: WorkerContext) -> None:
    """Wait for all outcomes; withdraws the requests where nobody wants them any more."""
    seconds = URGENT_LOOK_SECONDS if worker.urgent else LOOK_SECONDS
    try:
        while wait(futures, seconds).not_done:
            worker.check_wanted()
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _results_of(futures: Sequence[Future[Completion]]) -> list[Completion]:
    """Return the results in order, or raise the error of the request most to blame."""
    errors = [error for future in futures if (error := future.exception())]
    if errors:
        raise min(errors, key=_rank_of_blame)
    return [future.result() for future in futures]


def _rank_of_blame(error: BaseException) -> int:
    """Return 0 for an error of the request itself, more where the server is the cause."""
    return (1 if error.suspect else 2) if isinstance(error, EngineAway) else 0


def _read(
    planned: PlannedQuery, look: Look, completion: Completion, worker: WorkerContext
) -> Answer:
    return read_answer(
        planned.query,
        completion.text,
        worker.engine.profile.answer_frame(look[0].frame),
        complete=completion.complete,
        tokens=completion.tokens,
    )


def is_clear(answer: Answer) -> bool:
    """Say whether an answer can be used: a truncated one can, by its complete items."""
    return answer.verdict in (Verdict.FOUND, Verdict.NOTHING) or bool(answer.findings)


_ORDER = (Verdict.TRUNCATED, Verdict.FOUND, Verdict.UNREADABLE, Verdict.REFUSED)
"""Of answers about parts of one thing, which verdict holds for all: the first that any has."""


def join_answers(findings: Iterable[Finding], parts: Sequence[Answer]) -> Answer:
    """Return one answer with these findings, of answers about parts of one page or film."""
    verdicts = [part.verdict for part in parts]
    return Answer(
        tuple(findings),
        next((one for one in _ORDER if one in verdicts), Verdict.NOTHING),
        tuple(dict.fromkeys(note for part in parts for note in part.warnings)),
        sum(part.repeats for part in parts),
        sum(part.not_asked for part in parts),
    )


UNCLEAR: tuple[tuple[Note | Verdict, Callable[[str], AnswerError]], ...] = (
    (Note.FRACTIONS, lambda _: AnswerError(IN_FRACTIONS, hint=FAMILY_HINT)),
    (
        Note.THREE_D,
        lambda _: AnswerError(
            "the model answered in three dimensions",
            hint="Ask for boxes or points in the picture, without words such as 3D",
        ),
    ),
    (Verdict.REFUSED, lambda cause: AnswerError(cause, code="output_refused")),
    (
        Note.THINKING,
        lambda _: AnswerError(
            "the model spent its answer on thinking",
            code="output_truncated",
            hint="Use a checkpoint that does not think, or raise GROUNDING_MAX_NEW_TOKENS",
        ),
    ),
    (
        Verdict.TRUNCATED,
        lambda cause: AnswerError(
            cause,
            code="output_truncated",
            hint="Ask for fewer things at once, or raise GROUNDING_MAX_NEW_TOKENS",
        ),
    ),
    (Note.DROPPED_INVALID, lambda _: AnswerError(NO_PLACE)),
)
"""What makes an answer unclear, the most telling first, and its error; some name the verdict."""


def answer_error(answer: Answer, cure: str = "") -> AnswerError:
    """Return why an answer cannot be used, with its own cure where none is given."""
    signs = (answer.verdict, *answer.warnings)
    explain = next((error for sign, error in UNCLEAR if any(sign is s for s in signs)), AnswerError)
    error = explain(f"the model's answer was {answer.verdict}")
    return AnswerError(error.cause, code=error.code, hint=cure or error.hint)
