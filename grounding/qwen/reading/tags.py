"""Reads elements and special tokens: XML points, box tokens, Qwen's HTML, tool calls.

The reader walks the lexemes with a stack of open elements. The use of an element follows from
its name or its attributes:

    label   <ref>, <|object_ref_start|>, <p>: its text labels the boxes behind it
    box     <box>, <|box_start|>, <bbox>: its content is numbers
    points  <points x1="" y1="" alt="">: its attributes are numbers, its text the label
    drawn   an element with data-bbox or a similar attribute: a box, labelled by its class or name
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
    classify_tag,
    decode_entities,
    is_document,
    parse_attributes,
    read_box,
    read_points,
    read_tag_label,
)
from grounding.qwen.reading.fields import Name
from grounding.qwen.reading.lines import LONGEST_NAME, find_name_before
from grounding.qwen.reading.matches import Matches, Note, Place, merge_spans
from grounding.qwen.reading.records import read_group
from grounding.qwen.reading.sentences import says_none
from grounding.qwen.reading.tokenizer import ENDINGS, Corners, Fence, Lexeme, Tag, Text
from grounding.qwen.reading.values import Group, join_pairs, parse_number_lists, read_places

_SEPARATORS = re.compile(r"[\s,，;；、.。:：]*+(?:and\b|和|与)?[\s,，]*+", re.IGNORECASE)


@dataclass(slots=True)
class _Element:
    """An open element; `matches` are the indices of its matches, `words` the texts inside."""

    tag: Tag
    use: Use
    name: Name | None = None
    numbers: tuple[float, ...] = ()
    matches: range = range(0)
    words: list[str] = field(default_factory=list)


class TagReader:
    """Adds the places in elements, special tokens and keyed groups of a text to `out`.

    After `read`, `unread` holds the lexemes for the reader of plain lines: all lexemes outside
    elements with a use.
    """

    def __init__(self, text: str, out: Matches) -> None:
        self.text = text
        self.out = out
        self.unread: list[Lexeme] = []
        self._stack: list[_Element] = []
        self._open_names: Counter[str] = Counter()
        self._in_use = 0
        self._name: Name | None = None
        self._name_end = 0
        self._names: list[str] = []
        self._named_from = 0
        self._record_end = 0
        self._before: Text | None = None

    def read(self, lexemes: list[Lexeme]) -> None:
        """Read all lexemes; an element that is still open at the end was cut."""
        for lexeme in lexemes:
            if self.out.full:
                break
            if self._in_use and isinstance(lexeme, Group | Corners):
                continue
            self.unread.append(lexeme)
            READERS[type(lexeme)](self, lexeme)
        self.out.cut |= any(e.use is not Use.NOTHING or e.tag.name in KNOWN for e in self._stack)
        while self._stack:
            self._pop(len(self.text), len(self.text), cut=True)
        self._share_names()

    # One method for each kind of lexeme

    def on_text(self, lexeme: Text) -> None:
        """Add the text to the innermost element that has content."""
        self._before = lexeme
        for element in reversed(self._stack):
            if element.use in (Use.DRAWN, Use.POINTS):
                element.words.append(self.text[lexeme.start : lexeme.end])
                return

    def on_fence(self, lexeme: Fence | Tag) -> None:
        """Close all open elements: text follows the fence, so nothing was cut."""
        while self._stack:
            self._pop(lexeme.start, lexeme.start)

    def on_group(self, group: Group) -> None:
        """Read a record, or a list that the tag in front of it labels."""
        name = self._find_label_for(group)
        found = len(self.out.items)
        if group.keyed:
            read_group(group, self.out, name)
        elif name:
            self._add(read_places(group, corners=False), name)
        if len(self.out.items) > found:
            self._note_repair(group)

    def _note_repair(self, group: Group) -> None:
        """Note a repair in the group, or a comma that shows a lost list."""
        if group.repaired or self.text[self._record_end : group.start].strip() == ",":
            self.out.warnings.add(Note.REPAIRED)
        self._record_end = group.end

    def on_corners(self, lexeme: Corners) -> None:
        """Add two pairs as a box where a tag labels them."""
        name = self._find_label_for(lexeme)
        if name:
            self._add([(lexeme.numbers, (lexeme.start, lexeme.end))], name)

    def on_tag(self, tag: Tag) -> None:
        """Open or close an element; a token for the end of the turn closes all."""
        if tag.name in ENDINGS:
            self.on_fence(tag)
        elif tag.closing:
            self._close(tag)
        else:
            self._open(tag)

    # Labels

    def _find_label_for(self, lexeme: Group | Corners) -> Name | None:
        """Return the label whose tag stands in front of `lexeme`, with only separators between."""
        if not self._name or not _SEPARATORS.fullmatch(self.text, self._name_end, lexeme.start):
            return None
        self._name_end = lexeme.end
        return self._name

    def _find_name_on_line(self, tag: Tag) -> Name | None:
        """Return the name in the plain text in front of `tag`: CLICK <point>..., cat <box>..."""
        before = self._before
        if before is None or before.end != tag.start:
            return None
        words = self.text[max(before.start, before.end - 2 * LONGEST_NAME) : before.end]
        name = find_name_before(words.rpartition("\n")[2])
        return Name(name) if name else None

    def _add(self, places: list[Place], name: Name | None) -> None:
        for numbers, span in places:
            near = merge_spans(span, name.span) if name and name.span and len(places) == 1 else span
            self.out.add(numbers, near, label=name.text if name else None)
        # Only the first box behind a label has the label in its span.
        if self._name is not None and self._name is name:
            self._name = Name(name.text)

    def _share_names(self) -> None:
        """Give each of several names in a row its own of as many places behind them."""
        items, first = self.out.items, self._named_from
        labels = {item.label for item in items[first:]}
        if len(items) - first == len(self._names) > 1 and labels == {self._names[-1]}:
            pairs = zip(items[first:], self._names, strict=True)
            items[first:] = [item._replace(label=name) for item, name in pairs]
        self._names, self._named_from = [], len(items)

    # Elements

    def _open(self, tag: Tag) -> None:
        if self._stack and self._stack[-1].tag.name == tag.name and tag.name in IMPLIED:
            self._pop(tag.start, tag.start)
        element = _Element(tag, classify_tag(tag))
        self._open_attributes(element)
        self._stack.append(element)
        self._in_use += element.use is not Use.NOTHING
        self._open_names[tag.name] += 1
        if tag.alone or tag.name in VOID:
            self._pop(tag.end, tag.end)

    def _open_attributes(self, element: _Element) -> None:
        """Add the places in the attributes of an opening tag."""
        tag = element.tag
        element.name = self._name or self._find_name_on_line(tag)
        attributes = parse_attributes(tag)
        if element.use is Use.BOX and (own := read_tag_label(tag, attributes)):
            element.name = Name(own)
        if element.use is Use.POINTS and tag.attributes.strip(" /"):
            alt = attributes.get("alt") or attributes.get("label")
            places = read_points(tag, attributes, self.out)
            self._add_own(element, places, decode_entities(alt.text) if alt else None)
        elif numbers := read_box(attributes, self.out):
            if self._is_within_its_like(numbers):
                self.out.warnings.add(Note.DUP_REMOVED)
                element.use = Use.NOTHING
                return
            element.use, element.numbers = Use.DRAWN, numbers
            places = [(numbers, (tag.start, tag.end))]
            self._add_own(element, places, read_tag_label(tag, attributes))

    def _is_within_its_like(self, numbers: tuple[float, ...]) -> bool:
        """Return whether an open element has the same box, and so is the same thing."""
        return any(e.use is Use.DRAWN and e.numbers == numbers for e in self._stack)

    def _add_own(self, element: _Element, places: list[Place], label: str | None) -> None:
        first = len(self.out.items)
        for numbers, span in places:
            self.out.add(numbers, span, label=label)
        element.matches = range(first, len(self.out.items))

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

    # One method for each use of an element that is closed

    def close_nothing(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """Ignore an element without a use."""

    def close_label(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """Keep the text as the label of the boxes behind it."""
        text = decode_entities(content)
        if content.lstrip()[:1] in ("[", "(") and parse_number_lists(content):
            self.close_box(element, content, end, cut)
        elif text and not cut:
            self._name, self._name_end = Name(text, (element.tag.start, end)), end
            if len(self.out.items) > self._named_from:
                self._share_names()
            self._names.append(text)

    def close_box(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """Add the box or points whose numbers stand between the tags."""
        corners = element.use is Use.BOX
        if cut and element.tag.name == "quad":
            return  # its other corners may follow
        lists = parse_number_lists(content, corners=corners, cut=cut)
        if lists:
            span = element.tag.start, end
            places: list[Place] = [(numbers, span) for numbers in lists]
            if element.tag.name == "quad":
                places = join_pairs(places, polygon=True)
            self._add(places, element.name)
            self._name_end = end
        elif not content.strip() or says_none(content):
            self.out.empty |= not cut
        elif lists is None and not cut:
            self.out.reject()

    def close_points(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """Label the points with the text, or read the numbers from it."""
        if element.matches:
            label = None if cut else decode_entities(" ".join(element.words))
            self._complete(element, end, label, None)
        elif not any(character.isdigit() for character in element.tag.attributes):
            self.close_box(element, content, end, cut)

    def close_drawn(self, element: _Element, content: str, end: int, cut: bool) -> None:
        """Add the text to a drawn element: content in a document, else the label."""
        text = decode_entities(" ".join(element.words))
        label = None if cut or is_document(element.tag) else text
        self._complete(element, end, label, text)

    def _complete(self, element: _Element, end: int, label: str | None, text: str | None) -> None:
        """Set label, text and span of the element's matches, known only at its end."""
        for index in element.matches:
            match = self.out.items[index]
            span = (element.tag.start, end) if len(element.matches) == 1 else match.span
            label = match.label or label
            self.out.items[index] = match._replace(label=label, text=text, span=span)


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
