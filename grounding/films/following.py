"""Follows things through a film: each frame is asked about as a picture is, and boxes are linked.

A question about many frames at once is one that these models answer badly for places; a frame by
itself is what they were taught. So a film costs a short answer for each frame and query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING

from grounding.films.tracking import Line, link
from grounding.geometry import PERCENT, Box
from grounding.labelstudio.controls.base import PlannedQuery
from grounding.media.films.reader import read_frames
from grounding.media.films.sampling import count_frames, spread
from grounding.queries import Finding, Locate, Moment, Track
from grounding.qwen.answers import Answer, Note, Verdict
from grounding.waiting import now_and_then

if TYPE_CHECKING:
    from grounding.films.asking import FilmLook

MOST_FRAMES = 600
"""Frames of one film that are looked at for places: five minutes at the usual two a second."""

AT_ONCE = 8
"""Frames that are in memory at once."""

SAME = 0.8
"""Boxes of one frame and label with this IoU or more are of one thing."""


@dataclass(slots=True)
class Seen:
    """What was found for one query in each frame so far, and how the answers went."""

    query: Locate
    frames: list[Sequence[Finding]] = field(default_factory=list)
    verdicts: set[Verdict] = field(default_factory=set)
    notes: set[Note] = field(default_factory=set)

    def add(self, answer: Answer) -> None:
        """Take the answer about the next frame."""
        self.frames.append(list(_boxes(self.query, answer.findings)))
        self.verdicts.add(answer.verdict)
        self.notes |= set(answer.warnings)


def follow(look: FilmLook, planned: Sequence[PlannedQuery]) -> list[Answer]:
    """Return an answer to each query: a finding for each thing, with its track.

    A query about a box at a time is about the thing in it, from then on.
    """
    times = frame_times(look, planned)
    seen = [Seen(one.query) for one in planned if isinstance(one.query, Locate)]
    looks = [replace(one, query=_anywhere(one.query)) for one in planned]
    shown: list[float] = []
    for at in range(0, len(times), AT_ONCE):
        with look.held(AT_ONCE * look.frame_bytes(look.single)):
            views = read_frames(look.film, times[at : at + AT_ONCE], look.single)
            shown += [view.time or 0.0 for view in views]
            asked = [(one, (replace(view, time=None),)) for view in views for one in looks]
            answers = look.put(asked)
            del views, asked
        for number, answer in enumerate(answers):
            seen[number % len(seen)].add(answer)
    check = now_and_then(look.worker.check_wanted)
    lines = [link(one.frames, check) for one in seen]
    duration = look.film.info.duration
    return [_answer(*pair, shown, duration) for pair in zip(seen, lines, strict=True)]


def frame_times(look: FilmLook, planned: Sequence[PlannedQuery]) -> Sequence[float]:
    """Return the times of the frames to look at: to the end, from the first that is asked for."""
    info, film = look.film.info, look.spec.film
    starts = [one.query.at for one in planned if isinstance(one.query, Locate)]
    asked = [start for start in starts if start is not None]
    first = info.at(min(asked)) if len(asked) == len(starts) else 0
    most = (film and film.max_frames) or MOST_FRAMES
    count = count_frames(len(info.times) - first, info.rate, look.sampling.fps, most)
    return spread(info.times[first], info.times[-1], count)


def _anywhere(query: object) -> Locate:
    """Return the query for a frame: where the thing is by then, nobody knows."""
    assert isinstance(query, Locate)  # noqa: S101  the others are asked otherwise
    return replace(query, around=None, at=None)


def _boxes(query: Locate, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the findings with a box, in percent, each thing once.

    Where a query was for one class, the model's own word for it does not matter.
    """
    kept: list[tuple[Box, str | None]] = []
    for finding in findings:
        if not isinstance(finding.place, Box):
            continue
        box = finding.place.to(PERCENT).clip()
        label = query.classes[0] if len(query.classes) == 1 else finding.label
        if any(label == other and box.iou(there) >= SAME for there, other in kept):
            continue
        kept.append((box, label))
        yield replace(finding, place=box, label=label)


def _answer(seen: Seen, lines: Sequence[Line], times: Sequence[float], duration: float) -> Answer:
    if isinstance(seen.query.around, Box):
        lines = _of_box(lines, seen.query.around.to(PERCENT))
    findings = tuple(_finding(line, times, duration) for line in lines)
    # Frames that cannot be read hide what was not found in the others.
    order = (Verdict.UNREADABLE, Verdict.REFUSED, Verdict.TRUNCATED, Verdict.NOTHING)
    unclear = next((one for one in order if one in seen.verdicts), Verdict.NOTHING)
    verdict = Verdict.FOUND if findings else unclear
    return Answer(findings, verdict, tuple(note for note in Note if note in seen.notes))


def _of_box(lines: Sequence[Line], box: Box) -> list[Line]:
    """Return the line that begins in a drawn box; it begins with that box itself."""
    first = [line for line in lines if line.sightings[0].at == 0]
    best = max(first, key=lambda line: line.sightings[0].box.iou(box), default=None)
    if best is None or best.sightings[0].box.iou(box) <= 0:
        return []
    best.sightings[0] = best.sightings[0]._replace(box=box)
    return [best]


def _finding(line: Line, times: Sequence[float], duration: float) -> Finding:
    moments = [
        Moment(times[one.at], one.box, after is not None and after.at == one.at + 1)
        for one, after in zip(line.sightings, [*line.sightings[1:], None], strict=True)
    ]
    scores = [one.finding.score for one in line.sightings]
    known = [score for score in scores if score is not None]
    return Finding(
        label=line.label,
        score=fmean(known) if known and len(known) == len(scores) else None,
        time=(moments[0].time, moments[-1].time),
        track=Track(tuple(moments), duration),
    )
