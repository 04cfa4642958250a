"""Model text to detections: the one reader of all that Qwen's family and its relatives write.

    answer = read('```json\\n[{"bbox_2d": [10, 20, 110, 120], "label": "cat"}]\\n```', frame)
    answer.verdict       Verdict.FOUND
    answer.detections    one box at 10, 20, 110, 120 in `frame`, labelled "cat"

The reader never raises and never guesses: what the numbers mean is given, not inferred, labels
stay as written, and what isn't whole isn't returned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from grounding.geometry import Frame
from grounding.queries import Finding
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.envelope import MAX_TEXT, body
from grounding.qwen.reading.lines import read_lines
from grounding.qwen.reading.matches import Matches, Note
from grounding.qwen.reading.normalize import settle
from grounding.qwen.reading.records import means_none
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.tags import TagReader
from grounding.qwen.reading.tokenizer import Pieces, Text, join_corners, split
from grounding.qwen.reading.values import Group

__all__ = ["Answer", "Note", "Verdict", "read"]

RUNAWAY = re.compile(r"(?<!\d)\d{64}")
"""Digits without end: a loop within a number."""


class Verdict(StrEnum):
    """What kind of answer a text is."""

    FOUND = "found"
    NOTHING = "nothing"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model's text says.

    `detections` are in the text's order, their places in the frame that was given. `warnings`
    say what happened on the way, and `repeats` how many repetitions of a loop were cut.
    """

    detections: tuple[Finding, ...]
    verdict: Verdict
    warnings: tuple[Note, ...] = ()
    repeats: int = 0


def read(text: str, frame: Frame, complete: bool = True) -> Answer:
    """Return what `text` says, its numbers taken in units of `frame`; never raises.

    Say `complete=False` where the engine stopped at its token limit: what the text's end may
    have left half said is then not returned.
    """
    content, cut = body(text)
    pieces = split(content, KNOWN)
    finds = Matches(cut=cut or pieces.cut)
    reader = TagReader(content, finds)
    reader.read(join_corners(content, pieces.items))
    if not finds.items:
        read_lines(content, reader.unread, finds, complete=complete)
    unread = len(text) > MAX_TEXT or pieces.unread or finds.full
    finds.cut |= unread and bool(finds.items)
    ended = finds.cut or not (complete or _is_closed(pieces, content))
    detections, repeats = settle(finds, frame)
    verdict = _verdict(content, pieces, finds, found=bool(detections), cut=ended)
    if RUNAWAY.search(content):
        finds.warnings.add(Note.LOOP)
    if ended or not complete:
        finds.warnings.add(Note.TRUNCATED)
    return Answer(detections, verdict, tuple(n for n in Note if n in finds.warnings), repeats)


def _verdict(content: str, pieces: Pieces, finds: Matches, *, found: bool, cut: bool) -> Verdict:
    prose = "".join(content[p.start : p.end] for p in pieces.items if isinstance(p, Text))
    groups = [p for p in pieces.items if isinstance(p, Group)]
    if cut:
        return Verdict.TRUNCATED
    if found:
        return Verdict.FOUND
    if finds.empty or any(map(means_none, groups)) or says_none(prose):
        return Verdict.NOTHING
    return Verdict.REFUSED if declines(prose) else Verdict.UNREADABLE


def _is_closed(pieces: Pieces, content: str) -> bool:
    """Say whether the text ends with a closing bracket, tag or fence."""
    shown = [p for p in pieces.items if not isinstance(p, Text) or content[p.start : p.end].strip()]
    return bool(shown) and not isinstance(shown[-1], Text)
