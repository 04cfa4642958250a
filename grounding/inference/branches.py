"""Asks about a large taxonomy level by level: first for the branch, then for what is in it.

Every answer is then of a short list. The view is the same, so an engine that keeps what it has read
of it reads the words of one more question only. A branch is opened once, and a control opens at
most `MOST_OPENED` about one view.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.controls.base import PlannedQuery
from grounding.labelstudio.controls.taxonomy import read_path
from grounding.media.views import View
from grounding.queries import PATH_SIGN, Field, Fill, Finding, ValueKind, find_branches
from grounding.qwen.answers import Answer, Note, Verdict

MOST_OPENED = 32
"""Branches that one control opens about one view: a question each. More are counted, not asked."""

Look = tuple[View, ...]
"""What a query is about: one view of a picture, or frames of a film in order."""

Question = tuple[PlannedQuery, Look]
"""A query, and what is seen of what it is about."""

Opened = defaultdict[str, set[str]]
"""The branches that are open already, by control; of one query and what follows from it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The query about the inside of a branch."""

    planned: PlannedQuery
    is_path: bool
    """Whether the branch may be chosen itself."""


@dataclass(slots=True)
class _Opening:
    """What follows from an answer: the steps by the number of the finding that names the branch.

    The other findings that name a branch are `repeated` or `not_asked`.
    """

    steps: dict[int, _Step] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    not_asked: set[int] = field(default_factory=set)

    def add(self, at: int, branch: str, step: _Step, opened: set[str]) -> None:
        """Open a branch, unless it is open or too many are."""
        if branch in opened:
            self.repeated.add(at)
        elif len(opened) >= MOST_OPENED:
            self.not_asked.add(at)
        else:
            opened.add(branch)
            self.steps[at] = step


def ask_by_branches(
    asked: Sequence[Question], ask: Callable[[Sequence[Question]], Sequence[Answer]]
) -> list[Answer]:
    """Return the answer to each query, with paths that are told level by level where they are many.

    `ask` answers queries, in order. A branch in which no path is found is the answer itself, where
    it may be chosen.
    """
    return _ask_down(asked, ask, [defaultdict(set) for _ in asked])


def _ask_down(
    asked: Sequence[Question],
    ask: Callable[[Sequence[Question]], Sequence[Answer]],
    opened: Sequence[Opened],
) -> list[Answer]:
    answers = list(ask([(_shorten(one), look) for one, look in asked]))
    openings = [
        _open(one, answer, mine)
        for (one, _), answer, mine in zip(asked, answers, opened, strict=True)
    ]
    again = [(step, of) for of, opening in enumerate(openings) for step in opening.steps.values()]
    inner = iter(
        _ask_down(
            [(step.planned, asked[of][1]) for step, of in again],
            ask,
            [opened[of] for _, of in again],
        )
        if again
        else ()
    )
    return [
        _join(answer, opening, {at: next(inner) for at in opening.steps})
        for answer, opening in zip(answers, openings, strict=True)
    ]


def _branches(field: Field) -> tuple[str, ...]:
    return find_branches(field.choices) if field.type.kind is ValueKind.PATH else ()


def _shorten(planned: PlannedQuery) -> PlannedQuery:
    """Return a query with the branches of each large taxonomy instead of its paths."""
    query = planned.query
    if not isinstance(query, Fill) or not any(map(_branches, query.fields)):
        return planned
    fields = tuple(one.narrowed(_branches(one) or one.choices) for one in query.fields)
    return replace(planned, query=replace(query, fields=fields))


def _open(planned: PlannedQuery, answer: Answer, opened: Opened) -> _Opening:
    """Return which branches that an answer names are asked about further."""
    opening, query = _Opening(), planned.query
    if not isinstance(query, Fill):
        return opening
    for one in query.fields:
        branches = tuple(map(Label, _branches(one)))
        control = next((c for c in planned.controls if c.from_name == one.name), None)
        if not branches or control is None:
            continue
        for at, finding in enumerate(answer.findings):
            value = (finding.value or "") if finding.label == one.name else ""
            branch = read_path(replace(control, labels=branches), value)
            paths = _inside(one, branch.value) if branch else ()
            if branch and paths != (branch.value,) and len(paths) < len(one.choices):
                inner = replace(control, labels=tuple(map(Label, paths)))
                fill = replace(query, fields=(one.narrowed(paths),))
                step = _Step(replace(planned, query=fill, controls=(inner,)), branch.value in paths)
                opening.add(at, branch.value, step, opened[one.name])
    return opening


def _inside(field: Field, branch: str) -> tuple[str, ...]:
    return tuple(x for x in field.choices if x == branch or x.startswith(branch + PATH_SIGN))


def _join(answer: Answer, opening: _Opening, inner: Mapping[int, Answer]) -> Answer:
    """Return an answer with what was found inside its branches in their stead.

    What names no path stays as it is beside them, so that it is counted as unknown. The verdict is
    the worst of all.
    """
    if not (inner or opening.repeated or opening.not_asked):
        return answer
    findings: list[Finding] = []
    for at, finding in enumerate(answer.findings):
        if at in inner:
            findings += _in_stead(finding, opening.steps[at], inner[at])
        elif at not in opening.repeated | opening.not_asked:
            findings.append(finding)
    every = (answer, *inner.values())
    notes = [note for one in every for note in one.warnings]
    notes += [Note.DUP_REMOVED] * bool(opening.repeated)
    notes += [Note.UNOPENED for one in inner.values() if one.verdict in _UNCLEAR]
    return Answer(
        tuple(findings),
        _worst([one.verdict for one in every], found=bool(findings)),
        tuple(dict.fromkeys(notes)),
        sum(one.repeats for one in every) + len(opening.repeated),
        sum(one.not_asked for one in every) + len(opening.not_asked),
    )


def _in_stead(branch: Finding, step: _Step, deeper: Answer) -> list[Finding]:
    control = step.planned.controls[0]
    is_found = any(read_path(control, one.value or "") for one in deeper.findings)
    bare = [] if is_found or not step.is_path else [branch]
    return bare + [_in_full(one, branch, control) for one in deeper.findings]


def _in_full(found: Finding, branch: Finding, control: Control) -> Finding:
    """Return a finding with its whole path, and with the probability of its branch, too."""
    path = read_path(control, found.value or "")
    score = None
    if found.score is not None and branch.score is not None:
        score = found.score * branch.score
    return replace(found, value=path.value if path else found.value, score=score)


_UNCLEAR = (Verdict.UNREADABLE, Verdict.REFUSED, Verdict.TRUNCATED)
"""The verdicts of answers that cannot be used as a whole, the worst first."""


def _worst(verdicts: Collection[Verdict], *, found: bool) -> Verdict:
    usual = Verdict.FOUND if found else Verdict.NOTHING
    return next((one for one in _UNCLEAR if one in verdicts), usual)
