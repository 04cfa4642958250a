"""The value that an image's `value="$key"` names is found in a task's data, or is an error."""

from __future__ import annotations

import pytest

from grounding.errors import DataError
from grounding.labelstudio.data import find_image_address, fold


@pytest.mark.parametrize(
    ("data", "key", "value"),
    [
        ({"image": "u"}, "image", "u"),
        ({"a": {"b": "u"}}, "a.b", "u"),
        ({"a.b": "plain", "a": {"b": "path"}}, "a.b", "plain"),
        ({"pages": ["u", "v"]}, "pages[1]", "v"),
        ({"pages": [{"url": "u"}]}, "pages[0].url", "u"),
        ({"$undefined$": "u"}, "image", "u"),
    ],
)
def test_data_is_found_by_key_and_by_path(data: dict[str, object], key: str, value: object) -> None:
    assert find_image_address(data, key) == value


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({}, "image"),
        ({"image": None}, "image"),
        ({"a": "text"}, "a.b"),
        ({"pages": ["u"]}, "pages[1]"),
        ({"pages": "u"}, "pages[0]"),
        ({"pages": ["u"]}, "pages[²]"),
        ({"pages": ["u"]}, "pages[" + "9" * 5000 + "]"),
    ],
)
def test_missing_data_is_an_error(data: dict[str, object], key: str) -> None:
    with pytest.raises(DataError) as caught:
        find_image_address(data, key)
    assert caught.value.code == "image_key_missing"


def test_missing_data_names_the_key_and_the_keys_present_and_no_value() -> None:
    with pytest.raises(DataError) as caught:
        find_image_address({"url": "https://h/?token=secret", "id": 1}, "image")
    assert caught.value.cause == ('the task\'s data has nothing under "image"; its keys: id, url')


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ("", "data_missing"),
        (7, "data_missing"),
        ({"url": "http://h.example/secret"}, "data_missing"),
        (["http://h.example/secret"], "multi_image_unsupported"),
        ([], "multi_image_unsupported"),
    ],
)
def test_a_value_that_is_no_picture_is_refused_and_its_key_is_named(
    found: object, code: str
) -> None:
    for data in ({"pages": found}, {"$undefined$": found}):
        with pytest.raises(DataError) as caught:
            find_image_address(data, "pages")
        assert caught.value.code == code
        assert '"pages"' in caught.value.cause
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["text line", "Text-Line", "TEXT_LINE", "ＴｅｘｔLine", "text·line "]
)
def test_names_that_differ_in_case_width_and_signs_are_one(name: str) -> None:
    assert fold(name) == "textline"
