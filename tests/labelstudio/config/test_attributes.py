"""The attributes of a control settle its options, and a wrong one is told what it may be."""

from __future__ import annotations

import pytest

from grounding.labelstudio.config.interface import Options, Template
from grounding.queries import PromptStyle
from tests.labelstudio.configs import (
    BOXES,
    POINTS,
    config,
    control,
    fits_a_status_line,
    having,
    refused,
    view,
)

LONG_NAME = BOXES.replace('"box"', f'"{"ü" * 100}"')

WRONG = [
    (POINTS, 'model_point_width="wide"'),
    (POINTS, 'model_point_width="nan"'),
    (POINTS, 'model_point_width="0"'),
    (BOXES, 'model_score_threshold="2"'),
    (BOXES, 'model_score_threshold="-0.1"'),
    (BOXES, 'model_max_regions="0"'),
    (BOXES, 'model_max_regions="1001"'),
    (BOXES, 'model_max_regions="1.5"'),
    (BOXES, 'model_skip="perhaps"'),
    (BOXES, 'model_prompt="a { b"'),
    (BOXES, 'model_prompt="a } b"'),
    (BOXES, 'model_prompt="in {}"'),
    (BOXES, 'model_prompt="in { }"'),
    (BOXES, 'model_prompt="{&quot;bbox_2d&quot;: 1}"'),
    (BOXES, 'model_prompt="in {city!r}"'),
    (BOXES, f'model_prompt="{"x" * 1001}"'),
    (BOXES, 'model_prompt_field="$"'),
    (BOXES, 'model_prompt_mode="freely"'),
    (BOXES, 'model_language="de"'),
    (BOXES, 'model_answer_format="xml"'),
    (POINTS, 'model_answer_format="plain"'),
    (BOXES, 'model_min_pixels="783"'),
    (BOXES, 'model_max_pixels="1e6"'),
    (BOXES, 'model_labels_per_query="1000"'),
    (BOXES, 'model_labels_per_query="-1"'),
    (LONG_NAME, f'model_score_threshold="{"é" * 100}"'),
]


@pytest.mark.parametrize(("part", "attribute"), WRONG)
def test_a_wrong_value_names_tag_attribute_and_cure(part: str, attribute: str) -> None:
    name = attribute.partition("=")[0]
    error = refused(view(having(part, attribute)))
    assert (error.code, error.status) == ("attribute_invalid", 400)
    tag = "KeyPointLabels" if part is POINTS else "RectangleLabels"
    assert error.cause.startswith(f"<{tag} name=")
    assert f'has {name}="' in error.cause
    assert error.hint.startswith(f"Set {name} to ")
    assert fits_a_status_line(error.cause)


def test_bounds_that_leave_nothing_between_them_are_refused() -> None:
    attributes = 'model_min_pixels="123456789" model_max_pixels="1000"'
    error = refused(view(having(LONG_NAME, attributes)))
    assert error.code == "attribute_invalid"
    assert error.cause.endswith("has model_min_pixels above model_max_pixels")
    assert "123456789" in error.hint
    assert fits_a_status_line(error.cause)


def test_an_invalid_attribute_is_named_with_its_tag_and_cure() -> None:
    error = refused(view(having(POINTS, 'model_point_width="wide"')))
    assert str(error) == (
        '<KeyPointLabels name="kp"> has model_point_width="wide". '
        "Set model_point_width to a number from 0.01 to 100, or remove it"
    )


def test_options_come_from_the_control_s_attributes() -> None:
    attributes = (
        'model_point_width="2.5" model_score_threshold=".25" model_prompt=" red things " '
        'model_labels_per_query="3" model_max_regions="7" model_prompt_field=" $q " '
        'model_skip="false"'
    )
    options = control(having(POINTS, attributes)).options
    assert (options.point_width, options.score_threshold) == (2.5, 0.25)
    assert (options.prompt, options.prompt_field) == (Template((("red things", None),)), "q")
    assert (options.labels_per_query, options.max_regions) == (3, 7)


def test_the_manner_and_the_pixels_come_from_the_control_s_attributes() -> None:
    attributes = (
        'model_prompt_mode="RAW" model_language="zh" model_answer_format="xml" '
        'model_min_pixels="12544" model_max_pixels="19600"'
    )
    found = config(having(POINTS, attributes))
    options = found.controls[0].options
    assert options.style == PromptStyle("zh", "xml", raw=True)
    assert (options.min_pixels, options.max_pixels) == (12544, 19600)
    assert found.warnings == ()
    wrapped = having(BOXES, 'model_prompt_mode="wrap" model_language="auto"')
    assert control(wrapped).options == Options()
    plain = having(BOXES, 'model_answer_format="plain"')
    assert control(plain).options.style == PromptStyle(answer_format="plain")


@pytest.mark.parametrize(
    ("part", "attribute", "cure"),
    [
        (BOXES, 'model_answer_format="xml"', "json or plain"),
        (POINTS, 'model_answer_format="plain"', "json or xml"),
        (BOXES, 'model_prompt_mode="no"', "wrap or raw"),
        (BOXES, 'model_language="fr"', "auto or en or zh"),
        (BOXES, 'model_min_pixels="x"', "a whole number of at least 784"),
    ],
)
def test_the_error_for_an_unknown_style_lists_the_valid_ones(
    part: str, attribute: str, cure: str
) -> None:
    name = attribute.partition("=")[0]
    tag = "RectangleLabels" if part is BOXES else "KeyPointLabels"
    error = refused(view(having(part, attribute)))
    assert error.cause.startswith(f"<{tag} name=")
    assert attribute in error.cause
    assert error.hint == f"Set {name} to {cure}, or remove it"
