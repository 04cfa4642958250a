"""A labelling config that cannot be served is refused, with a reason that fits a status line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import ConfigError
from grounding.labelstudio.config.parse import parse
from tests.labelstudio.configs import (
    BOXES,
    CAR_DOG,
    CHOICES,
    IMAGE,
    KEY_POINT,
    LABELS,
    POINTS,
    PROMPT,
    fits_a_status_line,
    having,
    refused,
    view,
)

POLYGONS = f'<PolygonLabels name="p" toName="image">{CAR_DOG}</PolygonLabels>'
PAGE = '<Image name="p_{{idx}}" value="$pages[{{idx}}]"/>'
ON_PAGE = BOXES.replace("image", "p_{{idx}}")
PROMPTED = KEY_POINT.replace("/>", ' model_prompt="%s"/>')


def repeater(*parts: str) -> str:
    """Return parts that are there once for each picture of a task."""
    return f'<Repeater on="$pages" indexFlag="{{{{idx}}}}">{"".join(parts)}</Repeater>'


BROKEN = [
    (None, "label_config_invalid", "NoneType"),
    (7, "label_config_invalid", "int"),
    ("", "label_config_invalid", "no element found at line 1, column 1"),
    ("cats", "label_config_invalid", "line 1, column 1"),
    ("<View>\n  <Image>\n</View>", "label_config_invalid", "mismatched tag at line 3, column 3"),
    ("<View>\x00</View>", "label_config_invalid", "line 1, column 7"),
    ("<View>\ud800</View>", "label_config_invalid", "half a character at position 7"),
    ("<View>&nbsp;</View>", "label_config_invalid", "undefined entity"),
    ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "label_config_invalid", "DOCTYPE"),
    ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><View/>', "label_config_invalid", "DOCTYPE"),
    (f"<View>{' ' * 256 * 1024}</View>", "label_config_too_large", "256 KiB"),
    (f"<View>{'é' * 140 * 1024}</View>", "label_config_too_large", "256 KiB"),
    ("<View>" * 65 + "</View>" * 65, "label_config_too_large", "64"),
    (view("<Style/>" * 5000), "label_config_too_large", "5000 elements"),
    (
        view(*[BOXES.replace('"box"', f'"{i}"') for i in range(101)]),
        "label_config_too_large",
        "100 controls",
    ),
    (view("<Label/>" * 1001), "label_config_too_large", "1001 labels"),
    (view(f'<Label value="{"x" * 201}"/>'), "label_config_too_large", "200"),
    (view(f'<Label value="x" alias="{"x" * 201}"/>'), "label_config_too_large", "alias"),
    (view(f'<Label value="x" predicted_values="y,{"x" * 201}"/>'), "label_config_too_large", "200"),
    (view(BOXES, BOXES), "name_not_unique", 'name="box"'),
    (view(BOXES.replace("box", "image")), "name_not_unique", 'name="image"'),
    (view('<KeyPointLabels name="k"/>'), "control_not_on_image", 'name="k"> has no toName'),
    (view('<Rectangle name="r" toName="x"/>'), "control_not_on_image", 'toName="x"'),
    (view('<Rectangle name="r" toName="r"/>'), "control_not_on_image", "a <Rectangle>"),
    (
        view('<Text name="t" value="$t"/>', BOXES.replace('toName="image"', 'toName="t"')),
        "control_not_on_image",
        '<RectangleLabels name="box"> has toName="t", a <Text>',
    ),
    (view(BOXES.replace('name="box"', "")), "label_config_invalid", "has no name"),
    (view(BOXES).replace("$image", "image"), "value_not_variable", 'value="image"'),
    (view(BOXES).replace("$image", "http://h/$p.jpg"), "value_not_variable", "not one variable"),
    (view(BOXES).replace("$image", "$pages[{{idx}}]"), "value_not_variable", "{{idx}}"),
    (view(BOXES).replace(' value="$image"', ""), "value_not_variable", '<Image name="image">'),
    (view(BOXES).replace("value=", "valueList=", 1), "multi_image_unsupported", "valueList"),
    (
        view(repeater(PAGE, ON_PAGE)),
        "multi_image_unsupported",
        '<RectangleLabels name="box"> is in a <Repeater>: one image per task is served',
    ),
    (
        view(repeater(PAGE), ON_PAGE),
        "multi_image_unsupported",
        '<Image name="p_{{idx}}"> is in a <Repeater>',
    ),
    (view(PROMPTED % "{labels}"), "attribute_invalid", "{labels} in model_prompt, and no labels"),
    (
        view(having(BOXES, 'model_prompt="cars in {image}"')),
        "attribute_invalid",
        '<RectangleLabels name="box"> has {image} in model_prompt',
    ),
    (
        view('<Image name="b" value="$a.b"/>', having(BOXES, 'model_prompt="like {a.b}"')),
        "attribute_invalid",
        "{a.b} in model_prompt: an image's address",
    ),
    (
        view(having(BOXES, 'model_prompt_field="$image"')),
        "attribute_invalid",
        '<RectangleLabels name="box"> has model_prompt_field="image": an image\'s address',
    ),
    (view(BOXES.replace(CAR_DOG, "")), "no_labels", "has no <Label>"),
    (view(BOXES.replace(CAR_DOG, '<Label hotkey="1"/>')), "no_labels", "has no <Label>"),
    (view('<RectangleLabels name="r" toName="image" value="$v"/>'), "labels_in_data", 'data: "$v"'),
    (view(having(BOXES, 'value="$labels"')), "labels_in_data", 'name="box"> takes labels from'),
    (view(BOXES.replace("Dog", "$animal")), "labels_in_data", 'data: "$animal"'),
    (
        view(BOXES.replace("Dog", f"${'x' * 99}").replace('"box"', f'"{"b" * 99}"')),
        "labels_in_data",
        "$xx",
    ),
    (view(having(LABELS, 'value="$v"'), KEY_POINT), "labels_in_data", '<Labels name="label">'),
    (view(CHOICES.replace('"x"', '"$x"')), "labels_in_data", '<Choices name="c">'),
    (view(BOXES.replace("Dog", "big $animal")), "labels_in_data", 'data: "big $animal"'),
    (view(BOXES.replace("Dog", "${kind.name}s")), "labels_in_data", 'data: "${kind.name}s"'),
    (view(CHOICES.replace('"x"', '"no $x"')), "labels_in_data", '<Choices name="c">'),
    (view('<Choices name="c" toName="image" value="$o"/>'), "labels_in_data", 'data: "$o"'),
    (view(having(CHOICES, 'value="$o"')), "labels_in_data", 'data: "$o"'),
    (view('<Taxonomy name="x" toName="image" value="$o"/>'), "labels_in_data", 'data: "$o"'),
    (view(KEY_POINT), "no_labels", "no <Labels>"),
    (
        view(LABELS.replace(CAR_DOG, ""), KEY_POINT),
        "no_labels",
        "label",
    ),
    (view(POLYGONS), "nothing_served", 'nothing is served here: not <PolygonLabels name="p">'),
    (view(POLYGONS, PROMPT), "nothing_served", '<PolygonLabels name="p"> and 1 more'),
    (view(PROMPT, POLYGONS), "nothing_served", '<PolygonLabels name="p"> and 1 more'),
    (view(LABELS), "nothing_served", '<Labels name="label">'),
    (view(PROMPT), "nothing_served", '<TextArea name="prompt">'),
    (
        '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/>'
        "</Choices></View>",
        "nothing_served",
        '<Choices name="c">',
    ),
    (view(POLYGONS.replace('"p"', f'"{"ü" * 90}"')), "nothing_served", "<PolygonLabels"),
    (view(POLYGONS), "nothing_served", "the model draws no outlines"),
    (view('<BrushLabels name="b" toName="image"/>'), "nothing_served", "draws no outlines"),
    (
        view('<Image name="b" value="$b"/><Rating name="same" toName="image,b"/>'),
        "nothing_served",
        'not <Rating name="same">: it is about several images',
    ),
    (
        view(CHOICES).replace("value=", "valueList=", 1),
        "nothing_served",
        'not <Choices name="c">: its image has valueList, several images in one task',
    ),
    (
        '<View><Audio name="a" value="$a"/><Labels name="l" toName="a"><Label value="x"/></Labels>'
        "</View>",
        "nothing_served",
        'not <Labels name="l">: it is about <Audio>',
    ),
    (view(having(BOXES, f'model_{"x" * 99}="1"')), "attribute_unknown", "model_xxx"),
]

UNKNOWN = [
    (BOXES, "model_score_treshold", "RectangleLabels", "Write model_score_threshold, or remove it"),
    (BOXES, "model_path", "RectangleLabels", "Remove it"),
    (POINTS, "model_answr", "KeyPointLabels", "Write model_answer, or remove it"),
    (
        CHOICES,
        "model_point_width",
        "Choices",
        "Move it to RectangleLabels or KeyPointLabels or Rectangle or KeyPoint, or remove it",
    ),
    (BOXES + PROMPT, "model_remember", "RectangleLabels", "Move it to TextArea, or remove it"),
    (PROMPT + BOXES, "model_rember", "TextArea", "Write model_remember, or remove it"),
    (PROMPT + BOXES, "model_description", "TextArea", "Move it to Label, or remove it"),
    ('<Label value="x"/>', "model_describtion", "Label", "Write model_description, or remove it"),
    (IMAGE.replace('"image"', '"i"') + BOXES, "model_max_size", "Image", "Remove it"),
]
"""Parts, an attribute of their first tag, that tag, and the cure."""


@pytest.mark.parametrize(("xml", "code", "says"), BROKEN)
def test_a_broken_config_is_refused_with_its_code_and_says_where(
    xml: object, code: str, says: str
) -> None:
    error = refused(xml)
    assert (error.code, error.status) == (code, 400)
    assert says in error.cause
    assert error.hint


@pytest.mark.parametrize(("part", "attribute", "tag", "cure"), UNKNOWN)
def test_an_attribute_that_its_tag_does_not_take_is_refused_with_the_right_one(
    part: str, attribute: str, tag: str, cure: str
) -> None:
    error = refused(view(having(part, f'{attribute}="1"')))
    assert (error.code, error.status) == ("attribute_unknown", 400)
    assert error.cause.startswith(f"<{tag}")
    assert f" has {attribute}, which " in error.cause
    assert error.hint == cure
    assert fits_a_status_line(error.cause)


@pytest.mark.parametrize("xml", [case[0] for case in BROKEN])
def test_each_cause_fits_an_http_status_line(xml: object) -> None:
    assert fits_a_status_line(refused(xml).cause)


@given(name=st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "S", "P", "Z"))))
def test_no_name_makes_a_cause_unfit_for_a_status_line(name: str) -> None:
    safe = name.replace("&", "").replace("<", "").replace('"', "")
    element = f'<KeyPointLabels name="{safe}" toName="{safe}{safe}"/>'
    text = f'<Paragraphs{"x" * 50} name="{safe}{safe}" value="$t"/>'
    assert fits_a_status_line(refused(view(element, text)).cause)


@given(xml=st.text(alphabet=st.sampled_from('<>/="& \n\x00é') | st.sampled_from("Viewabel$")))
def test_any_text_is_parsed_or_refused(xml: str) -> None:
    with suppress(ConfigError):
        assert parse(xml).controls == ()
