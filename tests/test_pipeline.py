"""One task to one prediction, with an engine that says what the test wants."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from PIL import Image

from grounding.engines.base import Question, Reply, Token
from grounding.errors import AnswerError
from grounding.images.fetch import Fetcher, FetchRules
from grounding.pipeline import Grounded, Task, Tools, ground
from grounding.qwen.profiles import PROFILES, Profile
from tests.images.hosts import Host, ok
from tests.labelstudio.configs import BOXES, KEY_POINT, LABELS, POINTS, PROMPT, having, view

CAR = json.dumps([{"bbox_2d": [64, 48, 128, 96], "label": "Car"}])
NONE = "[]"


@dataclass
class Parrot:
    """An engine whose answers are a function of the question; remembers what it was asked."""

    says: Callable[[str], str]
    profile: Profile = PROFILES["qwen2.5-vl"]
    probability: float | None = None
    complete: bool = True
    asked: list[Question] = field(default_factory=list)

    def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        text = self.says(question.text)
        tokens = [Token(*m.span(), self.probability or 0.0) for m in re.finditer(r"\S+|\s+", text)]
        return Reply(text, self.complete, tuple(tokens) if self.probability is not None else ())

    def close(self) -> None:
        """Do nothing."""


class Album:
    """A fetcher of one grey picture; counts how often it is fetched."""

    def __init__(self, width: int = 640, height: int = 480) -> None:
        out = io.BytesIO()
        Image.new("RGB", (width, height), "grey").save(out, "PNG")
        self.data, self.fetched = out.getvalue(), 0

    def fetch(self, address: object, task_id: int | None) -> bytes:
        self.fetched += 1
        return self.data


def grounded(
    engine: Parrot, *parts: str, context: dict[str, Any] | None = None, album: Album | None = None
) -> Grounded:
    """Return what becomes of one task under a config with these parts."""
    tools = Tools(engine, cast(Fetcher, album or Album()), 200, 10**7)
    return ground(Task(1, {"image": "u"}, view(*parts), context, "v"), tools)


def car_only(text: str) -> str:
    return CAR if "'Car'" in text else NONE


def test_a_score_comes_from_the_tokens_and_the_prediction_s_is_their_mean() -> None:
    sure = grounded(Parrot(car_only, probability=0.0), BOXES).prediction
    assert [region["score"] for region in sure["result"]] == pytest.approx([1])
    assert sure["score"] == pytest.approx(1)
    unsure = grounded(Parrot(car_only, probability=-0.3), BOXES).prediction
    assert 0 < unsure["score"] < 0.5


def test_without_tokens_there_is_no_score_anywhere() -> None:
    prediction = grounded(Parrot(car_only), BOXES).prediction
    assert ["score" in region for region in prediction["result"]] == [False]
    assert "score" not in prediction


def test_what_is_below_the_threshold_is_left_out_and_the_answer_is_none() -> None:
    engine = Parrot(car_only, probability=-0.3)
    done = grounded(engine, having(BOXES, 'model_score_threshold="0.9"'))
    assert (done.prediction["result"], dict(done.dropped)) == ([], {"low_score": 1})
    assert "score" not in done.prediction


def test_warnings_are_counted_and_stand_beside_their_regions() -> None:
    cut = f'{CAR[:-1]}, {{"bbox_2d": [1, 2'
    engine = Parrot(lambda text: cut if "'Car'" in text else NONE, complete=False)
    done = grounded(engine, BOXES)
    assert done.warnings["truncated"] >= 1
    ((note,),) = [region["meta"]["text"] for region in done.prediction["result"]]
    assert note.startswith("The model's answer ends here")


def test_controls_that_see_the_same_share_the_picture_and_others_get_their_own_size() -> None:
    engine, album = Parrot(lambda _: NONE), Album()
    small = having(POINTS, 'model_max_pixels="250000"')
    grounded(engine, BOXES, KEY_POINT + LABELS, small, album=album)
    sizes = {question.text.partition(" ")[0]: question.pixels.size for question in engine.asked}
    assert album.fetched == 1
    assert {q.pixels.size for q in engine.asked} == {(644, 476), (560, 420)}
    assert len({id(q.pixels) for q in engine.asked}) == 2
    assert set(sizes) == {"Locate", "Point"}


def test_the_model_s_family_settles_wording_and_frame() -> None:
    engine = Parrot(lambda _: NONE, PROFILES["qwen3-vl"])
    value = {"x": 25, "y": 50, "width": 1}
    drawn = {"type": "keypoint", "from_name": "k", "to_name": "image", "value": value}
    grounded(engine, BOXES, KEY_POINT + LABELS, context={"result": [drawn]})
    (question,) = engine.asked
    assert "at the point [250, 500] in this image" in question.text


def test_a_raw_prompt_reaches_the_model_as_it_was_typed() -> None:
    engine = Parrot(lambda _: NONE)
    typed = {"type": "textarea", "from_name": "prompt", "value": {"text": ["Any car? {JSON}"]}}
    raw = having(BOXES, 'model_prompt_mode="raw"')
    grounded(engine, raw, PROMPT, context={"result": [typed]})
    assert [question.text for question in engine.asked] == ["Any car? {JSON}"]


def test_what_is_not_understood_is_asked_once_more_in_stricter_words() -> None:
    engine = Parrot(lambda text: NONE if "only" in text else "Well.")
    assert grounded(engine, BOXES).prediction["result"] == []
    first, second = engine.asked[0].text, engine.asked[2].text
    assert second.startswith(first)
    with pytest.raises(AnswerError) as caught:
        grounded(Parrot(lambda _: "Well."), BOXES)
    assert caught.value.code == "output_unreadable"


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
    engine = Parrot(lambda _: TWO)
    done = grounded(engine, BOXES, POINTS, context={"result": [click(15)]})
    (region,) = done.prediction["result"]
    assert region["value"]["x"] == pytest.approx(100 * 64 / 644)
    assert "at the point [97, 71] in this image" in engine.asked[0].text


def test_what_a_click_with_alt_lies_in_is_left_out() -> None:
    engine = Parrot(lambda _: CAR)
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
    engine = Parrot(lambda _: TWO)
    done = grounded(engine, BOXES, context={"result": [ROUGH]})
    assert [r["value"]["x"] for r in done.prediction["result"]] == [pytest.approx(100 * 480 / 644)]
    assert "'Car' in the box [451, 24, 644, 119]" in engine.asked[0].text


def test_a_box_may_ask_for_all_that_is_similar() -> None:
    engine = Parrot(lambda _: TWO)
    similar = having(BOXES, 'model_smart_box="similar"')
    assert len(grounded(engine, similar, context={"result": [ROUGH]}).prediction["result"]) == 2
    assert "in the box" not in engine.asked[0].text
    assert "'Car'" in engine.asked[0].text
    bare = {**ROUGH, "value": {**ROUGH["value"], "rectanglelabels": []}}  # type: ignore[dict-item]
    assert len(grounded(engine, similar, context={"result": [bare]}).prediction["result"]) == 2
    assert "every object like the one in the box [451, 24, 644, 119]" in engine.asked[1].text


def test_a_person_s_second_question_fetches_and_prepares_nothing_again() -> None:
    host = Host(ok(Album().data, "Content-Type: image/png"))
    rules = FetchRules(allowed_origins=frozenset({host.origin}))
    engine = Parrot(lambda _: NONE)
    tools = Tools(engine, Fetcher(rules), 200, 10**7)

    def hits(number: int, project: str = "1.1", name: str = "a", *, typed: bool = True) -> int:
        prompt = {"type": "textarea", "from_name": "prompt", "value": {"text": ["cars"]}}
        data = {"image": f"{host.origin}/{name}.png"}
        context = {"result": [prompt]} if typed else None
        ground(Task(number, data, view(BOXES, PROMPT), context, "v", project), tools)
        return len(host.requests)

    assert [hits(1, typed=False), hits(1, typed=False)] == [1, 2], "pre-labelling keeps none"
    assert [hits(1), hits(1), hits(1, typed=False)] == [3, 3, 3]
    assert len({id(question.pixels) for question in engine.asked[4:]}) == 1
    assert [question.urgent for question in engine.asked] == [False] * 4 + [True] * 2 + [False] * 2
    assert [hits(2), hits(1, "2.1"), hits(1, name="b")] == [4, 5, 6], "none but its own task's"
