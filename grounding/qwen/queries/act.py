"""`Act`: the tool that an agent is given for a screen, and how its calls are read and scored.

The model is told of one tool, in the system text, as Qwen's agents were taught it: its name, the
size of the screen in the units of the answer, and the actions with their arguments.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grounding.geometry import Box, Frame, Point
from grounding.queries import Act, Finding, Screen
from grounding.qwen.actions import (
    Call,
    find_calls,
    find_empty_calls,
    find_named_places,
    is_action,
    says_no_action,
)
from grounding.qwen.answers import Answer, Note, Verdict, add_caveats, read
from grounding.qwen.prompts import PromptSet, language_of
from grounding.qwen.reading.elements import KNOWN
from grounding.qwen.reading.matches import PLACES, Match, Matches, is_absent, normalize
from grounding.qwen.reading.records import means_none
from grounding.qwen.reading.sentences import declines, says_none
from grounding.qwen.reading.thinking import extract_answer
from grounding.qwen.reading.tokenizer import ENDINGS, Fence, Lexemes, Tag, Text, tokenize
from grounding.qwen.reading.values import NUMBER, Group, parse_number
from grounding.qwen.scores import Token, score_findings

TOOLS = {Screen.MOBILE: "mobile_use", Screen.COMPUTER: "computer_use"}

ABOUT = {
    Screen.MOBILE: "Operate a phone or tablet by touch, seen in a screenshot. "
    "Its screen is {width}x{height}; coordinates are counted from the top left corner. "
    "Aim at the middle of what you touch. If nothing on the screen serves the query, "
    "terminate with the status failure.",
    Screen.COMPUTER: "Operate a computer with mouse and keyboard, seen in a screenshot. "
    "Its screen is {width}x{height}; coordinates are counted from the top left corner. "
    "Aim at the middle of what you click, not at its edge. If nothing on the screen serves the "
    "query, terminate with the status failure.",
}


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of the tool: its JSON type, what it is, and the actions that take it."""

    kind: str
    about: str
    actions: frozenset[str]
    options: tuple[str, ...] = ()


_POINTED = frozenset(
    {"click", "long_press", "swipe", "left_click", "right_click", "middle_click", "double_click"}
    | {"triple_click", "left_click_drag", "mouse_move", "scroll", "hscroll"}
)
ARGUMENTS = {
    "coordinate": Argument("array", "Where: [x, y].", _POINTED),
    "coordinate2": Argument("array", "Where a swipe ends: [x, y].", frozenset({"swipe"})),
    "text": Argument(
        "string", "What to type, open or answer.", frozenset({"type", "open", "answer"})
    ),
    "keys": Argument("array", "The keys, pressed together.", frozenset({"key"})),
    "pixels": Argument(
        "number",
        "How far to scroll; positive is up, negative down.",
        frozenset({"scroll", "hscroll"}),
    ),
    "time": Argument("number", "Seconds to hold or wait.", frozenset({"long_press", "wait"})),
    "button": Argument(
        "string",
        "Which button of the system.",
        frozenset({"system_button"}),
        ("Back", "Home", "Menu", "Enter"),
    ),
    "status": Argument(
        "string",
        "How the query ended.",
        frozenset({"terminate"}),
        ("success", "failure"),
    ),
}

DOES = {
    "click": "touch a place",
    "long_press": "touch a place and hold",
    "swipe": "move a finger from one place to another",
    "type": "write a text where the cursor is",
    "key": "press keys",
    "system_button": "press a button of the system",
    "open": "start an app",
    "wait": "wait for a change",
    "answer": "answer the query in words",
    "terminate": "end the query",
    "left_click": "click a place with the left button",
    "right_click": "click a place with the right button",
    "middle_click": "click a place with the middle button",
    "double_click": "click a place twice",
    "triple_click": "click a place three times",
    "left_click_drag": "drag from where the mouse is to a place",
    "mouse_move": "move the mouse to a place",
    "scroll": "turn the wheel",
    "hscroll": "turn the wheel sideways",
}

ONLY = {
    "en": "Answer with one call of the tool and no other word.",
    "zh": "只用一次工具调用回答，不要输出其他文字。",
}

SYSTEM = """You are a helpful assistant.

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tool}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
"""The form in which Qwen's models are told of tools: what they learnt is tied to its words."""


def write_system(query: Act, frame: Frame) -> str:
    """Return the system text with the tool, for a screen that is shown in `frame`."""
    return SYSTEM.format(tool=json.dumps(_tool(query, frame), ensure_ascii=False))


def _tool(query: Act, frame: Frame) -> dict[str, Any]:
    actions = list(query.classes)
    listed = "\n".join(f"* `{name}`: {DOES[name]}." for name in actions if name in DOES)
    properties: dict[str, Any] = {
        "action": {"description": f"What to do:\n{listed}", "enum": actions, "type": "string"}
    }
    for name, argument in ARGUMENTS.items():
        if takers := [one for one in actions if one in argument.actions]:
            used = f"{argument.about} Only for action={', '.join(takers)}."
            options = {"enum": list(argument.options)} if argument.options else {}
            properties[name] = {"description": used, "type": argument.kind, **options}
    about = ABOUT[query.screen].format(width=round(frame.width), height=round(frame.height))
    parameters = {"properties": properties, "required": ["action"], "type": "object"}
    function = {"name": TOOLS[query.screen], "description": about, "parameters": parameters}
    return {"type": "function", "function": function}


def write_prompt(
    query: Act, frame: Frame | None = None, prompts: PromptSet = "qwen2.5", *, strict: bool = False
) -> str:
    """Return the instruction; `write_system` tells of the tool. `prompts` changes nothing."""
    asked = query.phrase
    if query.screen is Screen.MOBILE and not query.style.raw:
        asked = f"The user query: {asked}"
    return f"{asked}\n{ONLY[language_of(query.phrase, query.style.language)]}" if strict else asked


def sketch_answer(query: Act, prompts: PromptSet = "qwen2.5") -> str:
    """Return a call with a made-up place."""
    action = next(iter(query.classes), "click")
    call = {"name": TOOLS[query.screen], "arguments": {"action": action, "coordinate": [100, 200]}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def read_answer(query: Act, text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return the actions in `text`, a finding for each, in order; each once.

    A finding's label is the action as written, its value the arguments that are no place, and its
    text what they say. Where there is no action, the places in the text are findings without one.
    """
    content, cut = extract_answer(text)
    lexemes = tokenize(content, KNOWN)
    groups = [item for item in lexemes.items if isinstance(item, Group)]
    calls = sorted((*find_calls(groups), *find_empty_calls(content)), key=lambda one: one.span)
    if not calls and (bare := _read_places(text, frame, complete=complete)).findings:
        return add_caveats(bare)
    cut = cut or lexemes.cut or _is_open(lexemes, content, complete=complete)
    notes = Matches()
    found = tuple(dict.fromkeys(_findings(calls, frame, notes)))
    prose = "".join(content[t.start : t.end] for t in lexemes.items if isinstance(t, Text))
    none = any(map(means_none, groups)) or says_none(prose) or says_no_action(groups)
    verdict = _verdict(prose, found=bool(found), cut=cut, none=none)
    warnings = {*notes.warnings, *((Note.TRUNCATED,) if cut and not complete else ())}
    return add_caveats(Answer(found, verdict, tuple(n for n in Note if n in warnings)))


def _verdict(prose: str, *, found: bool, cut: bool, none: bool) -> Verdict:
    if cut:
        return Verdict.TRUNCATED
    if found:
        return Verdict.FOUND
    if none:
        return Verdict.NOTHING
    return Verdict.REFUSED if declines(prose) else Verdict.UNREADABLE


def _read_places(text: str, frame: Frame, *, complete: bool) -> Answer:
    """Return an answer whose places are in no call, boxes as their middles.

    A place beside the word for an action is one, as in "click (88, 40)".
    """
    answer = read(text, frame, complete)
    if not answer.findings and complete and answer.verdict is not Verdict.TRUNCATED:
        answer = _read_loose(answer, extract_answer(text).text, frame)
    said = {m[1] for m in _ACTION_LINE.finditer(text) if is_action(m[1])}
    alone = next(iter(said)) if len(said) == len(answer.findings) == 1 else None
    return replace(answer, findings=tuple(_settle(one, alone) for one in answer.findings))


_ACTION_LINE = re.compile(
    r"^[ \t*#_>]*+action[\w ]{0,8}[*_\s]*[:：][\s*_\"'`]*(\w{2,40})", re.M | re.I
)
"""The line "Action: click"."""


_LONE = re.compile(rf"\s*({NUMBER})\s*[,，]\s*({NUMBER})\s*\.?\s*")
"""An answer that is two numbers."""


def _read_loose(answer: Answer, content: str, frame: Frame) -> Answer:
    """Return an answer with the points that no notation of places marks as such."""
    lone = _LONE.fullmatch(content) or _LONE.fullmatch("".join(_QUOTED_PAIR.findall(content)[:1]))
    places = [tuple(map(parse_number, lone.groups()))] if lone else find_named_places(content)
    notes = Matches()
    points = [_point(numbers, frame, notes) for numbers in places if max(numbers) > 1]
    found = tuple(Finding(one, span=(0, len(content))) for one in dict.fromkeys(points) if one)
    verdict = Verdict.FOUND if found else answer.verdict
    return replace(answer, findings=found, verdict=verdict)


_QUOTED_PAIR = re.compile(rf"[\"']({NUMBER}\s*[,，]\s*{NUMBER})[\"']")


def _settle(finding: Finding, action: str | None) -> Finding:
    place = finding.place.center if isinstance(finding.place, Box) else finding.place
    label = finding.label or action
    value = "{}" if label and is_action(label) else None
    return replace(finding, place=place, label=label, value=value)


def _is_open(lexemes: Lexemes, content: str, *, complete: bool) -> bool:
    """Say whether the text ends inside a tool call, or was cut in its prose.

    Odd characters in place of the closing tag end a call as well.
    """
    items = [one for one in lexemes.items if not _is_blank(one, content)]
    tags = [i for i, one in enumerate(items) if isinstance(one, Tag) and one.name == "tool_call"]
    last = tags[-1] if tags else -1
    if tags and not items[last].closing:  # type: ignore[union-attr]
        return not any(isinstance(one, Text) for one in items[last + 1 :])
    return not complete and (not items or isinstance(items[-1], Text))


def _is_blank(item: object, content: str) -> bool:
    if isinstance(item, Tag):
        return item.name in ENDINGS
    return isinstance(item, Fence) or (
        isinstance(item, Text) and not content[item.start : item.end].strip()
    )


def _findings(calls: Sequence[Call], frame: Frame, notes: Matches) -> Iterator[Finding]:
    """Yield a finding for each call whose place, if it has one, lies on the screen."""
    if _are_fractions(calls, frame):
        notes.warnings.add(Note.FRACTIONS)
        return
    seen: set[tuple[object, ...]] = set()
    for call in map(_split_gesture, calls):
        place, end = (_point(numbers, frame, notes) for numbers in (call.place, call.end))
        if call.place and not is_absent(call.place) and place is None:
            notes.reject()
            continue
        arguments = json.dumps(call.arguments, ensure_ascii=False, sort_keys=True)
        key = (call.name, place, end, arguments)
        if key in seen:
            notes.warnings.add(Note.DUP_REMOVED)
            continue
        seen.add(key)
        said = json.dumps(call.arguments, ensure_ascii=False)
        text = _say(call.arguments)
        yield Finding(place, call.name, text, span=call.span, value=said, end=end)


_GESTURE = re.compile(r"swipe|drag|滑动|拖", re.IGNORECASE)


def _split_gesture(call: Call) -> Call:
    """Return swipe(1, 2, 100, 200) with its two ends; four numbers of any other call are a box."""
    if call.end is None and call.place and len(call.place) > 2 and _GESTURE.search(call.name):
        return call._replace(place=call.place[:2], end=call.place[2:])
    return call


def _are_fractions(calls: Sequence[Call], frame: Frame) -> bool:
    """Say whether all places are in shares of the screen, which is another unit than asked for."""
    places = [n for call in calls for n in (call.place, call.end) if n]
    probe = Matches([Match(numbers, None, None, None, (0, 0)) for numbers in places])
    normalize(probe, frame)
    return Note.FRACTIONS in probe.warnings


def _point(numbers: tuple[float, ...] | None, frame: Frame, notes: Matches) -> Point | None:
    """Return the point of two numbers, or the middle of the box of four; None for no place."""
    if numbers is None or is_absent(numbers):
        return None
    place = PLACES[len(numbers)](numbers, frame, notes)
    if place is None and len(numbers) > 2 and all(map(math.isfinite, numbers)):
        x1, y1, x2, y2 = numbers
        if x1 == x2 or y1 == y2:  # a box without an area has a middle too
            middle = Box.spanning((x1, y1), (x2, y2), frame).center
            place = PLACES[2]((middle.x, middle.y), frame, notes)
    return place.center if isinstance(place, Box) else place


def _say(arguments: dict[str, Any]) -> str | None:
    """Return arguments for people: a text alone as it is, others as JSON."""
    (name, value), *more = arguments.items() or [("", None)]
    if not more and name in ("text", "content") and isinstance(value, str):
        return value or None
    return json.dumps(arguments, ensure_ascii=False) if arguments else None


def score_answer(answer: Answer, text: str, tokens: Sequence[Token]) -> Answer:
    """Return `answer` with the scores that the probabilities of its tokens give."""
    return replace(answer, findings=score_findings(answer.findings, text, tokens))
