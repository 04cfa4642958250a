"""A region that exists on the page is not added again, and no region of the page is overwritten."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import PERCENT, Box, Point, image_frame
from grounding.labelstudio.interactive.existing import (
    SAME_DISTANCE,
    SAME_IOU,
    Page,
    drop_existing,
    read_page,
    with_new_ids,
)
from tests.labelstudio.configs import BOXES, LABELS, POINTS, RECTANGLE, config

CONFIG = config(BOXES, POINTS)
SHAPES = config(RECTANGLE, LABELS)


def box(
    x: float = 10, width: float = 20, label: str = "Car", *, y: float = 10, **more: object
) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": 20, "rotation": 0}
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


def prediction(*results: object, at: str = "2026-01-01", version: str = "v1") -> dict[str, Any]:
    return {"id": 7, "result": list(results), "created_at": at, "model_version": version}


def shown(task: dict[str, Any], sent: list[Any]) -> Page:
    """Return what is on the page of a task, where `v1` is our model version."""
    return read_page(task, sent, "v1")


def ids(page: Page) -> list[str]:
    return [result["id"] for result in page.results]


def test_without_drafts_the_page_has_only_what_the_context_holds() -> None:
    submitted = {"id": 3, "result": [box(10)]}
    assert shown({"annotations": [submitted]}, []) == Page()
    asking = box(60)
    assert ids(shown({}, [box(10), asking])) == ["b10"]


def test_the_page_has_the_newest_draft_of_the_user_who_asks() -> None:
    old, new = draft(box(10), at="2026-01-01"), draft(box(50), at="2026-01-02")
    page = shown({"drafts": [old, new]}, [])
    assert (ids(page), page.user) == (["b50"], "a@b.co")


def test_work_that_shares_a_region_with_the_context_is_the_work_on_the_page() -> None:
    mine = {"id": 3, "result": [box(10), box(20, label="Bus")]}
    others = {"id": 4, "result": [box(70, label="Bus")]}
    page = shown({"annotations": [others, mine], "drafts": []}, [box(10), box(99)])
    assert ids(page) == ["b10", "b10", "b20"]
    older = draft(box(10), at="2026-01-01")
    page = shown({"drafts": [older, draft(box(50), at="2026-01-02")]}, [box(10), box(99)])
    assert ids(page) == ["b10", "b10"]


def test_a_draft_replaces_the_annotation_that_it_edits() -> None:
    submitted = {"id": 3, "result": [box(10), box(20, label="Bus")]}
    edited = draft(box(20, label="Bus"), annotation=3)
    assert ids(shown({"annotations": [submitted], "drafts": [edited]}, [box(10), box(99)])) == [
        "b10",
        "b20",
    ]


OURS = prediction(box(10), box(20))


@pytest.mark.parametrize(
    ("task", "kept"),
    [
        pytest.param({"predictions": [OURS]}, ["b10", "b20"], id="nothing is saved"),
        pytest.param(
            {"predictions": [OURS, prediction(box(50), at="2026-01-02")], "drafts": []},
            ["b50"],
            id="the newest",
        ),
        pytest.param(
            {"predictions": [OURS, {**prediction(box(50)), "id": 8}, {**OURS, "id": "9"}]},
            ["b50"],
            id="the later one of one moment",
        ),
        pytest.param(
            {"predictions": [OURS, prediction(box(50), at="2026-01-02", version="v2")]},
            ["b10", "b20"],
            id="another model's is not",
        ),
        pytest.param({"predictions": [OURS], "drafts": [draft()]}, [], id="an emptied draft"),
        pytest.param(
            {"predictions": [OURS], "annotations": [{"id": 3, "result": []}]},
            [],
            id="an emptied annotation",
        ),
        pytest.param({"predictions": [{**OURS, "result": "none"}, 5]}, [], id="nonsense"),
    ],
)
def test_the_page_shows_our_newest_prediction_where_nothing_is_saved(
    task: dict[str, Any], kept: list[str]
) -> None:
    assert ids(shown(task, [])) == kept


def test_the_region_that_asks_is_not_on_the_page_though_a_draft_has_it() -> None:
    saved = draft(box(10, label="Bus"), box(60))
    assert ids(shown({"drafts": [saved]}, [box(60)])) == ["b10"]
    clicks = [point(5, is_positive=True), point(9, is_positive=False)]
    assert ids(shown({"drafts": [draft(*clicks)]}, clicks)) == []


@pytest.mark.parametrize("kind", ["drafts", "predictions"])
def test_a_region_that_was_deleted_a_moment_ago_is_not_on_the_page(kind: str) -> None:
    """The page sends all of the kind that asks, and saves five seconds later."""
    others = [box(20, label="Bus"), box(30, to_name="two"), point(40), box(50, type="ellipse")]
    result = [box(10), box(15), *others, nameless(70)]
    work = draft(*result) if kind == "drafts" else prediction(*result)
    sent = [box(15), box(60)]
    existing = [one.get("id") for one in shown({kind: [work]}, sent).results]
    assert existing == ["b15", "b15", "b20", "b30", "p40", "b50", None], "b10 was deleted"
    asked_by_text = [{"type": "textarea", "from_name": "prompt", "value": {"text": ["cars"]}}]
    assert "b10" in [one.get("id") for one in shown({kind: [work]}, asked_by_text).results]


def test_a_deleted_region_of_a_shape_and_a_label_is_known_by_its_first_label() -> None:
    shape = {**box(10), "from_name": "shape", "type": "rectangle"}
    label = {"id": "b10", "from_name": "l", "to_name": "image", "type": "labels"}
    saved = draft(shape, {**label, "value": {"labels": ["Car", "Red"]}})
    assert ids(shown({"drafts": [saved]}, [box(60)])) == []
    assert ids(shown({"drafts": [saved]}, [box(60, label="Red")])) == ["b10", "b10"]


def nameless(x: float) -> dict[str, Any]:
    return {key: found for key, found in box(x).items() if key != "id"}


def test_a_region_without_an_id_that_asks_leaves_the_others_on_the_page() -> None:
    page = shown({"drafts": [draft(nameless(10), box(20))]}, [box(20), nameless(60)])
    assert page.results == (box(20), nameless(10), box(20))


@pytest.mark.parametrize("kind", ["drafts", "predictions"])
@pytest.mark.parametrize("nonsense", [{}, {"updated_at": 5, "created_at": 5, "id": "9"}])
def test_work_that_says_not_when_it_was_made_is_the_oldest(
    kind: str, nonsense: dict[str, Any]
) -> None:
    dated = draft(box(10)) if kind == "drafts" else prediction(box(10))
    timeless = {"result": [box(50)], "model_version": "v1", **nonsense}
    for works in ([dated, timeless], [timeless, dated]):
        assert ids(shown({kind: works}, [])) == ["b10"]
    assert ids(shown({kind: [timeless]}, [])) == ["b50"]


@pytest.mark.parametrize(
    ("existing", "answer", "kept"),
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
        pytest.param(
            {**box(10), "value": {"rectanglelabels": ["Car"]}},
            box(10),
            ["b10"],
            id="a label without a place, as the page writes it onto our message",
        ),
    ],
)
def test_a_region_that_exists_is_not_added_again(
    existing: dict[str, Any], answer: dict[str, Any], kept: list[str]
) -> None:
    assert [r["id"] for r in drop_existing([answer], Page((existing,)), CONFIG)] == kept


def test_a_rotated_box_equals_no_box_of_an_answer() -> None:
    turned = box(10)
    turned["value"] = {**turned["value"], "rotation": 30}
    assert drop_existing([box(10)], Page((turned,)), CONFIG) == [box(10)]


def test_a_shape_and_its_label_are_one_region() -> None:
    def pair(name: str, label: str) -> list[dict[str, Any]]:
        value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
        shape = {"id": name, "from_name": "r", "type": "rectangle", "value": value}
        named = {**value, "labels": [label]}
        return [shape, {**shape, "from_name": "label", "type": "labels", "value": named}]

    page = Page(tuple(pair("old", "Car")))
    assert drop_existing(pair("new", "Car"), page, SHAPES) == []
    assert drop_existing(pair("new", "d"), page, SHAPES) == pair("new", "d")


def repeats(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Say whether two regions of the helpers above mark the same thing, by comparing the two."""
    label, other = (r["value"].get(r["type"], [None])[0] for r in (new, old))
    if (new["type"], new["from_name"], label) != (old["type"], old["from_name"], other):
        return False
    a, b = new["value"], old["value"]
    if new["type"] == "keypointlabels":
        ends = (Point(v["x"], v["y"], PERCENT) for v in (a, b))
        return next(ends).apart(next(ends), image_frame(800, 400)) <= SAME_DISTANCE
    one, two = (
        Box(v["x"], v["y"], v["x"] + v["width"], v["y"] + v["height"], PERCENT) for v in (a, b)
    )
    return one.iou(two) >= SAME_IOU


NUMBERS = st.floats(0, 40) | st.sampled_from([10.0, 10.5, 11.0, 12.0])
WIDTHS = st.sampled_from([0.0, 1.9, 2.0, 20.0, 21.0])
REGIONS = st.lists(
    st.builds(
        box,
        NUMBERS,
        WIDTHS,
        st.sampled_from(["Car", "d"]),
        from_name=st.sampled_from(["box", "b2"]),
    )
    | st.builds(point, NUMBERS, st.sampled_from([50.0, 51.0, 53.0])),
    max_size=12,
).map(lambda regions: [{**r, "id": f"r{n}"} for n, r in enumerate(regions)])


@given(existing=REGIONS, answer=REGIONS)
def test_the_regions_kept_are_those_that_a_comparison_with_every_existing_one_keeps(
    existing: list[dict[str, Any]], answer: list[dict[str, Any]]
) -> None:
    kept = drop_existing(answer, Page(tuple(existing)), CONFIG)
    assert kept == [new for new in answer if not any(repeats(new, old) for old in existing)]


def test_a_large_answer_is_compared_with_its_neighbours_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1,000 boxes and points of an answer, 5,000 on the page: half of the answer is new."""
    compared = 0

    def counting(compare: Any) -> Any:
        def counted(*places: Any) -> Any:
            nonlocal compared
            compared += 1
            return compare(*places)

        return counted

    monkeypatch.setattr(Box, "iou", counting(Box.iou))
    monkeypatch.setattr(Point, "apart", counting(Point.apart))
    page = [
        region
        for x in range(0, 100, 4)
        for y in range(100)
        for region in (box(x, 1, y=y, id=f"b{x},{y}"), point(x, y, id=f"p{x},{y}"))
    ]
    beside = [box(2, 1, y=y, id=f"b{y}") for y in range(50)] * 5
    beside += [point(2, y, id=f"p{y}") for y in range(50)] * 5
    answer = [*page[:500], *({**r, "id": f"n{n}"} for n, r in enumerate(beside))]
    assert drop_existing(answer, Page(tuple(page)), CONFIG) == answer[500:]
    assert compared < 5 * len(answer)


def work(count: int) -> int:
    """Return how many calls it takes to look for `count` points among as many."""
    page = Page(tuple(point(n % 100, n // 100, id=f"p{n}") for n in range(count)))
    answer = [point(n % 100, 50 + n // 100, id=f"n{n}") for n in range(count)]
    calls = 0

    def counted(_frame: object, event: str, _value: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        assert drop_existing(answer, page, CONFIG) == answer
    finally:
        sys.setprofile(None)
    return calls


def test_the_work_grows_in_proportion_to_the_points() -> None:
    assert work(200) < 2.5 * work(100)


def test_an_answer_sent_twice_has_new_ids_each_time() -> None:
    answer = [box(10), box(10, type="labels"), box(50)]
    first, second = with_new_ids(answer), with_new_ids(answer)
    assert first[0]["id"] == first[1]["id"] != first[2]["id"]
    assert {r["id"] for r in first}.isdisjoint({r["id"] for r in (*second, *answer)})
    assert [r | {"id": ""} for r in first] == [r | {"id": ""} for r in answer]


def test_a_relation_is_no_suggestion_and_costs_no_region() -> None:
    relation = {
        "type": "relation",
        "from_id": "a",
        "to_id": "b",
        "direction": "right",
        "labels": [],
    }
    assert len(with_new_ids([box(10), box(50), relation])) == 2


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["result", "value", "type", "id", "annotation", "user", "model_version"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(
    works=st.dictionaries(st.sampled_from(["drafts", "annotations", "predictions"]), JSON),
    result=st.lists(st.dictionaries(st.text(), JSON)),
)
def test_no_task_raises_an_error(works: dict[str, Any], result: list[Any]) -> None:
    page = shown(works, result)
    assert drop_existing([box(10)], page, CONFIG) in ([box(10)], [])
