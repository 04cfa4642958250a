"""The tool that an agent is told of, and the actions that are read from its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.engines.base import Token
from grounding.geometry import Frame, Point
from grounding.queries import ACTIONS, Act, Finding, PromptStyle, Screen
from grounding.qwen.answers import Note, Verdict
from grounding.qwen.queries import read_answer, sketch_answer, write_prompt, write_system

from .test_answers import COOKBOOKS, RowOf

SEEN = Frame("model", 1092, 2408)
PHONE = Act("open the settings", ACTIONS[Screen.MOBILE])
DESK = Act("save the file", ("left_click", "key", "terminate"), Screen.COMPUTER)
ROWS = [row for row in COOKBOOKS if row["use"] == "gui"]

Said = tuple[str | None, Any, Any, Any]


def spot(place: object) -> tuple[float, float] | None:
    return (place.x, place.y) if isinstance(place, Point) else None


def said(finding: Finding) -> Said:
    """Return action, place, end and arguments; None instead of arguments where nothing acts."""
    arguments = None if finding.value is None else json.loads(finding.value)
    return finding.label, spot(finding.place), spot(finding.end), arguments


def call(**arguments: Any) -> str:
    """Return a whole call as the cookbook prints it."""
    whole = {"name": "mobile_use", "arguments": arguments}
    return f"<tool_call>\n{json.dumps(whole, ensure_ascii=False)}\n</tool_call>"


def pair(numbers: Any) -> Any:
    return None if numbers is None else tuple(numbers)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_actions_of_the_cookbooks_are_read_exactly(row: RowOf) -> None:
    answer = read_answer(PHONE, row["text"], Frame("model", *row["frame"]), complete=True)
    expected = row["expected"]
    acted: list[Said] = [
        (a["name"], pair(a["point"]), pair(a["to"]), a["args"]) for a in expected["actions"]
    ]
    bare: list[Said] = [
        (p["label"], pair(p["point"]), None, None) for p in expected.get("points", [])
    ]
    assert [said(one) for one in answer.findings] == acted + bare
    assert answer.verdict == expected["verdict"]


CLICK: list[Said] = [("click", (10, 20), None, {})]
SWIPE: list[Said] = [("swipe", (5, 6), (7, 8), {})]
WHOLE = call(action="click", coordinate=[10, 20])
BODY = WHOLE.split("\n")[1]
AS_TEXT = json.dumps({"action": "click", "coordinate": [10, 20]})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BODY, CLICK),
        (f"```json\n{BODY}\n```", CLICK),
        (WHOLE.replace('"', "'"), CLICK),
        (WHOLE.replace('"', ""), CLICK),
        (WHOLE.replace("</tool_call>", "✿"), CLICK),
        (f"addCriterion\n{BODY}\naddCriterion", CLICK),
        (WHOLE.replace("}}", "}"), CLICK),
        (f"{WHOLE}<|im_end|>", CLICK),
        (f"<think>click [1, 2]</think>{WHOLE}", CLICK),
        (f"{WHOLE}\n" * 4, CLICK),
        (call(action="click", coordinate=["10", "20"]), CLICK),
        (call(action="click", coordinate="10, 20"), CLICK),
        (call(action="click", coordinate={"x": 10, "y": 20}), CLICK),
        (call(action="click", x=10, y="20"), CLICK),
        (call(action="click", coordinate=[5, 10, 15, 30]), CLICK),
        (call(action="click", coordinate=[10, 10, 10, 30]), CLICK),
        (call(action="click", coordinate=[[10, 20]]), CLICK),
        (call(action="click", coordinate="x=10, y=20"), CLICK),
        (json.dumps({"name": "mobile_use.click", "arguments": {"coordinate": [10, 20]}}), CLICK),
        (call(action="click", coordinate=[10, 20], coordinate2=None, text=None), CLICK),
        (json.dumps({"name": "mobile_use", "arguments": AS_TEXT}), CLICK),
        (json.dumps({"type": "function", "function": {"name": "x", "arguments": AS_TEXT}}), CLICK),
        (json.dumps({"name": "click", "arguments": {"coordinate": [10, 20]}}), CLICK),
        (json.dumps({"thought": "so", "action": "click", "coordinate": [10, 20]}), CLICK),
        (json.dumps({"action": {"type": "click", "coordinate": [10, 20]}}), CLICK),
        (json.dumps({"action_type": "click", "action_input": {"x": 10, "y": 20}}), CLICK),
        ("click(x=10, y=20)", CLICK),
        ("Thought: there.\nAction: click(start_box='(10,20)')", CLICK),
        ("Action: click(10, 20)", CLICK),
        ("Action: click\nCoordinate: [10, 20]", CLICK),
        ("<function=mobile_use><parameter=action>click</parameter>"
         "<parameter=coordinate>[10, 20]</parameter></function>", CLICK),
        (call(action="swipe", coordinate=[5, 6], coordinate2=[7, 8]), SWIPE),
        (call(action="swipe", coordinate=[[5, 6], [7, 8]]), SWIPE),
        (call(action="swipe", start_coordinate=[5, 6], end_coordinate=[7, 8]), SWIPE),
        (call(action="swipe", coordinate=[5, 6, 5, 4]), [("swipe", (5, 6), (5, 4), {})]),
        (call(action="swipe", x1=5, y1=6, x2=7, y2=8), SWIPE),
        ("swipe(start_box='(5,6)', end_box='(7,8)')", SWIPE),
        (call(action="type", text='a, "b": {c}'), [("type", None, None, {"text": 'a, "b": {c}'})]),
        (call(action="type", text="2024"), [("type", None, None, {"text": "2024"})]),
        (call(action="wait", time="2"), [("wait", None, None, {"time": 2})]),
        (call(action="key", keys=["1", "2"]), [("key", None, None, {"keys": ["1", "2"]})]),
        (f"{WHOLE}\n{call(action='wait', time=1.5)}",
         [*CLICK, ("wait", None, None, {"time": 1.5})]),
        (json.dumps({"actions": [{"action": "click", "coordinate": [10, 20]},
                                 {"action": "type", "text": "x"}]}),
         [*CLICK, ("type", None, None, {"text": "x"})]),
        ('{"point_2d": [3, 4], "label": "Save"}', [("Save", (3, 4), None, None)]),
        ("Action: press_back()", [("press_back", None, None, {})]),
        ("Thought: so.\nAction: wait()", [("wait", None, None, {})]),
        ("pyautogui.click(10, 20)\ntime.sleep(1)\npyautogui.typewrite('a')",
         [*CLICK, ("typewrite", None, None, {"text": "a"})]),
        ('do(action="Tap", element=[10,20])', [("Tap", (10, 20), None, {})]),
        ('do(action="Tap", element="Save")', [("Tap", None, None, {"element": "Save"})]),
        ("pyautogui.hotkey('ctrl', 's')", [("hotkey", None, None, {"keys": ["ctrl", "s"]})]),
        ("pyautogui.write('hi')", [("write", None, None, {"text": "hi"})]),
        ("The button is at (3, 4).", [(None, (3, 4), None, None)]),
        ("The button is at x=3, y=4.", [(None, (3, 4), None, None)]),
        ("3, 4", [(None, (3, 4), None, None)]),
        ("swipe(1, 2, 100, 200)", [("swipe", (1, 2), (100, 200), {})]),
        (call(action="swipe", coordinate=[1, 2, 100, 200]), [("swipe", (1, 2), (100, 200), {})]),
        (call(action="click", coordinate=[1, 2, 101, 202]), [("click", (51, 102), None, {})]),
        ('{"thought": "t", "result": "3, 4"}', [(None, (3, 4), None, None)]),
    ],
)  # fmt: skip
def test_every_notation_of_a_call_is_read(text: str, found: list[Said]) -> None:
    answer = read_answer(PHONE, text, SEEN, complete=True)
    assert ([said(one) for one in answer.findings], answer.verdict) == (found, Verdict.FOUND)


@pytest.mark.parametrize(
    ("text", "complete", "found", "verdict"),
    [
        (WHOLE.removesuffix("\n</tool_call>"), True, CLICK, Verdict.TRUNCATED),
        (WHOLE.removesuffix("_call>"), False, CLICK, Verdict.TRUNCATED),
        (BODY[:-1], True, CLICK, Verdict.TRUNCATED),
        (BODY[:-2], True, [], Verdict.TRUNCATED),
        (f"{WHOLE}\n{WHOLE[:40]}", False, CLICK, Verdict.TRUNCATED),
        ("Thought: I need to", False, [], Verdict.TRUNCATED),
        ("<tool_call>", False, [], Verdict.TRUNCATED),
        ("<think>I see a button", True, [], Verdict.TRUNCATED),
        ("null", True, [], Verdict.NOTHING),
        ("[]", True, [], Verdict.NOTHING),
        ('{"action": null}', True, [], Verdict.NOTHING),
        (call(action="none"), True, [], Verdict.NOTHING),
        ("The button is at x=30, y=4", False, [], Verdict.TRUNCATED),
        ("There is no such button on this screen.", True, [], Verdict.NOTHING),
        ("I'm sorry, but I can't help with that.", True, [], Verdict.REFUSED),
        ('{"action": "click", "x": 10, "y": 2', True, [], Verdict.TRUNCATED),
        ("Tap the blue button.", True, [], Verdict.UNREADABLE),
        ("You could call wait() or press_back() here.", True, [], Verdict.UNREADABLE),
        ("", True, [], Verdict.UNREADABLE),
        (call(action="click", coordinate=[5000, 20]), True, [], Verdict.UNREADABLE),
        (call(action="click", coordinate=[0.5, 0.2]), True, [], Verdict.UNREADABLE),
        (call(action="click", coordinate=None), True,
         [("click", None, None, {})], Verdict.FOUND),
    ],
)  # fmt: skip
def test_what_is_cut_or_no_place_is_left_out_and_named(
    text: str, complete: bool, found: list[Said], verdict: Verdict
) -> None:
    answer = read_answer(PHONE, text, SEEN, complete=complete)
    assert ([said(one) for one in answer.findings], answer.verdict) == (found, verdict)


def test_a_place_beyond_the_edge_is_moved_to_it_and_noted() -> None:
    answer = read_answer(PHONE, call(action="click", coordinate=[1100, 20]), SEEN, complete=True)
    assert [spot(one.place) for one in answer.findings] == [(1092, 20)]
    assert Note.CLIPPED in answer.warnings


def test_the_tool_is_that_of_the_screen_and_says_its_size_in_the_units_of_the_answer() -> None:
    system = write_system(DESK, SEEN) or ""
    start, end = system.index("<tools>\n") + 8, system.index("\n</tools>")
    tool = json.loads(system[start:end])["function"]
    assert tool["name"] == "computer_use"
    assert "1092x2408" in tool["description"]
    assert "failure" in tool["description"], "there is a way to say that nothing serves"
    properties = tool["parameters"]["properties"]
    assert properties["action"]["enum"] == ["left_click", "key", "terminate"]
    assert list(properties) == ["action", "coordinate", "keys", "status"]


def test_the_instruction_is_the_prompt_and_the_second_try_asks_for_the_call_alone() -> None:
    assert write_prompt(PHONE, SEEN, "qwen2.5") == "The user query: open the settings"
    assert write_prompt(DESK, SEEN, "qwen2.5") == "save the file"
    assert write_prompt(DESK, SEEN, "qwen2.5", strict=True).endswith("no other word.")
    chinese = Act("打开设置", ("click",), style=PromptStyle(raw=True))
    assert write_prompt(chinese, SEEN, "qwen2.5", strict=True) == (
        "打开设置\n只用一次工具调用回答，不要输出其他文字。"
    )
    assert write_system(chinese, SEEN) == write_system(Act("x", ("click",)), SEEN), "it is kept"


@pytest.mark.parametrize("query", [PHONE, DESK])
def test_the_sketch_of_an_answer_is_an_action(query: Act) -> None:
    answer = read_answer(query, sketch_answer(query, "qwen2.5"), SEEN, complete=True)
    assert [said(one) for one in answer.findings] == [(query.classes[0], (100, 200), None, {})]


def test_the_score_falls_with_the_tokens_of_the_action_and_of_its_place() -> None:
    def score(doubt: str) -> float:
        at = WHOLE.rindex(doubt)
        tokens = [
            Token(i, i + 1, -3.0 if at <= i < at + len(doubt) else 0.0) for i in range(len(WHOLE))
        ]
        answer = read_answer(PHONE, WHOLE, SEEN, complete=True, tokens=tokens)
        return answer.findings[0].score or 0.0

    assert score("</tool_call>") == pytest.approx(1)
    assert score("click") < 0.1
    assert score("10") < 0.9
    assert read_answer(PHONE, WHOLE, SEEN, complete=True).findings[0].score is None


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["text", "app", "note"]),
    TEXTS | st.integers(-999, 999) | st.booleans() | st.lists(TEXTS, max_size=3),
    max_size=3,
)


@given(ARGUMENTS, st.integers(0, 1092), st.integers(1, 2408))
def test_whatever_a_call_says_in_json_is_read_as_json_has_it(
    arguments: dict[str, Any], x: int, y: int
) -> None:
    text = call(action="click", coordinate=[x, y], **arguments)
    answer = read_answer(PHONE, text, SEEN, complete=True)
    assert [said(one) for one in answer.findings] == [("click", (x, y), None, arguments)]


@given(st.text(), st.booleans())
def test_no_text_makes_the_reader_fail(text: str, complete: bool) -> None:
    assert read_answer(PHONE, text, SEEN, complete=complete).verdict in Verdict


@given(st.integers(0, len(WHOLE)), st.booleans())
def test_no_cut_makes_another_action(end: int, complete: bool) -> None:
    answer = read_answer(PHONE, WHOLE[:end], SEEN, complete=complete)
    assert [said(one) for one in answer.findings] in ([], CLICK)
