"""The prompt that asks to count, and the numbers that the cookbooks' answers state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import Frame
from grounding.queries import Count
from grounding.qwen.answers import Note, Verdict
from grounding.qwen.queries import read_answer, sketch_answer, write_prompt
from grounding.qwen.queries.count import state_number

from .test_answers import COOKBOOKS, RowOf

SEEN = Frame("model", 644, 476)
EGGS = Count("every egg")
TWO = '[{"point_2d": [40, 52], "label": "egg"}, {"point_2d": [88, 54], "label": "egg"}]'
ROWS = [row for row in COOKBOOKS if row["use"] == "count"]


def test_the_prompt_points_first_and_counts_then_in_both_languages() -> None:
    assert write_prompt(EGGS, SEEN, "qwen2.5") == (
        "Point to every egg in this image and output the point_2d coordinates in JSON format, "
        "and then answer how many there are. If there is none, output [] and 0."
    )
    chinese = write_prompt(Count("每一个鸡蛋"), SEEN, "qwen2.5", strict=True)
    assert chinese.startswith("以点的形式定位图中每一个鸡蛋")
    assert chinese.endswith("不要遗漏，最后用数字写出数目。")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_numbers_of_the_cookbooks_are_read_exactly(row: RowOf) -> None:
    expected = row["expected"]
    assert state_number(row["text"]) == expected.get("number")
    frame = Frame("model", *(row["frame"] or (1000, 1000)))
    answer = read_answer(EGGS, row["text"], frame, complete=True)
    assert answer.verdict == expected["verdict"]
    places = len(expected.get("boxes", [])) + len(expected.get("points", []))
    if expected["verdict"] == "found":
        assert [f.value for f in answer.findings] == [str(places or expected["number"])]
    assert (Note.MISCOUNTED in answer.warnings) == (expected.get("agrees") is False)


@pytest.mark.parametrize(
    ("text", "values", "verdict"),
    [
        (TWO, ["2"], Verdict.FOUND),
        (f"{TWO}\n\nThere are 3 eggs.", ["2"], Verdict.FOUND),
        ("[]\n\n0", ["0"], Verdict.FOUND),
        ("[]", ["0"], Verdict.FOUND),
        ("There are no eggs in this image.", ["0"], Verdict.FOUND),
        ('{"total": "twelve"}', ["12"], Verdict.FOUND),
        ("Sure! " + "Let me look at the whole picture first, shelf by shelf. " * 4
         + "There are twenty-one eggs.", ["21"], Verdict.FOUND),
        ("About 20-25 eggs.", [], Verdict.UNREADABLE),
        ("There are 5 eggs in one row.", ["5"], Verdict.FOUND),
        ("There are 4 eggs. No one is broken.", ["4"], Verdict.FOUND),
        ("There are 5 eggs. One is brown.", ["5"], Verdict.FOUND),
        ("I see 3 eggs. Two are brown and one is white.", ["3"], Verdict.FOUND),
        ("There are three eggs. One is brown.", ["3"], Verdict.FOUND),
        ("One, two, three. There are three.", ["3"], Verdict.FOUND),
        ("There is one egg.", ["1"], Verdict.FOUND),
        ("There are three eggs: one brown and two white.", ["3"], Verdict.FOUND),
        ("There is one egg and two hens.", [], Verdict.UNREADABLE),
        ("There is one box containing twelve eggs.", [], Verdict.UNREADABLE),
        ("There are one hundred and one.", ["101"], Verdict.FOUND),
        ("12 eggs in 3 rows", [], Verdict.UNREADABLE),
        ("Many.", [], Verdict.UNREADABLE),
        ("2.5", [], Verdict.UNREADABLE),
        ("99999999", [], Verdict.UNREADABLE),
        ("I'm sorry, but I can't help with that.", [], Verdict.REFUSED),
        (TWO[:70], [], Verdict.TRUNCATED),
    ],
)  # fmt: skip
def test_places_count_before_words_and_nothing_is_guessed(
    text: str, values: list[str], verdict: Verdict
) -> None:
    answer = read_answer(EGGS, text, SEEN, complete=True)
    assert ([f.value for f in answer.findings], answer.verdict) == (values, verdict)


def test_the_sketch_of_an_answer_counts_two() -> None:
    answer = read_answer(EGGS, sketch_answer(EGGS, "qwen2.5"), SEEN, complete=True)
    assert [f.value for f in answer.findings] == ["2"]
    assert answer.warnings == ()


@given(st.text(), st.booleans())
def test_no_text_makes_the_reader_fail(text: str, complete: bool) -> None:
    answer = read_answer(EGGS, text, SEEN, complete=complete)
    assert all((f.value or "").isdecimal() for f in answer.findings)
