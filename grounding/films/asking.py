"""Asks about films: frames with their times in one question, and long films in windows.

A query about values sees the whole film at once, as densely as one question allows. A query about
times sees it at the sampling's own rate, window by window, and its answers are joined; then a
second, finer look at each end of what was found puts it where it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from grounding.errors import FilmTooLarge
from grounding.films.ends import STEPS, SpanEnd, find_ends, move, settle
from grounding.films.following import follow, frame_times
from grounding.films.progress import Progress
from grounding.geometry import PixelBounds, image_frame, model_frame
from grounding.inference.answering import Answered, ask_model, join_answers
from grounding.inference.branches import Question
from grounding.labelstudio.controls.base import PlannedQuery, ViewSpec
from grounding.labelstudio.data import find_image_address
from grounding.labelstudio.films import merge_spans
from grounding.media.films.reader import PIXEL_BYTES, Film, read_frames
from grounding.media.films.sampling import (
    Sampling,
    count_frames,
    picture_bounds,
    spread,
    windows,
)
from grounding.media.views import View
from grounding.queries import FindSpans, Locate, Span
from grounding.qwen.answers import Answer
from grounding.tasks import Task

if TYPE_CHECKING:
    from grounding.pipeline import WorkerContext

AT_ONCE = 8
"""Second looks whose frames are in memory at once, where there is room for them."""

MOST_PARTS = 600
"""Parts in which one film is asked about: nine hours at the usual two frames a second."""


def ask_films(planned: Sequence[PlannedQuery], task: Task, worker: WorkerContext) -> list[Answered]:
    """Return the answers to queries about films; each film is fetched once.

    Raises the `TaskError` that says why a film cannot be fetched or read.
    """
    answered: list[Answered] = []
    specs = dict.fromkeys(one.view for one in planned)
    progress = Progress(worker.on_progress, len(specs))
    for key in dict.fromkeys(spec.data_key for spec in specs):
        address = find_image_address(task.data, key)
        worker.check_owner(address, task.id, task.project)
        with worker.film_reader.open(address, task.id, worker.check_wanted) as film:
            for spec in (spec for spec in specs if spec.data_key == key):
                look = FilmLook(film, spec, worker, progress)
                answered += look.ask([one for one in planned if one.view == spec])
    return answered


@dataclass
class FilmLook:
    """One film as one view spec sees it."""

    film: Film
    spec: ViewSpec
    worker: WorkerContext
    progress: Progress

    @cached_property
    def sampling(self) -> Sampling:
        """The deployment's sampling, with what the config sets."""
        usual, film = self.worker.film_reader.sampling, self.spec.film
        if film is None:
            return usual
        return replace(
            usual,
            fps=film.fps or usual.fps,
            max_frames=film.max_frames or usual.max_frames,
            max_tokens=film.max_tokens or usual.max_tokens,
        )

    @property
    def whole(self) -> Span:
        """The whole film, from its first frame on."""
        return self.film.info.times[0], self.film.info.duration

    @cached_property
    def most(self) -> int:
        """Most frames of one question."""
        info = self.film.info
        return self.sampling.most(image_frame(info.width, info.height), self._factor)

    @property
    def _factor(self) -> int:
        return self.worker.engine.profile.factor

    @property
    def single(self) -> PixelBounds:
        """The bounds of the area of a frame that is asked about alone, as a picture is."""
        own = self.worker.engine.profile
        return own.within(self.spec.min_pixels, self.spec.max_pixels).bounds

    def ask(self, planned: Sequence[PlannedQuery]) -> list[Answered]:
        """Return the answers to queries, those about values before those about times."""
        values = [one for one in planned if not isinstance(one.query, FindSpans | Locate)]
        moving = [one for one in planned if isinstance(one.query, Locate)]
        timed = [one for one in planned if isinstance(one.query, FindSpans)]
        answers: list[Answer] = []
        self.progress.begin(self._count(values, timed, moving))
        if values:
            answers += self._ask_about(self.whole, values)
        if timed:
            answers += self._find_spans(timed)
        if moving:
            answers += follow(self, moving)
        whole = [*values, *(_about(one, self.whole) for one in timed), *moving]
        return [Answered(*pair, self.first) for pair in zip(whole, answers, strict=True)]

    def _ask_about(self, span: Span, planned: Sequence[PlannedQuery]) -> list[Answer]:
        """Return the answers to queries about one part of the film."""
        with self.held(self._bytes_of(self.most)):
            look = tuple(self.views(span))
            return self.put([(one, look) for one in planned])

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Hold the memory of some frames, in bytes, in the block; let go of them in it.

        Raises what `check_wanted` does, before and while it waits.
        """
        worker = self.worker
        worker.check_wanted()
        budget = worker.film_reader.budget
        with budget.hold(size, urgent=worker.urgent, check=worker.check_wanted):
            yield

    def _bytes_of(self, frames: int) -> int:
        """Return what so many frames of one question take."""
        return frames * self.frame_bytes(self.bounds(frames))

    def frame_bytes(self, bounds: PixelBounds) -> int:
        """Return what a frame takes whose area is within `bounds`."""
        image = image_frame(self.film.info.width, self.film.info.height)
        frame = model_frame(image, bounds)
        return int(frame.bounds().area) * PIXEL_BYTES

    def _count(
        self,
        values: Sequence[PlannedQuery],
        timed: Sequence[PlannedQuery],
        moving: Sequence[PlannedQuery],
    ) -> int:
        """Return how many questions there are, with a second look for each about a window."""
        looks = 2 if self._fine_fps else 1
        frames = len(frame_times(self, moving)) if moving else 0
        windows = len(self._windows) if timed else 0
        return len(values) + looks * windows * len(timed) + frames * len(moving)

    @cached_property
    def first(self) -> View:
        """The first frame that the model sees."""
        (view,) = read_frames(self.film, [0.0], self.bounds(1))
        return view

    def put(self, asked: Sequence[Question]) -> list[Answer]:
        """Return the answers to some questions, and say how far all are."""
        self.worker.check_wanted()
        answers = ask_model(asked, self.worker)
        self.progress.add(len(asked))
        return answers

    def views(self, span: Span, fps: float | None = None) -> list[View]:
        """Return frames of a part of the film, evenly spread, from its start to its end."""
        info, fps = self.film.info, fps or self.sampling.fps
        first, last = info.at(span[0]), info.at(span[1])
        count = count_frames(last - first + 1, info.rate, fps, self.most)
        times = spread(info.times[first], info.times[last], count)
        return read_frames(self.film, times, self.bounds(count))

    def bounds(self, count: int) -> PixelBounds:
        """Return the bounds of the area of `count` frames of one question, within the config's."""
        rule = picture_bounds(max(1, count), self.sampling, self._factor)
        low, high = rule.min_pixels, rule.max_pixels
        high = min(high, self.spec.max_pixels or high)
        low = max(low, self.spec.min_pixels or low)
        return rule._replace(min_pixels=min(low, high), max_pixels=high)

    @cached_property
    def _windows(self) -> Sequence[Span]:
        """The parts of the film that are asked about; raises `FilmTooLarge` where they are many."""
        first, last = self.whole
        parts = windows(self.whole, self.most / self.sampling.fps)
        if len(parts) > MOST_PARTS:
            raise FilmTooLarge(
                f"the film's {last - first:.0f} seconds would be asked about in {len(parts)} parts"
                f" of {self.most} frames, and {MOST_PARTS} are the most",
                code="film_too_many_parts",
                hint="Lower model_fps, raise model_max_frames or model_max_tokens, or cut it",
            )
        return parts

    @cached_property
    def _fine_fps(self) -> float:
        """How densely the ends of spans are looked at; 0 where that is no finer than before."""
        fine = min(self.sampling.fine_fps, self.film.info.rate)
        return fine if fine > self.sampling.fps else 0.0

    def _find_spans(self, planned: Sequence[PlannedQuery]) -> list[Answer]:
        """Return when things happen: window by window, joined, and then at each end."""
        found: list[list[Answer]] = [[] for _ in planned]
        for window in self._windows:
            answers = self._ask_about(window, [_about(one, window) for one in planned])
            for mine, answer in zip(found, answers, strict=True):
                mine.append(answer)
        step = 1 / self.sampling.fps
        joined = [_join(*pair, step) for pair in zip(planned, found, strict=True)]
        return self._look_closer(planned, joined)

    def _look_closer(
        self, planned: Sequence[PlannedQuery], answers: Sequence[Answer]
    ) -> list[Answer]:
        """Return the answers with the ends of their spans where a finer look sees them."""
        sampling, fine = self.sampling, self._fine_fps
        if not fine:
            return list(answers)
        ends = list(find_ends(answers, self.whole, sampling.fps))
        self.progress.expect(len(ends) - len(self._windows) * len(planned))
        frames = min(self.most, math.ceil(2 * STEPS * fine / sampling.fps) + 1)
        each = self._bytes_of(frames)
        at_once = max(1, min(AT_ONCE, self.worker.film_reader.budget.most // each))
        for at in range(0, len(ends), at_once):
            some = ends[at : at + at_once]
            with self.held(len(some) * each):
                self._look_at(some, planned)
        return settle(answers, ends, 1 / sampling.fps)

    def _look_at(self, ends: Sequence[SpanEnd], planned: Sequence[PlannedQuery]) -> None:
        """Move some ends of spans to where a finer look sees them."""
        fine = self._fine_fps
        asked = [
            (_about(planned[end.query], end.window), tuple(self.views(end.window, fine)))
            for end in ends
        ]
        for end, answer in zip(ends, self.put(asked), strict=True):
            move(end, answer, 1 / fine)


def _about(planned: PlannedQuery, span: Span) -> PlannedQuery:
    assert isinstance(planned.query, FindSpans)  # noqa: S101  the others are about the whole film
    return replace(planned, query=replace(planned.query, within=span))


def _join(planned: PlannedQuery, answers: Sequence[Answer], gap: float) -> Answer:
    """Return one answer of those about windows that overlap: spans that touch are one.

    Where a query was for one class, the model's own word for it does not matter.
    """
    findings = [finding for answer in answers for finding in answer.findings]
    if isinstance(planned.query, FindSpans) and len(planned.query.classes) == 1:
        findings = [replace(finding, label=None) for finding in findings]
    return join_answers(merge_spans(findings, gap), answers)
