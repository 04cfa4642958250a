"""A prompt's placeholders are names in braces; the texts that replace them are not parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.labelstudio.config.interface import Template


@pytest.mark.parametrize(
    ("text", "fields", "filled"),
    [
        ("red things", (), "red things"),
        ("", (), ""),
        ("every {labels}", ("labels",), "every <labels>"),
        ("{a.b} in { city }, {a.b}", ("a.b", "city"), "<a.b> in <city>, <a.b>"),
        ("{a[0]}", ("a[0]",), "<a[0]>"),
        ("{my city}", ("my city",), "<my city>"),
        ("{{city}} {{", (), "{city} {"),
        ("{{{city}}}", ("city",), "{<city>}"),
        ("找出{城市}", ("城市",), "找出<城市>"),
    ],
)
def test_placeholders_are_found_and_replaced(
    text: str, fields: tuple[str, ...], filled: str
) -> None:
    template = Template.read(text)
    assert template is not None
    assert template.fields == fields
    assert template.fill({name: f"<{name}>" for name in fields}) == filled


@pytest.mark.parametrize("text", ["{", "}", "a { b", "a } b", "{}", "{ }", "{a", "{a!r}", "{a:3}"])
def test_text_with_invalid_braces_is_no_template(text: str) -> None:
    assert Template.read(text) is None


@given(text=st.text())
def test_any_text_with_doubled_braces_stays_the_same(text: str) -> None:
    template = Template.read(text.replace("{", "{{").replace("}", "}}"))
    assert template is not None
    assert template.fill({}) == text
