"""A backend's `extra_params` are read in each form that Label Studio sends, or refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import ConfigError
from grounding.labelstudio.config.attributes import read_params
from grounding.labelstudio.config.parse import parse
from tests.labelstudio.configs import BOXES, KEY_POINT, POINTS, fits_a_status_line, having, view

WRITTEN = {"prompt": "toys", "model_score_threshold": 0.4, "Model_Skip": False, "max_regions": 3.0}
READ = {
    "model_prompt": "toys",
    "model_score_threshold": "0.4",
    "model_skip": "false",
    "model_max_regions": "3",
}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (None, {}),
        ("", {}),
        (" ", {}),
        ("null", {}),
        ("{}", {}),
        ({}, {}),
        (WRITTEN, READ),
        (json.dumps(WRITTEN), READ),
        ({"prompt": "", "language": None, "max_regions": 7}, {"model_max_regions": "7"}),
        ({"answer_format": "xml"}, {"model_answer_format": "xml"}),
        ({"labels_per_question": 5}, {"model_labels_per_query": "5"}),
    ],
)
def test_null_a_text_and_an_object_are_read(given: object, values: dict[str, str]) -> None:
    assert read_params(given).values == values


def test_the_stored_text_is_read_as_the_same_parameters_whatever_their_order() -> None:
    kept = read_params(WRITTEN).text
    assert read_params(kept) == read_params(WRITTEN)
    assert read_params(dict(reversed(WRITTEN.items()))).text == kept


@pytest.mark.parametrize(
    ("given", "says", "cure"),
    [
        ("cats", "extra_params is no JSON object", "score_threshold"),
        ("[1]", "extra_params is no JSON object", "score_threshold"),
        (7, "extra_params is no JSON object", "score_threshold"),
        ("[" * 60_000, "extra_params is no JSON object", "score_threshold"),
        ({"a": "x" * 70_000}, "extra_params is too long", "65536"),
        ({"score_threshold": 2}, 'extra_params has score_threshold="2"', "0 to 1"),
        ({"score_threshold": True}, 'extra_params has score_threshold="true"', "0 to 1"),
        ('{"score_threshold": NaN}', 'extra_params has score_threshold="nan"', "0 to 1"),
        ({"model_max_regions": 1.5}, 'extra_params has model_max_regions="1.5"', "1 to 1000"),
        ({"prompt": ["toys"]}, "extra_params has no text or number in prompt", "one value"),
        ({"prompt": "a {"}, 'extra_params has prompt="a {"', "{{ and }}"),
        ({"answer_format": "csv"}, 'has answer_format="csv"', "json or plain, or json or xml"),
        ({"prompt": "a", "model_prompt": "b"}, "extra_params has model_prompt twice", "Keep one"),
        ({"language": "é" * 100}, "extra_params has language=", "auto or en or zh"),
    ],
)
def test_a_wrong_one_names_the_parameter_and_the_cure(given: object, says: str, cure: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_params(given)
    error = caught.value
    assert says in error.cause
    assert cure in error.hint
    assert error.status == 400
    assert fits_a_status_line(error.cause)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("model_path", "Remove it"),
        ("api_key", "Remove it"),
        ("score_treshold", "Write score_threshold, or remove it"),
        ("Model_Max_Region", "Write max_regions, or remove it"),
        ("é" * 200, "Remove it"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_never_its_value(
    name: str, cure: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_params({name: "canary", "max_regions": 5})
    error = caught.value
    assert (error.code, error.hint) == ("extra_params_invalid", cure)
    assert "which no control takes" in error.cause
    assert "canary" not in str(error)
    assert fits_a_status_line(error.cause)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*READ, "prompt", "min_pixels", "answer_format"]) | st.text()


@given(given=st.dictionaries(NAMES, JSON, max_size=5) | JSON)
def test_any_value_is_read_or_refused(given: object) -> None:
    with suppress(ConfigError):
        params = read_params(given)
        assert read_params(params.text).values == params.values


def test_a_tag_s_own_attribute_overrides_the_project_s() -> None:
    params = '{"score_threshold": 0.4, "max_regions": 5, "skip": true}'
    part = having(BOXES, 'model_score_threshold="0.7" model_skip="false"')
    (only,) = parse(view(part, POINTS), params).controls
    assert (only.options.score_threshold, only.options.max_regions) == (0.7, 5)


def test_a_default_for_one_kind_of_control_does_not_affect_the_other_kind() -> None:
    boxes, points = parse(view(BOXES, POINTS), '{"answer_format": "xml"}').controls
    assert boxes.options.style.answer_format == "json"
    assert points.options.style.answer_format == "xml"


def test_a_shape_without_labels_is_served_if_the_project_has_a_prompt() -> None:
    assert parse(view(KEY_POINT), '{"prompt": "toys"}').controls[0].labels == ()


def test_a_default_that_does_not_fit_a_tag_names_that_tag() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(view(having(BOXES, 'model_min_pixels="5000"')), '{"max_pixels": 1000}')
    assert caught.value.cause.startswith('<RectangleLabels name="box"> has model_min_pixels')
