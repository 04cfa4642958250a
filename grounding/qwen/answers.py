"""Converts a model's text to findings, for all answer formats of Qwen's family and relatives.

    answer = read('```json\\n[{"bbox_2d": [10, 20, 110, 120], "label": "cat"}]\\n```', frame)
    answer.verdict       Verdict.FOUND
    answer.findings      one box at 10, 20, 110, 120 in `frame`, labelled "cat"

The reader never raises and never guesses: the caller gives the unit of the numbers, labels stay
as written, and an unfinished place is not returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from grounding.geometry import Box, Frame
from grounding.queries import Finding
from grounding.qwen.reading.blocks import read_blocks, read_named_rows
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.lines import read_lines, read_lone_place
from grounding.qwen.reading.matches import Matches, Note, normalize
from grounding.qwen.reading.records import means_none
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.tags import TagReader
from grounding.qwen.reading.thinking import MAX_TEXT, drop_drafts, extract_answer
from grounding.qwen.reading.tokenizer import (
    Corners,
    Lexeme,
    Lexemes,
    Tag,
    Text,
    join_corners,
    tokenize,
)
from grounding.qwen.reading.values import Group

__all__ = ["Answer", "Note", "Verdict", "read"]

THREE_D = re.compile(r"\bb?box_?3d\b|\bpoint_?3d\b", re.IGNORECASE)
"""The key of a place in the room, whose numbers are no pixels."""

RUNAWAY = re.compile(r"(?<!\d)\d{64}")
"""More digits than a number has: a loop inside a number."""


class Verdict(StrEnum):
    """The kind of an answer."""

    FOUND = "found"
    NOTHING = "nothing"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Answer:
    """The findings in a model's text, and its verdict.

    `findings` follow the order of the text; their places are in the frame given to `read`.
    `warnings` are notes about the reading. `repeats` counts the repetitions removed from loops, and
    `not_asked` the branches of a tree that were named and not asked about, because too many were.
    """

    findings: tuple[Finding, ...]
    verdict: Verdict
    warnings: tuple[Note, ...] = ()
    repeats: int = 0
    not_asked: int = 0


def read(text: str, frame: Frame, complete: bool = True) -> Answer:
    """Return the answer in `text`, whose numbers are in units of `frame`; never raises.

    Pass `complete=False` if the engine stopped at its token limit: a finding at the end of the
    text that may be unfinished is then left out.
    """
    content, cut = extract_answer(text)
    lexemes = tokenize(content, KNOWN)
    lexemes.items, thinking = drop_drafts(content, lexemes.items, complete=complete)
    matches = Matches(cut=cut or lexemes.cut or thinking)
    reader = TagReader(content, matches)
    reader.read(join_corners(content, lexemes.items))
    if not matches.items:
        matches.merge(_read_plain(content, reader.unread, complete=complete))
    unread = len(text) > MAX_TEXT or lexemes.unread or matches.full
    matches.cut |= unread and bool(matches.items)
    ended = matches.cut or not (complete or _is_closed(lexemes, content))
    findings, repeats = normalize(matches, frame)
    verdict = _verdict(content, lexemes, matches, found=bool(findings), cut=ended)
    if not findings and THREE_D.search(content):
        matches.warnings.add(Note.THREE_D)
    if not findings and (thinking or (cut and not content.strip())):
        matches.warnings.add(Note.THINKING)
    if RUNAWAY.search(content):
        matches.warnings.add(Note.LOOP)
    if ended or not complete:
        matches.warnings.add(Note.TRUNCATED)
    return Answer(findings, verdict, tuple(n for n in Note if n in matches.warnings), repeats)


def _read_plain(text: str, lexemes: list[Lexeme], *, complete: bool) -> Matches:
    """Return the places of an answer without brackets around its records or tags.

    Lines that are records or names over places count where they name more of what is there.
    """
    lines = Matches()
    read_lines(text, lexemes, lines, complete=complete)
    if not any(isinstance(lexeme, Group | Corners | Tag) for lexeme in lexemes):
        rows = read_named_rows(text, complete=complete)
        lines = rows if len(rows.items) > len(lines.items) else lines
    if not lines.items and complete:
        read_lone_place(text, lines)
    if not lexemes or any(isinstance(lexeme, Tag) for lexeme in lexemes):
        return lines
    blocks = read_blocks(text[lexemes[0].start :], complete=complete)
    # The last record of a cut text is left out.
    fewer = len(blocks.items) + (not complete) < len(lines.items)
    if fewer or _count_names(blocks) <= _count_names(lines):
        return lines
    blocks.cut |= not complete
    return blocks.moved(lexemes[0].start)


def _count_names(matches: Matches) -> int:
    return sum(match.label is not None for match in matches.items)


def _verdict(
    content: str, lexemes: Lexemes, matches: Matches, *, found: bool, cut: bool
) -> Verdict:
    prose = "".join(content[p.start : p.end] for p in lexemes.items if isinstance(p, Text))
    groups = [p for p in lexemes.items if isinstance(p, Group)]
    if cut:
        return Verdict.TRUNCATED
    if found:
        return Verdict.FOUND
    if Note.FRACTIONS in matches.warnings:
        return Verdict.UNREADABLE
    if matches.empty or any(map(means_none, groups)) or says_none(prose):
        return Verdict.NOTHING
    return Verdict.REFUSED if declines(prose) else Verdict.UNREADABLE


def _is_closed(lexemes: Lexemes, content: str) -> bool:
    """Return whether the text ends with a closing bracket, tag or fence."""
    visible = [
        p for p in lexemes.items if not isinstance(p, Text) or content[p.start : p.end].strip()
    ]
    return bool(visible) and not isinstance(visible[-1], Text)


def add_caveats(answer: Answer) -> Answer:
    """Return the answer, each finding with the warnings that concern it."""
    last = len(answer.findings) - 1
    findings = tuple(
        replace(finding, warnings=_warnings(finding, answer.warnings, is_last=at == last))
        for at, finding in enumerate(answer.findings)
    )
    return replace(answer, findings=findings)


def _warnings(finding: Finding, notes: tuple[Note, ...], *, is_last: bool) -> tuple[str, ...]:
    caveats = [CAVEATS[note] for note in notes if note in CAVEATS]
    return tuple(text for text, concerns in caveats if concerns(finding, is_last))


def _ends_the_answer(finding: Finding, is_last: bool) -> bool:
    return is_last


def _touches_the_edge(finding: Finding, is_last: bool) -> bool:
    """Say whether the place reaches an edge of its frame, as every clipped place does."""
    place = finding.place
    if place is None:
        return False
    frame = place.frame
    xs = (place.x1, place.x2) if isinstance(place, Box) else (place.x,)
    ys = (place.y1, place.y2) if isinstance(place, Box) else (place.y,)
    return min(*xs, *ys) <= 0 or max(xs) >= frame.width or max(ys) >= frame.height


CAVEATS: dict[Note, tuple[str, Callable[[Finding, bool], bool]]] = {
    Note.TRUNCATED: (
        "The model's answer ends here, unfinished: more may be missing",
        _ends_the_answer,
    ),
    Note.LOOP: ("The model repeated itself: more may be missing", _ends_the_answer),
    Note.WHOLE_IMAGE: ("One box around nearly everything: ask for each one", _ends_the_answer),
    Note.CLIPPED: ("The model drew this beyond the picture's edge", _touches_the_edge),
}
"""The warning for each note, and which findings of the answer it concerns.

What happened at the end of the answer is attached to the last finding. A box around everything
is the only finding.
"""
