"""The last look at a prediction: a result of a wrong type goes alone, with what belongs to it."""

from __future__ import annotations

from typing import Any

import pytest

from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.soundness import CHECKS, is_sound, split_sound

PLACE = {"x": 10, "y": 20.5, "width": 30, "height": 40, "rotation": 0}
BOX = {"type": "rectanglelabels", "value": {**PLACE, "rectanglelabels": ["Car"]}}


def one(kind: str, value: Any, number: str = "r", **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "from_name": "a",
        "to_name": "image",
        "type": kind,
        "value": value,
        **more,
    }


def relation(start: str, end: str) -> dict[str, Any]:
    return {"type": "relation", "from_id": start, "to_id": end, "direction": "right",
            "labels": ["next"]}  # fmt: skip


SOUND = [
    one("rectanglelabels", BOX["value"], score=0.5),
    one("rectanglelabels", PLACE),
    one("rectangle", PLACE),
    one("keypointlabels", {"x": 0, "y": 100, "width": 0.75, "keypointlabels": ["Nose"]}),
    one("labels", {**PLACE, "labels": ["Car"]}),
    one("textarea", {"text": ["a\nb"]}),
    one("choices", {**PLACE, "choices": ["a", "b"]}),
    one("taxonomy", {"taxonomy": [["a", "b"]]}),
    one("number", {"number": 8.75}),
    one("number", {"number": 0}),
    one("rating", {"rating": 3}),
    one("datetime", {"datetime": "2018-06-01"}),
    relation("r", "s"),
]
UNSOUND = [
    one("textarea", {"text": "a"}),
    one("textarea", {"text": []}),
    one("textarea", {"text": [1]}),
    one("number", {"number": "8.75"}),
    one("number", {"number": float("nan")}),
    one("number", {"number": True}),
    one("rating", {"rating": 3.5}),
    one("rating", {"rating": 0}),
    one("choices", {"choices": "a"}),
    one("taxonomy", {"taxonomy": ["a"]}),
    one("datetime", {"datetime": None}),
    one("rectanglelabels", {**PLACE, "x": -1, "rectanglelabels": ["Car"]}),
    one("rectanglelabels", {"rectanglelabels": ["Car"]}),
    one("rectanglelabels", {**PLACE, "width": float("inf"), "rectanglelabels": ["Car"]}),
    one("keypointlabels", {"x": 0, "y": 1, "keypointlabels": ["Nose"]}),
    one("number", {"number": 1}, score=float("nan")),
    one("brushlabels", {"rle": [1]}),
    one("textarea", ["a"]),
    {"type": "textarea", "value": {"text": ["a"]}},
    {**relation("r", "s"), "labels": "next"},
]


@pytest.mark.parametrize("result", SOUND)
def test_what_the_page_reads_stays(result: dict[str, Any]) -> None:
    assert is_sound(result)


@pytest.mark.parametrize("result", UNSOUND)
def test_what_the_page_would_choke_on_goes_alone(result: dict[str, Any]) -> None:
    first, last = one("choices", {"choices": ["a"]}, "x"), one("rating", {"rating": 1}, "y")
    assert split_sound([first, result, last]) == ([first, last], [result])


def test_a_region_that_goes_takes_along_what_belongs_to_it() -> None:
    lost = one("rectanglelabels", {**PLACE, "x": 101}, "r")
    stays = [one("rectanglelabels", PLACE, "s"), one("rectanglelabels", PLACE, "t")]
    gone = [lost, one("textarea", {**PLACE, "text": ["a"]}, "r"), relation("r", "s")]
    kept, left = split_sound([lost, gone[1], *stays, gone[2], relation("s", "t")])
    assert kept == [*stays, relation("s", "t")]
    assert left == gone


def test_a_value_that_goes_leaves_its_region() -> None:
    region, text = one("rectanglelabels", PLACE), one("textarea", {**PLACE, "text": "a"})
    assert split_sound([region, text]) == ([region], [text])


def test_every_control_has_a_check() -> None:
    assert {tag.lower() for tag in CONTROLS} <= set(CHECKS)
