"""The meaning of a tag: by its name, or by a place in its attributes."""

from __future__ import annotations

import html
import re
from enum import IntEnum, auto

from grounding.qwen.reading.fields import PLACE, Role, classify_key, fold, read_axes
from grounding.qwen.reading.matches import Matches, Place, merge_spans
from grounding.qwen.reading.tokenizer import Tag
from grounding.qwen.reading.values import (
    NUMBER,
    String,
    Value,
    find_numbers,
    parse_lone_number,
    parse_number_lists,
)

LABELLING = {"ref", "object_ref", "p", "label", "name", "category", "class", "object", "action"}
POINTS = {"points", "point"}
KNOWN = frozenset(
    {"ref", "object_ref", "object_ref_start", "object_ref_end", "box", "box_start", "box_end"}
    | {"points", "point", "quad", "tool_call", "answer", "think", "html", "body", "im_end"}
)
"""Tags that show a cut: unfinished at the end of the text, or without their closing tag."""
VOID = {"img", "br", "hr", "input", "meta", "link", "col", "wbr"}
IMPLIED = {"p", "li", "tr", "td", "th", "box", "ref", "object_ref", "points", "point"}
"""Tags that end where the next of the same name begins."""

_ATTRIBUTE = re.compile(
    r"""(?P<name>[A-Za-z_][\w:.-]*+)\s*+=\s*+
    (?:"(?P<a>[^"]*+)"|'(?P<b>[^']*+)'|“(?P<c>[^”]*+)”|(?P<d>[^\s"'>/][^\s>]*+))""",
    re.VERBOSE,
)
_AXIS = re.compile(r"([xy])(\d*+)")
_BARE_NUMBERS = re.compile(rf"\s*+(?:{NUMBER}[\s,]*+)++/?\s*+")

Attributes = dict[str, String]


class Use(IntEnum):
    """What an element contributes to the findings."""

    NOTHING = auto()
    LABEL = auto()
    BOX = auto()
    POINTS = auto()
    DRAWN = auto()


def classify_tag(tag: Tag) -> Use:
    """Return the use of `tag` by its name, or by the word behind "=" in <parameter=bbox>."""
    word = tag.attributes[1:].strip().lower() if tag.attributes.startswith("=") else tag.name
    if word in POINTS:
        return Use.POINTS
    if word in LABELLING:
        return Use.LABEL
    return Use.BOX if PLACE.fullmatch(fold(word)) else Use.NOTHING


def parse_attributes(tag: Tag) -> Attributes:
    """Return the attributes of `tag` by name in lower case, each with its span in the text."""
    return {
        m["name"].lower(): String(_choose_value(m), tag.offset + m.start(), tag.offset + m.end())
        for m in _ATTRIBUTE.finditer(tag.attributes)
    }


def _choose_value(match: re.Match[str]) -> str:
    return next(match[name] for name in "abcd" if match[name] is not None)


def read_points(tag: Tag, attributes: Attributes, out: Matches) -> list[Place]:
    """Return the points in x1="" y1="" x2="" y2="", or in the numbers of <points 394 105>."""
    if _BARE_NUMBERS.fullmatch(tag.attributes):
        numbers = find_numbers(tag.attributes)
        span = tag.start, tag.end
        return [((x, y), span) for x, y in zip(numbers[::2], numbers[1::2], strict=False)]
    axes = {m.groups(): attributes[name] for name in attributes if (m := _AXIS.fullmatch(name))}
    pairs = [
        _read_pair(x, axes["y", index])
        for (axis, index), x in axes.items()
        if axis == "x" and ("y", index) in axes
    ]
    if 2 * len(pairs) != len(axes):
        out.reject()
    return pairs


def _read_pair(x: String, y: String) -> Place:
    span = merge_spans((x.start, x.end), (y.start, y.end))
    return (_parse_coordinate(x.text), _parse_coordinate(y.text)), span


def _parse_coordinate(text: str) -> float:
    value = parse_lone_number(text)
    return float("nan") if value is None else value


def read_box(attributes: Attributes, out: Matches) -> tuple[float, ...] | None:
    """Return the numbers in data-bbox="..." and similar attributes, or in x1="" to y2=""."""
    for name, value in attributes.items():
        if PLACE.fullmatch(fold(name.removeprefix("data-"))):
            lists = parse_number_lists(value.text)
            if lists and len(lists) == 1:
                return lists[0]
            out.reject()
    axes: dict[str, Value] = {fold(name): value for name, value in attributes.items()}
    return read_axes(axes, out) if axes else None


def is_document(tag: Tag) -> bool:
    """Return whether `tag` belongs to a document in Qwen's HTML format."""
    return "data-bbox" in tag.attributes


def read_tag_label(tag: Tag, attributes: Attributes) -> str | None:
    """Return the class (else the name) of a document's tag; for other tags a label attribute."""
    if is_document(tag):
        classes = attributes.get("class")
        return (decode_entities(classes.text) if classes else None) or tag.name
    named = [name for name in attributes if name == "alt" or classify_key(name).role is Role.LABEL]
    return decode_entities(attributes[named[0]].text) if named else None


def decode_entities(text: str) -> str | None:
    """Return `text` with HTML entities decoded and without outer space; None if empty."""
    return html.unescape(text).strip() or None
