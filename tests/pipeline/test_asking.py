"""What an annotator's click, box or prompt becomes on its way through the pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from grounding.engines.base import Priority
from grounding.media.fetch import Fetcher, FetchRules
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from tests.labelstudio.configs import BOXES, POINTS, PROMPT, having, view
from tests.media.hosts import Host, ok
from tests.pipeline.test_pipeline import CAR, NONE, InlineEngine, OnePicture, grounded


def click(x: float, *, positive: bool = True) -> dict[str, Any]:
    value = {"x": x, "y": 15, "width": 0.7, "labels": ["Car"]}
    kind = {"type": "keypointlabels", "from_name": "kp", "to_name": "image", "id": f"p{x}"}
    return {**kind, "value": value, "is_positive": positive}


TWO = json.dumps(
    [
        {"bbox_2d": [64, 48, 128, 96], "label": "Car"},
        {"bbox_2d": [480, 48, 600, 96], "label": "Car"},
    ]
)


def test_a_click_takes_the_box_under_it_and_asks_in_the_model_s_frame() -> None:
    engine = InlineEngine(lambda _: TWO)
    done = grounded(engine, BOXES, POINTS, context={"result": [click(15)]})
    (region,) = done.prediction["result"]
    assert region["value"]["x"] == pytest.approx(100 * 64 / 644)
    assert "at the point [97, 71] in this image" in engine.requests[0].text


def test_what_a_click_with_alt_lies_in_is_left_out() -> None:
    engine = InlineEngine(lambda _: CAR)
    away = {"result": [click(15), click(12, positive=False)]}
    done = grounded(engine, BOXES, POINTS, context=away)
    assert (done.prediction["result"], dict(done.dropped)) == ([], {"excluded": 1})
    elsewhere = {"result": [click(15), click(80, positive=False)]}
    assert grounded(engine, BOXES, POINTS, context=elsewhere).prediction["result"]


ROUGH = {
    "type": "rectanglelabels",
    "from_name": "box",
    "to_name": "image",
    "value": {"x": 70, "y": 5, "width": 30, "height": 20, "rectanglelabels": ["Car"]},
}


def test_a_rough_box_takes_what_it_surrounds() -> None:
    engine = InlineEngine(lambda _: TWO)
    done = grounded(engine, BOXES, context={"result": [ROUGH]})
    assert [r["value"]["x"] for r in done.prediction["result"]] == [pytest.approx(100 * 480 / 644)]
    assert "'Car' in the box [451, 24, 644, 119]" in engine.requests[0].text


def test_a_box_may_ask_for_all_that_is_similar() -> None:
    engine = InlineEngine(lambda _: TWO)
    similar = having(BOXES, 'model_smart_box="similar"')
    assert len(grounded(engine, similar, context={"result": [ROUGH]}).prediction["result"]) == 2
    assert "in the box" not in engine.requests[0].text
    assert "'Car'" in engine.requests[0].text
    bare = {**ROUGH, "value": {**ROUGH["value"], "rectanglelabels": []}}  # type: ignore[dict-item]
    assert len(grounded(engine, similar, context={"result": [bare]}).prediction["result"]) == 2
    assert "every object like the one in the box [451, 24, 644, 119]" in engine.requests[1].text


def test_a_person_s_second_request_fetches_and_resizes_nothing_again() -> None:
    host = Host(ok(OnePicture().data, "Content-Type: image/png"))
    rules = FetchRules(allowed_origins=frozenset({host.origin}))
    engine = InlineEngine(lambda _: NONE)
    worker = WorkerContext(engine, Fetcher(rules), 200, 10**7)

    def hits(number: int, project: str = "1.1", name: str = "a", *, typed: bool = True) -> int:
        prompt = {"type": "textarea", "from_name": "prompt", "value": {"text": ["cars"]}}
        data = {"image": f"{host.origin}/{name}.png"}
        context = {"result": [prompt]} if typed else None
        task = Task(number, data, view(BOXES, PROMPT), context, "v", project)
        predict(task, replace(worker, urgent=typed))
        return len(host.requests)

    assert [hits(1, typed=False), hits(1, typed=False)] == [1, 2], "pre-labelling keeps none"
    assert [hits(1), hits(1), hits(1, typed=False)] == [3, 3, 3]
    assert len({id(request.views[0].pixels) for request in engine.requests[4:]}) == 1
    assert [request.priority is Priority.INTERACTIVE for request in engine.requests] == [
        False
    ] * 4 + [True] * 2 + [False] * 2
    assert [hits(2), hits(1, "2.1"), hits(1, name="b")] == [4, 5, 6], "none but its own task's"
