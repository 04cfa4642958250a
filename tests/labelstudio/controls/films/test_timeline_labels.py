"""`<TimelineLabels>` and what belongs to a film in a config: what is asked, and what is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import ConfigError
from grounding.geometry import image_frame
from grounding.labelstudio.config.films import MOST_RATE, to_rate, with_rates
from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.controls import write_results
from grounding.labelstudio.controls.base import FilmSpec, PromptDefaults, Results
from grounding.labelstudio.films import merge_spans, to_frames
from grounding.labelstudio.plan import plan
from grounding.labelstudio.soundness import is_sound, split_sound
from grounding.queries import Fill, Finding, FindSpans, Locate, Shape, Span
from grounding.settings import Settings
from grounding.tasks import model_version

VIDEO = '<Video name="video" value="$video" frameRate="10"/>'
LABELS = '<Label value="cut"/><Label value="jump" alias="leap"/>'
SPANS = f'<TimelineLabels name="when" toName="video">{LABELS}</TimelineLabels>'
TEXT = '<TextArea name="what" toName="video" perRegion="true"/>'
IMAGE = '<Image name="image" value="$image"/>'
BOXES = '<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>'


def read(*tags: str) -> LabelConfig:
    return with_rates(parse("<View>" + "".join(tags) + "</View>"), {})


def only(config: LabelConfig, tag: str = "TimelineLabels") -> Control:
    (control,) = [one for one in config.controls if one.tag == tag]
    return control


def span(start: float, end: float, label: str | None = "cut", **more: Any) -> Finding:
    return Finding(time=(start, end), label=label, **more)


def written(*findings: Finding, config: LabelConfig | None = None, end: float = 60) -> Results:
    config = config or read(VIDEO, SPANS)
    control = only(config)
    query = FindSpans(("cut", "jump"), within=(0, end))
    found = [(finding, query) for finding in findings]
    return write_results(control, found, image_frame(160, 120), config.companions(control))


def ranges(results: Results) -> list[tuple[str, int, int]]:
    return [
        (
            *one["value"]["timelinelabels"],
            one["value"]["ranges"][0]["start"],
            one["value"]["ranges"][0]["end"],
        )
        for one in results.result
        if one["type"] == "timelinelabels"
    ]


def test_each_label_is_a_query_of_its_own_about_the_film() -> None:
    planned = plan(read(VIDEO, SPANS))
    assert [one.query for one in planned] == [FindSpans(("cut",)), FindSpans(("jump",))]
    assert {one.view.film for one in planned} == {FilmSpec()}
    assert {one.view.data_key for one in planned} == {"video"}


def test_one_query_for_all_labels_is_a_setting_and_an_attribute() -> None:
    all_in_one = [FindSpans(("cut", "jump"))]
    planned = plan(read(VIDEO, SPANS), None, PromptDefaults(labels_per_query=0))
    assert [one.query for one in planned] == all_in_one
    spans = SPANS.replace(">", ' model_labels_per_query="0">', 1)
    assert [one.query for one in plan(read(VIDEO, spans))] == all_in_one


def test_a_text_area_of_each_region_has_the_spans_described() -> None:
    assert all(
        isinstance(one.query, FindSpans) and one.query.described
        for one in plan(read(VIDEO, SPANS, TEXT))
    )


def test_a_prompt_is_a_phrase_to_look_for() -> None:
    spans = SPANS.replace(">", ' model_prompt="somebody {labels}s">', 1)
    phrases = [
        one.query.phrase for one in plan(read(VIDEO, spans)) if isinstance(one.query, FindSpans)
    ]
    assert phrases == ["somebody cuts", "somebody jumps"]


def test_a_control_says_how_densely_its_film_is_looked_at() -> None:
    spans = SPANS.replace(">", ' model_fps="4" model_max_frames="32" model_max_tokens="4096">', 1)
    assert {one.view.film for one in plan(read(VIDEO, spans))} == {FilmSpec(4.0, 32, 4096)}


@pytest.mark.parametrize(
    "attribute",
    ['model_fps="0"', 'model_fps="many"', 'model_max_frames="2"', 'model_max_tokens="1"'],
)
def test_a_wrong_attribute_is_refused(attribute: str) -> None:
    with pytest.raises(ConfigError, match=attribute.partition("=")[0]):
        read(VIDEO, SPANS.replace(">", f" {attribute}>", 1))


@pytest.mark.parametrize(
    ("written_rate", "rate"),
    [
        (None, 24.0),
        ("25", 25.0),
        ("29.97", 29.97),
        ("0.5", 2.0),  # seconds of a frame
        ("0", 24.0),
        ("-3", 24.0),
        ("fast", 24.0),
        ("1e9", 24.0),
        ("$fps", "fps"),
        ("$meta.fps", "meta.fps"),
    ],
)
def test_the_page_s_clock(written_rate: str | None, rate: float | str) -> None:
    attribute = "" if written_rate is None else f' frameRate="{written_rate}"'
    config = parse(f'<View><Video name="video" value="$video"{attribute}/>{SPANS}</View>')
    assert only(config).frame_rate == rate


JSON_NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(0, 400).map(lambda n: 10**n))


@given(JSON_NUMBERS | st.booleans() | JSON_NUMBERS.map(str))
def test_whatever_number_a_task_has_as_its_frame_rate_is_one_or_none(value: float | str) -> None:
    rate = to_rate(value)
    assert rate is None or 0 < rate <= MOST_RATE
    assert to_rate(True) is None


def test_values_of_a_film_are_one_question_about_a_video() -> None:
    choices = '<Choices name="kind" toName="video"><Choice value="news"/></Choices>'
    number = '<Number name="people" toName="video"/>'
    planned = plan(read(VIDEO, choices, number, '<TextArea name="title" toName="video"/>'))
    (one,) = planned
    assert isinstance(one.query, Fill)
    assert one.query.film
    assert [field.name for field in one.query.fields] == ["kind", "people", "title"]


def test_a_lone_text_of_a_film_is_filled_in_and_no_print_is_read() -> None:
    (one,) = plan(read(VIDEO, '<TextArea name="summary" toName="video"/>'))
    assert isinstance(one.query, Fill)


def test_what_would_be_asked_of_each_span_is_left_to_people() -> None:
    choices = (
        '<Choices name="kind" toName="video" perRegion="true"><Choice value="good"/></Choices>'
    )
    assert [one.tag for one in read(VIDEO, SPANS, choices).controls] == ["TimelineLabels"]


def test_boxes_on_a_film_are_refused_and_spans_elsewhere_left_alone() -> None:
    with pytest.raises(ConfigError) as failure:
        read(VIDEO, BOXES.replace("image", "video"))
    assert failure.value.code == "control_not_on_image"
    audio = '<Audio name="audio" value="$audio"/>'
    config = read(IMAGE, BOXES, audio, SPANS.replace("video", "audio"))
    assert [one.tag for one in config.controls] == ["RectangleLabels"]


def test_a_film_beside_a_picture() -> None:
    planned = plan(read(IMAGE, BOXES, VIDEO, SPANS))
    kinds = [(type(one.query), one.view.film is None) for one in planned]
    assert kinds == [(Locate, True), (FindSpans, False), (FindSpans, False)]


# Results


def test_a_span_is_a_range_of_frames_from_one_with_a_label() -> None:
    results = written(span(3.0, 9.0, score=0.5))
    (one,) = results.result
    assert one["value"] == {"ranges": [{"start": 31, "end": 90}], "timelinelabels": ["cut"]}
    assert one["score"] == 0.5
    assert (one["from_name"], one["to_name"], one["type"]) == ("when", "video", "timelinelabels")
    assert is_sound(one)


def test_an_alias_is_what_is_written() -> None:
    assert ranges(written(span(0, 1, "jump"))) == [("leap", 1, 10)]


CLAMPED = {
    "from the start": ((0.0, 1.0), (1, 10)),
    "to the end": ((5.0, 60.0), (51, 600)),
    "at the end": ((60.0, 60.0), (600, 600)),
    "shorter than a frame": ((1.0, 1.01), (11, 11)),
    "nothing long": ((1.0, 1.0), (11, 11)),
}


@pytest.mark.parametrize(("time", "frames"), CLAMPED.values(), ids=CLAMPED)
def test_frames_lie_inside_the_film(time: Span, frames: tuple[int, int]) -> None:
    assert ranges(written(span(*time))) == [("cut", *frames)]


@given(
    st.tuples(st.floats(0, 100), st.floats(0, 100)).map(sorted),
    st.floats(0.5, 240),
    st.floats(0.01, 100),
)
def test_frames_are_whole_and_in_order(time: list[float], rate: float, duration: float) -> None:
    first, last = to_frames((time[0], time[1]), rate, duration)
    assert 1 <= first <= last <= max(1, round(duration * rate))


def test_spans_of_one_label_that_touch_are_one() -> None:
    results = written(
        span(1, 2, score=0.3), span(2.05, 3, score=0.9), span(4, 5), span(2, 3, "jump")
    )
    assert ranges(results) == [("cut", 11, 30), ("leap", 21, 30), ("cut", 41, 50)]
    assert results.dropped == {"duplicate": 1}


def test_texts_follow_their_spans() -> None:
    results = written(span(1, 2, text="cuts bread"), config=read(VIDEO, SPANS, TEXT))
    first, second = results.result
    assert second["type"] == "textarea"
    assert second["id"] == first["id"]
    assert second["value"] == {"ranges": [{"start": 11, "end": 20}], "text": ["cuts bread"]}


def test_without_a_text_area_a_text_is_a_note() -> None:
    (one,) = written(span(1, 2, text="cuts bread")).result
    assert one["meta"] == {"text": ["cuts bread"]}


DROPPED = {
    "another label": (span(1, 2, "swim"), "unknown_label"),
    "no time": (Finding(label="cut"), "wrong_shape"),
    "no number": (span(float("nan"), 2), "not_finite"),
}


@pytest.mark.parametrize(("finding", "reason"), DROPPED.values(), ids=DROPPED)
def test_what_is_no_span_here_is_left_out(finding: Finding, reason: str) -> None:
    results = written(finding, span(3, 4))
    assert ranges(results) == [("cut", 31, 40)]
    assert results.dropped == {reason: 1}


def test_limits_hold() -> None:
    spans = SPANS.replace(">", ' model_score_threshold="0.5" model_max_regions="1">', 1)
    results = written(
        span(1, 2, score=0.6), span(3, 4, score=0.9), span(5, 6, score=0.1),
        config=read(VIDEO, spans),
    )  # fmt: skip
    assert ranges(results) == [("cut", 31, 40)]
    assert results.dropped == {"low_score": 1, "too_many": 1}


UNSOUND: dict[str, Any] = {
    "a fraction": [{"start": 1.5, "end": 3}],
    "a text": [{"start": "1", "end": 3}],
    "no end": [{"start": 1}],
    "frame zero": [{"start": 0, "end": 3}],
    "backwards": [{"start": 4, "end": 3}],
    "two ranges": [{"start": 1, "end": 3}, {"start": 5, "end": 6}],
    "none": [],
    "yes": [{"start": True, "end": True}],
}


@pytest.mark.parametrize("value", UNSOUND.values(), ids=UNSOUND)
def test_what_the_page_would_choke_on_never_leaves(value: Any) -> None:
    """Its text goes too: without its range it would belong to the whole film."""
    results = written(span(1, 2, text="cuts"), span(3, 4), config=read(VIDEO, SPANS, TEXT))
    broken, text, good = results.result
    broken["value"] = {**broken["value"], "ranges": value}
    assert split_sound([broken, text, good]) == ([good], [broken, text])


def test_merging_is_by_label_and_keeps_the_first_text() -> None:
    merged = merge_spans([span(5, 6), span(1, 2), span(2, 3, text="b"), span(1, 9, "jump")], 0)
    assert [(one.label, one.time, one.text) for one in merged] == [
        ("cut", (1, 3), "b"),
        ("jump", (1, 9), None),
        ("cut", (5, 6), None),
    ]
    assert all(one.shape is Shape.SPAN for one in merged)


# The model version


def test_a_film_s_settings_change_the_version_of_film_projects_alone() -> None:
    before, after = Settings.load(), Settings.load(film_fps=1.0)
    films, pictures = f"<View>{VIDEO}{SPANS}</View>", f"<View>{IMAGE}{BOXES}</View>"
    assert model_version(before, films, "") != model_version(after, films, "")
    assert model_version(before, pictures, "") == model_version(after, pictures, "")
