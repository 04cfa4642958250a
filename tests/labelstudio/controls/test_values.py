"""Texts, numbers, dates, ratings and paths of a whole image: what is asked, and what is written."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import image_frame
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.controls import write_results
from grounding.labelstudio.controls.base import Results
from grounding.labelstudio.controls.rating import are_stars
from grounding.labelstudio.controls.taxonomy import read_path
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.plan import PromptDefaults, plan
from grounding.queries import Field, Fill, Finding, Locate, ValueKind, ValueType
from tests.labelstudio.configs import BOXES, CHOICES, area, config, having, refused, view

IMAGE = image_frame(800, 600)
TOTAL, NOTE = area("total"), area("note")
AMOUNT = '<Number name="amount" toName="image"/>'
DAY = '<DateTime name="day" toName="image" only="date"/>'
STARS = '<Rating name="stars" toName="image" maxRating="7"/>'
KIND = (
    '<Taxonomy name="kind" toName="image"><Choice value="Animal" alias="an">'
    '<Choice value="Bird"><Choice value="Other"/></Choice></Choice>'
    '<Choice value="Plant"><Choice value="Other"/><Choice value="Fern" alias="f"/></Choice>'
    "</Taxonomy>"
)
PATHS = (
    "Animal",
    "Animal / Bird",
    "Animal / Bird / Other",
    "Plant",
    "Plant / Other",
    "Plant / Fern",
)
TEXT = ValueType(ValueKind.TEXT)


def written(
    part: str, *values: str, name: str | None = None, score: float | None = None
) -> Results:
    """Return what becomes of the model's values for the control of this part."""
    parsed = config(part)
    (on,) = parsed.controls
    (planned,) = plan(parsed)
    found = [Finding(label=on.from_name, value=value, score=score) for value in values]
    return write_results(on, [(one, planned.query) for one in found], IMAGE)


def test_all_values_of_an_image_are_one_question_in_the_order_of_the_config() -> None:
    (planned,) = plan(config(CHOICES, TOTAL, AMOUNT, DAY, STARS, KIND))
    assert isinstance(planned.query, Fill)
    assert [(f.name, f.type.kind) for f in planned.query.fields] == [
        ("c", "choice"),
        ("total", "text"),
        ("amount", "number"),
        ("day", "date"),
        ("stars", "number"),
        ("kind", "path"),
    ]
    assert len(planned.controls) == 6


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (having(TOTAL, 'model_task="fill"'), Field("total", type=TEXT)),
        (
            having(TOTAL, 'model_prompt="The sum in {city}?"'),
            Field("total", prompt="The sum in Rome?", type=TEXT),
        ),
        (AMOUNT, Field("amount", type=ValueType(ValueKind.NUMBER))),
        (
            having(AMOUNT, 'min="0" max="9.5" step="0.5"'),
            Field("amount", type=ValueType(ValueKind.NUMBER, 0, 9.5)),
        ),
        (
            having(AMOUNT, 'min="1" step="1"'),
            Field("amount", type=ValueType(ValueKind.NUMBER, 1, whole=True)),
        ),
        (
            having(AMOUNT, 'step="1"'),
            Field("amount", type=ValueType(ValueKind.NUMBER, whole=True)),
        ),
        (
            DAY.replace('"date"', '"year"'),
            Field("day", type=ValueType(ValueKind.DATE, form="YYYY")),
        ),
        (having(AMOUNT, 'min="x"'), Field("amount", type=ValueType(ValueKind.NUMBER))),
        (DAY, Field("day", type=ValueType(ValueKind.DATE, form="YYYY-MM-DD"))),
        (
            DAY.replace('only="date"', ""),
            Field("day", type=ValueType(ValueKind.DATE, form="YYYY-MM-DDTHH:MM")),
        ),
        (
            DAY.replace('"date"', '"month,year"'),
            Field("day", type=ValueType(ValueKind.DATE, form="YYYY-MM")),
        ),
        (
            DAY.replace('"date"', '"time"'),
            Field("day", type=ValueType(ValueKind.DATE, form="HH:MM")),
        ),
        (STARS, Field("stars", type=ValueType(ValueKind.NUMBER, 1, 7, whole=True))),
        (
            STARS.replace('"7"', '"many"'),
            Field("stars", type=ValueType(ValueKind.NUMBER, 1, 5, whole=True)),
        ),
        (KIND, Field("kind", PATHS, multiple=True, type=ValueType(ValueKind.PATH))),
        (
            having(KIND, 'leafsOnly="true" maxUsages="1"'),
            Field("kind", (PATHS[2], *PATHS[4:]), type=ValueType(ValueKind.PATH)),
        ),
    ],
)
def test_a_field_is_asked_for_in_its_type(part: str, field: Field) -> None:
    (planned,) = plan(config(part), None, PromptDefaults({"city": "Rome"}))
    assert isinstance(planned.query, Fill)
    assert planned.query.fields == (field,)


@pytest.mark.parametrize(
    ("part", "said", "value"),
    [
        (TOTAL, " RM 8.75\nnett\u200e ", {"text": ["RM 8.75\nnett"]}),
        (AMOUNT, "8.75", {"number": 8.75}),
        (AMOUNT, "12", {"number": 12}),
        (AMOUNT, "-3.0", {"number": -3}),
        (DAY, "2018-06-01T00:00", {"datetime": "2018-06-01"}),
        (DAY.replace('only="date"', ""), "2018-06-01T18:41", {"datetime": "2018-06-01T18:41"}),
        (DAY.replace('"date"', '"time"'), "18:41", {"datetime": "18:41"}),
        (having(DAY, 'format="%d.%m.%y"'), "2018-06-01T00:00", {"datetime": "01.06.18"}),
        (DAY.replace('"date"', '"year"'), "2018-01-01T00:00", {"datetime": "2018-01-01"}),
        (STARS, "7", {"rating": 7}),
        (STARS.replace('"7"', '"0"'), "3", {"rating": 3}),
        (having(AMOUNT, 'min="0" max="9"'), "0", {"number": 0}),
        (having(AMOUNT, 'min="0" max="9"'), "9", {"number": 9}),
        (KIND, "Animal > Bird", {"taxonomy": [["an", "Bird"]]}),
        (KIND, "plant / other", {"taxonomy": [["Plant", "Other"]]}),
        (KIND, "ferns", {"taxonomy": [["Plant", "f"]]}),
    ],
)
def test_a_value_is_written_in_the_type_that_the_page_reads(
    part: str, said: str, value: dict[str, Any]
) -> None:
    (result,) = written(part, said, score=0.5).result
    assert len(result.pop("id")) >= 10
    tag = config(part).controls[0]
    assert result == {
        "from_name": tag.from_name,
        "to_name": "image",
        "type": tag.tag.lower(),
        "value": value,
        "score": 0.5,
    }
    assert json.dumps(result["value"]) == json.dumps(value), "an integer is none with a fraction"


@pytest.mark.parametrize(
    ("part", "said", "reason"),
    [
        (TOTAL, "\u200e", "unusable_value"),
        (AMOUNT, "20 to 25", "unusable_value"),
        (AMOUNT, "nan", "unusable_value"),
        (AMOUNT, "1e999", "unusable_value"),
        (having(AMOUNT, 'min="0"'), "-1", "unusable_value"),
        (having(AMOUNT, 'min="0" step="1"'), "1.5", "unusable_value"),
        (DAY, "06/05/2024", "unusable_value"),
        (DAY, "2018", "unusable_value"),
        (DAY, "May 2018", "unusable_value"),
        (DAY, "2018-W23", "unusable_value"),
        (DAY.replace('"date"', '"time"'), "noon", "unusable_value"),
        (DAY.replace('"date"', '"time"'), "14:33-05:00", "unusable_value"),
        (DAY.replace('"date"', '"time"'), "18", "unusable_value"),
        (STARS, "8", "unusable_value"),
        (STARS, "0", "unusable_value"),
        (STARS, "3.5", "unusable_value"),
        (STARS.replace('"7"', '"0"'), "6", "unusable_value"),
        (STARS.replace('"7"', '"1"'), "2", "unusable_value"),
        (KIND, "Mineral", "unknown_label"),
        (KIND, "Other", "unknown_label"),
        (having(AMOUNT, 'model_score_threshold="0.9"'), "1", "low_score"),
    ],
)
def test_what_the_page_would_choke_on_is_left_out_alone_and_counted(
    part: str, said: str, reason: str
) -> None:
    made = written(part, said, score=0.5)
    assert (made.result, dict(made.dropped)) == ([], {reason: 1})


def test_thousands_of_paths_are_served_and_their_answers_read_quickly() -> None:
    leaves = "".join(f'<Choice value="Leaf number {n}"/>' for n in range(45))
    roots = "".join(f'<Choice value="Root {n}">{leaves}</Choice>' for n in range(100))
    (on,) = config(f'<Taxonomy name="kind" toName="image">{roots}</Taxonomy>').controls
    assert len(on.labels) == 4600
    for said in ("Root 7", "Leaf number 7", "nothing such"):
        read_path(on, said)
    begun = process_time()
    read = [read_path(on, f"{said} {n}") for n in range(10) for said in ("Root", "root 3 > Leaf")]
    assert process_time() - begun < 2
    assert [label and label.value for label in read[:2]] == ["Root 0", None]


@pytest.mark.parametrize(
    ("said", "path"),
    [("Other", None), ("Others", "C / Others"), ("Fern", "A / Fern"), ("Ferns", "B / Ferns")],
)
def test_a_last_name_is_a_path_where_no_other_path_has_it(said: str, path: str | None) -> None:
    names = {"A": ("Other", "Fern"), "B": ("Other", "Ferns"), "C": ("Others",)}
    tree = "".join(
        f'<Choice value="{root}">{"".join(f"""<Choice value="{one}"/>""" for one in some)}</Choice>'
        for root, some in names.items()
    )
    (on,) = config(f'<Taxonomy name="kind" toName="image">{tree}</Taxonomy>').controls
    label = read_path(on, said)
    assert (label and label.value) == path


def test_the_page_reads_whole_stars_from_one_on() -> None:
    values = (1, 2, 0, -1, True, 1.5, "1", None)
    assert [are_stars(value) for value in values] == [True, True, *[False] * 6]


def test_several_paths_are_one_result_and_one_where_the_config_allows_one() -> None:
    (both,) = written(KIND, "Plant", "Animal").result
    assert both["value"] == {"taxonomy": [["Plant"], ["an"]]}
    made = written(having(KIND, 'maxUsages="1"'), "Plant", "Animal")
    assert made.result[0]["value"] == {"taxonomy": [["Plant"]]}
    assert dict(made.dropped) == {"too_many": 1}


@pytest.mark.parametrize(
    "part",
    [
        '<Number name="score_threshold" toName="image"/>',
        '<Number name="Max_Regions" toName="image"/>',
        having(AMOUNT, 'perItem="true"'),
        having(AMOUNT, 'visibleWhen="choice-selected"'),
        having(AMOUNT, 'model_skip="true"'),
        AMOUNT.replace('toName="image"', 'toName="text"'),
        having(DAY, 'format="%L"'),
        having(KIND, 'apiUrl="http://x"'),
        having(KIND, 'value="$paths"'),
        having(KIND, 'labeling="true"'),
        '<Taxonomy name="kind" toName="image"/>',
        KIND.replace('"Animal"', '"Animal $kind"'),
    ],
)
def test_values_that_we_cannot_fill_are_left_to_people(part: str) -> None:
    assert [control.tag for control in config(BOXES, part).controls] == ["RectangleLabels"]


WAITS = 'visibleWhen="choice-selected" whenTagName="c" whenChoiceValue="x"'


def within(conditions: str, *parts: str) -> str:
    return f"<View {conditions}>{''.join(parts)}</View>"


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ([within(WAITS, AMOUNT)], []),
        ([within(WAITS, "<View>", AMOUNT, "</View>")], []),
        ([within(WAITS, having(AMOUNT, 'perRegion="true"'))], []),
        ([within(WAITS, having(AMOUNT, 'perRegion="true" visibleWhen="region-selected"'))], []),
        ([within('visibleWhen="region-selected"', within(WAITS, AMOUNT))], []),
        ([within(WAITS, within('visibleWhen="no-region-selected"', AMOUNT))], []),
        ([within('visibleWhen="no-region-selected"', AMOUNT)], ["amount"]),
        ([within('visibleWhen="region-selected"', AMOUNT)], ["amount"]),
        ([within("", AMOUNT), within(WAITS, STARS)], ["amount"]),
        ([within(WAITS, BOXES.replace('"box"', '"more"'))], ["more"]),
    ],
)
def test_values_in_a_view_that_waits_for_a_choice_are_left_to_people(
    parts: list[str], names: list[str]
) -> None:
    served = [control.from_name for control in config(CHOICES, BOXES, *parts).controls]
    assert served == ["c", "box", *names]


def test_a_view_for_regions_of_some_labels_is_a_condition_of_what_is_in_it() -> None:
    region = having(AMOUNT, 'perRegion="true"')
    for_cars = within('visibleWhen="Region-Selected" whenLabelValue="Car"', region)
    (control,) = config(BOXES, for_cars).controls[1:]
    assert (control.per_region, control.only_labels) == (True, ("Car",))
    named = within('visibleWhen="region-selected" whenTagName="box"', region)
    assert config(BOXES, named).controls[1].only_from == "box"
    own = within(
        'visibleWhen="region-selected" whenLabelValue="Car"',
        having(region, 'whenLabelValue="Dog"'),
    )
    assert config(BOXES, own).controls[1].only_labels == ("Dog",)


def test_what_an_annotator_asks_for_is_never_for_values() -> None:
    both = config(BOXES, AMOUNT, STARS)
    asked = plan(both, Intent("cars", controls=both.controls))
    assert all(isinstance(one.query, Locate) for one in asked)


# Which text areas are filled


def filled(parsed: LabelConfig) -> list[str]:
    return [control.from_name for control in parsed.controls if control.tag == "TextArea"]


@pytest.mark.parametrize(
    ("parts", "names", "prompts"),
    [
        ((TOTAL,), ["total"], []),
        ((TOTAL, NOTE), ["total", "note"], []),
        ((area("prompt"), TOTAL), ["total"], ["prompt"]),
        ((area("status", 'smart="false"'), TOTAL), ["total"], []),
        ((area("total", 'smart="false"'),), ["total"], []),
        ((CHOICES, TOTAL), [], ["total"]),
        ((CHOICES, TOTAL, area("status", 'smart="false"')), [], ["total"]),
        ((CHOICES, TOTAL, NOTE), ["total", "note"], []),
        ((CHOICES, TOTAL, AMOUNT), ["total"], []),
        ((CHOICES, having(TOTAL, 'model_task="fill"')), ["total"], []),
        ((TOTAL, having(NOTE, 'model_task="prompt"')), ["total"], ["note"]),
        ((TOTAL, having(NOTE, 'model_remember="prelabel"')), ["total"], ["note"]),
        ((TOTAL, having(NOTE, 'model_skip="true"')), ["total"], ["note"]),
        ((TOTAL, having(NOTE, 'value="$text"')), ["total"], ["note"]),
        ((BOXES, TOTAL), [], ["total"]),
        ((BOXES, TOTAL, NOTE), [], []),
        ((BOXES, area("total", 'smart="false"')), [], []),
        ((BOXES, area("prompt"), TOTAL), [], ["prompt"]),
        ((BOXES, having(TOTAL, 'model_task="fill"')), ["total"], []),
        ((BOXES, having(TOTAL, 'model_task="fill"'), NOTE), ["total"], ["note"]),
        ((BOXES, having(TOTAL, 'model_prompt="The sum"')), ["total"], []),
        ((BOXES, area("prompt", 'model_task="fill"')), ["prompt"], []),
        ((BOXES, area("t", 'perRegion="true" model_task="prompt"')), [], []),
        ((having(BOXES, 'model_skip="true"'), TOTAL), ["total"], []),
    ],
)
def test_a_text_area_is_for_prompts_or_for_the_model_and_never_for_both(
    parts: tuple[str, ...], names: list[str], prompts: list[str]
) -> None:
    parsed = config(*parts)
    assert filled(parsed) == names
    assert [area.name for area in parsed.prompt_areas()] == prompts


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((TOTAL,), []),
        ((area("status"), TOTAL), []),
        ((area("prompt"), BOXES), []),
        ((BOXES, area("notes", 'smart="false"')), []),
        ((BOXES, having(TOTAL, 'model_task="fill"')), []),
        ((AMOUNT, TOTAL), []),
        ((CHOICES, having(TOTAL, 'model_prompt="The sum"')), []),
        (
            (CHOICES, TOTAL, AMOUNT),
            ['<TextArea name="total">: the model fills it in; model_skip="true" leaves it to '
             "people"],
        ),
        (
            (CHOICES, TOTAL),
            ['<TextArea name="total">: it is left to people; model_task="fill" has the model '
             "fill it"],
        ),
        (
            (BOXES, TOTAL),
            ['<TextArea name="total">: prompts are typed into it; model_task="fill" has the '
             "model fill it"],
        ),
        (
            (BOXES, area("prompt"), TOTAL),
            ['<TextArea name="total">: it is left to people; model_task="fill" has the model '
             "fill it"],
        ),
    ],
)  # fmt: skip
def test_a_text_area_that_may_be_meant_for_either_is_a_warning(
    parts: tuple[str, ...], said: list[str]
) -> None:
    assert list(config(*parts).warnings) == said


def test_a_wrong_task_is_refused_by_name() -> None:
    error = refused(view(having(TOTAL, 'model_task="read"')))
    assert 'model_task="read"' in str(error)
    assert "prompt or fill or ocr" in error.hint


@pytest.mark.parametrize(
    ("parts", "tags"),
    [
        ((BOXES,), ()),
        ((BOXES, area("prompt")), ()),
        ((BOXES, area("notes")), ()),
        ((BOXES, area("text", 'perRegion="true"')), ("TextArea",)),
        ((BOXES, CHOICES), ("Choices",)),
        ((BOXES, CHOICES, AMOUNT), ("Choices", "Number")),
    ],
)
def test_only_configs_with_values_that_are_new_get_another_version(
    parts: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    assert config(*parts).later_tags == tags


@given(st.sampled_from([TOTAL, AMOUNT, DAY, STARS, KIND]), st.lists(st.text(), max_size=4))
def test_no_words_of_the_model_make_a_result_of_another_type(part: str, said: list[str]) -> None:
    for result in written(part, *said).result:
        (value,) = result["value"].values()
        kind = {"textarea": list, "taxonomy": list, "datetime": str}.get(
            result["type"], (int, float)
        )
        assert isinstance(value, kind)
        assert json.loads(json.dumps(result["value"], allow_nan=False)) == result["value"]
