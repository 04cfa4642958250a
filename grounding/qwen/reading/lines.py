"""Plain text, line by line: "10,20,110,120 cat", "cat: [10, 20, 110, 120]", table rows, prose.

Read only where nothing more structured was found. Lines made for their boxes come before boxes
in running prose, and only they give labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from grounding.qwen.reading.fields import Name
from grounding.qwen.reading.finds import Finds
from grounding.qwen.reading.naming import is_empty_word, name_after, name_before, without_bullet
from grounding.qwen.reading.pieces import Corners, Piece, Text
from grounding.qwen.reading.records import read_group
from grounding.qwen.reading.values import NUMBER, Group, number

_COMMA = r"(?:\s*+[,，]\s*+|[ \t]++)"
_BARE = re.compile(
    rf"(?P<numbers>{NUMBER}(?:{_COMMA}{NUMBER}){{3}}(?:{_COMMA}(?:0?\.\d++|0|1|1\.0++)(?!\d))?+)"
    r"(?![\d.])(?P<name>.*)"
)
_NAMED_BARE = re.compile(
    rf"(?P<name>[^:：]{{1,80}})[:：]\s*+(?P<numbers>{NUMBER}(?:\s*+[,，]\s*+{NUMBER}){{3}})[\s.;,|]*+"
)
_ROW = re.compile(rf"\|(?P<name>.*?)\|\s*+(?P<numbers>{NUMBER}(?:\s*+\|\s*+{NUMBER}){{3,4}}+)\s*+\|")
_NUMBERS = re.compile(NUMBER)
_HALF_A_BOX = re.compile(rf"\s*+{NUMBER}(?:{_COMMA}{NUMBER}){{0,2}}\s*+,?\s*+")
_JOINT_AT_THE_END = re.compile(r"\s*+(?:[,，]|to|-|~|到|至)\s*+")


@dataclass(slots=True)
class _Line:
    """One line: its bracketed places, and where it starts and ends."""

    start: int
    end: int
    places: list[Group | Corners] = field(default_factory=list)
    last: bool = False


def read_lines(text: str, pieces: list[Piece], out: Finds, *, complete: bool) -> None:
    """Add the boxes and points of plain lines to `out`; of prose only where no line has any.

    Where the text is not `complete`, what its last line holds may go on, and is left out.
    """
    made, prose = Finds(), Finds()
    for line in _lines(text, pieces):
        if line.last and not complete:
            line.places = _withheld(line)
        if line.places:
            _read_places(text, line, made, prose)
        elif complete or not line.last:
            _read_bare(text, line, made)
    out.merge(made if made.items or out.cut else prose)


def _lines(text: str, pieces: list[Piece]) -> Iterator[_Line]:
    """Yield the lines that hold digits, with tags and fences as line ends."""
    line = _Line(0, 0)
    for piece in pieces:
        if isinstance(piece, Group | Corners):
            line.places.append(piece)
            line.end = piece.end
        elif isinstance(piece, Text):
            start = piece.start
            while (stop := text.find("\n", start, piece.end)) >= 0:
                line.end = stop
                yield line
                start = stop + 1
                line = _Line(start, start)
            line.end = piece.end
        else:
            yield line
            line = _Line(piece.end, piece.end)
    line.last = True
    yield line


def _withheld(line: _Line) -> list[Group | Corners]:
    """Return the places of a cut line without the last, which may be half of one, or unnamed."""
    return line.places[:-1]


# Lines with brackets


def _read_places(text: str, line: _Line, made: Finds, prose: Finds) -> None:
    gaps = _gaps(text, line)
    lead = without_bullet(gaps[0]).strip(" \t*_`|#")
    named_before = bool(lead) and not is_empty_word(lead.strip(" :：="))
    first = name_before(gaps[0])
    if named_before and first is None:
        names: list[str | None] = [None] * len(line.places)
        out = prose
    else:
        names = _names_before(gaps) if named_before else [name_after(gap) for gap in gaps[1:]]
        out = made
    for place, name in zip(line.places, names, strict=True):
        _add(place, name, out)


def _names_before(gaps: list[str]) -> list[str | None]:
    """Return a name for each place: the one right before it, else the one before that."""
    names: list[str | None] = []
    for gap in gaps[:-1]:
        carried = names[-1] if names and not gap.strip(" ,，;；、") else None
        names.append(carried or name_before(gap))
    return names


def _gaps(text: str, line: _Line) -> list[str]:
    """Return what stands before, between and behind the places of a line."""
    starts = [line.start, *(place.end for place in line.places)]
    ends = [*(place.start for place in line.places), line.end]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _add(place: Group | Corners, name: str | None, out: Finds) -> None:
    if isinstance(place, Corners):
        out.add(place.numbers, (place.start, place.end), label=name)
    elif len(place.numbers) != 1:
        read_group(place, out, Name(name) if name else None)


# Lines without brackets


def _read_bare(text: str, line: _Line, out: Finds) -> None:
    content = text[line.start : line.end]
    if not any(c.isdigit() for c in content):
        return
    words = without_bullet(content)
    shift = line.start + len(content) - len(words)
    match = _BARE.fullmatch(words) or _NAMED_BARE.fullmatch(words) or _ROW.match(words)
    if match is None:
        out.cut |= line.last and bool(out.items) and bool(_HALF_A_BOX.fullmatch(words))
        return
    numbers = tuple(number(n) for n in _NUMBERS.findall(match["numbers"]))
    name = _bare_name(match)
    if match.re is _BARE or name:
        out.add(numbers, (shift + match.start(), shift + match.end()), label=name)


def _bare_name(match: re.Match[str]) -> str | None:
    if match.re is _BARE:
        return match["name"].strip(" \t\r,，:：|-*`\"") or None
    return name_before(match["name"] + ":")
