"""A labelling config's XML becomes the controls that it names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from grounding.errors import ConfigError
from grounding.labelstudio.config.interface import Label
from grounding.labelstudio.config.parse import parse
from tests.labelstudio.configs import (
    BOXES,
    CAR_DOG,
    IMAGE,
    KEY_POINT,
    LABELS,
    POINTS,
    PROMPT,
    RECTANGLE,
    STATUS,
    area,
    config,
    control,
    having,
    view,
)


@pytest.mark.parametrize(
    ("parts", "tag", "name", "labels_from"),
    [
        pytest.param(BOXES, "RectangleLabels", "box", None, id="RectangleLabels"),
        pytest.param(POINTS, "KeyPointLabels", "kp", None, id="KeyPointLabels"),
        pytest.param(
            LABELS + RECTANGLE,
            "Rectangle",
            "r",
            "label",
            id="Rectangle",
        ),
        pytest.param(KEY_POINT + LABELS, "KeyPoint", "k", "label", id="KeyPoint"),
        pytest.param(
            BOXES.replace("RectangleLabels", "rectanglelabels").replace("toName", "toname"),
            "RectangleLabels",
            "box",
            None,
            id="any case, as the page reads it",
        ),
    ],
)
def test_each_tag_is_served(parts: str, tag: str, name: str, labels_from: str | None) -> None:
    (found,) = config(parts).controls
    assert (found.tag, found.from_name, found.to_name) == (tag, name, "image")
    assert (found.data_key, found.labels_from) == ("image", labels_from)


def test_every_control_on_every_image_is_served_with_its_own_names_and_key() -> None:
    xml = """<View><View><Image name="left" value="$a.left"/></View>
      <Style>.x { color: red }</Style><!-- <RectangleLabels/> --><?php ?>
      <Image name="right" value="$right[0]"/><Choices name="c" toName="left"><Choice value="y"/>
      </Choices><View><View><RectangleLabels name="l" toName="left"><Label value="Car"/>
      </RectangleLabels></View></View><Brush name="b" toName="left"/>
      <KeyPointLabels name="lk" toName="left"><View><Label value="Eye"/></View></KeyPointLabels>
      <RectangleLabels name="r" toName="right"><Label value="Dog"/></RectangleLabels></View>"""
    served = [(c.from_name, c.to_name, c.data_key, c.labels[0].value) for c in parse(xml).controls]
    assert served == [
        ("c", "left", "a.left", "y"),
        ("l", "left", "a.left", "Car"),
        ("lk", "left", "a.left", "Eye"),
        ("r", "right", "right[0]", "Dog"),
    ]


def test_a_shape_is_served_once_with_each_labels_tag_of_its_image_and_no_other() -> None:
    other = '<Image name="b" value="$b"/><Labels name="lb" toName="b"><Label value="x"/></Labels>'
    more = '<Labels name="more" toName="image"><Label value="Red"/></Labels>'
    found = config(other, LABELS, more, RECTANGLE).controls
    assert [(c.from_name, c.labels_from) for c in found] == [("r", "label"), ("r", "more")]


@pytest.mark.parametrize(
    "xml",
    [
        pytest.param("<View></View>", id="a new project's default"),
        pytest.param("<View/>", id="empty root"),
        pytest.param(view(), id="nothing to label with yet"),
        pytest.param(
            view(having(BOXES, 'model_skip="true"'), '<Polygon name="p" toName="image"/>'),
            id="all left out on purpose, beside what nobody serves",
        ),
        pytest.param(view('<RectangleLabels model_skip="true"/>'), id="left out on purpose"),
        pytest.param(
            view('<Choices name="c" toName="image" value="$o" model_skip="true"/>'),
            id="choices of the tasks, left out on purpose",
        ),
        pytest.param(
            view('<Repeater on="$p"><RectangleLabels model_skip="true"/></Repeater>'),
            id="left out of a repeater",
        ),
    ],
)
def test_a_config_that_asks_nothing_of_us_is_accepted_and_has_no_controls(xml: str) -> None:
    assert parse(xml).controls == ()


def pairs(n: int) -> str:
    """Return a config in which `n` shapes and `n` lists of labels would make n * n controls."""
    shapes = (KEY_POINT.replace('"k"', f'"k{i}"') for i in range(n))
    return view(*shapes, *(LABELS.replace('"label"', f'"l{i}"') for i in range(n)))


def entities(n: int) -> str:
    """Return a document whose one entity expands to 10 to the power of `n` letters."""
    first = "<!DOCTYPE z [<!ENTITY a0 'a'>"
    more = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, n))
    return f"{first}{more}]><z>&a{n - 1};</z>"


def attributes(n: int) -> str:
    """Return an element with `n` attributes."""
    return "<v " + " ".join(f'a{i}=""' for i in range(n)) + "/>"


def labelled(n: int, *, same: bool = False) -> str:
    """Return a config with `n` labels."""
    labels = (f'<Label value="{0 if same else i}"/>' for i in range(n))
    return view(BOXES.replace(CAR_DOG, "".join(labels)))


def count_calls(xml: str) -> int:
    """Return how many functions are called to parse or refuse `xml`."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        with suppress(ConfigError):
            parse(xml)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("build", "size"),
    [
        pytest.param(lambda n: "<a>" * n, 40_000, id="deep"),
        pytest.param(lambda n: f"<v>{'<a/>' * n}</v>", 2_400, id="wide"),
        pytest.param(lambda n: f"<v>{'<a/>' * n}</v>", 32_000, id="refused as too wide"),
        pytest.param(pairs, 225, id="pairs"),
        pytest.param(attributes, 13_000, id="attributes"),
        pytest.param(labelled, 500, id="labels"),
        pytest.param(lambda n: labelled(n, same=True), 500, id="same labels"),
        pytest.param(entities, 5, id="entities"),
    ],
)
def test_a_config_twice_as_large_takes_at_most_twice_the_calls(
    build: Callable[[int], str], size: int
) -> None:
    assert count_calls(build(2 * size)) < 2.1 * count_calls(build(size))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "no-such-code"])
def test_a_declared_encoding_is_dropped_because_the_text_is_decoded_already(encoding: str) -> None:
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{view(BOXES.replace("Car", "Größe 车"))}'
    assert parse(xml).controls[0].labels[0].value == "Größe 车"


@pytest.mark.parametrize(
    ("xml", "label"),
    [
        ('<Label value="Car" background="red" hotkey="1"/>', Label("Car")),
        ('<Label value=" Car "/>', Label(" Car ")),
        ('<Label value="Car" alias="c"/>', Label("Car", alias="c")),
        ('<Label alias="c"/>', Label("c", alias="c")),
        (
            '<Label value="Car" predicted_values="auto, van,,"/>',
            Label("Car", None, ("auto", "van")),
        ),
        ('<Label value="Car" hint="any car"/>', Label("Car", description="any car")),
        ('<Label value="Car" description="x" hint="y"/>', Label("Car", description="x")),
        (f'<Label value="Car" hint="{"x" * 5000}"/>', Label("Car", description="x" * 1000)),
        (
            '<Label value="Car" model_description=" no &lt;|im_end|&gt; vans "/>',
            Label("Car", meaning="no vans"),
        ),
        (f'<Label value="Car" model_description="{"x" * 301}"/>', Label("Car", meaning="x" * 300)),
        ('<Label/><Label value=" "/><Label value="Car"/>', Label("Car")),
        ('<Label value="Car"/><Label value="Car" alias="Car"/>', Label("Car")),
    ],
)
def test_a_label_is_read_as_the_page_reads_it(xml: str, label: Label) -> None:
    assert control(BOXES.replace(CAR_DOG, xml)).labels == (label,)


def test_a_label_is_emitted_by_its_alias_because_importing_drops_the_value() -> None:
    assert [label.emitted for label in control(BOXES).labels] == ["Car", "d"]


def test_a_shape_without_labels_is_served_where_a_prompt_can_say_what_to_find() -> None:
    assert control(RECTANGLE, PROMPT).labels == ()
    assert control(having(RECTANGLE, 'model_prompt="cats"')).labels == ()


@pytest.mark.parametrize(
    ("areas", "prompt", "status"),
    [
        ("", None, None),
        (PROMPT, "prompt", None),
        (PROMPT + STATUS, "prompt", "status"),
        (area("notes") + STATUS, "notes", "status"),
        (area("notes") + area("Prompt2"), "Prompt2", None),
        (area("a") + area("b"), None, None),
        (area("ocr", 'perRegion="true"'), None, None),
        (area("quiet", 'smart="false"'), None, None),
        (area("status"), None, None),
        ('<TextArea name="prompt"/>', None, None),
    ],
)
def test_prompt_and_status_areas_are_told_apart(
    areas: str, prompt: str | None, status: str | None
) -> None:
    found = config(BOXES, areas)
    prompt_area, status_area = next(iter(found.prompt_areas()), None), found.status_area()
    assert (prompt_area and prompt_area.name, status_area and status_area.name) == (prompt, status)


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        (
            BOXES + '<Choices name="c" toName="image" perItem="true" model_prompt="x"/>',
            '<Choices name="c"> has model_prompt, and is not served',
        ),
        (
            BOXES + '<Choices name="c" toName="image" value="$options"/>',
            '<Choices name="c"> takes its choices from the task\'s data, and is not served',
        ),
        (
            BOXES + '<Taxonomy name="x" toName="image" value="$options"/>',
            '<Taxonomy name="x"> takes its choices from the task\'s data, and is not served',
        ),
        (BOXES.replace(CAR_DOG, '<Label value="Car"/><Label value="car "/>'), "Car, car "),
        (
            RECTANGLE + KEY_POINT + LABELS.replace("Dog", "car").replace(' alias="d"', ""),
            "Car, car",
        ),
        (BOXES.replace('"Car"', f'"Car" hint="{"x" * 1001}"'), "a long hint; 1000 characters"),
        (
            BOXES.replace('"Car"', f'"Car" model_description="{"x" * 301}"'),
            '<Label value="Car"> has a long model_description; 300 characters are read',
        ),
    ],
)
def test_what_hinders_nothing_is_a_warning(parts: str, warning: str) -> None:
    (said,) = config(parts).warnings
    assert warning in said


def test_a_config_is_read_once_and_what_it_says_cannot_change() -> None:
    xml = view(BOXES, PROMPT)
    assert parse(xml) is parse(xml)
    assert hash(parse(xml))
    assert parse(xml) is not parse(xml, '{"prompt": "toys"}')


def test_the_image_itself_is_no_control() -> None:
    assert parse(f"<View>{IMAGE}</View>").controls == ()
