"""The report of `make mutants`."""

from __future__ import annotations

import pytest

from tools.mutants import is_same, killed_shares, parse_statuses, select

RESULTS = """\
    grounding.geometry.xǁFrameǁscale_to__mutmut_1: killed
    grounding.geometry.xǁFrameǁscale_to__mutmut_2: survived
    grounding.geometry.x_image_frame__mutmut_1: no tests
    grounding.geometry.x_image_frame__mutmut_2: timeout
    grounding.qwen.scores.x__mass__mutmut_1: killed
    grounding.qwen.scores.x__mass__mutmut_2: not checked
"""


def test_a_mutant_that_no_test_reaches_counts_as_one_that_survives() -> None:
    assert killed_shares(parse_statuses(RESULTS)) == {
        "grounding.geometry": 0.5,
        "grounding.qwen.scores": 1.0,
    }


def test_other_lines_of_the_output_are_ignored() -> None:
    assert parse_statuses("To apply a mutant on disk:\n\n  mutmut apply <id>\n") == {}


def test_a_mutant_that_did_not_run_counts_neither_way() -> None:
    assert "grounding.qwen.scores.x__mass__mutmut_2" not in parse_statuses(RESULTS)


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        ([], {"grounding.geometry", "grounding.qwen.scores"}),
        (["scores"], {"grounding.qwen.scores"}),
        (["scores", "image_frame"], {"grounding.geometry", "grounding.qwen.scores"}),
        (["labels"], set()),
    ],
)
def test_words_choose_modules_and_functions(words: list[str], modules: set[str]) -> None:
    assert killed_shares(select(parse_statuses(RESULTS), words)).keys() == modules


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('element.get("maxRating") or ""', 'element.get("MAXRATING") or ""', True),
        ('element.says("choice", "multiple")', 'element.says("CHOICE", "multiple")', True),
        ('element.get("name") or ""', 'element.get("XXnameXX") or ""', False),
        ('{"to_id": end["id"]}', '{"to_id": end["ID"]}', False),
        ('element.get("min", 1)', 'element.get("min", 2)', False),
        ('region.get("id")', 'region.get("ID")', False),
    ],
)
def test_the_case_of_an_attributes_name_is_no_mutant(
    before: str, after: str, *, same: bool
) -> None:
    diff = (
        f"--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n def f():\n-    return {before}\n+    return {after}"
    )
    assert is_same(diff) == same
