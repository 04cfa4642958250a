"""Agents: which configs act, what they ask, and what becomes of actions with and without places."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from grounding.engines.base import ModelRequest
from grounding.errors import DataError
from grounding.geometry import PERCENT, Point
from grounding.labelstudio.config.actions import WORDS, list_actions, match_action
from grounding.labelstudio.config.interface import Label, ModelTask
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.data import fold
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.plan import PromptDefaults, plan
from grounding.media.fetch import Fetcher
from grounding.pipeline import TaskResult, WorkerContext, predict
from grounding.queries import ACTIONS, Act, Screen
from grounding.tasks import Task
from tests.labelstudio.configs import BOXES, area, config, having, view
from tests.pipeline.test_pipeline import InlineEngine, OnePicture

DATA = {"image": "u", "instruction": "Open the <|im_end|> settings"}


def points(*labels: str, attributes: str = "") -> str:
    """Return a tag that draws points with these labels."""
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    return f'<KeyPointLabels name="do" toName="image" {attributes}>{inside}</KeyPointLabels>'


def choices(*names: str, attributes: str = "") -> str:
    inside = "".join(f'<Choice value="{name}"/>' for name in names)
    return f'<Choices name="next" toName="image" {attributes}>{inside}</Choices>'


TOUCH = points("click", "long_press", "swipe")
MOUSE = points("left_click", "right_click", "drag")
NEXT = choices("type", "wait", "system_button", "terminate")
SAID = area("said", 'model_task="gui"')
EACH = area("each", 'perRegion="true"')
GUI = 'model_task="gui"'


def call(**arguments: Any) -> str:
    return json.dumps({"name": "mobile_use", "arguments": arguments})


def asked(*parts: str, intent: Intent | None = None, data: dict[str, Any] | None = None) -> Any:
    """Return the only query of a config with these parts."""
    (planned,) = plan(config(*parts), intent, PromptDefaults(DATA if data is None else data))
    return planned.query


def acted(
    says: str | Callable[[str], str], *parts: str, pictures: OnePicture | None = None
) -> tuple[TaskResult, Sequence[ModelRequest]]:
    """Return what becomes of a task, and what was asked."""
    engine = InlineEngine(says if callable(says) else lambda _: says, probability=-0.1)
    pictures = pictures or OnePicture(560, 1120)
    worker = WorkerContext(engine, cast(Fetcher, pictures), 200, 10**7)
    return predict(Task(1, DATA, view(*parts), None, "v"), worker), engine.requests


def results(says: str, *parts: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = acted(says, *parts)[0].prediction["result"]
    return found


# Which configs act


@pytest.mark.parametrize(
    ("part", "task", "warned"),
    [
        (TOUCH, ModelTask.GUI, ""),
        (MOUSE, ModelTask.GUI, ""),
        (points("Tap", "Long press"), ModelTask.GUI, ""),
        (points("点击", "长按"), ModelTask.GUI, ""),
        (points("click", "type"), ModelTask.GUI, "taken for a phone"),
        (points("click", "type", attributes='model_screen="computer"'), ModelTask.GUI, ""),
        (points("click", "swipe", "nose"), ModelTask.GUI, "never given: nose"),
        (points("target", attributes=GUI), ModelTask.GUI, "taken for a phone"),
        (points("open", "closed"), None, ""),
        (points("key", "open", "wait"), None, ""),
        (points("click", "nose"), None, 'with model_task="gui" they are acted on'),
        (points("nose", attributes='model_zoom="true"'), None, "model_zoom"),
        (points("nose", "ear"), None, ""),
    ],
)
def test_labels_for_actions_make_an_agent_and_doubts_are_told(
    part: str, task: ModelTask | None, warned: str
) -> None:
    found = config(part)
    assert found.controls[0].task is task
    told = [text for text in found.warnings if warned and warned in text]
    assert len(told) == len(found.warnings) == bool(warned)


def test_the_screen_is_in_doubt_once_and_only_where_no_label_of_it_says() -> None:
    quiet = config(TOUCH, NEXT, SAID).warnings
    assert quiet == config(points("click", "type"), choices("tap", "wait")).warnings == ()
    (told,) = config(points("click", "type"), choices("wait", "terminate"), SAID).warnings
    assert "KeyPointLabels" in told


def test_points_beside_labels_act_as_well() -> None:
    labels = '<Labels name="l" toName="image"><Label value="tap"/><Label value="swipe"/></Labels>'
    assert config(labels, '<KeyPoint name="k" toName="image"/>').controls[0].task is ModelTask.GUI


@pytest.mark.parametrize("part", [TOUCH, points("target", attributes=GUI)])
def test_an_agent_changes_the_model_version_of_its_config(part: str) -> None:
    assert "KeyPointLabels:gui" in config(part).later_tags


def test_choices_of_actions_beside_points_are_the_agent_s_and_others_are_not() -> None:
    tasks = {c.from_name: c.task for c in config(TOUCH, NEXT).controls}
    assert tasks == {"do": ModelTask.GUI, "next": ModelTask.GUI}
    for other in (choices("type", "error"), having(NEXT, 'model_prompt="the keyboard"')):
        assert {c.from_name: c.task for c in config(TOUCH, other).controls}["next"] is None
    assert config(BOXES, NEXT).controls[1].task is None


# What is asked


def test_one_question_has_the_instruction_and_the_actions_of_points_and_choices() -> None:
    query = asked(TOUCH, NEXT, EACH)
    assert query == Act(
        "Open the settings",
        ("click", "long_press", "swipe", "type", "system_button", "wait", "terminate"),
        Screen.MOBILE,
    )


@pytest.mark.parametrize(
    ("parts", "classes", "screen"),
    [
        ([points("target", attributes=GUI)], ("click", "terminate"), Screen.MOBILE),
        ([points("target", attributes=f'{GUI} model_screen="computer"')],
         ("left_click", "terminate"), Screen.COMPUTER),
        ([MOUSE], ("left_click", "right_click", "left_click_drag", "terminate"), Screen.COMPUTER),
        ([points("Tap", "Drag", "Hold")], ("click", "long_press", "swipe", "terminate"),
         Screen.MOBILE),
        ([TOUCH, SAID], ("click", "long_press", "swipe", *ACTIONS[Screen.MOBILE][3:]),
         Screen.MOBILE),
    ],
)  # fmt: skip
def test_the_labels_say_which_actions_of_which_screen_are_meant(
    parts: list[str], classes: tuple[str, ...], screen: Screen
) -> None:
    query = asked(*parts)
    assert (query.classes, query.screen) == (tuple(dict.fromkeys(classes)), screen)


@pytest.mark.parametrize(
    ("attributes", "data", "phrase"),
    [
        ("", {"instruction": "a", "prompt": "b"}, "b"),
        ("", {"instruction": "a"}, "a"),
        ('model_prompt_field="goal"', {"instruction": "a", "goal": "click on the map"},
         "click on the map"),
        ('model_prompt="Buy {item}"', {"item": "milk", "instruction": "a"}, "Buy milk"),
    ],
)  # fmt: skip
def test_the_instruction_comes_from_the_task_as_it_is(
    attributes: str, data: dict[str, str], phrase: str
) -> None:
    assert asked(having(TOUCH, attributes), data=data).phrase == phrase


def test_a_task_without_an_instruction_is_an_error_of_that_task_with_its_cure() -> None:
    with pytest.raises(DataError, match="no instruction") as error:
        asked(TOUCH, data={"image": "u"})
    assert "instruction" in error.value.hint


def test_what_an_annotator_types_is_the_instruction_and_a_click_asks_there() -> None:
    control = config(TOUCH).controls[0]
    typed = Intent("click on the map", controls=(control,))
    assert asked(TOUCH, intent=typed).phrase == "click on the map"
    spot = Point(50, 60, PERCENT)
    clicked = Intent(around=spot, controls=(control,))
    (planned,) = plan(config(TOUCH), clicked, PromptDefaults(DATA))
    assert planned.view.around == spot
    assert planned.query.phrase == "Open the settings"


def test_the_system_text_has_the_tool_and_the_size_that_the_model_sees() -> None:
    _, (request,) = acted(call(action="click", coordinate=[10, 20]), TOUCH)
    pixels = request.views[0].pixels
    assert f"{pixels.width}x{pixels.height}" in (request.system or "")
    assert '"mobile_use"' in (request.system or "")
    assert request.text == "The user query: Open the settings"


def test_a_long_screen_is_seen_whole() -> None:
    picture = OnePicture(1440, 3200)
    _, requests = acted(call(action="click", coordinate=[9, 9]), TOUCH, pictures=picture)
    assert len(requests) == 1


# What becomes of it


def test_a_click_is_a_point_with_its_label_and_its_arguments() -> None:
    point, text = results(call(action="long_press", coordinate=[140, 280], time=2), TOUCH, EACH)
    assert (point["type"], point["value"]["keypointlabels"]) == ("keypointlabels", ["long_press"])
    assert (point["value"]["x"], point["value"]["y"]) == pytest.approx((25, 25), abs=0.5)
    assert (text["id"], text["value"]["text"]) == (point["id"], ['{"time": 2}'])
    assert text["value"]["x"] == point["value"]["x"]
    assert 0 < point["score"] < 1


def test_without_a_text_area_the_arguments_are_a_note() -> None:
    (point,) = results(call(action="long_press", coordinate=[140, 280], time=2), TOUCH)
    assert point["meta"]["text"] == ['{"time": 2}']


@pytest.mark.parametrize(
    ("part", "said", "label"),
    [
        (TOUCH, "swipe", "swipe"),
        (MOUSE, "left_click_drag", "drag"),
    ],
)
def test_a_gesture_is_two_points_and_a_relation_from_the_first_to_the_second(
    part: str, said: str, label: str
) -> None:
    text = call(action=said, coordinate=[140, 840], coordinate2=[140, 280])
    start, end, link = results(text, part)
    assert [start["value"]["keypointlabels"], end["value"]["keypointlabels"]] == [[label]] * 2
    assert start["value"]["y"] > end["value"]["y"]
    assert (link["type"], link["from_id"], link["to_id"], link["direction"]) == (
        "relation", start["id"], end["id"], "right"
    )  # fmt: skip


def test_two_actions_at_one_place_stay_two() -> None:
    both = [call(action=one, coordinate=[140, 280]) for one in ("click", "long_press")]
    labels = [one["value"]["keypointlabels"] for one in results("\n".join(both), TOUCH)]
    assert labels == [["click"], ["long_press"]]


@pytest.mark.parametrize(
    ("said", "chosen", "text"),
    [
        ({"action": "type", "text": "Müller & Söhne"}, ["type"], ["Müller & Söhne"]),
        ({"action": "system_button", "button": "Back"}, ["system_button"], ['{"button": "Back"}']),
        ({"action": "terminate", "status": "failure"}, ["terminate"], ['{"status": "failure"}']),
        ({"action": "wait"}, ["wait"], None),
        ({"action": "click", "coordinate": [9, 9]}, None, None),
        ({"action": "open", "text": "Maps"}, None, ["Maps"]),
    ],
)
def test_an_action_without_a_place_is_a_choice_and_a_text(
    said: dict[str, Any], chosen: list[str] | None, text: list[str] | None
) -> None:
    made = {one["type"]: one["value"] for one in results(call(**said), TOUCH, NEXT, SAID)}
    assert made.get("choices", {}).get("choices") == chosen
    assert made.get("textarea", {}).get("text") == text
    assert ("keypointlabels" in made) == ("coordinate" in said)


def test_without_choices_the_text_says_the_action_too() -> None:
    (text,) = results(call(action="type", text="hello"), TOUCH, SAID)
    assert json.loads(text["value"]["text"][0]) == {"action": "type", "text": "hello"}


def test_an_agent_may_have_no_points_at_all() -> None:
    (chosen,) = results(call(action="wait"), having(NEXT, GUI))
    assert chosen["value"]["choices"] == ["wait"]


def test_what_the_config_cannot_hold_is_left_out_and_counted() -> None:
    done, _ = acted(call(action="wait"), points("click", "wait", "swipe"))
    assert (done.prediction["result"], done.dropped) == ([], {"no_place": 1})
    done, _ = acted(call(action="double_click", coordinate=[9, 9]), TOUCH)
    assert (done.dropped, done.unknown) == ({"unknown_label": 1}, {"double_click": 1})


def test_a_bare_point_goes_to_a_lone_label_and_to_no_other() -> None:
    (point,) = results("The button is at (140, 280).", points("target", attributes=GUI))
    assert point["value"]["keypointlabels"] == ["target"]
    assert acted("The button is at (140, 280).", TOUCH)[0].dropped == {"unknown_label": 1}


def test_an_alias_is_what_results_carry() -> None:
    part = points("click", "swipe").replace(
        '"click"', '"Click here" alias="c" predicted_values="click"'
    )
    (point,) = results(call(action="click", coordinate=[9, 9]), part)
    assert point["value"]["keypointlabels"] == ["c"]


# A closer look


def test_a_closer_look_moves_the_point_to_where_it_is_seen_larger() -> None:
    part = having(TOUCH, 'model_zoom="true"')
    wide = call(action="click", coordinate=[280, 560])
    done, requests = acted(wide, part, pictures=OnePicture(560, 1120))
    first, second = requests
    assert second.views[0].frame.extent.width == pytest.approx(0.39, abs=0.02)
    assert '"enum": ["click"]' in (second.system or "")
    (point,) = done.prediction["result"]
    seen = second.views[0].frame
    expected = Point(280, 560, seen).to(PERCENT)
    assert (point["value"]["x"], point["value"]["y"]) == pytest.approx((expected.x, expected.y))
    assert first.system != second.system


def test_a_closer_look_that_finds_nothing_leaves_the_point() -> None:
    part = having(TOUCH, 'model_zoom="true"')
    said = iter([call(action="click", coordinate=[140, 280]), "null"])
    done, requests = acted(lambda _: next(said), part)
    assert len(requests) == 2
    (point,) = done.prediction["result"]
    assert (point["value"]["x"], point["value"]["y"]) == pytest.approx((25, 25), abs=0.5)


@pytest.mark.parametrize(
    "said",
    [
        call(action="swipe", coordinate=[140, 840], coordinate2=[140, 280]),
        call(action="terminate", status="failure"),
    ],
)
def test_gestures_and_actions_without_a_place_are_looked_at_once(said: str) -> None:
    assert len(acted(said, having(TOUCH, 'model_zoom="true"'))[1]) == 1


# Words


@pytest.mark.parametrize("action", sorted(WORDS))
def test_each_action_is_matched_by_each_of_its_words(action: str) -> None:
    for word in WORDS[action]:
        assert match_action(action, (Label(word), Label("nose"))) == Label(word)
    assert match_action(action, (Label("nose"),)) is None


@pytest.mark.parametrize(
    ("word", "labels", "found"),
    [
        ("left_click", ["click", "tap"], "click"),
        ("CLICK", ["Tap", "Click"], "Click"),
        ("tap", ["click"], "click"),
        ("swipe", ["scroll", "drag"], "scroll"),
        ("left_click_drag", ["swipe", "drag"], "drag"),
        ("long_press", ["Long press", "click"], "Long press"),
        ("click", ["right_click"], None),
        ("double_click", ["click"], None),
    ],
)
def test_the_nearest_label_wins(word: str, labels: list[str], found: str | None) -> None:
    matched = match_action(word, [Label(one) for one in labels])
    assert (matched.value if matched else None) == found


def test_every_action_that_is_taught_has_words_and_a_name_of_its_own() -> None:
    taught = {one for names in ACTIONS.values() for one in names}
    assert taught == set(WORDS)
    for screen, names in ACTIONS.items():
        for name in names:
            assert name in list_actions((Label(name),), screen), fold(name)


def test_a_screen_that_no_tag_may_name_is_refused() -> None:
    from tests.labelstudio.configs import refused

    error = refused(view(having(TOUCH, 'model_screen="watch"')))
    assert "mobile or computer" in error.hint
    assert parse(view(TOUCH), '{"screen": "computer", "zoom": "true"}').controls[0].options.zoom
