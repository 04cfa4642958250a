"""The reader of model answers: the corpus, our own table, and properties of any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.geometry import Box, Frame, Point
from grounding.queries import Finding
from grounding.qwen.answers import Answer, Note, Verdict, read
from tests.timing import cpu_seconds

DATA = Path(__file__).parents[1] / "data"
SQUARE = Frame("model", 1036, 1036)
BOX = '{"bbox_2d": [10, 20, 110, 120], "label": "cat"}'
RowOf = dict[str, Any]


def rows(name: str) -> list[RowOf]:
    """Return the rows of a data file.

    In `variants.jsonl`, `findings` are numbers, label and (if any) score, in 1036 by 1036 units.
    """
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


CORPUS = rows("model_outputs.jsonl")
VARIANTS = rows("variants.jsonl")
COOKBOOKS = rows("cookbook_outputs.jsonl")


def numbers(finding: Finding) -> tuple[float, ...]:
    place = finding.place
    if isinstance(place, Box):
        return place.x1, place.y1, place.x2, place.y2
    return place.x, place.y


def summarize(answer: Answer) -> list[tuple[Any, ...]]:
    return [
        (numbers(d), d.label) if d.score is None else (numbers(d), d.label, d.score)
        for d in answer.findings
    ]


# The corpus


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: f"{row['id']}-{row['family']}")
def test_the_corpus_is_read_exactly(row: RowOf) -> None:
    answer = read(row["raw"], Frame("model", *row["input_wh"]))
    boxes = [d for d in answer.findings if isinstance(d.place, Box)]
    points = [d for d in answer.findings if isinstance(d.place, Point)]
    expected = row["expected"]
    assert [(list(numbers(d)), d.label, d.score) for d in boxes] == [
        (box["bbox"], box["label"], box.get("score")) for box in expected["boxes"]
    ]
    assert [(list(numbers(d)), d.label) for d in points] == [
        (point["point"], point["label"]) for point in expected["points"]
    ]
    assert answer.verdict == row["verdict"]
    assert set(row["flags"]) <= set(answer.warnings)


# Once clipped, the box of q015 covers the whole picture; the corpus lists only "clipped".
@pytest.mark.parametrize("row", [r for r in CORPUS if r["id"] != "q015"], ids=lambda row: row["id"])
def test_the_warnings_of_the_corpus_are_exact(row: RowOf) -> None:
    answer = read(row["raw"], Frame("model", *row["input_wh"]))
    assert set(answer.warnings) == set(row["flags"])
    texts = [d.text for d in answer.findings if isinstance(d.place, Box)]
    assert [_close(t) for t in texts] == [_close(b["text"]) for b in row["expected"]["boxes"]]


def _close(text: str | None) -> str | None:
    return text and text.replace(" ", "")


# Our own table


@pytest.mark.parametrize("row", VARIANTS, ids=lambda row: row["id"])
def test_our_own_answers_are_read(row: RowOf) -> None:
    answer = read(row["raw"], SQUARE, row.get("complete", True))
    assert summarize(answer) == [(tuple(numbers), *rest) for numbers, *rest in row["findings"]]
    assert answer.verdict == row["verdict"]
    assert row.get("texts") in (None, [d.text for d in answer.findings])


def test_the_table_has_no_row_twice() -> None:
    ids, texts = {row["id"] for row in VARIANTS}, {row["raw"] for row in VARIANTS}
    assert len(ids) == len(texts) == len(VARIANTS)


@pytest.mark.parametrize("row", COOKBOOKS, ids=lambda row: row["id"])
def test_other_cookbooks_answers_are_read_without_error(row: RowOf) -> None:
    frame, size = Frame("model", *(row["frame"] or (1000, 1000))), len(row["text"])
    for end in range(0, size + 1, 1 + size // 100):
        for complete in (True, False):
            assert read(row["text"][:end], frame, complete).verdict in Verdict


ALL = [(row["id"], row["raw"], Frame("model", *row["input_wh"])) for row in CORPUS]
ALL += [(row["id"], row["raw"], SQUARE) for row in VARIANTS]


@pytest.mark.parametrize(("text", "frame"), [a[1:] for a in ALL], ids=[a[0] for a in ALL])
def test_a_span_holds_numbers(text: str, frame: Frame) -> None:
    for finding in read(text, frame).findings:
        start, end = finding.span
        assert 0 <= start < end <= len(text)
        assert any(c.isdigit() for c in text[start:end])


def test_a_span_holds_label_and_numbers() -> None:
    text = f"Here:\n[{BOX}]"
    (finding,) = read(text, SQUARE).findings
    assert text[slice(*finding.span)] == '[10, 20, 110, 120], "label": "cat"'


# Warnings


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (f"[{BOX}]", []),
        (f"[{BOX}, {BOX}]", ["dup_removed"]),
        ('[{"bbox": [110, 120, 10, 20]}]', ["swapped"]),
        ('[{"bbox": [10, 20, 1036.4, 120]}]', []),
        ('[{"bbox": [10, 20, 1040, 120]}]', ["clipped"]),
        ('[{"bbox": [10, 20, 30], "label": "cat"}]', ["dropped_invalid"]),
        ('[{"x": 10, "y": 20, "width": 100, "height": 100}]', ["xywh"]),
        ('[{"bbox_xywh": [10, 20, 100, 100]}]', ["xywh"]),
        ("[{bbox: [10, 20, 110, 120]}]", ["repaired"]),
        ("[0, 0, 1030, 1036]", ["whole_image"]),
        ("[[0, 0, 1030, 1036], [1, 2, 3, 4]]", []),
        ("[[10, 20, 110, 120]", ["truncated"]),
        ('[{"point_2d": [1500, 20]}]', ["clipped"]),
        ('[{"point_2d": [2073, 20]}]', ["dropped_invalid"]),
        ('[{"bbox_2d": [1500, 20, 1600, 90]}]', ["clipped", "dropped_invalid"]),
        ('[{"bbox_2d": [0, 0, 0, 0]}]', []),
        ('[{"bbox_2d": [0.1, 0.2, 0.5, 0.9]}]', ["fractions"]),
        ('[{"bbox_2d": (10, 20), (110, 120)}]', ["repaired"]),
    ],
)
def test_a_warning_says_what_happened(text: str, warnings: list[str]) -> None:
    assert list(read(text, SQUARE).warnings) == warnings


@pytest.mark.parametrize(("times", "repeats"), [(9, 0), (10, 9), (500, 499)])
def test_a_loop_is_cut_and_counted(times: int, repeats: int) -> None:
    answer = read("[" + ", ".join([BOX] * times) + "]", SQUARE)
    assert (len(answer.findings), answer.repeats) == (1, repeats)
    assert (Note.LOOP in answer.warnings) == (repeats > 0)


def test_what_follows_a_loop_is_kept() -> None:
    other = BOX.replace("cat", "dog")
    answer = read("[" + ", ".join([BOX] * 20 + [other]) + "]", SQUARE)
    assert [d.label for d in answer.findings] == ["cat", "dog"]


# Answers that stopped at the token limit


@pytest.mark.parametrize(
    ("text", "expected", "verdict"),
    [
        (f"```json\n[{BOX}]\n```", [((10, 20, 110, 120), "cat")], "found"),
        (f"```json\n[{BOX}]\n```\nThe cat is", [((10, 20, 110, 120), "cat")], "truncated"),
        ("10,20,110,120 cat\n200,210,300,330 do", [((10, 20, 110, 120), "cat")], "truncated"),
        ("10,20,110,120 cat\n", [((10, 20, 110, 120), "cat")], "truncated"),
        ("It is at (10, 20)", [], "truncated"),
        ("There are no", [], "truncated"),
        ("[[10, 20, 110, 120]]", [((10, 20, 110, 120), None)], "found"),
        ("[]", [], "nothing"),
        ("", [], "truncated"),
    ],
)
def test_the_token_limit_makes_the_end_uncertain(
    text: str, expected: list[tuple[Any, ...]], verdict: str
) -> None:
    answer = read(text, SQUARE, complete=False)
    assert (summarize(answer), answer.verdict) == (expected, verdict)
    assert Note.TRUNCATED in answer.warnings


@pytest.mark.parametrize("side", [1, 2])
def test_fractions_are_read_in_a_frame_of_their_own(side: int) -> None:
    answer = read('[{"bbox_2d": [0.1, 0.2, 0.5, 0.9]}]', Frame("model", side, side))
    assert summarize(answer) == [((0.1, 0.2, 0.5, 0.9), None)]


# Properties of any text


PARTS = [
    *"[]{}()<>\"'`,:=/\\|#-. \n0129ax［｛（】：，“”‘’",
    "```json\n", "<think>", "</think>", "<answer>", "</answer>", "<points ", 'x1="', "</points>",
    "<|box_start|>", "<|box_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|im_end|>",
    '"bbox_2d": ', '"label": ', '"cat"', "10, 20", "[10, 20, 110, 120]", "(10,20),(110,120)", "...",
    '<p data-bbox="', "1 2 3 4", '">', "null", "None", "NaN", "1e400", "//", "/*", "*/", "click(",
    '"poly": ', "[10, 20, 110, 24, 109, 44]", "(10,20)", '"name": ', "-1", "0.5", "Wait, ", "Hmm", "So ",
    "Thinking Process:\n", "</think>", "<|quad_start|>", "<|extra_0|>", "<points x1=\"1\" y1=\"2\" ",
    "start_box=", "cat: ", "没有", "no ", "<10>", "\ud800", "\0", "| ", "- ", "1. ", "to",
    " 10 20 110 120", "_", "\u3000", "label: ", "class:", "…", "\n10,20,110,120",
    "cat 10,20,110,120\n", "dog 200 210 300 330", "010, 20 110,120",
]  # fmt: skip


any_text = st.one_of(
    st.text(max_size=30), st.lists(st.sampled_from(PARTS), max_size=16).map("".join)
)


@settings(max_examples=4_000, deadline=None, database=None)
@given(any_text, st.booleans())
def test_no_text_raises_and_every_detection_lies_in_the_picture(text: str, complete: bool) -> None:
    answer = read(text, SQUARE, complete)
    assert answer.verdict in Verdict
    assert answer.findings or answer.verdict != Verdict.FOUND
    for finding in answer.findings:
        values = numbers(finding)
        assert all(0 <= v <= 1036 for v in values)
        assert len(values) == 2 or (values[0] < values[2] and values[1] < values[3])
        assert finding.score is None or 0 <= finding.score <= 1
        assert 0 <= finding.span[0] < finding.span[1] <= len(text)


coordinate = st.integers(0, 1036)
label = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=12)
record = st.fixed_dictionaries({
    "bbox_2d": st.tuples(coordinate, coordinate, coordinate, coordinate),
    "label": label.filter(lambda text: text == text.strip()),
})  # fmt: skip
records = st.lists(record, min_size=1, max_size=4)


def as_json(items: list[dict[str, Any]]) -> str:
    return json.dumps(items, ensure_ascii=False)


def as_python(items: list[dict[str, Any]]) -> str:
    return repr(items)


def as_tokens(items: list[dict[str, Any]]) -> str:
    return "\n".join(
        "<|object_ref_start|>cat {}<|object_ref_end|><|box_start|>({},{}),({},{})<|box_end|>".format(
            n, *item["bbox_2d"]
        )
        for n, item in enumerate(items)
    )


def as_points(items: list[dict[str, Any]]) -> str:
    return "\n".join(
        '<points x1="{}" y1="{}" alt="cat">cat</points>'.format(*item["bbox_2d"][:2])
        for item in items
    )


def as_html(items: list[dict[str, Any]]) -> str:
    return "\n".join(
        '<p data-bbox="{} {} {} {}">text</p>'.format(*item["bbox_2d"]) for item in items
    )


def as_keyed(items: list[dict[str, Any]]) -> str:
    return json.dumps({item["label"]: [item["bbox_2d"]] for item in items})


def as_lines(items: list[dict[str, Any]]) -> str:
    return "\n".join("{},{},{},{} small cat".format(*item["bbox_2d"]) for item in items)


def as_sentence(items: list[dict[str, Any]]) -> str:
    return "".join("It goes from ({}, {}) to ({}, {}). ".format(*i["bbox_2d"]) for i in items)


def as_named(items: list[dict[str, Any]]) -> str:
    return "\n".join(f"The cat: {[*item['bbox_2d']]}" for item in items)


def as_named_rows(items: list[dict[str, Any]]) -> str:
    return "\n".join("small cat {},{},{},{}".format(*item["bbox_2d"]) for item in items)


FORMATS = [as_json, as_python, as_tokens, as_points, as_html, as_keyed, as_named]


def fewer(part: Answer, whole: Answer) -> bool:
    """Return whether `whole` has every finding of `part`; a text or label may be cut away."""
    known = {(numbers(d), d.label) for d in whole.findings}
    known |= {(place, None) for place, _ in known}
    return {(numbers(d), d.label) for d in part.findings} <= known


@pytest.mark.parametrize("write", FORMATS)
@settings(max_examples=60, deadline=None)
@given(items=records, data=st.data())
def test_a_cut_answer_holds_nothing_that_the_whole_does_not(
    write: Any, items: list[dict[str, Any]], data: st.DataObject
) -> None:
    text = write(items)
    cut = text[: data.draw(st.integers(0, len(text)))]
    for complete in (True, False):
        assert fewer(read(cut, SQUARE, complete), read(text, SQUARE))


@pytest.mark.parametrize("write", [as_lines, as_sentence, as_named_rows])
@settings(max_examples=60, deadline=None)
@given(items=records, data=st.data())
def test_a_cut_text_without_brackets_holds_nothing_new_if_declared_incomplete(
    write: Any, items: list[dict[str, Any]], data: st.DataObject
) -> None:
    text = write(items)
    cut = text[: data.draw(st.integers(0, len(text)))]
    assert fewer(read(cut, SQUARE, complete=False), read(text, SQUARE))


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row["id"])
def test_no_cut_of_the_corpus_yields_a_place_of_its_own(row: RowOf) -> None:
    text, frame = row["raw"], Frame("model", *row["input_wh"])
    whole = {numbers(d) for d in read(text, frame).findings}
    for end in range(0, len(text), 1 + len(text) // 150):
        part = read(text[:end], frame, complete=False)
        assert {numbers(d) for d in part.findings} <= whole


WRAPPERS = [
    "{}",
    "```json\n{}\n```",
    "```\n{}```",
    "Here are the objects that I found:\n\n```json\n{}\n```\nTell me if you need more.",
    "<think>first (1, 2), then [3, 4, 5, 6]</think>\n{}",
    "<think>no</think><answer>{}</answer>",
    "<answer>\n{}\n</answer>",
    "以下是检测结果：\n{}",
    "{}<|im_end|>",
    '{{"objects": {}, "count": 2}}',
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@settings(max_examples=60, deadline=None)
@given(items=records)
def test_a_wrapper_changes_nothing(wrapper: str, items: list[dict[str, Any]]) -> None:
    text = as_json(items)
    bare, wrapped = read(text, SQUARE), read(wrapper.format(text), SQUARE)
    assert summarize(bare) == summarize(wrapped)
    assert bare.verdict == wrapped.verdict


@settings(max_examples=200, deadline=None)
@given(records)
def test_json_and_python_say_the_same(items: list[dict[str, Any]]) -> None:
    assert summarize(read(as_json(items), SQUARE)) == summarize(read(as_python(items), SQUARE))


@settings(max_examples=200, deadline=None)
@given(records)
def test_what_json_says_is_what_is_read(items: list[dict[str, Any]]) -> None:
    expected: dict[tuple[tuple[int, ...], str], None] = {}
    for item in items:
        x1, y1, x2, y2 = item["bbox_2d"]
        if x1 != x2 and y1 != y2:
            place = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
            expected[place, item["label"]] = None
    assert summarize(read(as_json(items), SQUARE)) == list(expected)


# Texts that make a reader with backtracking hang

PATHOLOGICAL = [
    "[", "[1,2],", f"{BOX},", "<p>", '{"a": "x" "', '{"a": "\\', "<", "1,2,3,4 a\n", "[/*", "{'", " ",
    '{"a": (1,2),', '{"a":1,"bbox":[1,2,3,4],', '<points x1="1" ', '{"a": <|box_start|>', "Hmm \n",
    "So [1,2]? Wait, ", "Thinking Process:\n\n", '1,2,3,4 "a', '{"poly":[1,2,3,4,5,6],', "- \n", "]",
    '{"a":', "<think>", "<box>", "(1 ", "[0,0,9,9]", "\n", '<p data-bbox="1 2 3 4">', "none of ",
    "(1,2) and ", '{"a" ',
]  # fmt: skip


@pytest.mark.parametrize("unit", PATHOLOGICAL)
def test_ten_times_the_text_takes_no_hundred_times_as_long(unit: str) -> None:
    def cost(chars: int) -> float:
        return cpu_seconds(lambda: read(unit * (chars // len(unit)), SQUARE))

    assert cost(1_000_000) < 40 * max(cost(100_000), 0.01)


@pytest.mark.parametrize(
    "text",
    ["[" * 5_000, "[" * 5_000 + "]" * 5_000, "a" * 10_000_000],
    ids=["deep", "deep_and_closed", "long"],
)
def test_depth_and_length_without_sense_are_unreadable(text: str) -> None:
    assert read(text, SQUARE).verdict == Verdict.UNREADABLE
