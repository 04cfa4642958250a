"""Elements and special tokens: XML points, box tokens, Qwen's HTML, tool calls.

A reader walks the pieces with a stack of open elements. What an element means follows from its
name, and for HTML from its attributes:

    label     <ref>, <|object_ref_start|>, <p>: its text labels the boxes after it
    box       <box>, <|box_start|>, <bbox>: its content is numbers
    points    <points x1="" y1="" alt="">: its attributes are numbers, its text the label
    document  any element with data-bbox: a box, labelled by its class or name
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from grounding.qwen.reading.axes import place_on_axes
from grounding.qwen.reading.fields import Name
from grounding.qwen.reading.finds import Finds, Note, hull
from grounding.qwen.reading.pieces import ENDINGS, Corners, Fence, Piece, Tag, Text
from grounding.qwen.reading.records import places_in, read_group
from grounding.qwen.reading.sentences import says_none
from grounding.qwen.reading.values import (
    NUMBER,
    Group,
    String,
    Value,
    lone_number,
    number,
    number_lists,
)
from grounding.qwen.reading.vocabulary import PLACE, Role, folded, meaning

LABELLING = {"ref", "object_ref", "p", "label", "name", "category", "class", "object", "action"}
POINTS = {"points", "point"}
KNOWN = frozenset(
    {"ref", "object_ref", "object_ref_start", "object_ref_end", "box", "box_start", "box_end"}
    | {"points", "point", "quad", "tool_call", "answer", "think", "html", "body", "im_end"}
)
"""Tags whose stump at the end of a text, or whose missing end, shows that it was cut."""
VOID = {"img", "br", "hr", "input", "meta", "link", "col", "wbr"}
# A second one of these ends the first: the closing tag was left out.
IMPLIED = {"p", "li", "tr", "td", "th", "box", "ref", "object_ref", "points", "point"}

_ATTRIBUTE = re.compile(
    r"""(?P<name>[A-Za-z_][\w:.-]*+)\s*+=\s*+
    (?:"(?P<a>[^"]*+)"|'(?P<b>[^']*+)'|“(?P<c>[^”]*+)”|(?P<d>[^\s"'>/][^\s>]*+))""",
    re.VERBOSE,
)
_AXIS = re.compile(r"([xy])(\d*+)")
_BARE_NUMBERS = re.compile(rf"\s*+(?:{NUMBER}[\s,]*+)++/?\s*+")
_SINGLE = re.compile(NUMBER)
_SEPARATORS = re.compile(r"[\s,，;；、.。:：]*+(?:and\b|和|与)?[\s,，]*+", re.IGNORECASE)

Numbers = tuple[float, ...]
Attributes = dict[str, tuple[str, int, int]]


class Use(Enum):
    """What an element is to us."""

    NOTHING = auto()
    LABEL = auto()
    BOX = auto()
    POINTS = auto()
    DRAWN = auto()


@dataclass(slots=True)
class _Element:
    """An open element; `finds` are its own in `out`, `words` the texts within."""

    tag: Tag
    use: Use
    numbers: Numbers = ()
    finds: range = range(0)
    words: list[str] = field(default_factory=list)


class TagReader:
    """Adds to `out` what the elements, tokens and keyed groups among `pieces` say."""

    def __init__(self, text: str, out: Finds) -> None:
        self.text = text
        self.out = out
        self.stack: list[_Element] = []
        self.open_names: Counter[str] = Counter()
        self.used = 0
        self.name: Name | None = None
        self.name_end = 0
        self.object_end = 0
        self.unread: list[Piece] = []

    def read(self, pieces: list[Piece]) -> None:
        """Read all pieces; what is still open at the end was cut.

        `unread` are then those for the readers of plain lines: all but what elements hold.
        """
        for piece in pieces:
            if self.out.full:
                break
            if not (isinstance(piece, Group | Corners) and self._is_inside()):
                self.unread.append(piece)
                READERS[type(piece)](self, piece)
        self.out.cut |= any(e.use is not Use.NOTHING or e.tag.name in KNOWN for e in self.stack)
        while self.stack:
            self._pop(len(self.text), cut=True)

    def _is_inside(self) -> bool:
        """Say whether an open element's content is its own business."""
        return self.used > 0

    # Pieces

    def on_text(self, piece: Text) -> None:
        for element in reversed(self.stack):
            if element.use in (Use.DRAWN, Use.POINTS):
                element.words.append(self.text[piece.start : piece.end])
                return

    def on_fence(self, piece: Fence) -> None:
        """A fence ends all that is open: the text goes on behind it, so nothing was cut."""
        while self.stack:
            self._pop(piece.start)

    def on_group(self, group: Group) -> None:
        name = self._name_for(group)
        if group.keyed:
            found = len(self.out.items)
            read_group(group, self.out, name)
            if len(self.out.items) > found:
                self._note_repair(group)
        elif name:
            self._add_lists(places_in(group, corners=False), name)

    def _note_repair(self, group: Group) -> None:
        """Note what was mended in a group, and a comma that is left of a lost list."""
        if group.repaired or self.text[self.object_end : group.start].strip() == ",":
            self.out.warnings.add(Note.REPAIRED)
        self.object_end = group.end

    def on_corners(self, piece: Corners) -> None:
        name = self._name_for(piece)
        if name:
            self._add_lists([(piece.numbers, (piece.start, piece.end))], name)

    def on_tag(self, tag: Tag) -> None:
        if tag.name in ENDINGS:
            self.on_fence(Fence(tag.start, tag.end))
        elif tag.closing:
            self._close(tag)
        else:
            self._open(tag)

    # Labels

    def _name_for(self, piece: Group | Corners) -> Name | None:
        """Return the label whose tag stands right before `piece`, but for separators."""
        if not self.name or not _SEPARATORS.fullmatch(self.text, self.name_end, piece.start):
            return None
        self.name_end = piece.end
        return self.name

    def _add_lists(self, places: list[tuple[Numbers, tuple[int, int]]], name: Name | None) -> None:
        for numbers, span in places:
            near = hull(span, name.span) if name and name.span and len(places) == 1 else span
            self.out.add(numbers, near, label=name.text if name else None)
            # Only the first box after a label has the label in its span.
            if name:
                self.name = name = Name(name.text)

    # Elements

    def _open(self, tag: Tag) -> None:
        if self.stack and self.stack[-1].tag.name == tag.name and tag.name in IMPLIED:
            self._pop(tag.start)
        element = _Element(tag, Use.NOTHING)
        attributes = _attributes(tag)
        OPENERS[_kind(tag)](self, element, attributes)
        self.stack.append(element)
        self.used += element.use is not Use.NOTHING
        self.open_names[tag.name] += 1
        if tag.alone or tag.name in VOID:
            self._pop(tag.end)

    def _close(self, tag: Tag) -> None:
        if not self.open_names[tag.name]:
            return
        while self.stack[-1].tag.name != tag.name:
            self._pop(tag.start)
        self._pop(tag.start, tag.end)

    def _pop(self, content_end: int, end: int | None = None, *, cut: bool = False) -> None:
        element = self.stack.pop()
        self.used -= element.use is not Use.NOTHING
        self.open_names[element.tag.name] -= 1
        CLOSERS[element.use](self, element, content_end, content_end if end is None else end, cut)

    # What opening tags say

    def open_points(self, element: _Element, attributes: Attributes) -> None:
        """<points x1="" y1="" alt="">, or the bare numbers: <points 394 105>."""
        element.use = Use.POINTS
        pairs = self._pairs(element.tag, attributes)
        alt = attributes.get("alt") or attributes.get("label")
        self._add_own(element, pairs, _shown(alt[0]) if alt else None)

    def open_other(self, element: _Element, attributes: Attributes) -> None:
        """Any element whose attributes are a place, data-bbox above all, else by its name."""
        tag = element.tag
        numbers = _place_of(attributes, self.out)
        if numbers is None:
            element.use = _use_of(tag)
            return
        element.use = Use.DRAWN
        if any(e.use is Use.DRAWN and e.numbers == numbers for e in self.stack):
            self.out.warnings.add(Note.DUP_REMOVED)
            element.use = Use.NOTHING
            return
        element.numbers = numbers
        self._add_own(element, [(numbers, (tag.start, tag.end))], _label_of(tag, attributes))

    def _pairs(self, tag: Tag, attributes: Attributes) -> list[tuple[Numbers, tuple[int, int]]]:
        if _BARE_NUMBERS.fullmatch(tag.attributes):
            numbers = [number(n) for n in _SINGLE.findall(tag.attributes)]
            span = tag.start, tag.end
            return [((x, y), span) for x, y in zip(numbers[::2], numbers[1::2], strict=False)]
        axes = {m.groups(): attributes[name] for name in attributes if (m := _AXIS.fullmatch(name))}
        pairs: list[tuple[Numbers, tuple[int, int]]] = []
        for (axis, index), (x, start, end) in axes.items():
            if axis == "x" and ("y", index) in axes:
                y, other_start, other_end = axes["y", index]
                span = hull((start, end), (other_start, other_end))
                pairs.append(((_coordinate(x), _coordinate(y)), span))
        if 2 * len(pairs) != len(axes):
            self.out.drop()
        return pairs

    def _add_own(
        self,
        element: _Element,
        places: list[tuple[Numbers, tuple[int, int]]],
        label: str | None,
    ) -> None:
        first = len(self.out.items)
        for numbers, span in places:
            self.out.add(numbers, span, label=label)
        element.finds = range(first, len(self.out.items))

    # What closing tags say

    def close_nothing(self, element: _Element, start: int, end: int, cut: bool) -> None:
        """An element that means nothing to us."""

    def close_label(self, element: _Element, start: int, end: int, cut: bool) -> None:
        """A label: it holds for the boxes after it."""
        text = _shown(self.text[element.tag.end : start])
        if text and not cut:
            self.name = Name(text, (element.tag.start, end))
            self.name_end = end

    def close_box(self, element: _Element, start: int, end: int, cut: bool) -> None:
        """A box: numbers between two tags."""
        self._read_content(element, self.text[element.tag.end : start], end, cut, corners=True)

    def _read_content(
        self, element: _Element, content: str, end: int, cut: bool, *, corners: bool
    ) -> None:
        lists = number_lists(content, corners=corners, cut=cut)
        if lists:
            span = element.tag.start, end
            self._add_lists([(numbers, span) for numbers in lists], self.name)
            self.name_end = end
        elif not content.strip() or says_none(content):
            self.out.empty |= not cut
        elif lists is None and not cut:
            self.out.drop()

    def close_points(self, element: _Element, start: int, end: int, cut: bool) -> None:
        """Points: the text is the label where no attribute gives it, or holds the numbers."""
        if not element.tag.attributes.strip(" /"):
            content = self.text[element.tag.end : start]
            self._read_content(element, content, end, cut, corners=False)
        else:
            self._complete(element, end, None if cut else _shown(" ".join(element.words)), None)

    def close_drawn(self, element: _Element, start: int, end: int, cut: bool) -> None:
        """An element with a place of its own: its text is content."""
        text = _shown(" ".join(element.words))
        label = None if cut or _is_document(element.tag) else text
        self._complete(element, end, label, text)

    def _complete(self, element: _Element, end: int, label: str | None, text: str | None) -> None:
        """Give the element's finds what only its end could tell."""
        for index in element.finds:
            find = self.out.items[index]
            span = (element.tag.start, end) if len(element.finds) == 1 else find.span
            self.out.items[index] = find._replace(
                label=find.label or label or None, text=text or None, span=span
            )


READERS: dict[type, Callable[[TagReader, Any], None]] = {
    Text: TagReader.on_text,
    Fence: TagReader.on_fence,
    Tag: TagReader.on_tag,
    Group: TagReader.on_group,
    Corners: TagReader.on_corners,
}
OPENERS = {True: TagReader.open_points, False: TagReader.open_other}
CLOSERS = {
    Use.NOTHING: TagReader.close_nothing,
    Use.LABEL: TagReader.close_label,
    Use.BOX: TagReader.close_box,
    Use.POINTS: TagReader.close_points,
    Use.DRAWN: TagReader.close_drawn,
}


def _kind(tag: Tag) -> bool:
    return tag.name in POINTS


def _word(tag: Tag) -> str:
    """Return the tag's name, or the one after the sign in <parameter=coordinate>."""
    return tag.attributes[1:].strip().lower() if tag.attributes.startswith("=") else tag.name


def _use_of(tag: Tag) -> Use:
    word = _word(tag)
    if word in LABELLING:
        return Use.LABEL
    return Use.BOX if PLACE.fullmatch(folded(word)) else Use.NOTHING


def _attributes(tag: Tag) -> Attributes:
    offset = tag.end - 1 - len(tag.attributes)
    return {
        m["name"].lower(): (_value(m), offset + m.start(), offset + m.end())
        for m in _ATTRIBUTE.finditer(tag.attributes)
    }


def _value(match: re.Match[str]) -> str:
    return next(match[name] for name in "abcd" if match[name] is not None)


def _place_of(attributes: Attributes, out: Finds) -> Numbers | None:
    for name, (value, _, _) in attributes.items():
        if PLACE.fullmatch(folded(name.removeprefix("data-"))):
            lists = number_lists(value)
            if lists and len(lists) == 1:
                return lists[0]
            out.drop()
    axes: dict[str, Value] = {
        folded(name): String(value, start, end) for name, (value, start, end) in attributes.items()
    }
    return place_on_axes(axes, out) if axes else None


def _is_document(tag: Tag) -> bool:
    return "data-bbox" in tag.attributes


def _label_of(tag: Tag, attributes: Attributes) -> str | None:
    """Return the class, else the tag's name, in a document; elsewhere a label attribute."""
    if _is_document(tag):
        return _shown(attributes["class"][0] if "class" in attributes else "") or tag.name
    named = [name for name in attributes if name == "alt" or meaning(name).role is Role.LABEL]
    return _shown(attributes[named[0]][0]) if named else None


def _coordinate(text: str) -> float:
    value = lone_number(text)
    return float("nan") if value is None else value


def _shown(text: str) -> str:
    """Return what a browser would show of `text`."""
    return html.unescape(text).strip()
