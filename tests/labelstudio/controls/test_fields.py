"""What all tags with values share: one question a view, one result a control."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pytest

from grounding.geometry import PERCENT, Box, image_frame
from grounding.labelstudio.config.attributes import CHOICE_ATTRIBUTES, FIELD_ATTRIBUTES
from grounding.labelstudio.config.conditions import is_shown
from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.controls.base import (
    NO_DEFAULTS,
    ControlTag,
    FilmSpec,
    PlannedQuery,
    PromptDefaults,
    Results,
    ViewSpec,
    are_texts,
)
from grounding.labelstudio.controls.fields import (
    plan_fields,
    plan_values,
    read_choice,
    value_tag,
)
from grounding.labelstudio.interactive.context import Intent
from grounding.queries import (
    Act,
    Count,
    Field,
    Fill,
    Finding,
    PromptStyle,
    Query,
    TextUnit,
    Transcribe,
    ValueKind,
    ValueType,
)
from tests.labelstudio.configs import BOXES, CHOICES, area, config, having

IMAGE = image_frame(800, 600)
ONE = '<Number name="one" toName="image"/>'
MANY = (
    '<Choices name="many" toName="image" choice="multiple"><Choice value="a"/><Choice value="b"/>'
    '<Choice value="c"/></Choices>'
)
TEXT = ValueType(ValueKind.TEXT)
ZH = PromptStyle(language="zh")
AROUND = Box(10, 10, 20, 20, PERCENT)


def read_known(control: Control, text: str) -> Hashable | None:
    """Return a text of one letter as a value; no other is one."""
    return text if len(text) == 1 else None


def tag_of(**more: Any) -> ControlTag:
    """Return a tag whose value is a list of letters; made here, so that all of it is measured."""
    return value_tag("Number", read_known, list, **more)


def written(
    part: str, *values: tuple[str | None, float | None], named: str = "", **more: Any
) -> Results:
    """Return what becomes of values with scores under the control of this part."""
    (on,) = config(part).controls
    found = [Finding(label=named or on.from_name, value=v, score=s) for v, s in values]
    query: Query = Fill(())
    return tag_of(**more).write(on, [(one, query) for one in found], IMAGE, ())


def test_a_value_is_one_result_with_an_id_of_its_own() -> None:
    first, second = (written(ONE, ("x", 0.5)).result[0] for _ in range(2))
    assert first.pop("id") != second.pop("id")
    assert (
        first
        == second
        == {
            "from_name": "one",
            "to_name": "image",
            "type": "number",
            "value": {"number": ["x"]},
            "score": 0.5,
        }
    )


def test_without_a_probability_there_is_no_score_and_without_a_value_no_result() -> None:
    (result,) = written(ONE, ("x", None)).result
    assert sorted(result) == ["from_name", "id", "to_name", "type", "value"]
    assert written(ONE).result == []
    assert written(ONE, ("x", 0.5), named="other").result == [], "of another field"


def test_the_score_of_several_values_is_the_mean_of_what_is_known() -> None:
    (result,) = written(MANY, ("a", 0.2), ("b", 0.4), ("c", None)).result
    assert result["value"] == {"number": ["a", "b", "c"]}
    assert result["score"] == pytest.approx(0.3)


def test_what_is_no_value_is_counted_by_its_reason_and_the_word_of_a_choice_kept() -> None:
    made = written(MANY, ("a", 0.5), ("a", 0.5), ("zebra", 0.5))
    assert dict(made.dropped) == {"duplicate": 1, "unknown_label": 1}
    assert dict(made.unknown) == {"zebra": 1}
    number = written(ONE, ("zebra", 0.5), ("a", 0.5), ("b", 0.5))
    assert dict(number.dropped) == {"unusable_value": 1, "too_many": 1}
    assert number.result[0]["value"] == {"number": ["a"]}
    least = written(having(ONE, 'model_score_threshold="0.5"'), ("a", 0.49), ("b", 0.5))
    assert dict(least.dropped) == {"low_score": 1}
    assert least.result[0]["value"] == {"number": ["b"]}
    unscored = written(having(ONE, 'model_score_threshold="0.5"'), ("a", None))
    assert len(unscored.result) == 1


def test_a_finding_without_a_value_is_read_as_an_empty_text() -> None:
    said: list[str] = []

    def read(control: Control, text: str) -> Hashable | None:
        said.append(text)
        return None

    (on,) = config(ONE).controls
    tag = value_tag("Number", read, list)
    made = tag.write(on, [(Finding(label="one"), Fill(()))], IMAGE, ())
    assert (said, made.result) == ([""], [])


def test_the_value_may_have_another_key_than_the_tag() -> None:
    (result,) = written(ONE, ("x", None), key="text").result
    assert (result["type"], result["value"]) == ("number", {"text": ["x"]})
    tag = tag_of(key="text")
    assert tag.is_sound is not None
    assert tag.is_sound({"text": ["x"]})
    assert not tag.is_sound({"number": ["x"]})


def test_a_tag_with_a_value_may_be_left_out_and_is_about_images_and_films() -> None:
    tag = tag_of()
    assert (tag.tag, tag.attributes, tag.serves) == ("Number", FIELD_ATTRIBUTES, is_shown)
    assert (tag.required, tag.draws, tag.plan) == (False, None, plan_fields)
    assert tag.objects == {"image", "video"}
    assert tag.is_sound is not None
    assert [tag.is_sound({"number": value}) for value in (["x"], [], "x", None)] == [
        True,
        False,
        False,
        False,
    ]
    other = tag_of(attributes=CHOICE_ATTRIBUTES, serves=bool, is_readable=bool, label_tag="choice")
    assert (other.attributes, other.serves, other.label_tag) == (CHOICE_ATTRIBUTES, bool, "choice")
    assert other.is_sound is not None
    assert other.is_sound({"number": "x"})


def test_a_region_s_value_is_made_by_the_same_writer() -> None:
    (on,) = config(ONE).controls
    write_value, results = tag_of().write_value, Results()
    assert write_value is not None
    assert write_value(on, [Finding(value="x", score=0.5)], results) == ({"number": ["x"]}, 0.5)
    assert write_value(on, [Finding(value="long")], results) is None
    assert results.dropped == {"unusable_value": 1}


def plans(parsed: LabelConfig, **more: Any) -> Sequence[PlannedQuery]:
    return list(plan_values(parsed.controls, NO_DEFAULTS, **more))


def test_what_reads_and_what_counts_asks_alone_in_its_own_style() -> None:
    parsed = config(
        area("text", 'model_task="ocr" model_language="zh"'),
        having(ONE, 'model_task="count" model_prompt="eggs" model_language="zh"'),
        MANY,
    )
    text, number, many = parsed.controls
    assert plans(parsed, around=AROUND) == [
        PlannedQuery(
            Transcribe(TextUnit.WHOLE, style=ZH),
            ViewSpec("image", around=AROUND, printed=True),
            (text,),
        ),
        PlannedQuery(Count("eggs", ZH), ViewSpec("image", around=AROUND), (number,)),
        PlannedQuery(
            Fill((Field("many", ("a", "b", "c"), multiple=True),)),
            ViewSpec("image", around=AROUND),
            (many,),
        ),
    ]
    assert {one.view.around for one in plans(parsed)} == {None}


def test_what_counts_regions_asks_nothing() -> None:
    number, box = config(having(ONE, 'model_task="count"'), BOXES).controls
    assert list(plan_values([number], NO_DEFAULTS)) == []
    assert box.shape, "what it counts"


def test_values_of_one_view_and_style_are_one_question() -> None:
    small = having(ONE.replace("one", "small"), 'model_max_pixels="500000"')
    parsed = config(ONE, CHOICES, having(MANY, 'model_language="zh"'), small)
    one, choice, many, narrow = parsed.controls
    assert [planned.controls for planned in plans(parsed)] == [(one, choice), (many,), (narrow,)]
    assert [planned.query.style for planned in plans(parsed)] == [
        PromptStyle(),
        ZH,
        PromptStyle(),
    ]
    assert plans(parsed)[2].view == ViewSpec("image", max_pixels=500000)


def test_values_of_a_film_are_asked_of_all_of_it() -> None:
    parsed = parse(
        '<View><Video name="film" value="$film"/>'
        '<Choices name="kind" toName="film"><Choice value="a"/></Choices>'
        "</View>"
    )
    (planned,) = plans(parsed)
    assert planned.query == Fill((Field("kind", ("a",)),), film=True)
    assert planned.view == ViewSpec("film", film=FilmSpec())


def test_a_prompt_names_fields_of_the_task() -> None:
    parsed = config(having(ONE, 'model_prompt="The eggs of {farm}"'))
    (planned,) = plan_values(parsed.controls, PromptDefaults({"farm": "Rome"}))
    assert isinstance(planned.query, Fill)
    assert planned.query.fields[0].prompt == "The eggs of Rome"


def test_a_typed_question_goes_to_the_area_for_answers_alone() -> None:
    parsed = config(
        area("prompt"),
        area(
            "answer",
            'smart="false" model_task="fill" model_answer="asked" model_language="zh" '
            'model_max_pixels="500000"',
        ),
        ONE,
    )
    answer = next(one for one in parsed.controls if one.from_name == "answer")
    asked = list(plan_fields(parsed.controls, Intent("how much?"), NO_DEFAULTS))
    assert asked == [
        PlannedQuery(
            Fill((Field("answer", prompt="how much?", type=TEXT),), ZH),
            ViewSpec("image", max_pixels=500000),
            (answer,),
        )
    ]
    assert list(plan_fields(parsed.controls, Intent(around=AROUND), NO_DEFAULTS)) == []
    everything = plan_fields(parsed.controls, None, NO_DEFAULTS)
    assert list(everything) == list(plan_values(parsed.controls, NO_DEFAULTS))


def test_a_question_about_a_film_is_asked_of_all_of_it() -> None:
    parsed = parse(
        '<View><Video name="film" value="$film"/><TextArea name="prompt" toName="film"/>'
        '<TextArea name="answer" toName="film" smart="false" model_task="fill" '
        'model_answer="asked"/></View>'
    )
    (planned,) = plan_fields(parsed.controls, Intent("how much?"), NO_DEFAULTS)
    assert isinstance(planned.query, Fill)
    assert planned.query.film


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            "bus",
            ("bus", "B. bus", "a bus (red)", "two buses", "a bus, no 猫", "no 猫; a bus, no c"),
        ),
        ("猫", ("图中有猫", "没有 bus，只有猫", "猫 (not a bus)")),
        (None, ("bus or c", "no bus", "没有 bus", "plane", "", "bus: no", "BUSES: none")),
        (None, ("非猫", "图中没有猫", "A bus is not visible.", "no buses")),
    ],
)
def test_a_choice_is_named_by_its_label_or_by_a_sentence_that_does_not_deny_it(
    chosen: str | None, said: tuple[str, ...]
) -> None:
    (on,) = config(MANY.replace('"a"', '"bus"').replace('"b"', '"猫"')).controls
    assert [(one and one.value) for one in (read_choice(on, text) for text in said)] == [
        chosen
    ] * len(said)


@pytest.mark.parametrize(
    ("names", "said", "chosen"),
    [
        (("yes", "no"), "true", "yes"),
        (("Yes", "No"), "False", "No"),
        (("是", "否"), "false", "否"),
        (("true", "false"), "false", "false"),
        (("red", "blue"), "true", None),
    ],
)
def test_a_constant_of_json_is_the_yes_or_no_among_choices(
    names: tuple[str, str], said: str, chosen: str | None
) -> None:
    one, two = names
    (on,) = config(MANY.replace('"a"', f'"{one}"').replace('"b"', f'"{two}"')).controls
    label = read_choice(on, said)
    assert (label and label.value) == chosen


def test_reading_and_counting_answer_without_a_name_and_an_agent_s_call_is_none() -> None:
    (on,) = config(ONE).controls
    for query, results in (
        (Transcribe(TextUnit.WHOLE), 1),
        (Count("eggs"), 1),
        (Fill(()), 0),
        (Act("tap", ()), 0),
    ):
        found: list[tuple[Finding, Query]] = [(Finding(label="egg", value="x"), query)]
        assert len(tag_of().write(on, found, IMAGE, ()).result) == results
    assert are_texts(["x"])
