"""Splits an answer into lexemes: plain texts, tags, fences and bracketed groups.

A bracket begins a group only where data may follow it, because prose has brackets too. Text in
quotes inside a group belongs to the group, whatever it contains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from grounding.qwen.reading.lenient_json import Parser
from grounding.qwen.reading.values import NUMBER, Group, Word, find_numbers

MAX_LEXEMES = 5_000
"""Limit of lexemes in one answer; text behind it is not read."""


class Text(NamedTuple):
    """Plain text between two offsets."""

    start: int
    end: int


class Fence(NamedTuple):
    """A Markdown code fence with its language."""

    start: int
    end: int


class Tag(NamedTuple):
    """An opening or closing tag, or a special token; its name in lower case.

    `offset` is where the attributes begin in the text.
    """

    name: str
    closing: bool
    alone: bool
    attributes: str
    start: int
    end: int
    offset: int = 0


class Corners(NamedTuple):
    """Two pairs side by side, which are the corners of a box."""

    numbers: tuple[float, ...]
    start: int
    end: int


Lexeme = Text | Fence | Tag | Group | Corners


@dataclass(slots=True)
class Lexemes:
    """The lexemes of a text in order.

    `cut`: the text ends inside a group or tag. `unread`: the limit of lexemes was reached.
    """

    items: list[Lexeme] = field(default_factory=list)
    cut: bool = False
    unread: bool = False


_ATTRIBUTES = r"""(?:"[^"<]*+"|'[^'<]*+'|[^<>{])*+"""
_NAME = r"[A-Za-z_][\w:.-]*+"
_FOUR_OR_TWO = rf"\s*+{NUMBER}(?:(?:\s*+[,，]\s*+|\s++){NUMBER})++\s*+"
BEGINNING = re.compile(r"[`~\[{(［｛（【]|<(?!<)")
MARK = re.compile(
    rf"""
    (?P<fence>(?:```|~~~)[ ]*+(?:[A-Za-z][\w+-]*+)?)
  | <\|(?P<token>\w++)\|>
  | <\s*+(?P<slash>/?)\s*+(?P<name>{_NAME})(?P<attributes>{_ATTRIBUTES})>
  | (?P<angles>(?:<\s*+\d++\s*+>\s*+)++)
  | (?P<tuple>[(（]{_FOUR_OR_TWO}[)）])
  | (?P<group>
        [{{｛]
      | [\[［【](?=\s*+(?:[\[{{("'“‘［｛（\d\]］+.-]|\Z
            |(?:none|null|nan|-?inf(?:inity)?)\b|\w++\s*+[:=]\s*+["'\[({{\d-]))
      | [(（](?=\s*+(?:[(\[（［]|[xX]\d?\s?[=:]\s?\d))
      | (?<=\w)[(（](?=\s*+(?:\w++\s*+=|["'“\d\[(-]))
    )
  | (?P<stub>
        <\|?\s*+/?\s*+(?P<stump>\w*+)[^<]*+(?:\Z|(?=<\|(?:im_end|endoftext)\|>))
      | \(\s*+[\d\s,.，-]*+\Z
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
# The numbers and attributes of an unfinished tag, without the last one if that may go on.
_WHOLE = re.compile(
    rf"""(?:[\s,]*+{NUMBER}(?=[\s,]))++
    | (?:\s*+{_NAME}\s*+=\s*+(?:"[^"]*+"|'[^']*+'|“[^”]*+”|[^\s"'“<>/]++(?=\s)))++""",
    re.VERBOSE,
)
_TO_THE_LOWER_CORNER = (
    r"(?:[,，]|and|和)?\s*+(?:the\s++)?(?:bottom|lower)[- ]?right(?:\s++corner)?"
    r"(?:\s++(?:at|is))*+|[,，]?\s*+右下角?(?:坐标)?[为是在]?"
)
_JOINT = re.compile(
    rf"\s*+(?:[,，]|to|-|–|—|~|→|->|到|至|(?:{_TO_THE_LOWER_CORNER})\s*+[:：=]?)\s*+", re.IGNORECASE
)
_COMMA = re.compile(r"\s*+[,，]\s*+")
_AND = re.compile(r"\s*+[,，、]?\s*+(?:and|or|&|和|与|及)\s*+", re.IGNORECASE)
ENDINGS = {"im_end", "endoftext", "eot_id", "end"}


def tokenize(text: str, known_tags: frozenset[str]) -> Lexemes:
    """Return the lexemes of `text`; an unfinished tag at its end is a cut if in `known_tags`."""
    return _Tokenizer(text, known_tags).tokenize()


class _Tokenizer:
    """Collects lexemes from left to right; all text before `done` is in one of them."""

    def __init__(self, text: str, known_tags: frozenset[str]) -> None:
        self.text = text
        self.known_tags = known_tags
        self.lexemes = Lexemes()
        self.done = 0
        self.is_document = False

    def tokenize(self) -> Lexemes:
        pos = 0
        while len(self.lexemes.items) < MAX_LEXEMES and (begin := BEGINNING.search(self.text, pos)):
            match = MARK.match(self.text, begin.start())
            pos = self._take(match) if match else begin.end()
        self.lexemes.unread = len(self.lexemes.items) >= MAX_LEXEMES
        self._add_text_until(len(self.text))
        return self.lexemes

    def _take(self, match: re.Match[str]) -> int:
        """Add the lexeme that begins with `match`; return where the next one may begin."""
        kind = match.lastgroup or ""
        start = match.start()
        lexeme, end = HANDLERS[kind](self, match)
        if lexeme is not None:
            self._add_text_until(start)
            self.lexemes.items.append(lexeme)
            self.done = end
        return end

    def _add_text_until(self, end: int) -> None:
        if end > self.done:
            self.lexemes.items.append(Text(self.done, end))

    def _on_fence(self, match: re.Match[str]) -> tuple[Lexeme | None, int]:
        self.is_document = False
        return Fence(*match.span()), match.end()

    def _on_token(self, match: re.Match[str]) -> tuple[Lexeme | None, int]:
        token = match["token"].lower()
        name, closing = TOKENS.get(token) or (_SIDE.sub("", token), token.endswith("_end"))
        return Tag(name, closing, False, "", *match.span()), match.end()

    def _on_tag(self, match: re.Match[str]) -> tuple[Lexeme | None, int]:
        attributes = match["attributes"]
        self.is_document |= "data-bbox" in attributes
        alone = attributes.rstrip().endswith("/")
        tag = Tag(match["name"].lower(), bool(match["slash"]), alone, attributes, *match.span())
        return tag._replace(offset=match.start("attributes")), match.end()

    def _on_numbers(self, match: re.Match[str]) -> tuple[Lexeme | None, int]:
        if self.is_document:
            return None, match.end()
        numbers = find_numbers(match[0])
        group = Group("(" if match["tuple"] else "<", *match.span(), closed=True, numbers=numbers)
        group.name = _find_function_name(self.text, match.start()) if match["tuple"] else None
        return group, match.end()

    def _on_group(self, match: re.Match[str]) -> tuple[Lexeme | None, int]:
        if self.is_document:
            return None, match.end()
        parser = Parser(self.text, match.start())
        group = parser.parse()
        self.lexemes.cut |= parser.ended and _is_data(group)
        if self.text[match.start()] in "(（":
            group.name = _find_function_name(self.text, match.start())
        return group, parser.pos

    def _on_stub(self, match: re.Match[str]) -> tuple[Lexeme | None, int]:
        stump = (match["stump"] or "").lower()
        at_the_end = match.end("stump") == len(self.text)
        is_cut = (
            match[0].startswith("(")
            or stump in self.known_tags
            or (at_the_end and any(name.startswith(stump) for name in self.known_tags))
            or "data-bbox" in match[0]
        )
        self.lexemes.cut |= is_cut
        if stump in ("points", "point") and (whole := _WHOLE.match(self.text, match.end("stump"))):
            tag = Tag(stump, False, False, whole[0], match.start(), match.end(), whole.start())
            return tag, match.end()
        return None, match.end() if is_cut else match.start() + 1


_SIDE = re.compile("_(?:start|end)$")
TOKENS = {
    **{name: (name, False) for name in ENDINGS},
    # Names that hosted Qwen2-VL models give the tokens for phrases and boxes.
    "extra_0": ("object_ref", False),
    "extra_1": ("object_ref", True),
    "extra_2": ("box", False),
    "extra_3": ("box", True),
}
HANDLERS = {
    "fence": _Tokenizer._on_fence,
    "token": _Tokenizer._on_token,
    "attributes": _Tokenizer._on_tag,
    "angles": _Tokenizer._on_numbers,
    "tuple": _Tokenizer._on_numbers,
    "group": _Tokenizer._on_group,
    "stub": _Tokenizer._on_stub,
}


def _is_data(group: Group) -> bool:
    """Return whether a group holds more than words; prose has unclosed brackets too."""
    words = (key is None and isinstance(value, Word) for key, value in group.entries)
    return not group.entries or not all(words)


def _find_function_name(text: str, end: int) -> str | None:
    """Return the last part of the dotted name in front of `end`, or None."""
    start = end
    while start and end - start < 40 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    return text[start:end] or None


def join_corners(text: str, lexemes: list[Lexeme]) -> list[Lexeme]:
    """Return `lexemes` with each two pairs side by side as one box; longer rows are unchanged.

    A row goes on behind "and": in (1, 2), (3, 4) and (5, 6) no two pairs are a box.
    """
    joined: list[Lexeme] = []
    index = 0
    while index < len(lexemes):
        rows = [(index, _find_end_of_pairs(text, lexemes, index))]
        while _is_linked(text, lexemes, stop := rows[-1][1], _AND):
            rows.append((stop + 1, _find_end_of_pairs(text, lexemes, stop + 1)))
        corners = [_make_corners(lexemes[start:end]) for start, end in rows]
        is_list = len(rows) > 1 and None in corners
        for (start, end), box in zip(rows, corners, strict=True):
            listed = is_list and _is_linked(text, lexemes, start + 1, _COMMA)
            joined += lexemes[start:end] if box is None or listed else [box]
            joined += lexemes[end : end + 1] if end < rows[-1][1] else []
        index = rows[-1][1]
    return joined


def _make_corners(row: list[Lexeme]) -> Corners | None:
    """Return the box of two pairs with a joint between; None for any other row."""
    first, last = row[0], row[-1]
    if len(row) != 3 or not isinstance(first, Group) or not isinstance(last, Group):
        return None
    return Corners(first.numbers + last.numbers, first.start, last.end)


def _find_end_of_pairs(text: str, lexemes: list[Lexeme], index: int) -> int:
    """Return the index behind the row of pairs at `index`; `index` + 1 where there is none."""
    stop = index + 1
    while _is_linked(text, lexemes, stop, _JOINT):
        stop += 2
    return stop


def _is_linked(text: str, lexemes: list[Lexeme], at: int, joint: re.Pattern[str]) -> bool:
    """Return whether the lexeme at `at` is a `joint` between two pairs."""
    if not 0 < at < len(lexemes) - 1 or not isinstance(between := lexemes[at], Text):
        return False
    whole = joint.fullmatch(text, between.start, between.end)
    return bool(whole) and _is_pair(lexemes[at - 1]) and _is_pair(lexemes[at + 1])


def _is_pair(lexeme: Lexeme) -> bool:
    return isinstance(lexeme, Group) and lexeme.opener in ("(", "[") and len(lexeme.numbers) == 2
