"""What denies a name in a sentence, and what does not."""

from __future__ import annotations

import pytest

from grounding.notation.denials import is_denied


@pytest.mark.parametrize(
    "text",
    [
        "There is no bus.",
        "This is not a bus",
        "It isn't a yellow bus",
        "neither a car nor a bus",
        "a car rather than a bus",
        "a non-bus lane",
        "None of these is a bus",
        "I cannot see a bus",
        "没有bus",
        "图中没看到bus",
        "看不到bus",
        "未发现bus",
        "不存在bus",
        "不是bus",
        "[ ] bus",
        "bus: no",
        "bus: no\nsnow: yes",
        "bus (absent)",
        "Is it a bus? No.",
        "bus - not seen",
        "bus ✗",
        "Answer: no bus",
        "bus=0",
        "The bus is not visible.",
        "The bus isn't there; a car is.",
        "A bus cannot be seen",
        "A bus is missing.",
        "bus and snow are not present",
        "A bus does not appear here",
        "bus没有出现",
    ],
)
def test_a_name_is_denied_in_front_of_it_or_behind(text: str) -> None:
    start = text.lower().index("bus")
    assert is_denied(text, start, start + 3)


@pytest.mark.parametrize(
    "text",
    [
        "a bus",
        "a bus, no car",
        "No, it's a bus.",
        "Not a car, it is a bus.",
        "It is not a car but a bus.",
        "There is no doubt that it is a bus.",
        "not only a bus",
        "I see no car. A bus is there.",
        "The bus is not red.",
        "The bus is missing a wheel",
        "bus - not a car",
        "bus: no car is beside it",
        "bus: 0.9",
        "bus and snow is not there",
        "bus\nNot a car.",
        "没有雨，只有bus",
        "没看到雨，是bus",
        "car: none, bus: yes",
        "[x] bus",
        "car: no, bus: yes",
        "| car | no | bus | yes |",
        "✅ bus\n❌ car",
    ],
)
def test_what_denies_something_else_denies_no_name(text: str) -> None:
    start = text.index("bus")
    assert not is_denied(text, start, start + 3)
