"""Reads the actions in an agent's answer: calls of a tool, in every notation that models write.

    {"name": "mobile_use", "arguments": {"action": "click", "coordinate": [935, 406]}}
    {"action": "type", "text": "hello"}      without the tool, or with the arguments as a text
    left_click(x=88, y=40)                   a call of a function

What stands around a call does not matter, and a call that the end of the text has cut is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from grounding.queries import ACTIONS
from grounding.qwen.reading.fields import CONSTANTS, Role, classify_key, fold, read_axes
from grounding.qwen.reading.lenient_json import OPENERS, Parser
from grounding.qwen.reading.matches import Matches, Place
from grounding.qwen.reading.values import (
    NUMBER,
    Group,
    Key,
    Number,
    String,
    Value,
    Word,
    parse_number,
    read_places,
)

TOOLS = {"mobileuse", "computeruse", "mobile", "computer", "browseruse", "function", "tool"}
"""Names of the tool that has all actions, folded: no actions themselves."""

ARGUMENTS = {"arguments", "argument", "args", "parameters", "params", "kwargs"}
ARGUMENTS |= {"input", "inputs", "actioninput", "actioninputs", "actionargs", "actionparameters"}
ACTION_KEYS = {"action", "actiontype", "actionname", "operation", "动作", "操作"}
NAME_KEYS = {"name", "type", "function", "tool"}
"""Keys of an action only where their value is one."""

COMMENTS = {"thought", "thoughts", "thinking", "reason", "reasoning", "observation", "plan"}
COMMENTS |= {"explanation", "description", "conclusion", "summary", "id", "confidence", "思考"}
"""Keys beside an action, outside its arguments, that are about it."""

KNOWN = {fold(name) for names in ACTIONS.values() for name in names}
KNOWN |= {"tap", "press", "drag", "hover", "move", "moveto", "input", "write", "hotkey", "finish"}
KNOWN |= {"doubletap", "longclick", "done", "finished", "back", "home", "enter", "pressback"}
KNOWN |= {"presshome", "pressenter", "calluser", "openapp", "launch", "inputtext", "typewrite"}
KNOWN |= {"leftdouble", "leftsingle", "rightsingle", "dragto", "moverel", "dragrel", "mousemove"}

TWO_ENDED = re.compile(r".*(?:swipe|drag|slide|滑动|拖).*")
"""Actions that go from one place to another, folded."""

NUMERIC = {"time", "pixels", "duration", "amount", "delta", "clicks", "steps", "seconds"}
"""Arguments that are numbers, also where they are written as a text."""

_SECOND = re.compile(r"(?:end|dest(?:ination)?|to(?!p)|second).*|.*(?<!\d)2")
_STARTS = (("x", "y"), ("x1", "y1"), ("startx", "starty"), ("fromx", "fromy"))
_ENDS = (("x2", "y2"), ("endx", "endy"), ("tox", "toy"))
_ENDPOINTS = {"start", "end", "from", "to", "destination", "element"}


class Call(NamedTuple):
    """An action as the model wrote it.

    `place` and `end` are two numbers, or four of a box, in the model's own units. `arguments` are
    all others.
    """

    name: str
    place: tuple[float, ...] | None
    end: tuple[float, ...] | None
    arguments: dict[str, Any]
    span: tuple[int, int]


def is_action(word: str) -> bool:
    """Say whether a word is one for an action."""
    return fold(word) in KNOWN


Entries = Sequence[tuple[str, Value]]


def find_calls(groups: Iterable[Group]) -> Iterator[Call]:
    """Yield the whole calls in the groups of an answer, in order."""
    for group in groups:
        call = _read_call(group) if group.closed else None
        if call:
            yield call
        else:
            yield from find_calls(v for _, v in group.entries if isinstance(v, Group))


_EMPTY = re.compile(
    r"(?:^|[\n;:：])[ \t*`]*+(?:[A-Za-z]\w*\.)?(?P<name>[A-Za-z]\w{0,39})\(\s?\)"
    r"(?=[ \t*`.;]*(?:\n|\Z))"
)
"""A call without arguments that ends its line, such as press_back()."""


def find_empty_calls(content: str) -> Iterator[Call]:
    """Yield the calls of actions that have no arguments."""
    for found in _EMPTY.finditer(content):
        if is_action(found["name"]):
            yield Call(found["name"], None, None, {}, (found.start("name"), found.end()))


def _read_call(group: Group) -> Call | None:
    span = group.start, group.end
    if group.name and fold(group.name) in KNOWN and group.opener in "(（":
        return _make_call(group.name, list(_named(group)), span)
    entries = [(key.text, value) for key, value in group.entries if key is not None]
    inner = next((v for key, v in entries if fold(key) in ARGUMENTS), None)
    inside = _inside(inner)
    if inside is not None:
        name = _find_name(inside) or _find_name(entries)
        name = name or _find_tool(entries)
        return _make_call(name, _without_name(inside, name), span) if name else None
    nested = next((v for k, v in entries if fold(k) in ACTION_KEYS and isinstance(v, Group)), None)
    if nested is not None:
        return None  # the walk goes on to it
    name = _find_name(entries)
    if name is None:
        return None
    rest = [(k, v) for k, v in _without_name(entries, name) if fold(k) not in COMMENTS]
    return _make_call(name, [(k, v) for k, v in rest if not _is_tool(k, v)], span)


def _named(group: Group) -> Iterator[tuple[str, Value]]:
    """Yield the arguments of a call, those without a name by what they are."""
    numbers = [v for k, v in group.entries if k is None and isinstance(v, Number)]
    plain = group.numbers or tuple(number.value for number in numbers)
    if len(plain) in (2, 4):
        yield "coordinate", Group("(", group.start, group.end, closed=True, numbers=plain)
    texts = [v for k, v in group.entries if k is None and isinstance(v, String)]
    if len(texts) > 1:  # keys that are pressed together
        entries: list[tuple[Key | None, Value]] = [(None, text) for text in texts]
        yield "keys", Group("[", group.start, group.end, closed=True, entries=entries)
    for key, value in group.entries:
        if key is not None:
            yield key.text, value
        elif isinstance(value, String) and len(texts) == 1:
            yield "text", value
        elif isinstance(value, Group):
            yield "coordinate", value


def _inside(value: Value | None) -> Entries | None:
    """Return the entries of a call's arguments: of an object, or of one written as a text."""
    if isinstance(value, String):
        text = value.text.strip()
        if text[:1] not in OPENERS:
            return None
        value = Parser(text, 0).parse()
    if not isinstance(value, Group) or not value.closed or (value.entries and not value.keyed):
        return None
    return [(key.text, entry) for key, entry in value.entries if key is not None]


def _find_name(entries: Entries) -> str | None:
    """Return the action that entries name: under a key of actions, or a known one."""
    words = [(fold(k), v.text.strip()) for k, v in entries if isinstance(v, String | Word)]
    for key, word in words:
        if key in ACTION_KEYS and word.lower() not in CONSTANTS and fold(word) not in TOOLS | {""}:
            return None if fold(word) in NO_ACTION else word
    return next((word for k, word in words if k in NAME_KEYS and fold(word) in KNOWN), None)


def _find_tool(entries: Entries) -> str | None:
    """Return the name of a function that is an action itself."""
    words = [v.text.strip() for k, v in entries if fold(k) in NAME_KEYS and isinstance(v, String)]
    names = [word.rpartition(".")[2] for word in words]  # computer_use.left_click
    return next((name for name in names if fold(name) not in TOOLS | {""}), None)


def _without_name(entries: Entries, name: str) -> Entries:
    keys = ACTION_KEYS if any(fold(key) in ACTION_KEYS for key, _ in entries) else NAME_KEYS
    return [
        (key, value)
        for key, value in entries
        if not (fold(key) in keys and isinstance(value, String | Word) and _says(value, name))
    ]


def _says(value: String | Word, name: str) -> bool:
    return value.text.strip() == name


def _is_tool(key: str, value: Value) -> bool:
    return fold(key) in NAME_KEYS and isinstance(value, String | Word) and fold(value.text) in TOOLS


def _make_call(name: str, entries: Entries, span: tuple[int, int]) -> Call:
    two_ended = bool(TWO_ENDED.fullmatch(fold(name)))
    first: list[tuple[float, ...]] = []
    second: list[tuple[float, ...]] = []
    axes: dict[str, Value] = {}
    arguments: dict[str, Any] = {}
    for key, value in entries:
        folded, places = fold(key), [numbers for numbers, _ in _places(key, value)]
        if places:
            (second if _SECOND.fullmatch(folded) else first).extend(places)
        elif classify_key(key).role is Role.AXIS and not isinstance(value, Group):
            axes[folded] = value
        elif (made := to_json(value, numeric=folded in NUMERIC)) is not None and not (
            _is_place(key) and not made
        ):
            arguments[key] = made
    if two_ended and len(first) == 1 and not second and _is_no_box(first[0]):
        first, second = [first[0][:2]], [first[0][2:]]
    place, end, used = _from_axes(axes, two_ended=two_ended)
    arguments |= {k: to_json(v) for k, v in axes.items() if k not in used}
    if len(first) == 2 and all(len(numbers) == 2 for numbers in first) and not second:
        first, second = (first[:1], first[1:]) if two_ended else ([first[0] + first[1]], [])
    return Call(name, first[0] if first else place, second[0] if second else end, arguments, span)


def _is_no_box(numbers: tuple[float, ...]) -> bool:
    """Say whether four numbers are no corners in order, and so where a gesture begins and ends."""
    return len(numbers) > 2 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3])


def _is_place(key: str) -> bool:
    return classify_key(key).role is Role.PLACE or fold(key) in _ENDPOINTS


def _places(key: str, value: Value) -> list[Place]:
    """Return the places under a key of places: of two numbers, or of four."""
    if not _is_place(key):
        return []
    if isinstance(value, Group) and value.keyed:
        named = {fold(k.text): v for k, v in value.entries if k is not None}
        numbers = read_axes(named, Matches())
        return [(numbers, (value.start, value.end))] if numbers else []
    if isinstance(value, String) and (spots := find_named_places(value.text)):
        return [(numbers, (value.start, value.end)) for numbers in spots]
    found = read_places(value, corners=False)
    return [(numbers[:4], span) for numbers, span in found if len(numbers) in (2, 4, 5)]


_AXES = re.compile(
    rf"\bx\W{{0,3}}[=:：是]\s*(?P<x>{NUMBER})[^\dxy]{{1,12}}y\W{{0,3}}[=:：是]\s*(?P<y>{NUMBER})",
    re.IGNORECASE,
)
"""A point in words: x=10, y=20."""


def find_named_places(text: str) -> list[tuple[float, ...]]:
    """Return the points that a text names by their axes."""
    return [(parse_number(m["x"]), parse_number(m["y"])) for m in _AXES.finditer(text)]


def says_no_action(groups: Iterable[Group]) -> bool:
    """Say whether an answer names its action as none at all."""
    for group in groups:
        named = [v for k, v in group.entries if k is not None and fold(k.text) in ACTION_KEYS]
        if any(not isinstance(v, Group) and fold(v.text) in NO_ACTION for v in named):
            return True
        if says_no_action(v for _, v in group.entries if isinstance(v, Group)):
            return True
    return False


NO_ACTION = {"", "none", "null", "nil", "noaction", "nothing", "无"}


def _from_axes(
    axes: dict[str, Value], *, two_ended: bool
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, set[str]]:
    """Return the places that numbers under keys such as x and y make, and the keys used."""
    first = next((names for names in _STARTS if set(names) <= axes.keys()), None)
    second = next((names for names in _ENDS if set(names) <= axes.keys()), None)
    start, end = (read_axes({"x": axes[n[0]], "y": axes[n[1]]}, Matches()) if n else None
                  for n in (first, second))  # fmt: skip
    used = {*(first or ()), *(second or ())} if start else set()
    if start and end and not two_ended:
        return (*start, *end), None, used
    return start, end if start else None, used


def to_json(value: Value, *, numeric: bool = False) -> Any:
    """Return a value of an answer as JSON has it; None for null."""
    if isinstance(value, Number):
        return _number(value)
    if isinstance(value, String):
        return _to_number(value.text) if numeric else value.text
    if isinstance(value, Word):
        constant = {"true": True, "false": False}.get(value.text.lower(), value.text)
        return None if value.text.lower() in CONSTANTS - {"true", "false"} else constant
    if any(key is not None for key, _ in value.entries):
        return {key.text: to_json(entry) for key, entry in value.entries if key is not None}
    if value.numbers and not value.entries:
        return [int(n) if n.is_integer() else n for n in value.numbers]
    return [to_json(entry) for _, entry in value.entries]


def _number(value: Number) -> Any:
    if not math.isfinite(value.value):
        return value.text
    return int(value.value) if value.value.is_integer() else value.value


def _to_number(text: str) -> Any:
    """Return a text that is a number as one, any other as it is."""
    try:
        number = float(text[:40])
    except ValueError:
        return text
    return _number(Number(number, text, 0, 0))
