"""Plain text, line by line: "10,20,110,120 cat", "cat: [10, 20, 110, 120]", table rows, prose.

Read only where nothing more structured was found. Lines made for their boxes come before boxes
in running prose, and only they give labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from grounding.qwen.reading.fields import Name
from grounding.qwen.reading.matches import Matches, Note
from grounding.qwen.reading.naming import is_empty_word, name_after, name_before, without_bullet
from grounding.qwen.reading.records import read_group
from grounding.qwen.reading.tokenizer import Corners, Piece, Text
from grounding.qwen.reading.values import NUMBER, PLACE_SIZES, Group, numbers_in

_COMMA = r"(?:\s*+[,，]\s*+|[ \t]++)"
_BARE = re.compile(
    rf"(?P<numbers>{NUMBER}(?:{_COMMA}{NUMBER}){{3}}(?:{_COMMA}(?:0?\.\d++|0|1|1\.0++)(?!\d))?+)"
    r"(?![\d.])(?P<name>.*)"
)
_NAMED_BARE = re.compile(
    rf"(?P<name>[^:：]{{1,80}})[:：]\s*+(?P<numbers>{NUMBER}(?:\s*+[,，]\s*+{NUMBER}){{3}})[\s.;,|]*+"
)
_ROW = re.compile(
    rf"\|(?P<name>.*?)\|\s*+(?P<numbers>{NUMBER}(?:\s*+\|\s*+{NUMBER}){{3,4}}+)\s*+\|"
)
_HALF_A_BOX = re.compile(rf"\s*+{NUMBER}(?:{_COMMA}{NUMBER}){{0,2}}\s*+,?\s*+")
_WITH_DIGIT = re.compile(r"^[^\n\d]*+\d[^\n]*+", re.MULTILINE)
_DANGLING = re.compile(r"\s*+(?:[,，]|to|-|~|到|至)\s*+")

REACH = 100
"""Characters behind a place within which its name is looked for."""

Span = tuple[int, int]


@dataclass(slots=True)
class _Line:
    """One line: its bracketed places, and where it starts and ends."""

    start: int
    end: int
    places: list[Group | Corners] = field(default_factory=list)
    last: bool = False


def read_lines(text: str, pieces: list[Piece], out: Matches, *, complete: bool) -> None:
    """Add the boxes and points of plain lines to `out`; of prose only where no line has any.

    Where the text is not `complete`, what its last line holds may go on, and is left out.
    """
    made, prose = Matches(), Matches()
    for line in _lines(text, pieces):
        if made.full:
            break
        if line.last and not complete and line.places and _may_go_on(line.places[-1]):
            line.places.pop()
            out.cut = True
        if line.places:
            _read_places(text, line, made, prose)
        elif complete or not line.last:
            _read_bare(text, line, made)
    out.merge(made if made.items or out.cut else prose)


def _lines(text: str, pieces: list[Piece]) -> Iterator[_Line]:
    """Yield the lines that hold digits; tags and fences end a line too."""
    line = _Line(0, 0)
    for piece in pieces:
        if isinstance(piece, Group | Corners):
            line.places.append(piece)
            line.end = piece.end
        elif not isinstance(piece, Text):
            yield line
            line = _Line(piece.end, piece.end)
        elif (first := text.find("\n", piece.start, piece.end)) >= 0:
            line.end = first
            yield line
            last = text.rfind("\n", first, piece.end)
            for match in _WITH_DIGIT.finditer(text, first + 1, max(first + 1, last)):
                yield _Line(*match.span())
            line = _Line(last + 1, piece.end)
        else:
            line.end = piece.end
    line.last = True
    yield line


def _may_go_on(place: Group | Corners) -> bool:
    """Say whether a place at a cut may be half of one, or have its name behind the cut."""
    return isinstance(place, Corners) or bool(place.numbers)


# Lines with brackets


def _read_places(text: str, line: _Line, made: Matches, prose: Matches) -> None:
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
    if line.last and _is_half_a_box(line.places[-1]) and _DANGLING.fullmatch(gaps[-1]):
        out.cut = True
        line.places.pop()
    for index, place in enumerate(line.places):
        near = (line.start if index == 0 else line.places[index - 1].end), line.end
        _add(place, names[index], out, _span(text, place, names[index], near))


def _is_half_a_box(place: Group | Corners) -> bool:
    return len(place.numbers) == 2


def _span(text: str, place: Group | Corners, name: str | None, near: Span) -> Span:
    """Return where `place` and its name stand, if the name is within reach."""
    if name is None:
        return place.start, place.end
    start = text.rfind(name, near[0], place.start)
    if start >= 0:
        return start, place.end
    # Behind the place, a name may not reach over the next one.
    end = text.find(name, place.end, min(near[1], place.end + REACH))
    return place.start, end + len(name) if end >= 0 else place.end


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


def _add(place: Group | Corners, name: str | None, out: Matches, span: Span) -> None:
    if isinstance(place, Corners) or len(place.numbers) in PLACE_SIZES:
        out.add(place.numbers, span, label=name)
    elif len(place.numbers) != 1:
        read_group(place, out, Name(name) if name else None)
    if isinstance(place, Group) and place.repaired:
        out.warnings.add(Note.REPAIRED)


# Lines without brackets


def _read_bare(text: str, line: _Line, out: Matches) -> None:
    content = text[line.start : line.end]
    if not any(c.isdigit() for c in content):
        return
    words = without_bullet(content)
    shift = line.start + len(content) - len(words)
    match = _BARE.fullmatch(words) or _NAMED_BARE.fullmatch(words) or _ROW.match(words)
    if match is None:
        out.cut |= line.last and bool(out.items) and bool(_HALF_A_BOX.fullmatch(words))
        return
    numbers = numbers_in(match["numbers"])
    name = _bare_name(match)
    if match.re is _BARE or name:
        out.add(numbers, (shift + match.start(), shift + match.end()), label=name)


def _bare_name(match: re.Match[str]) -> str | None:
    if match.re is _BARE:
        return match["name"].strip(' \t\r,，:：|-*`"') or None
    return name_before(match["name"] + ":")
