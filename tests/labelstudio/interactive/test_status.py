"""An annotator reads messages in the config's status area."""

from __future__ import annotations

import pytest

from grounding.labelstudio.controls.base import Drop
from grounding.labelstudio.interactive.status import (
    EXISTING,
    FRACTIONS,
    MAX_CHARS,
    MAX_WORD_CHARS,
    MAX_WORDS,
    LeftOut,
    explain_failure,
    summarize,
    write_status,
)
from tests.labelstudio.configs import BOXES, PROMPT, STATUS, config


def test_a_message_is_one_line_in_the_status_area() -> None:
    (region,) = write_status(config(BOXES, PROMPT, STATUS), "no picture:\n\x1b[2J 404")
    assert len(region.pop("id")) >= 10
    assert region == {
        "from_name": "status",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": ["no picture: [2J 404"]},
    }


def test_without_a_status_area_there_is_no_message() -> None:
    assert write_status(config(BOXES, PROMPT), "busy") == []


def test_a_message_is_cut_to_500_characters() -> None:
    (region,) = write_status(config(BOXES, STATUS), "x" * 9999)
    assert region["value"]["text"] == ["x" * 500]


@pytest.mark.parametrize(
    ("found", "left_out", "text"),
    [
        (3, {}, "3 found"),
        (0, {}, "nothing found"),
        (0, {"existing": 0}, "nothing found"),
        (0, {"existing": 2}, "nothing new found (2 already on the page)"),
        (
            1,
            {"low_score": 3, "existing": 2, "too_many": 0},
            "1 found (2 already on the page; 3 below the score threshold)",
        ),
        (0, {"low_score": 3}, "nothing found (3 below the score threshold)"),
        (2, {"too_many": 3}, "2 found (3 beyond max_regions)"),
        (0, {"excluded": 1}, "nothing found (1 where you clicked with Alt)"),
        (0, {"too_small": 1}, "nothing found (1 smaller than a pixel)"),
        (0, {"wrong_shape": 1}, "nothing found (1 of another shape than asked for)"),
        (
            1,
            {"fractions": 1},
            "1 found (the model answered in fractions instead of pixels)",
        ),
        (1, {"duplicate": 4, "of another release": 4}, "1 found"),
        (0, {"unknown_label": 2}, "nothing found (2 without a label of this project)"),
    ],
)
def test_a_summary_says_what_is_left_out_by_reason(
    found: int, left_out: dict[str, int], text: str
) -> None:
    assert summarize(found, LeftOut(left_out)) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("azure star",), "the model said 'azure star', which is no label here"),
        (("star", "sky"), "the model said 'star' and 'sky', which are no labels here"),
        (("a", "b", "c"), "the model said 'a', 'b' and 'c', which are no labels here"),
        (
            ("a", "b", "c", "d"),
            "the model said 'a', 'b', 'c' and more, which are no labels here",
        ),
    ],
)
def test_a_summary_names_the_model_s_words_that_are_no_labels(
    words: tuple[str, ...], text: str
) -> None:
    assert summarize(0, LeftOut({"unknown_label": 9}, words)) == f"nothing found ({text})"


def test_all_reasons_together_fit_into_one_message() -> None:
    words = tuple(f"{n}{'x' * MAX_WORD_CHARS}"[:MAX_WORD_CHARS] for n in range(MAX_WORDS))
    every = LeftOut(dict.fromkeys([*Drop, EXISTING, FRACTIONS], 1000), words)
    assert len(summarize(1000, every)) <= MAX_CHARS


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("image_not_found", "image not readable: 404"),
        ("url_refused", "image not readable: 404"),
        ("output_refused", "404"),
    ],
)
def test_a_failure_that_is_about_the_image_says_so(code: str, text: str) -> None:
    assert explain_failure(code, "404") == text
