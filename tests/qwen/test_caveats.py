"""Each finding has the warnings that concern it, and written anew in JSON it is read the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grounding.geometry import Box, Frame
from grounding.queries import Finding
from grounding.qwen.answers import CAVEATS, Answer, Note, add_caveats, read

from .test_answers import SQUARE, VARIANTS, any_text, numbers

FRAME = Frame("model", 1000, 1000)
CUT, LOOP, WHOLE, EDGE = (
    CAVEATS[note][0] for note in (Note.TRUNCATED, Note.LOOP, Note.WHOLE_IMAGE, Note.CLIPPED)
)
CAT = '{"bbox_2d": [10, 20, 110, 120], "label": "cat"}'
DOG = '{"bbox_2d": [300, 300, 400, 400], "label": "dog"}'


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (f"[{CAT}, {DOG}]", [(), ()]),
        (f"[{CAT}, {DOG}, {{", [(), (CUT,)]),
        (f"[{DOG}, {', '.join([CAT] * 12)}]", [(), (LOOP,)]),
        ('[{"bbox_2d": [1, 1, 999, 999], "label": "cats"}]', [(WHOLE,)]),
        (f'[{DOG}, {{"bbox_2d": [900, 10, 1400, 90], "label": "cat"}}]', [(), (EDGE,)]),
        (f'[{DOG}, {{"bbox_2d": [10, 900, 90, 1400], "label": "cat"}}]', [(), (EDGE,)]),
        (f'[{DOG}, {{"bbox_2d": [-400, 10, 90, 90], "label": "cat"}}]', [(), (EDGE,)]),
        (f'[{DOG}, {{"bbox_2d": [0, 10, 100, 90], "label": "cat"}}]', [(), ()]),
        ('[{"point_2d": [5, -30], "label": "cat"}, {"point_2d": [5, 5]}]', [(EDGE,), ()]),
        (f"[{CAT}, {CAT}]", [()]),
        ("[]", []),
    ],
)
def test_each_finding_gets_the_warnings_that_concern_it(
    text: str, warnings: list[tuple[str, ...]]
) -> None:
    assert [one.warnings for one in add_caveats(read(text, FRAME)).findings] == warnings


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ('[{"bbox_3d": [0.1, 0.2, 3.4, 1, 2, 3, 0, 0, 0], "label": "car"}]', True),
        ('[{"point3d": [0.1, 0.2], "label": "car"}]', True),
        (f'[{CAT}, {{"bbox_3d": [0.1, 0.2, 3.4, 1, 2, 3, 0, 0, 0], "label": "car"}}]', False),
        ("[]", False),
    ],
)
def test_an_answer_that_has_only_places_in_space_says_so(text: str, noted: bool) -> None:
    assert (Note.THREE_D in read(text, FRAME).warnings) is noted


def write(finding: Finding) -> dict[str, Any]:
    """Return a finding as the model is asked to write it."""
    key = "bbox_2d" if isinstance(finding.place, Box) else "point_2d"
    said = {"label": finding.label, "text_content": finding.text, "score": finding.score}
    return {key: numbers(finding), **{name: one for name, one in said.items() if one is not None}}


def tell(answer: Answer) -> list[tuple[Any, ...]]:
    return [(numbers(f), f.label, f.text or None, f.score) for f in answer.findings]


@settings(max_examples=2_000, deadline=None, database=None)
@given(any_text | st.sampled_from([row["raw"] for row in VARIANTS]))
@example("0,1,2,0\u3000")
@example("0,1,2,0\u3000 \u3000cat\u2003")
def test_what_is_read_is_read_the_same_where_it_is_written_anew(text: str) -> None:
    answer = read(text, SQUARE)
    anew = read(json.dumps(list(map(write, answer.findings))), SQUARE)
    assert tell(anew) == tell(answer)
