"""One task to one prediction, with an engine that says what the test wants."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.errors import AnswerError, DataError, UrlRefused
from grounding.labelstudio.soundness import CHECKS
from grounding.media.fetch import Fetcher, FetchRules
from grounding.pipeline import TaskResult, WorkerContext, predict
from grounding.qwen.profiles import PROFILES, Profile
from grounding.tasks import Task
from grounding.testing import make_completion
from tests.labelstudio.configs import (
    BOXES,
    KEY_POINT,
    LABELS,
    POINTS,
    PROMPT,
    RECTANGLE,
    having,
    view,
)

CAR = json.dumps([{"bbox_2d": [64, 48, 128, 96], "label": "Car"}])
NONE = "[]"


@dataclass
class InlineEngine:
    """An engine that answers at once by a function of the prompt, and keeps all requests."""

    says: Callable[[str], str]
    profile: Profile = PROFILES["qwen2.5-vl"]
    probability: float | None = None
    complete: bool = True
    requests: list[ModelRequest] = field(default_factory=list)

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Answer at once."""
        self.requests += requests
        return [completed(self.answer(request)) for request in requests]

    def answer(self, request: ModelRequest) -> Completion:
        """Return what it says to one request."""
        text = self.says(request.text)
        return make_completion(text, self.probability, complete=self.complete)

    def drain(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def completed(completion: Completion) -> Future[Completion]:
    """Return a future that has its result."""
    future: Future[Completion] = Future()
    future.set_result(completion)
    return future


class OnePicture:
    """A fetcher of one grey picture; counts how often it is fetched."""

    def __init__(self, width: int = 640, height: int = 480) -> None:
        out = io.BytesIO()
        Image.new("RGB", (width, height), "grey").save(out, "PNG")
        self.data, self.fetched = out.getvalue(), 0

    def fetch(self, address: object, task_id: int | None, check: object) -> bytes:
        self.fetched += 1
        return self.data


class Gallery:
    """A fetcher of pictures that are as large as their address says."""

    def fetch(self, address: object, task_id: int | None, check: object) -> bytes:
        return OnePicture(*map(int, str(address).split("x"))).data


def grounded(
    engine: InlineEngine,
    *parts: str,
    context: dict[str, Any] | None = None,
    pictures: OnePicture | None = None,
) -> TaskResult:
    """Return what becomes of one task under a config with these parts."""
    worker = WorkerContext(engine, cast(Fetcher, pictures or OnePicture()), 200, 10**7)
    return predict(Task(1, {"image": "u"}, view(*parts), context, "v"), worker)


def test_what_the_page_cannot_read_is_counted_and_told_with_its_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(CHECKS, "rectanglelabels", lambda _: False)
    result = grounded(InlineEngine(car_only), BOXES)
    assert result.prediction["result"] == []
    assert dict(result.dropped) == {"unsound": 1}
    (line,) = [one.message for one in caplog.records if "left out" in one.message]
    assert line.startswith("task 1: ")
    assert "rectanglelabels" in line


def task_of(xml: str, data: dict[str, Any], **project: str) -> Task:
    """Return a task of a project with this config and data."""
    return Task(1, data, xml, None, "v", **project)


def car_only(text: str) -> str:
    return CAR if "'Car'" in text else NONE


def test_a_picture_that_a_task_must_not_name_is_not_fetched() -> None:
    def refuse(address: str, task_id: int | None, project: str) -> None:
        raise UrlRefused(f"{address} {task_id} {project}")

    pictures = OnePicture()
    worker = WorkerContext(
        InlineEngine(car_only), cast(Fetcher, pictures), 200, 10**7, check_owner=refuse
    )
    with pytest.raises(UrlRefused, match=r"theirs 1 3\.1"):
        predict(task_of(view(BOXES), {"image": "theirs"}, project="3.1"), worker)
    assert pictures.fetched == 0


def test_a_score_comes_from_the_tokens_and_the_prediction_s_is_their_mean() -> None:
    sure = grounded(InlineEngine(car_only, probability=0.0), BOXES).prediction
    assert [region["score"] for region in sure["result"]] == pytest.approx([1])
    assert sure["score"] == pytest.approx(1)
    unsure = grounded(InlineEngine(car_only, probability=-0.3), BOXES).prediction
    assert 0 < unsure["score"] < 0.5


def test_a_region_of_two_results_counts_once_in_the_score() -> None:
    nose = json.dumps([{"point_2d": [64, 48], "label": "Nose"}])
    engine = InlineEngine(
        lambda text: nose if "'Nose'" in text else car_only(text), probability=-0.3
    )
    prediction = grounded(engine, RECTANGLE, LABELS, POINTS).prediction
    scores = {region["id"]: region["score"] for region in prediction["result"]}
    assert len(prediction["result"]) == 3
    assert len(set(scores.values())) == 2
    assert prediction["score"] == pytest.approx(sum(scores.values()) / 2)


def test_without_tokens_there_is_no_score_anywhere() -> None:
    prediction = grounded(InlineEngine(car_only), BOXES).prediction
    assert ["score" in region for region in prediction["result"]] == [False]
    assert "score" not in prediction


def test_what_is_below_the_threshold_is_left_out_and_the_answer_is_none() -> None:
    engine = InlineEngine(car_only, probability=-0.3)
    done = grounded(engine, having(BOXES, 'model_score_threshold="0.9"'))
    assert (done.prediction["result"], dict(done.dropped)) == ([], {"low_score": 1})
    assert "score" not in done.prediction


def test_warnings_are_counted_and_stand_beside_their_regions() -> None:
    cut = f'{CAR[:-1]}, {{"bbox_2d": [1, 2'
    engine = InlineEngine(lambda text: cut if "'Car'" in text else NONE, complete=False)
    done = grounded(engine, BOXES)
    assert done.warnings["truncated"] >= 1
    ((note,),) = [region["meta"]["text"] for region in done.prediction["result"]]
    assert note.startswith("The model's answer ends here")


def test_controls_that_see_the_same_share_the_picture_and_others_get_their_own_size() -> None:
    engine, pictures = InlineEngine(lambda _: NONE), OnePicture()
    small = having(POINTS, 'model_max_pixels="250000"')
    grounded(engine, BOXES, KEY_POINT + LABELS, small, pictures=pictures)
    sizes = {
        request.text.partition(" ")[0]: request.views[0].pixels.size for request in engine.requests
    }
    assert pictures.fetched == 1
    assert {q.views[0].pixels.size for q in engine.requests} == {(644, 476), (560, 420)}
    assert len({id(q.views[0].pixels) for q in engine.requests}) == 2
    assert set(sizes) == {"Locate", "Point"}


def test_the_model_s_family_decides_wording_and_frame() -> None:
    engine = InlineEngine(lambda _: NONE, PROFILES["qwen3-vl"])
    value = {"x": 25, "y": 50, "width": 1}
    drawn = {"type": "keypoint", "from_name": "k", "to_name": "image", "value": value}
    grounded(engine, BOXES, KEY_POINT + LABELS, context={"result": [drawn]})
    (request,) = engine.requests
    assert "at the point [250, 500] in this image" in request.text
    assert '"bbox_2d"' in request.template


def test_a_raw_prompt_reaches_the_model_as_it_was_typed() -> None:
    engine = InlineEngine(lambda _: NONE)
    typed = {"type": "textarea", "from_name": "prompt", "value": {"text": ["Any car? {JSON}"]}}
    raw = having(BOXES, 'model_prompt_mode="raw"')
    grounded(engine, raw, PROMPT, context={"result": [typed]})
    assert [request.text for request in engine.requests] == ["Any car? {JSON}"]


def test_a_query_with_an_unreadable_answer_is_sent_again_with_a_stricter_prompt() -> None:
    engine = InlineEngine(lambda text: NONE if "only" in text else "Well.")
    assert grounded(engine, BOXES).prediction["result"] == []
    first, second = engine.requests[0].text, engine.requests[2].text
    assert second.startswith(first)
    with pytest.raises(AnswerError) as caught:
        grounded(InlineEngine(lambda _: "Well."), BOXES)
    assert caught.value.code == "output_unreadable"


IN_SPACE = '[{"bbox_3d": [0.1, 0.2, 1.5, 1, 2, 3, 0, 0, 0], "label": "car"}]'


@pytest.mark.parametrize(
    ("says", "complete", "code", "cure"),
    [
        ("Well.", True, "output_unreadable", "Ask in other words"),
        (IN_SPACE, True, "output_unreadable", "without words such as 3D"),
        (IN_SPACE[:30], False, "output_unreadable", "without words such as 3D"),
        ("<think>The user wants", False, "output_truncated", "checkpoint that does not think"),
        ("So the user wants cars. Hmm", False, "output_truncated", "that does not think"),
        ('[{"bbox_2d": [1, 2', False, "output_truncated", "Ask for fewer things at once"),
    ],
)
def test_an_answer_that_is_none_is_told_the_cure_for_its_own_cause(
    says: str, complete: bool, code: str, cure: str
) -> None:
    with pytest.raises(AnswerError) as caught:
        grounded(InlineEngine(lambda _: says, complete=complete), BOXES)
    assert caught.value.code == code
    assert cure in caught.value.hint


def test_each_control_is_answered_on_its_own_image_with_its_own_names() -> None:
    """Boxes on one picture and key points on another, within nested views."""
    points = POINTS.replace('toName="image"', 'toName="second"')
    xml = view(BOXES, f'<View><Image name="second" value="$b.c"/><View>{points}</View></View>')
    nose = json.dumps([{"point_2d": [10, 10], "label": "Nose"}])
    engine = InlineEngine(lambda text: nose if "Nose" in text else car_only(text))
    worker = WorkerContext(engine, cast(Fetcher, Gallery()), 200, 10**7)
    done = predict(task_of(xml, {"image": "640x480", "b": {"c": "320x560"}}), worker)
    sizes = [
        (r["from_name"], r["to_name"], r["type"], r["original_width"], r["original_height"])
        for r in done.prediction["result"]
    ]
    assert sizes == [
        ("box", "image", "rectanglelabels", 640, 480),
        ("kp", "second", "keypointlabels", 320, 560),
    ]


def test_a_label_s_alias_is_what_a_region_carries() -> None:
    dog = CAR.replace("Car", "Dog")
    done = grounded(InlineEngine(lambda text: dog if "'Dog'" in text else NONE), BOXES)
    (region,) = done.prediction["result"]
    assert region["value"]["rectanglelabels"] == ["d"]


@pytest.mark.parametrize(
    ("data", "project", "prompts"),
    [
        ({"prompt": "red toys"}, {"prompt": "blue toys"}, ["red toys"]),
        ({}, {"prompt": "blue toys"}, ["blue toys"]),
        ({}, {"extra_params": '{"prompt": "old {kind}s"}'}, ["old boats"]),
        ({}, {"extra_params": '{"labels_per_query": 0}'}, ["categories: 'Car', 'Dog'"]),
        ({}, {}, ["categories: 'Car'", "categories: 'Dog'"]),
    ],
)
def test_the_prompt_of_the_task_or_its_project_is_sent_to_the_model(
    data: dict[str, Any], project: dict[str, str], prompts: list[str]
) -> None:
    engine = InlineEngine(lambda _: NONE)
    task = task_of(view(BOXES), {"image": "640x480", "kind": "boat"} | data, **project)
    predict(task, WorkerContext(engine, cast(Fetcher, Gallery()), 200, 10**7))
    texts = sorted(request.text for request in engine.requests)  # they are sent at once
    assert len(texts) == len(prompts)
    assert all(words in text for words, text in zip(prompts, texts, strict=True))


def test_the_deployment_sets_how_many_labels_share_a_query() -> None:
    engine = InlineEngine(lambda _: NONE)
    worker = WorkerContext(engine, cast(Fetcher, Gallery()), 200, 10**7, labels_per_query=0)
    predict(task_of(view(BOXES), {"image": "640x480"}), worker)
    assert ["'Car', 'Dog'" in request.text for request in engine.requests] == [True]


@pytest.mark.parametrize(
    ("parts", "data", "code"),
    [
        (having(BOXES, 'model_prompt="in {city}"'), {"image": "u"}, "prompt_field_missing"),
        (BOXES, {"image": ["u", "v"]}, "multi_image_unsupported"),
        (BOXES, {"picture": "u"}, "image_key_missing"),
        (RECTANGLE + PROMPT, {"image": "u"}, "prompt_empty"),
    ],
)
def test_a_task_that_lacks_something_fails_alone_with_its_code(
    parts: str, data: dict[str, Any], code: str
) -> None:
    worker = WorkerContext(InlineEngine(lambda _: NONE), Fetcher(FetchRules()), 200, 10**7)
    with pytest.raises(DataError) as caught:
        predict(task_of(view(parts), data), worker)
    assert caught.value.code == code


WEATHER = '<Choices name="weather" toName="image"><Choice value="Sunny"/></Choices>'
TEXT = '<TextArea name="text" toName="image" perRegion="true"/>'
SIGN = json.dumps([{"bbox_2d": [64, 48, 128, 96], "label": "Car", "text_content": "EXIT"}])


def test_places_texts_and_values_go_one_way_regions_first() -> None:
    def says(text: str) -> str:
        if "'Car'" in text:
            return SIGN
        return '{"weather": "sunny"}' if "JSON object" in text else NONE

    engine = InlineEngine(says, probability=-0.1)
    done = grounded(engine, WEATHER, BOXES, TEXT)
    kinds = [(one["type"], one["from_name"]) for one in done.prediction["result"]]
    assert kinds == [("rectanglelabels", "box"), ("textarea", "text"), ("choices", "weather")]
    region, text, choice = done.prediction["result"]
    assert (text["id"], text["value"]["text"]) == (region["id"], ["EXIT"])
    assert choice["id"] != region["id"]
    assert len(engine.requests) == 3, "one query a label, and one for all values of the image"
    assert len({id(request.views[0].pixels) for request in engine.requests}) == 1


def test_equal_queries_of_two_controls_are_put_to_the_model_once() -> None:
    twin = BOXES.replace('name="box"', 'name="twin"')
    engine = InlineEngine(car_only)
    done = grounded(engine, BOXES, twin)
    assert [one["from_name"] for one in done.prediction["result"]] == ["box", "twin"]
    assert len(engine.requests) == 2


def test_values_alone_make_a_prediction_and_none_of_them_is_looked_and_nothing_there() -> None:
    sunny = grounded(InlineEngine(lambda _: '{"weather": "sunny"}'), WEATHER)
    assert [one["type"] for one in sunny.prediction["result"]] == ["choices"]
    none = grounded(InlineEngine(lambda _: '{"weather": null}'), WEATHER)
    assert (none.prediction["result"], none.verdict) == ([], "nothing")


@pytest.mark.parametrize(
    ("parts", "forms"),
    [
        ((BOXES, WEATHER), {"places", "free"}),
        ((BOXES,), {"places"}),
        ((WEATHER,), {"free"}),
    ],
)
def test_only_lists_of_places_may_be_held_to_a_form(
    parts: tuple[str, ...], forms: set[str]
) -> None:
    weather = '{"weather": "Sunny"}'
    engine = InlineEngine(lambda text: weather if "weather" in text else car_only(text))
    grounded(engine, *parts)
    assert {request.form for request in engine.requests} == forms
