"""Reads plain text line by line: "10,20,110,120 cat", "cat: [10, 20, 110, 120]", table rows, prose.

Used where an answer has nothing more structured. Lines that consist of a place and its name take
precedence over places in running prose, and only they give labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from grounding.qwen.reading.fields import Name, Role, classify_key, fold, read_axes
from grounding.qwen.reading.lenient_json import Parser
from grounding.qwen.reading.matches import Matches, Note
from grounding.qwen.reading.records import read_group
from grounding.qwen.reading.tokenizer import Corners, Lexeme, Text
from grounding.qwen.reading.values import (
    NUMBER,
    PLACE_SIZES,
    Group,
    find_numbers,
    parse_lone_number,
)

LONGEST_NAME = 80
"""Characters of a name; longer words next to a place are a sentence."""

_BULLET = re.compile(r"\s*+(?:[-*•·>#+]++\s++|\(?\d{1,3}(?:[.)]\s++|[、)]))*+\s*+")
_LEAD = re.compile(
    r"\s*(?:(?:the )?(?:final |my )?(?:answer|action|result|output|response)|答案|结果|动作|操作)"
    r"\s*[:：]\s*",
    re.IGNORECASE,
)
_DECORATION = " \t\r\n*_`#|,，;；、([{（"
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}
_QUOTE_MARKS = "\"'“”‘’"
_JOINTS = ":：=-–—>→"
_KEYED = re.compile(
    r"(?:^|[\s,;|{(])[\"']?(?:label|name|class|category|标签|类别)[\"']?\s*[:=：]\s*"
    rf"(?P<name>[^,;|\n]{{1,{LONGEST_NAME}}})",
    re.IGNORECASE,
)
_ENDS_A_SENTENCE = re.compile(
    r"\b(?:is|are|was|at|in|to|by|of|as|follows|following|located|below|here|coordinates?|from|"
    r"bounding box(?:es)?|around|see|and|with|positions?|locations?|objects?)$"
    r"|(?:是|为|在|于|坐标|位置|如下|结果|答案)$",
    re.IGNORECASE,
)
_BEGINS_A_SENTENCE = re.compile(
    r"(?:the\b.*\b(?:is|are|of)|here|there|i|we|it|this|these|that|is|are|was|were|represents?|"
    r"corresponds?|which|where|for|in|on|and|from|to|with|as)\b|[是为在表代]",
    re.IGNORECASE,
)
_IN_A_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|located|found|see|detected|can|has|have|contains?|shows?|at|image|of)\b"
    r"|位于|坐标|检测到|图中|图片|[，。]",
    re.IGNORECASE,
)
_BEFORE_A_KEY = re.compile(r"(?P<name>.+?)[\s*_]*[:：=–—|-][\s*_]*(?P<key>[^\W\d][\w ]{1,24})")
"""A name and a key of the place behind it, as in "cat: bbox"."""
_SCORED = re.compile(
    r"(?<=\S)[\s:：,，(（-]+(?:(?:confidence|conf|score|prob(?:ability)?|置信度)\s*[:=：]?\s*)?"
    r"(?:[01]?\.\d+|\d{1,3}(?:\.\d+)?\s*%)[\s)）]*$",
    re.IGNORECASE,
)
"""A score between a name and its place: "cat 0.98", "cat (confidence: 95%)"."""
_CORNER = re.compile(
    r"[\s:：,，—–-]*\b(?:top|upper|bottom|lower)[\s_-]*(?:left|right)(?: corner)?$", re.IGNORECASE
)
"""The word for the first corner behind a name: "cat: top-left (10, 20)"."""
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")
_DOTTED = re.compile(r"(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)")


def strip_bullet(line: str) -> str:
    """Return `line` without its list mark and a leading "Answer:"."""
    line = line[_BULLET.match(line).end() :]  # type: ignore[union-attr]
    match = _LEAD.match(line)
    return line[match.end() :] if match else line


@lru_cache(maxsize=1024)
def find_name_before(words: str) -> str | None:
    """Return the name in `words`, which stand in front of a place; None for running prose."""
    words = strip_bullet(words)
    keyed = _KEYED.search(words)
    if keyed:
        return strip_name(keyed["name"]) or None
    core = _CORNER.sub("", strip_name(words))
    if (keyed := _BEFORE_A_KEY.fullmatch(core)) and is_empty_word(keyed["key"]):
        core = strip_name(keyed["name"])
    core = _SCORED.sub("", core)
    announced = words.rstrip(_DECORATION + _QUOTE_MARKS).endswith(tuple(_JOINTS))
    if not core or len(core) > LONGEST_NAME or core.startswith(("$", "\\")) or is_empty_word(core):
        return None
    if _ENDS_A_SENTENCE.search(core) or _BEGINS_A_SENTENCE.match(core):
        return None
    if not announced and (len(core.split()) > 4 or _IN_A_SENTENCE.search(core)):
        return None
    dotted = _DOTTED.fullmatch(core)
    return dotted[1] if dotted else core


@lru_cache(maxsize=1024)
def find_name_after(words: str) -> str | None:
    """Return the name in `words`, which stand behind a place; None for running prose."""
    keyed = _KEYED.search(words)
    if keyed:
        return strip_name(keyed["name"]) or None
    core = strip_name(words)
    if not core or len(core) > LONGEST_NAME or not any(c.isalpha() for c in core):
        return None
    sentence = core.endswith((".", "。")) and len(core.split()) > 6
    return None if sentence or _BEGINS_A_SENTENCE.match(core) else core


def is_empty_word(core: str) -> bool:
    """Return whether `core` is a word for the place itself, as in "bbox: [...]"."""
    return classify_key(core).role in (Role.PLACE, Role.WRAPPER, Role.SCORE, Role.AXIS)


def strip_name(words: str) -> str:
    """Return `words` without Markdown, quotes and separators; of table cells the first name."""
    outer = _DECORATION + _JOINTS + ")]}）"
    cells = [unquote(cell.strip(outer)).strip(outer).strip() for cell in words.split("|")]
    cells = [cell for cell in cells if cell and parse_lone_number(cell) is None]
    return cells[0] if cells else ""


_COMMA = r"(?:\s*+[,，]\s*+|[ \t]++)"
_BARE = re.compile(
    rf"(?P<numbers>{NUMBER}(?:{_COMMA}{NUMBER}){{3}}(?:{_COMMA}(?:0?\.\d++|0|1|1\.0++)(?!\d))?+)"
    r"(?![\d.])(?P<name>.*)"
)
_NAMED_BARE = re.compile(
    rf"(?P<name>[^:：]{{1,80}})[:：]\s*+(?P<numbers>{NUMBER}(?:\s*+[,，]\s*+{NUMBER}){{3}})[\s.;,|]*+"
)
_ROW = re.compile(
    rf"\|(?P<name>.*?)\|\s*+(?P<numbers>{NUMBER}(?:\s*+[|,，]\s*+{NUMBER}){{3,4}}+)\s*+\|"
)
_COLUMNS = re.compile(
    rf"(?P<name>[^\d,，:：|\s][^,，:：|]{{0,79}}),(?P<numbers>{NUMBER}(?:,{NUMBER}){{3}})\s*+"
)
"""A line of a table whose columns have commas and no spaces between: cat,10,20,110,120."""
_AXIS = rf"[\"']?(?:[xy]_?(?:[0-2]|min|max)?)[\"']?\s*+[:=：]\s*+{NUMBER}"
_AXES = re.compile(
    rf"(?:(?P<name>[^:：=\d<>]{{1,80}})(?P<joint>[:：]\s*+|[ \t]))?"
    rf"(?P<axes>{_AXIS}(?:(?:\s*+[,，;；]\s*+|\s++){_AXIS})++)[\s.;,|]*+",
    re.IGNORECASE,
)
"""A line such as "x: 10, y: 20", or the same with a name in front of it."""
_HALF_A_BOX = re.compile(rf"\s*+{NUMBER}(?:{_COMMA}{NUMBER}){{0,2}}\s*+,?\s*+")
WITH_DIGIT = re.compile(r"^[^\n\d]*+\d[^\n]*+", re.MULTILINE)
_DANGLING = re.compile(r"\s*+(?:[,，]|to|-|~|到|至)\s*+(?:[(\[（［][\d\s.,，-]*+)?+")

REACH = 100
"""Characters behind a place in which its name is looked for."""

Span = tuple[int, int]


def unquote(name: str) -> str:
    """Return `name` without quotation marks around all of it, or a single mark at one end.

    Marks around a part of the name stay: "no. 7" sign.
    """
    while len(name) > 1 and name[-1] == _QUOTES.get(name[0]) and _is_one_quote(name[1:-1]):
        name = name[1:-1].strip()
    for mark in _QUOTE_MARKS:
        if name.count(mark) % 2 and _QUOTES.get(mark, mark) not in name.strip(mark):
            name = name.lstrip(mark)
            name = name if name[-2:-1].isdigit() else name.rstrip(mark)
    return name


def _is_one_quote(inner: str) -> bool:
    """Return whether marks around `inner` belong together; an apostrophe inside is no mark."""
    return not any(c in _QUOTE_MARKS for c in _APOSTROPHE.sub("", inner))


@dataclass(slots=True)
class _Line:
    """A line from `start` to `end`, and the bracketed places in it."""

    start: int
    end: int
    places: list[Group | Corners] = field(default_factory=list)
    last: bool = False


def read_lines(text: str, lexemes: list[Lexeme], out: Matches, *, complete: bool) -> None:
    """Add the places of plain lines to `out`; those of prose only if no line has one.

    If the text is not `complete`, a place in its last line may be unfinished and is left out.
    """
    made, prose = Matches(), Matches()
    for line in _split_lines(text, lexemes):
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


def _split_lines(text: str, lexemes: list[Lexeme]) -> Iterator[_Line]:
    """Yield the lines that contain a digit; tags and fences end a line too."""
    line = _Line(0, 0)
    for lexeme in lexemes:
        if isinstance(lexeme, Group | Corners):
            line.places.append(lexeme)
            line.end = lexeme.end
        elif not isinstance(lexeme, Text):
            yield line
            line = _Line(lexeme.end, lexeme.end)
        elif (first := text.find("\n", lexeme.start, lexeme.end)) >= 0:
            line.end = first
            yield line
            last = text.rfind("\n", first, lexeme.end)
            for match in WITH_DIGIT.finditer(text, first + 1, max(first + 1, last)):
                yield _Line(*match.span())
            line = _Line(last + 1, lexeme.end)
        else:
            line.end = lexeme.end
    line.last = True
    yield line


def _may_go_on(place: Group | Corners) -> bool:
    """Return whether a place at a cut may be unfinished, or its name may follow the cut."""
    return isinstance(place, Corners) or bool(place.numbers)


# Lines with brackets


def _read_places(text: str, line: _Line, made: Matches, prose: Matches) -> None:
    gaps = _split_gaps(text, line)
    lead = strip_bullet(gaps[0]).strip(" \t*_`|#")
    named_before = bool(lead) and not is_empty_word(lead.strip(" :：="))
    first = find_name_before(gaps[0])
    if named_before and first is None:
        names: list[str | None] = [None] * len(line.places)
        out = prose
    else:
        names = (
            _find_names_before(gaps) if named_before else [find_name_after(gap) for gap in gaps[1:]]
        )
        out = made
    if line.last and _is_half_a_box(line.places[-1]) and _DANGLING.fullmatch(gaps[-1]):
        out.cut = True
        line.places.pop()
    for index, place in enumerate(line.places):
        near = (line.start if index == 0 else line.places[index - 1].end), line.end
        _add(place, names[index], out, _locate(text, place, names[index], near))


def _is_half_a_box(place: Group | Corners) -> bool:
    return len(place.numbers) == 2


def _locate(text: str, place: Group | Corners, name: str | None, near: Span) -> Span:
    """Return the span of `place`, with its name if that is near."""
    if name is None:
        return place.start, place.end
    start = text.rfind(name, near[0], place.start)
    if start >= 0:
        return start, place.end
    # A name behind the place must not extend over the next place.
    end = text.find(name, place.end, min(near[1], place.end + REACH))
    return place.start, end + len(name) if end >= 0 else place.end


def _find_names_before(gaps: list[str]) -> list[str | None]:
    """Return a name for each place: that in front of it, else the previous place's name."""
    names: list[str | None] = []
    for gap in gaps[:-1]:
        carried = names[-1] if names and not gap.strip(" ,，;；、") else None
        names.append(carried or find_name_before(gap))
    return names


def _split_gaps(text: str, line: _Line) -> list[str]:
    """Return the texts before, between and behind the places of a line."""
    starts = [line.start, *(place.end for place in line.places)]
    ends = [*(place.start for place in line.places), line.end]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _add(place: Group | Corners, name: str | None, out: Matches, span: Span) -> None:
    if isinstance(place, Group) and place.numbers and not place.closed:
        return
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
    words = strip_bullet(content)
    shift = line.start + len(content) - len(words)
    if axes := _AXES.fullmatch(words):
        _read_axes(axes, shift, out)
        return
    match = _BARE.fullmatch(words) or _NAMED_BARE.fullmatch(words) or _COLUMNS.fullmatch(words)
    match = match or _ROW.match(words)
    if match is None:
        out.cut |= line.last and bool(out.items) and bool(_HALF_A_BOX.fullmatch(words))
        return
    numbers = find_numbers(match["numbers"])
    name = _read_bare_name(match)
    if match.re is _BARE or name:
        out.add(numbers, (shift + match.start(), shift + match.end()), label=name)


_LONE_PAIR = re.compile(rf"\s*({NUMBER}(?:,\s+|\s*，\s*){NUMBER})\s*\.?\s*")
"""An answer that is two numbers, and no number with a comma in it."""


def read_lone_place(text: str, out: Matches) -> None:
    """Add the place of a text that is nothing but two numbers, or axes in lines of their own."""
    words = text.strip()
    if lone := _LONE_PAIR.fullmatch(text):
        out.add(find_numbers(lone[1]), lone.span(1))
    elif axes := _AXES.fullmatch(words):
        _read_axes(axes, text.find(words), out)


def _read_axes(line: re.Match[str], shift: int, out: Matches) -> None:
    """Add the place that a line names by its axes."""
    group = Parser(f"({line['axes']})", 0).parse()
    numbers = read_axes({fold(key.text): value for key, value in group.entries if key}, out)
    if numbers:
        name = find_name_before(line["name"] + line["joint"]) if line["name"] else None
        out.add(numbers, (shift + line.start(), shift + line.end()), label=name)


def _read_bare_name(match: re.Match[str]) -> str | None:
    if match.re is _BARE:
        return unquote(match["name"].strip(" \t\r,，;；:：|-*`")).strip(" ,，:：*`") or None
    return find_name_before(match["name"] + ":")
