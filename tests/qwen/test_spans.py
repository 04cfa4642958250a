"""Answers that say when something happens, in every notation that is known of these models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import THOUSAND
from grounding.queries import FindSpans, Meaning, PromptStyle
from grounding.qwen.answers import Answer, Verdict
from grounding.qwen.queries import read_answer, sketch_answer, write_prompt
from grounding.qwen.queries.spans import write_time
from grounding.testing import make_completion

Event = tuple[float, float, str | None, str | None]


def read(
    text: str, duration: float = 600, *, classes: tuple[str, ...] = ("cut",), complete: bool = True
) -> Answer:
    query = FindSpans(classes, within=(0.0, duration))
    return read_answer(query, text, THOUSAND, complete=complete)


def events(answer: Answer) -> list[Event]:
    return [(*(f.time or (-1.0, -1.0)), f.label, f.text) for f in answer.findings]


FOUND: dict[str, tuple[str, list[Event]]] = {
    "a sentence in seconds": (
        "The given query happens in 64.0 - 72.0 seconds.",
        [(64.0, 72.0, None, None)],
    ),
    "a sentence with clocks": (
        "The event happens in 01:32.40 - 01:35.60.",
        [(92.4, 95.6, None, None)],
    ),
    "minutes and seconds": (
        "The event happens from 1m 5s to 1m 12.5s.",
        [(65.0, 72.5, None, None)],
    ),
    "between … and": ("It happens between 5 and 9.5 seconds.", [(5.0, 9.5, None, None)]),
    "Chinese": ("该事件发生在 12.0 至 18.5 秒之间。", [(12.0, 18.5, None, None)]),
    "a fenced list of clocks": (
        '```json\n[\n    {"start_time": "00:00.00", "end_time": "00:21.80", "description": "A person '
        'slices meat."},\n    {"start_time": "00:23.90", "end_time": "01:35.60", "description": '
        '"They season it."}\n]\n```',
        [(0.0, 21.8, None, "A person slices meat."), (23.9, 95.6, None, "They season it.")],
    ),
    "times as keys": (
        '{"00:23.00 - 00:48.00": "trim the fat.", "00:56.00 - 01:28.00": "season the beef."}',
        [(23.0, 48.0, None, "trim the fat."), (56.0, 88.0, None, "season the beef.")],
    ),
    "hours, in an object": (
        '{"events":[{"start_time":"00:00:00","end_time":"01:00:05","event":"walks"}]}',
        [(0.0, 600.0, None, "walks")],
    ),
    "windows as pairs": (
        '{"query": "open the door", "relevant_windows": [["3.5", "9.0"], [20, 24.5]]}',
        [(3.5, 9.0, None, "open the door"), (20.0, 24.5, None, "open the door")],
    ),
    "bare pairs": ("[[1.5, 2.5], [4, 6]]", [(1.5, 2.5, None, None), (4.0, 6.0, None, None)]),
    "one pair": ("[1.5, 2.5]", [(1.5, 2.5, None, None)]),
    "bullets": (
        "- 00:05 - 00:09: opens the fridge\n- 00:11 - 00:14: pours milk",
        [(5.0, 9.0, None, "opens the fridge"), (11.0, 14.0, None, "pours milk")],
    ),
    "numbered lines": (
        "1. **0:05 – 0:09**: opens the fridge\n2. [11s - 14s] pours milk",
        [(5.0, 9.0, None, "opens the fridge"), (11.0, 14.0, None, "pours milk")],
    ),
    "brackets": (
        "[00:05 - 00:09] opens the fridge\n[11s - 14s]: pours milk",
        [(5.0, 9.0, None, "opens the fridge"), (11.0, 14.0, None, "pours milk")],
    ),
    "a sentence that goes on": (
        "00:05 - 00:09 in the video.\n0:11 - 0:14 is when they pour.",
        [(5.0, 9.0, None, None), (11.0, 14.0, None, None)],
    ),
    "numbers": ('[{"start": 1, "end": 2.5, "label": "cut"}]', [(1.0, 2.5, "cut", None)]),
    "one key for both": (
        '[{"timestamp": "00:01 - 00:03", "label": "cut"}, {"time_range": [4, "5.5s"]}]',
        [(1.0, 3.0, "cut", None), (4.0, 5.5, None, None)],
    ),
    "labels as keys": (
        '{"cut": [[1, 2], [3, 4]], "jump": [{"start_time": 5, "end_time": 6}]}',
        [(1.0, 2.0, "cut", None), (3.0, 4.0, "cut", None), (5.0, 6.0, "jump", None)],
    ),
    "texts in a list": (
        '["00:05 - 00:09", "00:11 - 00:14: pours milk"]',
        [(5.0, 9.0, None, None), (11.0, 14.0, None, "pours milk")],
    ),
    "stamps as they were shown": (
        '[{"start_time": "<2.0 seconds>", "end_time": "<3.25 seconds>"}]',
        [(2.0, 3.25, None, None)],
    ),
    "Chinese keys": ('[{"开始时间": "1秒", "结束时间": "3秒"}]', [(1.0, 3.0, None, None)]),
    "commas after all values": (
        '[{"start_time": 1.0, "end_time": 2.0,},]',
        [(1.0, 2.0, None, None)],
    ),
    "single quotes": ("[{'start_time': 1.0, 'end_time': 2.0}]", [(1.0, 2.0, None, None)]),
    "thoughts first": (
        "<think>Maybe 1 - 2 seconds?</think>From 3.0 to 4.0 seconds.",
        [(3.0, 4.0, None, None)],
    ),
    "第": ("第3秒到第5秒", [(3.0, 5.0, None, None)]),
    "a Chinese sentence with its own words": (
        "该动作在视频的第10.5秒开始，到第12秒结束。",
        [(10.5, 12.0, None, None)],
    ),
    "a start and an end": (
        "It starts at 3 seconds and ends at 5 seconds.",
        [(3.0, 5.0, None, None)],
    ),
    "named times": ("start: 3.0s, end: 5.0s", [(3.0, 5.0, None, None)]),
    "named times in lines": (
        "**Start time:** 00:03\n**End time:** 00:05",
        [(3.0, 5.0, None, None)],
    ),
    "a unit of both": ("3 to 5 minutes", [(180.0, 300.0, None, None)]),
    "parts of minutes": ("1.5 min - 2 min", [(90.0, 120.0, None, None)]),
    "subtitles": ("00:00:03,500 --> 00:00:05,000", [(3.5, 5.0, None, None)]),
    "a pair of clocks": ("[00:12, 00:18]", [(12.0, 18.0, None, None)]),
    "two in a row": (
        "12s to 18s, and 25s to 30s",
        [(12.0, 18.0, None, None), (25.0, 30.0, None, None)],
    ),
    "a table": (
        "| # | Start | End | Event |\n|---|---|---|---|\n| 1 | 00:03 | 00:05 | opens |",
        [(3.0, 5.0, None, "opens")],
    ),
    "a table of bare numbers": (
        "| Start | End | Event |\n|---|---|---|\n| 3 | 5 | opens |",
        [(3.0, 5.0, None, "opens")],
    ),
    "a table with ranges": (
        "| Time | Event |\n|---|---|\n| 00:03 - 00:05 | opens |",
        [(3.0, 5.0, None, "opens")],
    ),
    "a text as value": (
        '{"opens": "3.5-5.0", "answer": "7 - 9"}',
        [(3.5, 5.0, "opens", None), (7.0, 9.0, None, None)],
    ),
    "a corrected answer": (
        '[{"start": 3, "end": 5}]\n\nCorrected:\n[{"start": 4, "end": 6}]',
        [(4.0, 6.0, None, None)],
    ),
    "twice the same": (
        '[{"start": 1, "end": 2}, {"start": 1, "end": 2}]',
        [(1.0, 2.0, None, None)],
    ),
    "a time that cannot be read": (
        '[{"start": "soon", "end": 2}, {"start": 3, "end": 4}]',
        [(3.0, 4.0, None, None)],
    ),
}


@pytest.mark.parametrize(("text", "expected"), FOUND.values(), ids=FOUND)
def test_every_notation_of_spans_is_read(text: str, expected: list[Event]) -> None:
    answer = read(text)
    assert events(answer) == expected
    assert answer.verdict is Verdict.FOUND


def test_spans_are_in_order_and_inside_the_film() -> None:
    """Ends in the wrong order are swapped, and what begins after the film's end is left out."""
    text = (
        '[{"start_time": "00:12.50", "end_time": "00:10.00", "label": "jump"}, '
        '{"start_time": "00:20.00", "end_time": "01:10.00", "label": "run"}, '
        '{"start_time": "02:00.00", "end_time": "02:10.00", "label": "run"}]'
    )
    answer = read(text, 60, classes=("jump", "run"))
    assert events(answer) == [(10.0, 12.5, "jump", None), (20.0, 60.0, "run", None)]


def test_a_window_clips_at_both_ends() -> None:
    query = FindSpans(("cut",), within=(10.0, 20.0))
    answer = read_answer(query, "[[1, 5], [8, 12], [18, 30]]", THOUSAND, complete=True)
    assert [f.time for f in answer.findings] == [(10.0, 12.0), (18.0, 20.0)]


CUT = {
    "in a text": (
        '```json\n[\n  {"start_time": "00:02.00", "end_time": "00:06.00", "label": "cut", '
        '"description": "cuts bread"},\n  {"start_time": "00:07.00", "end_time": "00:0',
        [(2.0, 6.0, "cut", "cuts bread")],
    ),
    "in a number": ('[{"start": 1, "end": 2}, {"start": 3, "end": 4', [(1.0, 2.0, None, None)]),
    "in a sentence": ("It happens in 1 - 2 seconds and in 3 - 4", [(1.0, 2.0, None, None)]),
    "in a named time": ("Start: 3s\nEnd: 5", []),
    "before any": ('```json\n[{"start_t', []),
}


@pytest.mark.parametrize(("text", "expected"), CUT.values(), ids=CUT)
def test_a_cut_answer_keeps_what_is_whole(text: str, expected: list[Event]) -> None:
    answer = read(text, complete=False)
    assert events(answer) == expected
    assert answer.verdict is Verdict.TRUNCATED


WHOLE = {name: text for name, (text, _) in FOUND.items() if name != "a corrected answer"}


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_no_cut_makes_a_time_of_its_own(text: str) -> None:
    whole = {found.time for found in read(text).findings}
    for end in range(len(text)):
        assert {found.time for found in read(text[:end], complete=False).findings} <= whole


VERDICTS = {
    "The described event does not occur in the video.": Verdict.NOTHING,
    "No, this never happens.": Verdict.NOTHING,
    "[]": Verdict.NOTHING,
    "```json\n[]\n```": Verdict.NOTHING,
    "{}": Verdict.NOTHING,
    '{"events": []}': Verdict.NOTHING,
    '[{"start_time": null, "end_time": null, "label": "cut"}]': Verdict.NOTHING,
    "None.": Verdict.NOTHING,
    "视频中没有发生该事件。": Verdict.NOTHING,
    "I'm sorry, I can't help with that.": Verdict.REFUSED,
    "What a nice film!": Verdict.UNREADABLE,
    '[{"start_time": -1, "end_time": -1}]': Verdict.NOTHING,
    "[[-1, -1]]": Verdict.NOTHING,
    "There are 3 to 5 people in the video.": Verdict.UNREADABLE,
    "2到3人在走路": Verdict.UNREADABLE,
    "The man begins with 3 eggs and ends with 5.": Verdict.UNREADABLE,
    "| 1 | 3 | 5 | opens |": Verdict.UNREADABLE,
    "| # | Time | Event |\n|---|---|---|\n| 1 | 00:05 | opens |": Verdict.UNREADABLE,
    "| # | Second | Event |\n|---|---|---|\n| 1 | 12 | opens |": Verdict.UNREADABLE,
    "": Verdict.UNREADABLE,
    '[{"bbox_2d": [1, 2, 3, 4], "label": "cut"}]': Verdict.UNREADABLE,
}


@pytest.mark.parametrize(("text", "verdict"), VERDICTS.items())
def test_an_answer_without_spans_says_what_it_is(text: str, verdict: Verdict) -> None:
    answer = read(text)
    assert answer.findings == ()
    assert answer.verdict is verdict


@given(st.text(alphabet='0123456789:.-[]{}",<> stoendmrang_aei\n至秒', max_size=200), st.booleans())
def test_no_text_breaks_the_reader(text: str, complete: bool) -> None:
    for found in read(text, 60, complete=complete).findings:
        assert found.time is not None
        assert 0 <= found.time[0] <= found.time[1] <= 60


spans = st.lists(
    st.tuples(st.integers(0, 590), st.integers(1, 9)), min_size=1, max_size=5, unique=True
)


@given(spans)
def test_the_form_that_is_asked_for_is_read_back(pairs: list[tuple[int, int]]) -> None:
    rows = [{"start_time": start, "end_time": start + length} for start, length in pairs]
    answer = read(json.dumps(rows))
    assert [f.time for f in answer.findings] == [(s, s + length) for s, length in pairs]


def test_our_own_sketch_is_read() -> None:
    query = FindSpans(("cut", "jump"), described=True)
    answer = read(sketch_answer(query, "qwen2.5"))
    assert events(answer) == [
        (1.0, 2.5, "cut", "what happens"),
        (4.0, 6.5, "cut", "what happens"),
    ]


# Prompts

PROMPTS: dict[str, tuple[FindSpans, list[str], list[str]]] = {
    "one label": (
        FindSpans(("cut",)),
        ["'cut'", "start_time", "in seconds", "If it does not occur, output []."],
        ["label", "description"],
    ),
    "several labels": (FindSpans(("cut", "jump")), ["'cut', 'jump'", "label"], ["description"]),
    "described": (FindSpans(("cut",), described=True), ["description"], []),
    "a phrase": (FindSpans(("cut",), phrase="the man cuts bread"), ["'the man cuts bread'"], []),
    "a meaning": (
        FindSpans(("cut",), meanings=(Meaning(("cut",), "a change of the camera"),)),
        ["'cut' means: a change of the camera."],
        [],
    ),
    "Chinese": (
        FindSpans(("切菜",)),
        ["'切菜'", "start_time", "如果没有发生，输出[]。"],
        ["video"],
    ),
}


@pytest.mark.parametrize(("query", "there", "absent"), PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_says_what_is_asked(query: FindSpans, there: list[str], absent: list[str]) -> None:
    prompt = write_prompt(query, THOUSAND, "qwen2.5")
    assert [part for part in there if part not in prompt] == []
    assert [part for part in absent if part in prompt] == []
    strict = write_prompt(query, THOUSAND, "qwen2.5", strict=True)
    assert strict.startswith(prompt)
    assert len(strict) > len(prompt)


def test_a_raw_prompt_is_the_whole_prompt() -> None:
    query = FindSpans(("cut",), phrase="When?", style=PromptStyle(raw=True))
    assert write_prompt(query, THOUSAND, "qwen2.5") == "When?"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "<0.0 seconds>"), (12.5, "<12.5 seconds>"), (1.28, "<1.28 seconds>")]
)
def test_a_time_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert write_time(seconds) == text


# Scores


def scores(text: str, logprob: float | None, **changes: Any) -> list[float | None]:
    completion = make_completion(text, logprob)
    query = FindSpans(("cut", "jump"), within=(0, 60))
    answer = read_answer(query, text, THOUSAND, complete=True, tokens=completion.tokens)
    return [finding.score for finding in answer.findings]


ROW = '[ {"start_time": 1.0, "end_time": 2.0, "label": "cut"} ]'


def test_a_span_is_as_sure_as_its_tokens() -> None:
    (sure,), (unsure,) = scores(ROW, -0.01), scores(ROW, -0.5)
    assert sure is not None
    assert unsure is not None
    assert 0 < unsure < sure < 1


def test_without_probabilities_there_is_no_score() -> None:
    assert scores(ROW, None) == [None]
