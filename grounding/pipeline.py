"""One task to one prediction: read this file first.

The steps of `predict` are pure but for two edges: `Fetches` brings a picture's bytes, and an
`Engine` answers requests about its pixels.

    labelling config + intent ──► plan: queries, and the controls that take their findings
    the task's data           ──► views: the pixels that each query is about
    query + view              ──► model request ──► completion ──► answer: findings and a verdict
    findings                  ──► results of each control, in percent of the upright picture
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL.Image import Image

from grounding.engines.base import Engine
from grounding.errors import DataError
from grounding.films.asking import ask_films
from grounding.geometry import PERCENT, PixelBounds
from grounding.inference.answering import Answered, answer_error, ask_model, is_clear
from grounding.inference.seams import BOTTOM, TOP, is_long, join
from grounding.inference.zoom import look_closer
from grounding.labelstudio.checking import mark_unprinted, plan_checks
from grounding.labelstudio.config.films import with_rates
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.controls import write_results
from grounding.labelstudio.controls.base import Drop, Region, Results
from grounding.labelstudio.data import find_image_address
from grounding.labelstudio.interactive.context import read_context
from grounding.labelstudio.interactive.status import FRACTIONS, LeftOut
from grounding.labelstudio.plan import PlannedQuery, PromptDefaults, ViewSpec, plan
from grounding.labelstudio.regions import count, join_values, link, plan_regions
from grounding.labelstudio.soundness import split_sound
from grounding.media.fetch import Fetches
from grounding.media.films.reader import FilmReader
from grounding.media.images import Decoder
from grounding.media.views import ImageCache, View, around, whole
from grounding.queries import Act
from grounding.qwen.answers import Answer, Note, Verdict
from grounding.tasks import Task
from grounding.waiting import now_and_then

log = logging.getLogger(__name__)


CheckOwner = Callable[[str, int | None, str], None]


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker brings to each task: the model, the way to pictures, and the limits.

    With `urgent` a person waits for the answer, and is likely to ask about the picture again; at
    `deadline`, seconds of `time.monotonic`, nobody does any more.
    `check_owner` raises for an address that a task of its id and project must not name.
    `on_progress` hears how many of a film's questions are answered, and of how many. All along,
    `check_wanted` raises where nobody wants the answer any more, and ends the task by that.
    `answer_cure` is what helps with an answer that cannot be used, where it is the model's own.
    """

    engine: Engine
    fetcher: Fetches
    max_new_tokens: int
    max_image_pixels: int
    labels_per_query: int = 1
    urgent: bool = False
    deadline: float = math.inf
    image_cache: ImageCache = field(default_factory=ImageCache)
    decoder: Decoder = field(default_factory=Decoder)
    check_owner: CheckOwner = lambda _address, _task, _project: None
    films: FilmReader | None = None
    on_progress: Callable[[int, int], None] = lambda _done, _total: None
    check_wanted: Callable[[], None] = lambda: None
    answer_cure: str = ""

    @property
    def film_reader(self) -> FilmReader:
        """The way to films: without one of its own, that to pictures."""
        return self.films or FilmReader(self.fetcher)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A prediction in Label Studio's form, the verdict over all answers, and what was left out.

    `dropped` counts the findings that became no result, by reason, and `unknown` the model's words
    that name no label; `warnings` counts the notes of the reader, by note. `view` shows all of it.
    """

    prediction: dict[str, Any]
    verdict: Verdict
    dropped: Mapping[str, int]
    unknown: Mapping[str, int]
    warnings: Mapping[str, int]
    view: View | None = None

    @property
    def left_out(self) -> LeftOut:
        """What an annotator may want to know was left out, and why."""
        fractions = {FRACTIONS: self.warnings.get(Note.FRACTIONS, 0)}
        return LeftOut.of({**self.dropped, **fractions}, self.unknown)


def predict(task: Task, worker: WorkerContext) -> TaskResult:
    """Return the prediction for one task: results of every control that asks for something.

    Raises the `GroundingError` that says why the task cannot be answered. Where some answers can
    be read and others cannot, what was found is kept.
    """
    config = with_rates(parse(task.label_config, task.extra_params), task.data)
    intent = read_context(task.context, config)
    defaults = PromptDefaults(task.data, task.prompt, worker.labels_per_query)
    planned = plan(config, intent, defaults)
    if not planned:
        raise DataError("nothing was asked", code="prompt_empty", hint="Type what to look for")
    pictures = _Pictures(task, worker)
    answered = _ask(planned, pictures)
    written = _write_results(config, answered, asked=intent is not None)
    unclear = [one.answer for one in answered if not is_clear(one.answer)]
    if unclear and not written.result:
        raise answer_error(unclear[0], worker.answer_cure)
    asked = plan_regions(config, written, defaults, asked=intent is not None)
    checks = plan_checks(config, written)
    more = _look_again([*(one.planned for one in asked), *checks], pictures)
    about, read = more[: len(asked)], more[len(asked) :]
    written = join_values(written, [(q, a.findings) for q, a in zip(asked, about, strict=True)])
    if intent is None:
        unsure = {c.to_name for one in _unfinished(answered) for c in one.controls}
        written.add(count(config, written, answered[0].view.image, unsure))
    texts = [(one, _text_of(answer)) for one, answer in zip(checks, read, strict=True)]
    every = [*(one.answer for one in answered), *more]
    written.dropped.update([Drop.NOT_ASKED] * sum(answer.not_asked for answer in every))
    whole = [*mark_unprinted(written.result, texts), *link(config, written)]
    result = _keep_sound(task, whole, written)
    return TaskResult(
        _prediction(result, task.model_version),
        Verdict.FOUND if result else Verdict.NOTHING,
        dropped=written.dropped,
        unknown=written.unknown,
        warnings=_count_notes(task, every),
        view=next((one.view for one in answered if one.planned.view.around is None), None),
    )


# Views


@dataclass(slots=True)
class _Pictures:
    """The pictures of one task: each file is fetched once."""

    task: Task
    worker: WorkerContext
    files: dict[str, bytes] = field(default_factory=dict)

    def views(self, specs: Iterable[ViewSpec]) -> Mapping[ViewSpec, View]:
        """Return each view; those of one picture are made while it is decoded once."""
        cache = self.worker.image_cache
        views: dict[ViewSpec, View] = {}
        missing: dict[str, list[ViewSpec]] = {}
        for spec in dict.fromkeys(specs):
            if (view := cache.find(_cache_key(self.task, spec))) is not None:
                views[spec] = view
            else:
                address = find_image_address(self.task.data, spec.data_key)
                missing.setdefault(address, []).append(spec)
        for address, some in missing.items():
            views |= self._load(address, some)
        return views

    def _load(self, address: str, specs: Sequence[ViewSpec]) -> Mapping[ViewSpec, View]:
        worker = self.worker
        if address not in self.files:
            worker.check_owner(address, self.task.id, self.task.project)
            self.files[address] = worker.fetcher.fetch(address, self.task.id, worker.check_wanted)
        file, most = self.files[address], worker.max_image_pixels
        check = now_and_then(worker.check_wanted)
        views: dict[ViewSpec, View] = {}
        with worker.decoder.decode(file, most, urgent=worker.urgent, check=check) as picture:
            for spec in specs:
                check()
                views[spec] = _look(picture, spec, worker)
        for spec, view in views.items():
            if worker.urgent:  # pre-labelling looks at each picture once
                worker.image_cache.keep(_cache_key(self.task, spec), view)
        return views


def _look(picture: Image, spec: ViewSpec, worker: WorkerContext) -> View:
    bounds = _bounds(spec, worker)
    return whole(picture, bounds) if spec.around is None else around(picture, spec.around, bounds)


def _cache_key(task: Task, spec: ViewSpec) -> Hashable:
    """Return the key of a cached view: its own task's, which no other project can name."""
    address = find_image_address(task.data, spec.data_key).encode(errors="replace")
    looks = (spec.min_pixels, spec.max_pixels, spec.around, spec.printed)
    return task.project, task.id, hashlib.sha256(address).digest(), looks


def _bounds(spec: ViewSpec, worker: WorkerContext) -> PixelBounds:
    own = worker.engine.profile
    shown = own.for_print() if spec.printed else own
    return shown.within(spec.min_pixels, spec.max_pixels).bounds


# The model


def _ask(planned: Sequence[PlannedQuery], pictures: _Pictures) -> list[Answered]:
    """Return the answer to each query: about pictures first, then about films."""
    still = [one for one in planned if one.view.film is None]
    moving = [one for one in planned if one.view.film is not None]
    if moving:
        pictures.worker.on_progress(0, 1)  # from now on, the task is known to be about a film
    views = pictures.views(one.view for one in still)
    answers = _ask_in_parts(still, views, pictures) if still else []
    answers = look_closer(still, answers, lambda some: _look_again(some, pictures))
    answered = [
        Answered(one, answer, views[one.view]) for one, answer in zip(still, answers, strict=True)
    ]
    return answered + ask_films(moving, pictures.task, pictures.worker)


def _ask_in_parts(
    planned: Sequence[PlannedQuery], views: Mapping[ViewSpec, View], pictures: _Pictures
) -> list[Answer]:
    """Return the answer to each query; a long page is read in two halves."""
    parts = [_parts(one, views[one.view]) for one in planned]
    asked = [part for some in parts for part in some]
    views = {**views, **pictures.views(part.view for part in asked)}
    seen = [(views[part.view],) for part in asked]
    answers = ask_model(list(zip(asked, seen, strict=True)), pictures.worker)
    joined: list[Answer] = []
    for some in parts:
        mine, answers = answers[: len(some)], answers[len(some) :]
        if len(mine) == 1:
            joined += mine
        else:
            top, bottom = (views[part.view].frame.bounds().to(PERCENT) for part in some)
            joined.append(join(mine[0], mine[1], (bottom.y1, top.y2)))
    return joined


def _parts(planned: PlannedQuery, view: View) -> list[PlannedQuery]:
    """Return a query about a view, or those about its halves where it is a long page."""
    spec = planned.view
    whole_page = spec.printed and not isinstance(planned.query, Act)
    if not whole_page or spec.around is not None or not is_long(view.frame, view.image):
        return [planned]
    return [replace(planned, view=replace(spec, around=half)) for half in (TOP, BOTTOM)]


VIEWS_AT_ONCE = 16
"""Views of one task's regions that are in memory at once: each may take 8 MB.

The picture is decoded anew for the next ones, which takes less than the model's answers.
"""


def _look_again(planned: Sequence[PlannedQuery], pictures: _Pictures) -> list[Answer]:
    """Return the answer to each query of the second round."""
    answers: list[Answer] = []
    for at in range(0, len(planned), VIEWS_AT_ONCE):
        some = planned[at : at + VIEWS_AT_ONCE]
        views = pictures.views(one.view for one in some)
        answers += ask_model([(one, (views[one.view],)) for one in some], pictures.worker)
        del views
    return answers


def _text_of(answer: Answer) -> str:
    return "\n".join(finding.text or "" for finding in answer.findings)


# Results


def _write_results(config: LabelConfig, answered: Sequence[Answered], *, asked: bool) -> Results:
    """Return the results of all controls: regions first, then values of the whole image.

    `asked` is whether an annotator asks: what answers only then stays empty otherwise.
    """
    results = Results()
    for control in sorted(config.controls, key=lambda control: control.shape is None):
        mine = [one for one in answered if control in one.planned.controls]
        if mine:
            found = [(f, one.planned.query) for one in mine for f in one.answer.findings]
            beside = config.companions(control)
            companions = [one for one in beside if asked or not one.options.only_asked]
            results.add(write_results(control, found, mine[0].view.image, companions))
    return results


def _keep_sound(task: Task, result: Sequence[Region], written: Results) -> list[Region]:
    """Return the results that the page can read; the others are counted in `written`."""
    kept, left = split_sound(result)
    for one in left:
        what = f"a {one.get('type')} of {one.get('from_name')}"
        log.warning("task %s: left out, since the page cannot read it: %s", task.id, what)
        written.drop(Drop.UNSOUND, None)
    return kept


def _unfinished(answered: Sequence[Answered]) -> Iterator[PlannedQuery]:
    """Yield the queries whose answers may lack something."""
    for one in answered:
        if one.answer.verdict not in (Verdict.FOUND, Verdict.NOTHING):
            yield one.planned


def _count_notes(task: Task, answers: Sequence[Answer]) -> Mapping[str, int]:
    notes = Counter(str(note) for answer in answers for note in answer.warnings)
    if notes:
        counts = ", ".join(f"{count} {note}" for note, count in notes.items())
        log.info("task %s: answers with %s", task.id, counts)
    return notes


def _prediction(result: list[dict[str, Any]], model_version: str) -> dict[str, Any]:
    # By id: what belongs to a region comes after it, and its own score counts.
    scores: dict[str, float] = {}
    for one in result:
        if "score" in one:
            scores.setdefault(one["id"], one["score"])
    score = {"score": sum(scores.values()) / len(scores)} if scores else {}
    return {"result": result, "model_version": model_version, **score}
