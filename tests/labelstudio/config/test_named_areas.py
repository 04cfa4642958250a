"""Text areas whose name alone says that they describe or transcribe, and what that leaves alone."""

from __future__ import annotations

import json

import pytest

from grounding.labelstudio.config.interface import ModelTask
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.plan import plan
from grounding.queries import Fill, Transcribe
from tests.labelstudio.configs import BOXES, CHOICES, LABELS, RECTANGLE, area, config, having, view
from tests.pipeline.test_pipeline import NONE, InlineEngine, grounded

REGION = 'perRegion="true"'
ENGLISH = "What is seen here, in one or two sentences"
CHINESE = "用一两句话描述所见内容"
TEXT_LINES = '<RectangleLabels name="line" toName="image"><Label value="Text"/></RectangleLabels>'


@pytest.mark.parametrize(
    ("name", "attributes", "prompt"),
    [
        ("caption", "", ENGLISH),
        ("image_caption", "", ENGLISH),
        ("Description", "", ENGLISH),
        ("describe", "", ENGLISH),
        ("描述", "", CHINESE),
        ("描述", 'model_language="en"', ENGLISH),
        ("descripción", "", ENGLISH),
        ("description_détaillée", "", ENGLISH),
        ("图1_caption", "", ENGLISH),
        ("caption", 'model_language="zh"', CHINESE),
        ("caption", 'model_prompt="The mood"', "The mood"),
        ("caption", 'model_task="fill"', ""),
    ],
)
def test_a_lone_area_that_is_named_after_a_description_is_asked_for_one(
    name: str, attributes: str, prompt: str
) -> None:
    (planned,) = plan(config(area(name, attributes)))
    assert isinstance(planned.query, Fill)
    (field,) = planned.query.fields
    assert (field.name, field.prompt) == (name, prompt)


@pytest.mark.parametrize("name", ["text", "answer", "transcription", "subscription", "notes"])
def test_any_other_lone_area_takes_all_print(name: str) -> None:
    (planned,) = plan(config(area(name)))
    assert isinstance(planned.query, Transcribe)


def test_a_description_beside_choices_is_one_question_with_them() -> None:
    (planned,) = plan(config(CHOICES, area("caption"), area("shop")))
    assert isinstance(planned.query, Fill)
    assert [(f.name, f.prompt) for f in planned.query.fields] == [
        ("c", ""),
        ("caption", ENGLISH),
        ("shop", ""),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "product_description",
        "itemDescription",
        "JobDescription",
        "caption_author",
        "产品说明",
        "说明书编号",
        "short_description_of_goods",
    ],
)
def test_a_field_of_a_form_that_is_called_a_description_is_filled_in_as_printed(name: str) -> None:
    (planned,) = plan(config(area("total"), area(name)))
    assert isinstance(planned.query, Fill)
    assert [(field.name, field.prompt) for field in planned.query.fields] == [
        ("total", ""),
        (name, ""),
    ]


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("image_caption", ENGLISH),
        ("imageCaption", ENGLISH),
        ("IMAGE_DESCRIPTION", ENGLISH),
        ("caption_2", ENGLISH),
        ("short-description", ENGLISH),
        ("captions", ENGLISH),
        ("describe", ENGLISH),
        ("descripción", ENGLISH),
        ("图片描述", CHINESE),
        ("画面内容说明", CHINESE),
    ],
)
def test_a_description_of_the_picture_is_one_beside_other_values(name: str, prompt: str) -> None:
    (planned,) = plan(config(area("total"), area(name)))
    assert isinstance(planned.query, Fill)
    assert planned.query.fields[1].prompt == prompt


def test_model_task_ocr_goes_before_the_name() -> None:
    (planned,) = plan(config(area("caption", 'model_task="ocr"')))
    assert isinstance(planned.query, Transcribe)


@pytest.mark.parametrize(
    ("parts", "task"),
    [
        ((BOXES, area("transcription", REGION)), ModelTask.OCR),
        ((BOXES, area("plate_OCR", REGION)), ModelTask.OCR),
        ((LABELS, RECTANGLE, area("transcript", REGION)), ModelTask.OCR),
        ((BOXES, area("description", REGION)), ModelTask.FILL),
        ((BOXES, area("text", REGION)), None),
        ((BOXES, area("doctor", REGION)), None),
        ((BOXES, area("democracy", REGION)), None),
        ((BOXES, area("DEMOCRACY", REGION)), None),
        ((BOXES, area("ocrText", REGION)), ModelTask.OCR),
        ((BOXES, area("OCRText", REGION)), ModelTask.OCR),
        ((BOXES, area("plateOcr", REGION)), ModelTask.OCR),
        ((BOXES, area("plateOCR", REGION)), ModelTask.OCR),
        ((TEXT_LINES, area("transcription", REGION)), None),
        ((TEXT_LINES, area("description", REGION)), None),
    ],
)
def test_an_area_of_each_region_does_what_its_name_says_unless_the_boxes_read(
    parts: tuple[str, ...], task: ModelTask | None
) -> None:
    found = config(*parts)
    (one,) = [control for control in found.controls if control.tag == "TextArea"]
    assert (one.task, one.asks_of_regions) == (task, task is not None)
    assert ("TextArea:name" in found.later_tags) == (task is not None)


def test_a_region_is_read_only_where_no_text_came_with_its_place() -> None:
    signs = [
        {"bbox_2d": [64, 48, 128, 96], "label": "Car", "text_content": "EXIT"},
        {"bbox_2d": [322, 238, 483, 357], "label": "Car"},
    ]

    def says(text: str) -> str:
        if "Read all the text" in text:
            return "WAY IN"
        return json.dumps(signs) if "'Car'" in text else NONE

    done = grounded(InlineEngine(says), BOXES, area("transcription", REGION))
    texts = [one["value"]["text"] for one in done.prediction["result"] if one["type"] == "textarea"]
    assert texts == [["EXIT"], ["WAY IN"]]


@pytest.mark.parametrize(
    ("parts", "warned"),
    [
        ((BOXES, area("notes", REGION)), True),
        ((BOXES, area("notes", f'{REGION} model_prompt="Its colour"')), False),
        ((BOXES, area("notes", f'{REGION} model_skip="true"')), False),
        ((BOXES, area("transcription", REGION)), False),
        ((TEXT_LINES, area("notes", REGION)), False),
    ],
)
def test_an_area_that_would_stay_empty_is_a_warning(
    parts: tuple[str, ...], *, warned: bool
) -> None:
    said = [one for one in config(*parts).warnings if "takes a text" in one]
    assert len(said) == warned
    assert all('name="notes"' in one and 'model_task="ocr"' in one for one in said)


@pytest.mark.parametrize(
    ("parts", "empty"),
    [
        ((TEXT_LINES, area("note", REGION), area("ocr", REGION)), {"note": "ocr"}),
        ((TEXT_LINES, area("note", REGION), area("remark", REGION)), {"remark": "note"}),
        ((BOXES, area("a", REGION), area("b", REGION)), {"b": "a"}),
        ((BOXES, area("a", f'{REGION} whenLabelValue="Car"'), area("b", REGION)), {}),
        ((TEXT_LINES, area("note", f'{REGION} model_skip="true"'), area("ocr", REGION)), {}),
        ((TEXT_LINES, area("note", f'{REGION} model_prompt="Why"'), area("ocr", REGION)), {}),
        ((BOXES, area("transcription", REGION), area("caption", REGION)), {}),
    ],
)
def test_an_area_beside_the_one_that_takes_the_text_is_a_warning_that_names_it(
    parts: tuple[str, ...], empty: dict[str, str]
) -> None:
    said = [one for one in config(*parts).warnings if "stays empty" in one]
    assert len(said) == len(empty)
    for one, (name, taker) in zip(said, empty.items(), strict=True):
        assert one.startswith(f'<TextArea name="{name}">: stays empty: "{taker}" takes')


def test_what_is_described_is_asked_although_print_came_with_the_box() -> None:
    """The print goes to the one area, and the other is asked about the region."""
    signs = [{"bbox_2d": [10, 10, 90, 90], "label": "Car", "text": "EXIT"}]

    def says(text: str) -> str:
        if ENGLISH in text:
            return '{"caption": "A green sign."}'
        return json.dumps(signs) if "'Car'" in text else NONE

    parts = area("caption", REGION), area("transcription", REGION)
    done = grounded(InlineEngine(says), BOXES, *parts)
    areas = [one for one in done.prediction["result"] if one["type"] == "textarea"]
    texts = {one["from_name"]: one["value"]["text"] for one in areas}
    assert texts == {"transcription": ["EXIT"], "caption": ["A green sign."]}


def test_the_description_of_a_span_goes_to_the_area_that_is_named_after_it() -> None:
    areas = area("text", REGION).replace("image", "v") + area("caption", REGION).replace(
        "image", "v"
    )
    (said,) = parse(FILM.format(SPANS + areas)).warnings
    assert said.startswith('<TextArea name="text">: stays empty: "caption" takes')


def test_a_description_by_name_is_not_looked_for_in_the_print() -> None:
    engine = InlineEngine(lambda text: '{"caption": "A dog", "n": 7}' if "JSON" in text else "EXIT")
    check = 'model_check="true"'
    number = f'<Number name="n" toName="image" {check}/>'
    result = grounded(engine, area("caption", check), number).prediction["result"]
    assert [(one["from_name"], "meta" in one) for one in result] == [
        ("caption", False),
        ("n", True),
    ]
    before = len(engine.requests)
    grounded(engine, area("caption", check))
    assert len(engine.requests) == before + 1, "nothing is read to compare it with"


FILM = '<View><Video name="v" value="$v"/>{}</View>'
SPANS = '<TimelineLabels name="t" toName="v"><Label value="jump"/></TimelineLabels>'
TRACKS = (
    '<VideoRectangle name="r" toName="v"/><Labels name="l" toName="v"><Label value="x"/></Labels>'
)
ON_FILM = '<Choices name="c" toName="v"><Choice value="x"/></Choices>'


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (FILM.format(SPANS + having(ON_FILM, REGION)), ["c"]),
        (FILM.format(SPANS + having(area("why", REGION), 'model_prompt="Why?"')), []),
        (
            FILM.format(SPANS + area("why", f'{REGION} model_prompt="Why?"').replace("image", "v")),
            ["why"],
        ),
        (FILM.format(SPANS + area("what", REGION).replace("image", "v")), []),
        (view(CHOICES, area("description", REGION)), ["description"]),
        (view(BOXES, area("description", REGION)), []),
        (view(CHOICES, area("description", f'{REGION} model_skip="true"')), []),
    ],
)
def test_a_control_of_regions_that_nobody_asks_about_is_a_warning(
    xml: str, said: list[str]
) -> None:
    warned = [one for one in parse(xml).warnings if "is left to people" in one]
    assert [one.split('"')[1] for one in warned] == said


@pytest.mark.parametrize(
    ("parts", "warned"),
    [
        (TRACKS + ON_FILM, False),
        ('<VideoRectangle name="r" toName="v"/>' + ON_FILM, True),
        ('<VideoRectangle name="r" toName="v" model_skip="true"/>' + ON_FILM, False),
        (SPANS.replace('name="t" ', "") + ON_FILM, True),
        (SPANS.replace('<Label value="jump"/>', "") + ON_FILM, True),
    ],
)
def test_what_would_draw_on_a_film_and_lacks_something_is_a_warning(
    parts: str, *, warned: bool
) -> None:
    said = [one for one in parse(FILM.format(parts)).warnings if "is not served: it needs" in one]
    assert len(said) == warned


def test_an_area_beside_boxes_in_films_alone_stays_empty_with_a_warning() -> None:
    note = area("note", REGION).replace("image", "v")
    (said,) = parse(FILM.format(TRACKS + note)).warnings
    assert said.endswith("boxes in films bring none, so it stays empty")
    assert parse(FILM.format(TRACKS + SPANS + note)).warnings == ()


HIDDEN = 'visibleWhen="choice-selected" whenTagName="c" whenChoiceValue="x"'


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((BOXES, area("why"), area("prompt")), ['it is left to people; model_task="fill" has']),
        ((BOXES, area("why", HIDDEN), area("prompt")), []),
        ((BOXES, area("why", HIDDEN)), ['prompts are typed into it; smart="false" leaves']),
        ((BOXES, f"<View {HIDDEN}>{area('why')}</View>", area("prompt")), []),
        ((area("why", HIDDEN),), []),
    ],
)
def test_a_hidden_area_is_not_said_to_be_filled_by_a_task(
    parts: tuple[str, ...], said: list[str]
) -> None:
    """No attribute has the model fill an area that the page shows at times only."""
    warned = [one for one in config(CHOICES, *parts).warnings if 'name="why"' in one]
    assert len(warned) == len(said)
    assert all(words in one for words, one in zip(said, warned, strict=True))


SECOND = '<Image name="two" value="$two"/>'


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (view(CHOICES, SECOND), '<Image name="two">,'),
        (view(BOXES, SECOND, '<Video name="three" value="$three"/>'), '<Image name="two"> and 1'),
        (view(CHOICES, SECOND.replace(' name="two"', "")), "<Image>,"),
        (view(CHOICES, SECOND, CHOICES.replace('"c"', '"d"').replace('"image"', '"two"')), ""),
        (view(CHOICES, SECOND, '<Pairwise name="p" toName="image, two"/>'), ""),
        (view(CHOICES, '<Image name="legend" value="https://host/legend.png"/>'), ""),
        (view(having(CHOICES, 'model_skip="true"'), SECOND), ""),
        (view(CHOICES), ""),
    ],
)
def test_pictures_that_people_see_and_the_model_does_not_are_a_warning(xml: str, said: str) -> None:
    """As where people choose which pictures are like the first: the model answers all the same."""
    warned = [one for one in parse(xml).warnings if "does not see" in one]
    assert [one.startswith(f"the model does not see {said}") for one in warned] == [True] * bool(
        said
    )
