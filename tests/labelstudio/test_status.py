"""An annotator reads messages in the config's status area."""

from __future__ import annotations

import pytest

from grounding.labelstudio.interactive.status import explain_failure, summarize, write_status
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
        (0, {"stand already": 0}, "nothing found"),
        (0, {"stand already": 2}, "nothing new found (2 stand already)"),
        (1, {"stand already": 2, "b": 0, "c": 3}, "1 found (2 stand already, 3 c)"),
    ],
)
def test_a_summary_counts_what_is_left_out_by_reason(
    found: int, left_out: dict[str, int], text: str
) -> None:
    assert summarize(found, left_out) == text


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
