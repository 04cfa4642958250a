"""A labelling config's XML becomes the controls that it names, or an error that says why not."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.ask import Manner
from grounding.errors import ConfigError
from grounding.labelstudio.config import parse
from grounding.labelstudio.interface import Label, Options
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

LONGEST_STATUS_LINE = 120


def refused(xml: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(xml)
    return caught.value


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
        pytest.param(view(LABELS), id="Labels without a shape"),
        pytest.param(view('<Choices name="c" toName="image"/>'), id="other"),
        pytest.param(view('<RectangleLabels model_skip="true"/>'), id="left out on purpose"),
    ],
)
def test_a_config_without_our_tags_is_accepted_and_has_no_controls(xml: str) -> None:
    assert parse(xml).controls == ()


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
    (view(BOXES.replace(CAR_DOG, "")), "no_labels", "has no <Label>"),
    (view(BOXES.replace(CAR_DOG, '<Label hotkey="1"/>')), "no_labels", "has no <Label>"),
    (view('<RectangleLabels name="r" toName="image" value="$v"/>'), "no_labels", "task's data"),
    (view(KEY_POINT), "no_labels", "no <Labels>"),
    (
        view(LABELS.replace(CAR_DOG, ""), KEY_POINT),
        "no_labels",
        "label",
    ),
    (view(having(POINTS, 'model_point_width="wide"')), "attribute_invalid", "wide"),
    (view(having(POINTS, 'model_point_width="nan"')), "attribute_invalid", "nan"),
    (view(having(POINTS, 'model_point_width="0"')), "attribute_invalid", "0"),
    (view(having(BOXES, 'model_score_threshold="2"')), "attribute_invalid", "2"),
    (view(having(BOXES, 'model_skip="perhaps"')), "attribute_invalid", "perhaps"),
    (view(having(BOXES, 'model_prompt_mode="freely"')), "attribute_invalid", "freely"),
    (view(having(BOXES, 'model_language="de"')), "attribute_invalid", "de"),
    (view(having(BOXES, 'model_answer_format="xml"')), "attribute_invalid", "xml"),
    (view(having(POINTS, 'model_answer_format="plain"')), "attribute_invalid", "plain"),
    (view(having(BOXES, 'model_min_pixels="783"')), "attribute_invalid", "783"),
    (view(having(BOXES, 'model_max_pixels="1e6"')), "attribute_invalid", "1e6"),
    (
        view(having(BOXES, 'model_min_pixels="2000" model_max_pixels="1000"')),
        "attribute_invalid",
        'model_min_pixels="2000" above model_max_pixels="1000"',
    ),
    (
        view(having(BOXES, 'model_labels_per_question="0"')),
        "attribute_invalid",
        "0",
    ),
]


@pytest.mark.parametrize(("xml", "code", "says"), BROKEN)
def test_a_broken_config_is_refused_with_its_code_and_says_where(
    xml: object, code: str, says: str
) -> None:
    error = refused(xml)
    assert (error.code, error.status) == (code, 400)
    assert says in error.cause
    assert error.hint


def test_an_invalid_attribute_is_named_with_its_tag_and_cure() -> None:
    error = refused(view(having(POINTS, 'model_point_width="wide"')))
    assert str(error) == (
        '<KeyPointLabels name="kp"> has model_point_width="wide". '
        "Set model_point_width to a number from 0.01 to 100, or remove it"
    )


def fits_a_status_line(cause: str) -> bool:
    return cause.isascii() and cause.isprintable() and len(cause) <= LONGEST_STATUS_LINE


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


PAIRS = [
    part
    for i in range(450)
    for part in (KEY_POINT.replace('"k"', f'"k{i}"'), LABELS.replace('"label"', f'"l{i}"'))
]


@pytest.mark.parametrize(
    "xml",
    [
        pytest.param("<a>" * 80_000, id="deep"),
        pytest.param("<v>" + "<a/>" * 65_000 + "</v>", id="wide"),
        pytest.param(view(*PAIRS), id="pairs"),
        pytest.param("<v " + " ".join(f'a{i}=""' for i in range(26_000)) + "/>", id="attributes"),
        pytest.param(view(BOXES.replace(CAR_DOG, '<Label value="x"/>' * 1000)), id="labels"),
        pytest.param(
            '<!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">'
            + "".join(f'<!ENTITY a{i} "{f"&a{i - 1 or str()};" * 10}">' for i in range(1, 10))
            + "]><z>&a9;</z>",
            id="entities",
        ),
    ],
)
def test_no_config_costs_more_than_a_moment(xml: str) -> None:
    started = time.process_time()
    with suppress(ConfigError):
        parse(xml)
    assert time.process_time() - started < 0.5  # measured: 0.1 s; the rest is for a busy machine


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
        ('<Label/><Label value=" "/><Label value="Car"/>', Label("Car")),
        ('<Label value="Car"/><Label value="Car" alias="Car"/>', Label("Car")),
    ],
)
def test_a_label_is_read_as_the_page_reads_it(xml: str, label: Label) -> None:
    assert control(BOXES.replace(CAR_DOG, xml)).labels == (label,)


def test_a_label_is_emitted_by_its_alias_because_importing_drops_the_value() -> None:
    assert [label.emitted for label in control(BOXES).labels] == ["Car", "d"]


def test_options_come_from_the_control_s_attributes() -> None:
    attributes = (
        'model_point_width="2.5" model_score_threshold=".25" model_prompt=" red things " '
        'model_labels_per_question="3" model_skip="false"'
    )
    options = control(having(POINTS, attributes)).options
    assert (options.point_width, options.score_threshold) == (2.5, 0.25)
    assert (options.prompt, options.labels_per_question) == ("red things", 3)


def test_the_manner_and_the_pixels_come_from_the_control_s_attributes() -> None:
    attributes = (
        'model_prompt_mode="RAW" model_language="zh" model_answer_format="xml" '
        'model_min_pixels="12544" model_max_pixels="19600"'
    )
    found = config(having(POINTS, attributes))
    options = found.controls[0].options
    assert options.manner == Manner("zh", "xml", raw=True)
    assert (options.min_pixels, options.max_pixels) == (12544, 19600)
    assert found.warnings == ()
    wrapped = having(BOXES, 'model_prompt_mode="wrap" model_language="auto"')
    assert control(wrapped).options == Options()
    plain = having(BOXES, 'model_answer_format="plain"')
    assert control(plain).options.manner == Manner(answer_format="plain")


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
def test_a_wrong_manner_is_told_what_there_is(part: str, attribute: str, cure: str) -> None:
    name = attribute.partition("=")[0]
    tag = "RectangleLabels" if part is BOXES else "KeyPointLabels"
    error = refused(view(having(part, attribute)))
    assert error.cause.startswith(f"<{tag} name=")
    assert attribute in error.cause
    assert error.hint == f"Set {name} to {cure}, or remove it"


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
    found = config(areas)
    prompt_area, status_area = next(iter(found.prompt_areas()), None), found.status_area()
    assert (prompt_area and prompt_area.name, status_area and status_area.name) == (prompt, status)


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        (
            having(BOXES, 'model_path="../../evil.pt"'),
            "model_path",
        ),
        (BOXES.replace(CAR_DOG, '<Label value="Car"/><Label value="car "/>'), "Car, car "),
    ],
)
def test_what_hinders_nothing_is_a_warning(parts: str, warning: str) -> None:
    (said,) = config(parts).warnings
    assert warning in said


def test_the_image_itself_is_no_control() -> None:
    assert parse(f"<View>{IMAGE}</View>").controls == ()
