"""Asks about a large taxonomy level by level: first for the branch, then for what is in it.

Every answer is then of a short list. The view is the same, so an engine that keeps what it has read
of it reads the words of one more question only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.labelstudio.config.interface import Label
from grounding.labelstudio.controls.base import PlannedQuery
from grounding.labelstudio.controls.taxonomy import read_path
from grounding.media.views import View
from grounding.queries import PATH_SIGN, Field, Fill, Finding, ValueKind, find_branches
from grounding.qwen.answers import Answer

Asked = tuple[PlannedQuery, tuple[View, ...]]
"""A query, and what is seen of what it is about."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The query about the inside of the branch that the finding `at` names."""

    at: int
    planned: PlannedQuery
    is_path: bool
    """Whether the branch may be chosen itself."""


def ask_by_branches(
    asked: Sequence[Asked], ask: Callable[[Sequence[Asked]], Sequence[Answer]]
) -> list[Answer]:
    """Return the answer to each query, with paths that are told level by level where they are many.

    `ask` answers queries, in order. A branch in which nothing is found is the answer itself, where
    it may be chosen.
    """
    answers = list(ask([(_shorten(one), look) for one, look in asked]))
    steps = [list(_steps(one, answer)) for (one, _), answer in zip(asked, answers, strict=True)]
    again = [(s.planned, asked[of][1]) for of, some in enumerate(steps) for s in some]
    inner = iter(ask_by_branches(again, ask) if again else ())
    return [
        _join(answer, [(step, next(inner)) for step in some]) if some else answer
        for answer, some in zip(answers, steps, strict=True)
    ]


def _branches(field: Field) -> tuple[str, ...]:
    return find_branches(field.choices) if field.type.kind is ValueKind.PATH else ()


def _shorten(planned: PlannedQuery) -> PlannedQuery:
    """Return a query with the branches of each large taxonomy instead of its paths."""
    query = planned.query
    if not isinstance(query, Fill) or not any(map(_branches, query.fields)):
        return planned
    fields = tuple(replace(one, choices=_branches(one) or one.choices) for one in query.fields)
    return replace(planned, query=replace(query, fields=fields))


def _steps(planned: PlannedQuery, answer: Answer) -> Iterator[_Step]:
    query = planned.query
    if not isinstance(query, Fill):
        return
    for field in query.fields:
        branches = tuple(map(Label, _branches(field)))
        control = next((one for one in planned.controls if one.from_name == field.name), None)
        if not branches or control is None:
            continue
        for at, finding in enumerate(answer.findings):
            value = (finding.value or "") if finding.label == field.name else ""
            branch = read_path(replace(control, labels=branches), value)
            paths = _inside(field, branch.value) if branch else ()
            if branch and paths != (branch.value,) and len(paths) < len(field.choices):
                inner = replace(control, labels=tuple(map(Label, paths)))
                fill = replace(query, fields=(replace(field, choices=paths),))
                one = replace(planned, query=fill, controls=(inner,))
                yield _Step(at, one, branch.value in paths)


def _inside(field: Field, branch: str) -> tuple[str, ...]:
    return tuple(x for x in field.choices if x == branch or x.startswith(branch + PATH_SIGN))


def _join(answer: Answer, steps: Sequence[tuple[_Step, Answer]]) -> Answer:
    """Return an answer with what was found inside its branches in their stead."""
    inner = {step.at: (step, deeper) for step, deeper in steps}
    findings: list[Finding] = []
    for at, finding in enumerate(answer.findings):
        if at not in inner:
            findings.append(finding)
            continue
        step, deeper = inner[at]
        if step.is_path and not deeper.findings:
            findings.append(finding)
        else:
            findings += (_in_full(one, finding, step) for one in deeper.findings)
    notes = (*answer.warnings, *(note for _, deeper in steps for note in deeper.warnings))
    verdict = answer.verdict if findings else steps[0][1].verdict
    return replace(
        answer, findings=tuple(findings), verdict=verdict, warnings=tuple(dict.fromkeys(notes))
    )


def _in_full(found: Finding, branch: Finding, step: _Step) -> Finding:
    """Return a finding with its whole path, and with the probability of its branch, too."""
    path = read_path(step.planned.controls[0], found.value or "")
    score = None
    if found.score is not None and branch.score is not None:
        score = found.score * branch.score
    return replace(found, value=path.value if path else found.value, score=score)
