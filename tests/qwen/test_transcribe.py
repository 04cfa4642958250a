"""Print with places, whole texts and pages: the prompts, and the cookbooks' answers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.engines.base import Token
from grounding.geometry import Box, Frame
from grounding.queries import Meaning, ParseDocument, PromptStyle, Query, TextUnit, Transcribe
from grounding.qwen.answers import Answer, Note, Verdict
from grounding.qwen.queries import read_answer, sketch_answer, write_prompt

from .test_answers import COOKBOOKS, RowOf, numbers

SEEN = Frame("model", 868, 1400)
LINES, WHOLE = Transcribe(), Transcribe(TextUnit.WHOLE)
FIELDS = Transcribe(classes=("total", "date"), named=True)
PAGE = ParseDocument()
NONE = "If there is none, output []."

USES = ("ocr", "dense", "document", "recognition", "kie", "count")
PLACED = [
    row
    for row in COOKBOOKS
    if row["use"] in USES
    and ({"boxes", "points"} & row["expected"].keys() or row["use"] == "document")
]
WHOLES = [row for row in COOKBOOKS if row["use"] == "ocr" and "text" in row["expected"]]


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        (
            LINES,
            "Spotting all the text in the image with line-level, and output in JSON format. "
            + NONE,
        ),
        (
            Transcribe(TextUnit.WORD),
            "Spotting all the text in the image with word-level, and output in JSON format. "
            + NONE,
        ),
        (
            WHOLE,
            "Read all the text in the image. Output only the text content, line by line, without "
            "any description or formatting. If there is none, output None.",
        ),
        (
            FIELDS,
            "Locate the value of each of these fields: 'total', 'date'. Report bbox_2d "
            "coordinates, label and text_content in JSON format. " + NONE,
        ),
        (
            Transcribe(
                classes=("total", "date"),
                named=True,
                meanings=(Meaning(("total",), "what is paid."),),
            ),
            "Locate the value of each of these fields: 'total', 'date'. Report bbox_2d "
            "coordinates, label and text_content in JSON format. 'total' means: what is paid. "
            + NONE,
        ),
        (
            Transcribe(style=PromptStyle("zh")),
            "识别图中所有的文字，逐行以JSON格式输出其bbox_2d坐标和text_content。如果没有，输出[]。",
        ),
        (PAGE, "QwenVL HTML "),
    ],
)
def test_the_prompt_is_the_one_that_the_model_was_taught(query: Query, prompt: str) -> None:
    assert write_prompt(query, SEEN, "qwen2.5") == prompt


def test_the_second_prompt_is_another_one_and_qwen3_has_its_own_for_pages() -> None:
    for query in (LINES, WHOLE, FIELDS, PAGE):
        first, second = (write_prompt(query, SEEN, "qwen2.5", strict=s) for s in (False, True))
        assert first != second
    assert write_prompt(PAGE, SEEN, "qwen3") == "qwenvl html"


@pytest.mark.parametrize("query", [LINES, FIELDS, PAGE])
def test_the_sketch_of_an_answer_is_read_as_two_texts_with_places(query: Query) -> None:
    answer = read_answer(query, sketch_answer(query, "qwen2.5"), SEEN, complete=True)
    assert [(numbers(f)[0], f.text) for f in answer.findings] == [(100, "text"), (500, "text")]


def told(answer: Answer) -> list[tuple[tuple[float, ...], str | None, str | None]]:
    return [
        (numbers(f), f.label, " ".join(f.text.split()) if f.text else None) for f in answer.findings
    ]


@pytest.mark.parametrize("row", PLACED, ids=lambda row: row["id"])
def test_print_and_pages_of_the_cookbooks_are_read_exactly(row: RowOf) -> None:
    expected = row["expected"]
    frame = Frame("model", *(row["frame"] or (1000, 1000)))
    named = Transcribe(classes=("x", "y"), named=True)
    query = PAGE if row["use"] == "document" else named
    answer = read_answer(query, row["text"], frame, complete=True)
    assert answer.verdict == expected["verdict"]
    boxes = [
        (tuple(map(float, b["bbox"])), b["label"], b["text"]) for b in expected.get("boxes", [])
    ]
    points = [(tuple(map(float, p["point"])), p["label"], None) for p in expected.get("points", [])]
    found = [
        (place, label, _flat(text) if row["use"] == "document" else text)
        for place, label, text in told(answer)
    ]
    assert found == [
        (place, label, text and " ".join(text.split())) for place, label, text in boxes + points
    ]


def _flat(text: str | None) -> str | None:
    """Return a table's cells as the corpus joins them."""
    if text is None or "<table" not in text:
        return text
    import html
    import re

    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split()) or None


@pytest.mark.parametrize("row", WHOLES, ids=lambda row: row["id"])
def test_whole_texts_of_the_cookbooks_are_read_exactly(row: RowOf) -> None:
    (finding,) = read_answer(WHOLE, row["text"], SEEN, complete=True).findings
    assert finding.text == finding.value == row["expected"]["text"]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('[{"bbox_2d": [1, 2, 9, 9], "text_content": "EXIT"}]', [("EXIT", None)]),
        ('[{"bbox_2d": [1, 2, 9, 9], "label": "text", "text_content": "A"}]', [("A", None)]),
        ('[{"bbox_2d": [1, 2, 9, 9], "label": "EXIT"}]', [("EXIT", None)]),
        ('[{"bbox_2d": [1, 2, 9, 9], "label": "text"}]', [(None, None)]),
        ("1,2,9,9 EXIT", [("EXIT", None)]),
    ],
)
def test_a_line_has_its_text_and_no_label(
    text: str, read: list[tuple[str | None, str | None]]
) -> None:
    answer = read_answer(LINES, text, SEEN, complete=True)
    assert [(f.text, f.label) for f in answer.findings] == read


@pytest.mark.parametrize(
    ("text", "whole", "verdict"),
    [
        ("```\nA\nB\n```", "A\nB", Verdict.FOUND),
        ('[{"bbox_2d": [1, 2, 9, 9], "text_content": "A"},'
         ' {"bbox_2d": [1, 20, 9, 29], "text_content": "B"}]', "A\nB", Verdict.FOUND),
        ('[{"bbox_2d": [1, 2, 9, 9], "label": "A"},\n'
         ' {"bbox_2d": [1, 20, 9, 29], "label": "B"}]', "A\nB", Verdict.FOUND),
        ('[{"bbox_2d": [1, 2, 9, 9], "label": "text"}]', None, Verdict.UNREADABLE),
        ('[{"bbox_2d": [1, 2, 9, 9]}]', None, Verdict.UNREADABLE),
        ("12, 40, 80, 95", "12, 40, 80, 95", Verdict.FOUND),
        ("There is no visible text in the image.", None, Verdict.NOTHING),
        ("None", None, Verdict.NOTHING),
        ("No text.", None, Verdict.NOTHING),
        ("图中没有文字。", None, Verdict.NOTHING),
        ("No smoking", "No smoking", Verdict.FOUND),
        ("NO ENTRY", "NO ENTRY", Verdict.FOUND),
        ("[]", None, Verdict.NOTHING),
        ("", None, Verdict.UNREADABLE),
        ("I'm sorry, but I can't read this.", None, Verdict.REFUSED),
        ("NO PARKING\nEXCEPT SUNDAYS", "NO PARKING\nEXCEPT SUNDAYS", Verdict.FOUND),
        ("NO TEXT ALLOWED", "NO TEXT ALLOWED", Verdict.FOUND),
        ('The text in the image reads:\n\n"NO PARKING"', "NO PARKING", Verdict.FOUND),
        ('The visible text says "NO PARKING".', 'NO PARKING', Verdict.FOUND),
        ("Sure! Here is the text:\n```\nA 1\nB 2\n```\nLet me know if you need more!", "A 1\nB 2",
         Verdict.FOUND),
        ("图片中的文字是：禁止停车", "禁止停车", Verdict.FOUND),
        ("以下是图片中的文字内容：\n禁止停车", "禁止停车", Verdict.FOUND),
        ('```json\n{"text": "A 1\\nB 2"}\n```', "A 1\nB 2", Verdict.FOUND),
        ('["A", "B"]', "A\nB", Verdict.FOUND),
        ("<text>A</text>", "A", Verdict.FOUND),
        ('{"name": "A"}', '{"name": "A"}', Verdict.FOUND),
        ("Words of the day: one", "Words of the day: one", Verdict.FOUND),
        ("文字：甲", "文字：甲", Verdict.FOUND),
        ("Here's a transcription:\nTea 3.00", "Tea 3.00", Verdict.FOUND),
        ("Read the text below:\nTea", "Read the text below:\nTea", Verdict.FOUND),
        ("Copy the words in the picture: tea", "Copy the words in the picture: tea", Verdict.FOUND),
        ("Here is the menu:\nTea 3.00", "Here is the menu:\nTea 3.00", Verdict.FOUND),
    ],
)  # fmt: skip
def test_a_whole_text_is_what_is_printed_and_nothing_else(
    text: str, whole: str | None, verdict: Verdict
) -> None:
    answer = read_answer(WHOLE, text, SEEN, complete=True)
    assert [f.text for f in answer.findings] == ([] if whole is None else [whole])
    assert answer.verdict is verdict


def test_a_cut_text_keeps_its_whole_lines_and_a_loop_is_said_once() -> None:
    cut = read_answer(WHOLE, "A\nB\nC ha", SEEN, complete=False)
    assert ([f.text for f in cut.findings], cut.verdict) == (["A\nB"], Verdict.TRUNCATED)
    looped = read_answer(WHOLE, "A\n" + "1 x Kaffee\n" * 50 + "1 x", SEEN, complete=False)
    assert [f.text for f in looped.findings] == ["A\n1 x Kaffee"]
    assert Note.LOOP in looped.warnings
    thrice = read_answer(WHOLE, "A\n0\n0\n0", SEEN, complete=True)
    assert [f.text for f in thrice.findings] == ["A\n0\n0\n0"]


TABLE = '<table data-bbox="10 20 300 200" class="table4"><tr><td>a</td><td>b</td></tr></table>'


@pytest.mark.parametrize(
    ("text", "label", "content"),
    [
        (TABLE, "table4", "<table><tr><td>a</td><td>b</td></tr></table>"),
        (
            '<div class="table" data-bbox="10 20 300 200"><table><tr><td>a</td></tr></table></div>',
            "table",
            "<table><tr><td>a</td></tr></table>",
        ),
        (TABLE.removesuffix("</table>"), "table4", "a b"),
        ("<!-- Table (10, 20, 300, 200) -->\n| a | b |\n|---|---|\n", "table",
         "| a | b |\n|---|---|"),
        ("<!-- Image (10, 20, 300, 200) -->\n| a |\n", "image", None),
    ],
)  # fmt: skip
def test_a_table_keeps_its_rows_and_cells(text: str, label: str, content: str | None) -> None:
    (finding,) = read_answer(PAGE, text, SEEN, complete=True).findings
    flat = " ".join(finding.text.split()) if finding.text == "a  b" else finding.text
    assert (finding.label, flat) == (label, content)
    assert isinstance(finding.place, Box)


def test_each_of_two_tables_has_its_own_cells() -> None:
    two = TABLE + '<p data-bbox="10 210 300 240">c</p>' + TABLE.replace("20 300", "250 300")
    two = two.replace("<td>a", "<td>x", 1)
    texts = [f.text for f in read_answer(PAGE, two, SEEN, complete=True).findings]
    assert [text and ("x" in text, "a" in text.replace("table", "")) for text in texts] == [
        (True, False),
        (False, False),
        (False, True),
    ]


def test_the_score_of_a_whole_text_does_not_fall_with_its_length() -> None:
    text = "word " * 400
    tokens = [Token(n, n + 1, -0.1) for n in range(len(text))]
    (finding,) = read_answer(WHOLE, text, SEEN, complete=True, tokens=tokens).findings
    assert finding.score == pytest.approx(0.9048, abs=1e-3)


@pytest.mark.parametrize(
    "piece", ['<table data-bbox="1 2 3 4">', "<!-- Table (1, 2, 3, 4) -->", "|", "a\n"]
)
def test_a_long_page_takes_time_in_proportion_to_its_length(piece: str) -> None:
    begun = time.process_time()
    for query in (PAGE, LINES, WHOLE):
        read_answer(query, piece * (100_000 // len(piece)), SEEN, complete=True)
    assert time.process_time() - begun < 20, piece


@given(st.text(), st.booleans())
def test_no_text_makes_a_reader_fail(text: str, complete: bool) -> None:
    for query in (LINES, WHOLE, FIELDS, PAGE):
        for written in (
            text,
            f'<p data-bbox="1 2 30 40">{text}',
            f"<table data-bbox='1 2 3 4'>{text}",
        ):
            answer = read_answer(query, written, SEEN, complete=complete)
            assert all(0 <= f.span[0] <= f.span[1] <= len(written) for f in answer.findings)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("| A |\n|---|\n| 1 |", "| A | |---| | 1 |"),
        ("<table><tr><td>A</td></tr></table>", "<table><tr><td>A</td></tr></table>"),
        ("\\begin{tabular}{c}\nA\n\\end{tabular}", "\\begin{tabular}{c} A \\end{tabular}"),
        ("See [1, 2, 30, 40].", None),
    ],
)
def test_in_markdown_only_comments_have_places_and_a_table_in_any_notation(
    table: str, text: str | None
) -> None:
    page = f"# T [5, 6, 7, 8]\n\n<!-- Table (80, 200, 500, 480) -->\n{table}\n\nThe (12, 34).\n"
    answer = read_answer(PAGE, page, SEEN, complete=True)
    assert told(answer) == [((80, 200, 500, 480), "table", text)]


@pytest.mark.parametrize("said", ["42", "8.75", "EXIT"])
def test_print_without_quotes_is_a_text(said: str) -> None:
    line = f'[{{"bbox_2d": [10, 20, 110, 40], "text_content": {said}}}]'
    assert [f.text for f in read_answer(LINES, line, SEEN, complete=True).findings] == [said]
    empty = line.replace(said, "null")
    assert [f.text for f in read_answer(LINES, empty, SEEN, complete=True).findings] == [None]


@pytest.mark.parametrize(
    "said",
    [
        '{"date": {"text": "1 June", "bbox": [1, 2, 9, 9]}, '
        '"total": {"text": "8.75", "bbox": [1, 20, 9, 29]}}',
        "date: 1 June [1, 2, 9, 9]\ntotal: 8.75 [1, 20, 9, 29]",
    ],
)
def test_a_field_has_its_text_whatever_its_name_means_elsewhere(said: str) -> None:
    answer = read_answer(FIELDS, said, SEEN, complete=True)
    assert [(f.label, f.text) for f in answer.findings] == [("date", "1 June"), ("total", "8.75")]


def test_a_list_of_no_texts_is_nothing() -> None:
    assert read_answer(LINES, '{"texts": []}', SEEN, complete=True).verdict is Verdict.NOTHING
