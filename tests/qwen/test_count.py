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
from tests.timing import cpu_seconds

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
        ("图中有三个鸡蛋。", ["3"], Verdict.FOUND),
        ("一共5个", ["5"], Verdict.FOUND),
        ("图中大约有20个鸡蛋。", ["20"], Verdict.FOUND),
        ("共3个鸡蛋，其中1个是棕色的。", ["3"], Verdict.FOUND),
        ("图中有5个鸡蛋，包括2个白色的和3个棕色的。", ["5"], Verdict.FOUND),
        ("图中有3个苹果和2个梨，一共5个水果。", ["5"], Verdict.FOUND),
        ("图中共有二十三人。", ["23"], Verdict.FOUND),
        ("一百零五", ["105"], Verdict.FOUND),
        ("超过10个", [], Verdict.UNREADABLE),
        ("10多个", [], Verdict.UNREADABLE),
        ("There are 3 brown eggs and 4 white eggs, for a total of 7 eggs.", ["7"], Verdict.FOUND),
        ("There are 3 rows of 4 eggs, so 12 eggs in total.", ["12"], Verdict.FOUND),
        ("There are a total of 3 rows with 5 eggs each.", [], Verdict.UNREADABLE),
        ("3 + 4 = 7", ["7"], Verdict.FOUND),
        ("I see 5 in the first row and 6 in the second, which makes 11.", ["11"], Verdict.FOUND),
        ("There are 5 eggs, 2 of which are broken.", ["5"], Verdict.FOUND),
        ("There are 5 eggs (2 white, 3 brown).", ["5"], Verdict.FOUND),
        ("There are 5 eggs (2 white).", ["5"], Verdict.FOUND),
        ("There are 3 white eggs (two broken) and 5 brown ones.", [], Verdict.UNREADABLE),
        ("There are 3 rows, each totaling 4 eggs.", [], Verdict.UNREADABLE),
        ("There are 3 boxes, and each box makes 4.", [], Verdict.UNREADABLE),
        ("There are 2 rows with a total of three per row.", [], Verdict.UNREADABLE),
        ("There are 3 boxes with 4 eggs each, in total 12.", ["12"], Verdict.FOUND),
        ("几十个鸡蛋", [], Verdict.UNREADABLE),
        ("图中有数十个鸡蛋。", [], Verdict.UNREADABLE),
        ("第三个最大", [], Verdict.UNREADABLE),
        ("一共三排，每排有5个", [], Verdict.UNREADABLE),
        ("There are 5 (or 6) eggs.", [], Verdict.UNREADABLE),
        ("There are 20 people, including 5 children.", ["20"], Verdict.FOUND),
        ("There seem to be 5 eggs, although one may be a ball.", ["5"], Verdict.FOUND),
        ("There is a single egg.", ["1"], Verdict.FOUND),
        ("There are more than 100 eggs.", [], Verdict.UNREADABLE),
        ("At least 5.", [], Verdict.UNREADABLE),
        ("no more than 5", [], Verdict.UNREADABLE),
        ("over 100 eggs", [], Verdict.UNREADABLE),
        ("There are 5 eggs over the table.", ["5"], Verdict.FOUND),
        ("100+", [], Verdict.UNREADABLE),
        ('{"eggs": 5}', ["5"], Verdict.FOUND),
        ('{"answer": "12"}', ["12"], Verdict.FOUND),
        ('{"white": 2, "brown": 3}', [], Verdict.UNREADABLE),
        ("$\\boxed{5}$", ["5"], Verdict.FOUND),
        ("(10, 20), (30, 40)\nTotal: 2", ["2"], Verdict.FOUND),
        ("(10, 20), (30, 40), (50, 60), (70, 80)\n\nThere are 4.", ["4"], Verdict.FOUND),
        ("Left: 2, right: 3", [], Verdict.UNREADABLE),
        ("Left: 2\nRight: 3", [], Verdict.UNREADABLE),
        ("top-left: 10, 20, bottom-right: 110, 120", [], Verdict.UNREADABLE),
        ("Left: 2, right: 3, so there are 5 in total.", ["5"], Verdict.FOUND),
        ("Left: 2\nRight: 3\nTotal: 5", ["5"], Verdict.FOUND),
        ("**White**: 2\n**Brown**: 3\n\nThere are five eggs.", ["5"], Verdict.FOUND),
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


UNITS = [" ", "一百零", "3 of ", "total of ", "(", "= 5", "more than ", "one ", "5 or ", "\\boxed{"]


@pytest.mark.parametrize("unit", UNITS)
def test_eight_times_the_text_takes_no_forty_times_as_long(unit: str) -> None:
    def cost(chars: int) -> float:
        text = unit * (chars // len(unit))
        return cpu_seconds(lambda: read_answer(EGGS, text, SEEN, complete=True))

    assert cost(64_000) < 40 * max(cost(8_000), 0.01)
