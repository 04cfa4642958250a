"""An answer as a row of pieces: texts, tags, fences and bracketed groups.

A bracket begins a group only where what follows it may be data, so prose may hold brackets of
its own. Quoted strings within a group hide whatever stands in them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from grounding.qwen.reading.lenient_json import Parser
from grounding.qwen.reading.values import NUMBER, Group, Word, numbers_in

MAX_PIECES = 5_000
"""Pieces beyond which the rest of a text is left unread."""


class Text(NamedTuple):
    """Plain text between two offsets."""

    start: int
    end: int


class Fence(NamedTuple):
    """A Markdown fence with its info string."""

    start: int
    end: int


class Tag(NamedTuple):
    """An opening or closing tag, or a special token; names are lower case."""

    name: str
    closing: bool
    alone: bool
    attributes: str
    start: int
    end: int


class Corners(NamedTuple):
    """Two pairs side by side: the corners of a box."""

    numbers: tuple[float, ...]
    start: int
    end: int


Piece = Text | Fence | Tag | Group | Corners


@dataclass(slots=True)
class Pieces:
    """The row of pieces.

    `cut` says that the text ends inside a group or tag, `unread` that there were too many.
    """

    items: list[Piece] = field(default_factory=list)
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
      | [(（](?=\s*+[(\[（［])
      | (?<=\w)[(（](?=\s*+(?:\w++\s*+=|["'“\d\[(-]))
    )
  | (?P<stub><\|?\s*+/?\s*+(?P<stump>\w*+)[^<]*+\Z | \(\s*+[\d\s,.，-]*+\Z)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TO_THE_LOWER_CORNER = (
    r"(?:[,，]|and|和)?\s*+(?:the\s++)?(?:bottom|lower)[- ]?right(?:\s++corner)?"
    r"(?:\s++(?:at|is))*+|[,，]?\s*+右下角?(?:坐标)?[为是在]?"
)
_JOINT = re.compile(
    rf"\s*+(?:[,，]|to|-|–|—|~|→|->|到|至|(?:{_TO_THE_LOWER_CORNER})\s*+[:：=]?)\s*+", re.IGNORECASE
)
ENDINGS = {"im_end", "endoftext", "eot_id", "end"}


def split(text: str, known_tags: frozenset[str]) -> Pieces:
    """Return the pieces of `text` in order; `known_tags` are those whose stump counts as cut."""
    return _Splitter(text, known_tags).split()


class _Splitter:
    def __init__(self, text: str, known_tags: frozenset[str]) -> None:
        self.text = text
        self.known_tags = known_tags
        self.pieces = Pieces()
        self.done = 0
        self.is_document = False

    def split(self) -> Pieces:
        pos = 0
        while len(self.pieces.items) < MAX_PIECES and (begin := BEGINNING.search(self.text, pos)):
            match = MARK.match(self.text, begin.start())
            pos = self._take(match) if match else begin.end()
        self.pieces.unread = len(self.pieces.items) >= MAX_PIECES
        self._text_until(len(self.text))
        return self.pieces

    def _take(self, match: re.Match[str]) -> int:
        """Take the piece that `match` begins, and return where the next one may begin."""
        kind = match.lastgroup or ""
        start = match.start()
        piece, end = TAKERS[kind](self, match)
        if piece is not None:
            self._text_until(start)
            self.pieces.items.append(piece)
            self.done = end
        return end

    def _text_until(self, end: int) -> None:
        if end > self.done:
            self.pieces.items.append(Text(self.done, end))

    def _on_fence(self, match: re.Match[str]) -> tuple[Piece | None, int]:
        self.is_document = False
        return Fence(*match.span()), match.end()

    def _on_token(self, match: re.Match[str]) -> tuple[Piece | None, int]:
        token = match["token"].lower()
        name, closing = TOKENS.get(token) or (_SIDE.sub("", token), token.endswith("_end"))
        return Tag(name, closing, False, "", *match.span()), match.end()

    def _on_tag(self, match: re.Match[str]) -> tuple[Piece | None, int]:
        attributes = match["attributes"]
        self.is_document |= "data-bbox" in attributes
        alone = attributes.rstrip().endswith("/")
        tag = Tag(match["name"].lower(), bool(match["slash"]), alone, attributes, *match.span())
        return tag, match.end()

    def _on_numbers(self, match: re.Match[str]) -> tuple[Piece | None, int]:
        if self.is_document:
            return None, match.end()
        numbers = numbers_in(match[0])
        opener = "(" if match["tuple"] else "<"
        return Group(opener, *match.span(), closed=True, numbers=numbers), match.end()

    def _on_group(self, match: re.Match[str]) -> tuple[Piece | None, int]:
        if self.is_document:
            return None, match.end()
        parser = Parser(self.text, match.start())
        group = parser.parse()
        self.pieces.cut |= parser.ended and _is_data(group)
        if self.text[match.start()] in "(（":
            group.name = _name_before(self.text, match.start())
        return group, parser.pos

    def _on_stub(self, match: re.Match[str]) -> tuple[Piece | None, int]:
        stump = (match["stump"] or "").lower()
        at_the_end = match.end("stump") == len(self.text)
        is_cut = (
            match[0].startswith("(")
            or stump in self.known_tags
            or (at_the_end and any(name.startswith(stump) for name in self.known_tags))
            or "data-bbox" in match[0]
        )
        self.pieces.cut |= is_cut
        return None, match.end() if is_cut else match.start() + 1


_SIDE = re.compile("_(?:start|end)$")
TOKENS = {
    **{name: (name, False) for name in ENDINGS},
    # What hosted Qwen2-VL models show where the tokens have lost their names.
    "extra_0": ("object_ref", False),
    "extra_1": ("object_ref", True),
    "extra_2": ("box", False),
    "extra_3": ("box", True),
}
TAKERS = {
    "fence": _Splitter._on_fence,
    "token": _Splitter._on_token,
    "attributes": _Splitter._on_tag,
    "angles": _Splitter._on_numbers,
    "tuple": _Splitter._on_numbers,
    "group": _Splitter._on_group,
    "stub": _Splitter._on_stub,
}


def _is_data(group: Group) -> bool:
    """Say whether a group holds more than words: prose has open brackets too."""
    words = (key is None and isinstance(value, Word) for key, value in group.entries)
    return not group.entries or not all(words)


def _name_before(text: str, end: int) -> str | None:
    """Return the last part of the dotted name that ends at `end`."""
    start = end
    while start and end - start < 40 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    return text[start:end] or None


def join_corners(text: str, pieces: list[Piece]) -> list[Piece]:
    """Return `pieces` with exactly two bare pairs side by side made one box; longer rows stay."""
    joined: list[Piece] = []
    index = 0
    while index < len(pieces):
        stop = _row_of_pairs(text, pieces, index)
        first, last = pieces[index], pieces[stop - 1]
        if stop - index == 3 and isinstance(first, Group) and isinstance(last, Group):
            joined.append(Corners(first.numbers + last.numbers, first.start, last.end))
        else:
            joined += pieces[index:stop]
        index = stop
    return joined


def _row_of_pairs(text: str, pieces: list[Piece], index: int) -> int:
    """Return the index after the row of pairs at `index`; one further where there is none."""
    stop = index + 1
    while (
        _is_pair(pieces[stop - 1])
        and stop + 1 < len(pieces)
        and isinstance(joint := pieces[stop], Text)
        and _is_pair(pieces[stop + 1])
        and _JOINT.fullmatch(text, joint.start, joint.end)
    ):
        stop += 2
    return stop


def _is_pair(piece: Piece) -> bool:
    return isinstance(piece, Group) and piece.opener in ("(", "[") and len(piece.numbers) == 2
