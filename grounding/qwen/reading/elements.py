"""What a tag is to us: by its name, or by the place in its attributes."""

from __future__ import annotations

import html
import re
from enum import IntEnum, auto

from grounding.qwen.reading.axes import place_on_axes
from grounding.qwen.reading.matches import Matches, Place, hull
from grounding.qwen.reading.tokenizer import Tag
from grounding.qwen.reading.values import (
    NUMBER,
    String,
    Value,
    lone_number,
    number_lists,
    numbers_in,
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
IMPLIED = {"p", "li", "tr", "td", "th", "box", "ref", "object_ref", "points", "point"}
"""Tags whose end is implied by the next of the same name."""

_ATTRIBUTE = re.compile(
    r"""(?P<name>[A-Za-z_][\w:.-]*+)\s*+=\s*+
    (?:"(?P<a>[^"]*+)"|'(?P<b>[^']*+)'|“(?P<c>[^”]*+)”|(?P<d>[^\s"'>/][^\s>]*+))""",
    re.VERBOSE,
)
_AXIS = re.compile(r"([xy])(\d*+)")
_BARE_NUMBERS = re.compile(rf"\s*+(?:{NUMBER}[\s,]*+)++/?\s*+")

Attributes = dict[str, String]


class Use(IntEnum):
    """What an element is to us."""

    NOTHING = auto()
    LABEL = auto()
    BOX = auto()
    POINTS = auto()
    DRAWN = auto()


def use_of(tag: Tag) -> Use:
    """Return what `tag` is by its name, or by the one behind the sign in <parameter=bbox>."""
    word = tag.attributes[1:].strip().lower() if tag.attributes.startswith("=") else tag.name
    if word in POINTS:
        return Use.POINTS
    if word in LABELLING:
        return Use.LABEL
    return Use.BOX if PLACE.fullmatch(folded(word)) else Use.NOTHING


def attributes_of(tag: Tag) -> Attributes:
    """Return the attributes of `tag` by lower-case name, each with its place in the text."""
    offset = tag.end - 1 - len(tag.attributes)
    return {
        m["name"].lower(): String(_value(m), offset + m.start(), offset + m.end())
        for m in _ATTRIBUTE.finditer(tag.attributes)
    }


def _value(match: re.Match[str]) -> str:
    return next(match[name] for name in "abcd" if match[name] is not None)


def points_of(tag: Tag, attributes: Attributes, out: Matches) -> list[Place]:
    """Return the points in x1="" y1="" x2="" y2="", or in the bare numbers of <points 394 105>."""
    if _BARE_NUMBERS.fullmatch(tag.attributes):
        numbers = numbers_in(tag.attributes)
        span = tag.start, tag.end
        return [((x, y), span) for x, y in zip(numbers[::2], numbers[1::2], strict=False)]
    axes = {m.groups(): attributes[name] for name in attributes if (m := _AXIS.fullmatch(name))}
    pairs = [
        _pair(x, axes["y", index])
        for (axis, index), x in axes.items()
        if axis == "x" and ("y", index) in axes
    ]
    if 2 * len(pairs) != len(axes):
        out.drop()
    return pairs


def _pair(x: String, y: String) -> Place:
    span = hull((x.start, x.end), (y.start, y.end))
    return (_coordinate(x.text), _coordinate(y.text)), span


def _coordinate(text: str) -> float:
    value = lone_number(text)
    return float("nan") if value is None else value


def box_of(attributes: Attributes, out: Matches) -> tuple[float, ...] | None:
    """Return the place in data-bbox="..." and the like, or in x1="" to y2=""."""
    for name, value in attributes.items():
        if PLACE.fullmatch(folded(name.removeprefix("data-"))):
            lists = number_lists(value.text)
            if lists and len(lists) == 1:
                return lists[0]
            out.drop()
    axes: dict[str, Value] = {folded(name): value for name, value in attributes.items()}
    return place_on_axes(axes, out) if axes else None


def is_document(tag: Tag) -> bool:
    """Say whether `tag` is of a page in Qwen's HTML."""
    return "data-bbox" in tag.attributes


def label_of(tag: Tag, attributes: Attributes) -> str | None:
    """Return the class, else the name, of a tag in a document; elsewhere a label attribute."""
    if is_document(tag):
        return (shown(attributes["class"].text) if "class" in attributes else None) or tag.name
    named = [name for name in attributes if name == "alt" or meaning(name).role is Role.LABEL]
    return shown(attributes[named[0]].text) if named else None


def shown(text: str) -> str | None:
    """Return what a browser would show of `text`, or None for nothing."""
    return html.unescape(text).strip() or None
