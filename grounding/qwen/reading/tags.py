"""Elements and special tokens: XML points, box tokens, Qwen's HTML, tool calls.

A reader walks the pieces with a stack of open elements. What an element means follows from its
name or from its attributes:

    label   <ref>, <|object_ref_start|>, <p>: its text labels the boxes after it
    box     <box>, <|box_start|>, <bbox>: its content is numbers
    points  <points x1="" y1="" alt="">: its attributes are numbers, its text the label
    drawn   any element with data-bbox and the like: a box, labelled by its class or name
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from grounding.qwen.reading.elements import (
    IMPLIED,
    KNOWN,
    VOID,
    Use,
    attributes_of,
    box_of,
    is_document,
    label_of,
    points_of,
    shown,
    use_of,
)
from grounding.qwen.reading.fields import Name
from grounding.qwen.reading.matches import Matches, Note, Place, hull
from grounding.qwen.reading.naming import LONGEST_NAME, name_before
from grounding.qwen.reading.records import places_in, read_group
from grounding.qwen.reading.sentences import says_none
from grounding.qwen.reading.tokenizer import ENDINGS, Corners, Fence, Piece, Tag, Text
from grounding.qwen.reading.values import Group, number_lists

_SEPARATORS = re.compile(r"[\s,，;；、.。:：]*+(?:and\b|和|与)?[\s,，]*+", re.IGNORECASE)


@dataclass(slots=True)
class _Element:
    """An open element; `finds` are its own in the reader's, `words` the texts within."""

    tag: Tag
    use: Use
    name: Name | None = None
    numbers: tuple[float, ...] = ()
    finds: range = range(0)
    words: list[str] = field(default_factory=list)


class TagReader:
    """Adds to `out` what the elements, tokens and keyed groups of a text say.

    `unread` are, after `read`, the pieces for the readers of plain lines: all but what elements
    hold.
    """

    def __init__(self, text: str, out: Matches) -> None:
        self.text = text
        self.out = out
        self.unread: list[Piece] = []
        self._stack: list[_Element] = []
        self._open_names: Counter[str] = Counter()
        self._in_use = 0
        self._name: Name | None = None
        self._name_end = 0
        self._record_end = 0
        self._before: Text | None = None

    def read(self, pieces: list[Piece]) -> None:
        """Read all pieces; elements that are still open at the end were cut."""
        for piece in pieces:
            if self.out.full:
                break
            if self._in_use and isinstance(piece, Group | Corners):
                continue
            self.unread.append(piece)
            READERS[type(piece)](self, piece)
        self.out.cut |= any(e.use is not Use.NOTHING or e.tag.name in KNOWN for e in self._stack)
        while self._stack:
            self._pop(len(self.text), len(self.text), cut=True)

    # Pieces

    def on_text(self, piece: Text) -> None:
        """Keep the text for the element that it is content of."""
        self._before = piece
        for element in reversed(self._stack):
            if element.use in (Use.DRAWN, Use.POINTS):
                element.words.append(self.text[piece.start : piece.end])
                return

    def on_fence(self, piece: Fence | Tag) -> None:
        """A fence ends all that is open: the text goes on behind it, so nothing was cut."""
        while self._stack:
            self._pop(piece.start, piece.start)

    def on_group(self, group: Group) -> None:
        """A group is a record, or a list that the tag before it labels."""
        name = self._name_for(group)
        found = len(self.out.items)
        if group.keyed:
            read_group(group, self.out, name)
        elif name:
            self._add(places_in(group, corners=False), name)
        if len(self.out.items) > found:
            self._note_repair(group)

    def _note_repair(self, group: Group) -> None:
        """Note what was mended in a group, and a comma that is left of a lost list."""
        if group.repaired or self.text[self._record_end : group.start].strip() == ",":
            self.out.warnings.add(Note.REPAIRED)
        self._record_end = group.end

    def on_corners(self, piece: Corners) -> None:
        """Two pairs are a box here where a tag labels them."""
        name = self._name_for(piece)
        if name:
            self._add([(piece.numbers, (piece.start, piece.end))], name)

    def on_tag(self, tag: Tag) -> None:
        """Open or close an element; a token that ends the turn ends all."""
        if tag.name in ENDINGS:
            self.on_fence(tag)
        elif tag.closing:
            self._close(tag)
        else:
            self._open(tag)

    # Labels

    def _name_for(self, piece: Group | Corners) -> Name | None:
        """Return the label whose tag stands right before `piece`, but for separators."""
        if not self._name or not _SEPARATORS.fullmatch(self.text, self._name_end, piece.start):
            return None
        self._name_end = piece.end
        return self._name

    def _name_on_the_line(self, tag: Tag) -> Name | None:
        """Return the name in the plain text before `tag`: CLICK <point>..., cat <box>..."""
        before = self._before
        if before is None or before.end != tag.start:
            return None
        words = self.text[max(before.start, before.end - 2 * LONGEST_NAME) : before.end]
        name = name_before(words.rpartition("\n")[2])
        return Name(name) if name else None

    def _add(self, places: list[Place], name: Name | None) -> None:
        for numbers, span in places:
            near = hull(span, name.span) if name and name.span and len(places) == 1 else span
            self.out.add(numbers, near, label=name.text if name else None)
        # The first box after a label has the label in its span; the next ones don't.
        if self._name is not None and self._name is name:
            self._name = Name(name.text)

    # Elements

    def _open(self, tag: Tag) -> None:
        if self._stack and self._stack[-1].tag.name == tag.name and tag.name in IMPLIED:
            self._pop(tag.start, tag.start)
        element = _Element(tag, use_of(tag))
        self._open_attributes(element)
        self._stack.append(element)
        self._in_use += element.use is not Use.NOTHING
        self._open_names[tag.name] += 1
        if tag.alone or tag.name in VOID:
            self._pop(tag.end, tag.end)

    def _open_attributes(self, element: _Element) -> None:
        """Add the places that an opening tag holds, in the order of the tags."""
        tag = element.tag
        element.name = self._name or self._name_on_the_line(tag)
        attributes = attributes_of(tag)
        if element.use is Use.POINTS and tag.attributes.strip(" /"):
            alt = attributes.get("alt") or attributes.get("label")
            places = points_of(tag, attributes, self.out)
            self._add_own(element, places, shown(alt.text) if alt else None)
        elif numbers := box_of(attributes, self.out):
            if self._is_within_its_like(numbers):
                self.out.warnings.add(Note.DUP_REMOVED)
                element.use = Use.NOTHING
                return
            element.use, element.numbers = Use.DRAWN, numbers
            places = [(numbers, (tag.start, tag.end))]
            self._add_own(element, places, label_of(tag, attributes))

    def _is_within_its_like(self, numbers: tuple[float, ...]) -> bool:
        """Say whether an open element has the same box: then it is the same detection."""
        return any(e.use is Use.DRAWN and e.numbers == numbers for e in self._stack)

    def _add_own(self, element: _Element, places: list[Place], label: str | None) -> None:
        first = len(self.out.items)
        for numbers, span in places:
            self.out.add(numbers, span, label=label)
        element.finds = range(first, len(self.out.items))

    def _close(self, tag: Tag) -> None:
        if not self._open_names[tag.name]:
            return
        while self._stack[-1].tag.name != tag.name:
            self._pop(tag.start, tag.start)
        self._pop(tag.start, tag.end)

    def _pop(self, content_end: int, end: int, *, cut: bool = False) -> None:
        element = self._stack.pop()
        self._in_use -= element.use is not Use.NOTHING
        self._open_names[element.tag.name] -= 1
        content = self.text[element.tag.end : content_end] if element.use in INNER else ""
        CLOSERS[element.use](self, element, content, end, cut)

    # What closing tags say

    def close_nothing(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """An element that means nothing to us."""

    def close_label(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """A label: it holds for the boxes after it."""
        text = shown(content)
        if text and not cut:
            self._name, self._name_end = Name(text, (element.tag.start, end)), end

    def close_box(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """A box, or points: numbers between two tags."""
        corners = element.use is Use.BOX
        lists = number_lists(content, corners=corners, cut=cut)
        if lists:
            span = element.tag.start, end
            self._add([(numbers, span) for numbers in lists], element.name)
            self._name_end = end
        elif not content.strip() or says_none(content):
            self.out.empty |= not cut
        elif lists is None and not cut:
            self.out.drop()

    def close_points(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """Points: the text is the label where no attribute gives it, or holds the numbers."""
        if element.finds:
            label = None if cut else shown(" ".join(element.words))
            self._complete(element, end, label, None)
        elif not element.tag.attributes.strip(" /"):
            self.close_box(element, content, end, cut)

    def close_drawn(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """An element with a place of its own: its text is content, or the label."""
        text = shown(" ".join(element.words))
        label = None if cut or is_document(element.tag) else text
        self._complete(element, end, label, text)

    def _complete(self, element: _Element, end: int, label: str | None, text: str | None) -> None:
        """Give the element's finds what only its end could tell."""
        for index in element.finds:
            find = self.out.items[index]
            span = (element.tag.start, end) if len(element.finds) == 1 else find.span
            label = find.label or label
            self.out.items[index] = find._replace(label=label, text=text, span=span)


READERS: dict[type, Callable[[TagReader, Any], None]] = {
    Text: TagReader.on_text,
    Fence: TagReader.on_fence,
    Tag: TagReader.on_tag,
    Group: TagReader.on_group,
    Corners: TagReader.on_corners,
}
CLOSERS = {
    Use.NOTHING: TagReader.close_nothing,
    Use.LABEL: TagReader.close_label,
    Use.BOX: TagReader.close_box,
    Use.POINTS: TagReader.close_points,
    Use.DRAWN: TagReader.close_drawn,
}
INNER = {Use.LABEL, Use.BOX, Use.POINTS}
