"""Finding what a control's `value="$key"` names in a task's data."""

from __future__ import annotations

import pytest

from grounding.errors import DataError
from grounding.labelstudio.data import data_value


@pytest.mark.parametrize(
    ("data", "key", "value"),
    [
        ({"image": "u"}, "image", "u"),
        ({"a": {"b": "u"}}, "a.b", "u"),
        ({"a.b": "plain", "a": {"b": "path"}}, "a.b", "plain"),
        ({"pages": ["u", "v"]}, "pages[1]", "v"),
        ({"pages": [{"url": "u"}]}, "pages[0].url", "u"),
        ({"$undefined$": "u"}, "image", "u"),
        ({"image": ["u"]}, "image", ["u"]),
    ],
)
def test_data_is_found_by_key_and_by_path(data: dict[str, object], key: str, value: object) -> None:
    assert data_value(data, key) == value


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({}, "image"),
        ({"image": None}, "image"),
        ({"a": "text"}, "a.b"),
        ({"pages": ["u"]}, "pages[1]"),
        ({"pages": "u"}, "pages[0]"),
    ],
)
def test_missing_data_is_an_error(data: dict[str, object], key: str) -> None:
    with pytest.raises(DataError) as caught:
        data_value(data, key)
    assert caught.value.code == "image_key_missing"


def test_missing_data_names_the_key_and_the_keys_present_and_no_value() -> None:
    with pytest.raises(DataError) as caught:
        data_value({"url": "https://h/?token=secret", "id": 1}, "image")
    assert caught.value.cause == ('the task\'s data has nothing under "image"; its keys: id, url')
