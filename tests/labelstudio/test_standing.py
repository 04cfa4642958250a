"""What stands on the page is not added again, and nothing there is overwritten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.labelstudio.interactive.existing import Page, read_page, renamed, unrepeated
from tests.labelstudio.configs import BOXES, LABELS, POINTS, RECTANGLE, config

CONFIG = config(BOXES, POINTS)
SHAPES = config(RECTANGLE, LABELS)


def box(x: float = 10, width: float = 20, label: str = "Car", **more: object) -> dict[str, Any]:
    value = {"x": x, "y": 10, "width": width, "height": 20, "rotation": 0}
    return {
        "id": f"b{x}",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 800,
        "original_height": 400,
        "value": {**value, "rectanglelabels": [label]},
        **more,
    }


def point(x: float, y: float = 50, **more: object) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.7, "keypointlabels": ["Nose"]}
    sizes = {"original_width": 800, "original_height": 400}
    kind = {"from_name": "kp", "to_name": "image", "type": "keypointlabels"}
    return {"id": f"p{x}", **kind, **sizes, "value": value, **more}


def draft(*results: object, at: str = "2026-01-01", **more: object) -> dict[str, Any]:
    return {"user": "a@b.co", "result": list(results), "updated_at": at, **more}


def ids(page: Page) -> list[str]:
    return [result["id"] for result in page.results]


def test_without_drafts_nothing_stands_but_what_the_context_tells() -> None:
    submitted = {"id": 3, "result": [box(10)]}
    assert read_page({"annotations": [submitted]}, []) == Page()
    asking = box(60)
    assert ids(read_page({}, [box(10), asking])) == ["b10"]


def test_the_newest_draft_of_who_asks_stands() -> None:
    old, new = draft(box(10), at="2026-01-01"), draft(box(50), at="2026-01-02")
    page = read_page({"drafts": [old, new]}, [])
    assert (ids(page), page.user) == (["b50"], "a@b.co")


def test_a_work_that_shares_a_region_with_the_context_is_the_one_on_the_page() -> None:
    mine, others = {"id": 3, "result": [box(10), box(20)]}, {"id": 4, "result": [box(70)]}
    page = read_page({"annotations": [others, mine], "drafts": []}, [box(10), box(99)])
    assert ids(page) == ["b10", "b10", "b20"]
    older = draft(box(10), at="2026-01-01")
    page = read_page({"drafts": [older, draft(box(50), at="2026-01-02")]}, [box(10), box(99)])
    assert ids(page) == ["b10", "b10"]


def test_a_draft_replaces_the_annotation_that_it_is_of() -> None:
    submitted = {"id": 3, "result": [box(10), box(20)]}
    edited = draft(box(20), annotation=3)
    assert ids(read_page({"annotations": [submitted], "drafts": [edited]}, [box(10), box(99)])) == [
        "b10",
        "b20",
    ]


def test_what_asks_is_not_standing_though_a_draft_has_it() -> None:
    asking = box(60)
    assert ids(read_page({"drafts": [draft(box(10), asking)]}, [asking])) == ["b10"]
    clicks = [point(5, is_positive=True), point(9, is_positive=False)]
    assert ids(read_page({"drafts": [draft(*clicks)]}, clicks)) == []


@pytest.mark.parametrize(
    ("standing", "answer", "kept"),
    [
        pytest.param(box(10), box(10.5), [], id="a box nearly there"),
        pytest.param(box(10), box(13), ["b13"], id="a box elsewhere"),
        pytest.param(box(10), box(10, label="d"), ["b10"], id="another label"),
        pytest.param(box(10, label="Dog"), box(10, label="d"), [], id="the same, by its alias"),
        pytest.param(box(10, from_name="other"), box(10), ["b10"], id="another control"),
        pytest.param(point(10), point(10.9), [], id="a point close by: 7 of 800 pixels"),
        pytest.param(point(10), point(11.2), ["p11.2"], id="a point 10 pixels away"),
        pytest.param(point(10), point(10, 51.9), [], id="close by, measured on the image"),
        pytest.param(point(10), box(10), ["b10"], id="a point is no box"),
        pytest.param({"type": "rectanglelabels"}, box(10), ["b10"], id="nonsense"),
    ],
)
def test_a_region_that_stands_is_not_added_again(
    standing: dict[str, Any], answer: dict[str, Any], kept: list[str]
) -> None:
    assert [r["id"] for r in unrepeated([answer], Page((standing,)), CONFIG)] == kept


def test_a_turned_box_is_nothing_that_we_would_draw() -> None:
    turned = box(10)
    turned["value"] = {**turned["value"], "rotation": 30}
    assert unrepeated([box(10)], Page((turned,)), CONFIG) == [box(10)]


def test_a_shape_and_its_label_are_one_region() -> None:
    def pair(name: str, label: str) -> list[dict[str, Any]]:
        value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
        shape = {"id": name, "from_name": "r", "type": "rectangle", "value": value}
        named = {**value, "labels": [label]}
        return [shape, {**shape, "from_name": "label", "type": "labels", "value": named}]

    page = Page(tuple(pair("old", "Car")))
    assert unrepeated(pair("new", "Car"), page, SHAPES) == []
    assert unrepeated(pair("new", "d"), page, SHAPES) == pair("new", "d")


def test_an_answer_given_twice_has_new_ids_each_time() -> None:
    answer = [box(10), box(10, type="labels"), box(50)]
    first, second = renamed(answer), renamed(answer)
    assert first[0]["id"] == first[1]["id"] != first[2]["id"]
    assert {r["id"] for r in first}.isdisjoint({r["id"] for r in (*second, *answer)})
    assert [r | {"id": ""} for r in first] == [r | {"id": ""} for r in answer]


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["result", "value", "type", "id", "annotation", "user", "updated_at"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(drafts=JSON, annotations=JSON, result=st.lists(st.dictionaries(st.text(), JSON)))
def test_no_task_makes_it_fail(drafts: object, annotations: object, result: list[Any]) -> None:
    page = read_page({"drafts": drafts, "annotations": annotations}, result)
    assert unrepeated([box(10)], page, CONFIG) in ([box(10)], [])
