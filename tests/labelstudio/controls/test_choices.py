"""Choices of a whole image: which of them become fields, and what results they get."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from grounding import queries
from grounding.errors import ConfigError
from grounding.geometry import image_frame
from grounding.labelstudio.config import parse as parsing
from grounding.labelstudio.controls import CONTROLS, fields, number, write_results
from grounding.labelstudio.controls.base import Results
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.plan import PromptDefaults, ViewSpec, plan
from grounding.queries import Field, Fill, Finding, Locate
from tests.labelstudio.configs import BOXES, config, control, having, refused, view

IMAGE = image_frame(800, 600)
OPTIONS = '<Choice value="Sunny"/><Choice value="Rainy" alias="wet"/>'
WEATHER = f'<Choices name="weather" toName="image">{OPTIONS}</Choices>'
DEFECTS = f'<Choices name="defects" toName="image" choice="multiple">{OPTIONS}</Choices>'


def written(part: str, *findings: Finding) -> Results:
    """Return what becomes of findings on the control of this part."""
    on = control(part)
    (planned,) = plan(config(part))
    return write_results(on, [(one, planned.query) for one in findings], IMAGE)


def value(text: str, field: str = "weather", score: float | None = None) -> Finding:
    return Finding(label=field, value=text, score=score)


def test_all_choices_of_an_image_are_one_query_beside_the_places() -> None:
    planned = plan(config(WEATHER, BOXES, DEFECTS))
    (fill,) = [one for one in planned if isinstance(one.query, Fill)]
    assert fill.query == Fill(
        (
            Field("weather", ("Sunny", "Rainy")),
            Field("defects", ("Sunny", "Rainy"), multiple=True),
        )
    )
    assert [on.from_name for on in fill.controls] == ["weather", "defects"]
    assert sum(isinstance(one.query, Locate) for one in planned) == 2


def test_a_prompt_of_the_control_is_the_field_s_and_takes_fields_of_the_task() -> None:
    prompted = having(WEATHER, 'model_prompt="Which of {labels} in {city}?"')
    (planned,) = plan(config(prompted), None, PromptDefaults({"city": "Rome"}))
    assert isinstance(planned.query, Fill)
    assert planned.query.fields[0].prompt == "Which of Sunny, Rainy in Rome?"


def test_a_project_s_own_prompt_is_for_places_and_not_for_choices() -> None:
    (planned,) = plan(config(WEATHER), None, PromptDefaults({"prompt": "cars"}, "dogs"))
    assert planned.query == Fill((Field("weather", ("Sunny", "Rainy")),))


def test_what_an_annotator_asks_for_is_never_for_choices() -> None:
    both = config(WEATHER, BOXES)
    assert plan(both, Intent("sunny places", controls=both.controls))
    assert not [
        one
        for one in plan(both, Intent("sunny places", controls=both.controls))
        if isinstance(one.query, Fill)
    ]


@pytest.mark.parametrize(
    "part",
    [
        WEATHER.replace('toName="image"', 'toName="text"'),
        having(WEATHER, 'perRegion="true" perItem="true"'),
        having(WEATHER, 'visibleWhen="region-selected"'),
        having(WEATHER, 'allowNested="true"'),
        having(WEATHER, 'value="$options"'),
        having(WEATHER, 'model_skip="true"'),
        '<Choices name="weather" toName="image"/>',
    ],
)
def test_choices_of_another_kind_are_left_alone(part: str) -> None:
    assert [c.from_name for c in config(BOXES, part).controls] == ["box"]


def test_a_wrong_attribute_is_refused_by_name() -> None:
    error: ConfigError = refused(view(having(WEATHER, 'model_score_threshold="2"')))
    assert "model_score_threshold" in str(error)


def test_the_result_is_of_the_whole_image_with_the_config_s_own_string() -> None:
    (result,) = written(WEATHER, value("rainy", score=0.8)).result
    assert len(result.pop("id")) >= 10
    assert result == {
        "from_name": "weather",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["wet"]},
        "score": 0.8,
    }


def test_several_choices_are_one_result_where_the_config_allows_several() -> None:
    both = [value("Sunny", "defects", 0.4), value("Rainy", "defects", 0.8)]
    (result,) = written(DEFECTS, *both).result
    assert result["value"] == {"choices": ["Sunny", "wet"]}
    assert result["score"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("B. Rainy", ["wet"]),
        ("rainy (heavy clouds)", ["wet"]),
        ("not sunny", []),
        ("sunny or rainy", []),
        ("sunnyside", []),
        ("B", []),
    ],
)
def test_words_that_name_one_choice_are_that_choice(said: str, names: list[str]) -> None:
    made = written(WEATHER, value(said))
    assert [name for one in made.result for name in one["value"]["choices"]] == names


@pytest.mark.parametrize(
    ("part", "findings", "names", "dropped"),
    [
        (WEATHER, [value("Snowy")], [], {"unknown_label": 1}),
        (WEATHER, [value("Sunny"), value("Rainy")], ["Sunny"], {"too_many": 1}),
        (WEATHER, [value("Sunny"), value("sunny")], ["Sunny"], {"duplicate": 1}),
        (WEATHER, [value("Sunny", "other")], [], {}),
        (WEATHER, [value("Rainy", "other"), value("Sunny")], ["Sunny"], {}),
        (WEATHER, [Finding(label="weather")], [], {"unknown_label": 1}),
        (
            having(WEATHER, 'model_score_threshold="0.5"'),
            [value("Sunny", score=0.4)],
            [],
            {"low_score": 1},
        ),
        (
            having(WEATHER, 'model_score_threshold="0.5"'),
            [value("Sunny", score=0.5)],
            ["Sunny"],
            {},
        ),
        (having(WEATHER, 'model_score_threshold="0.5"'), [value("Sunny")], ["Sunny"], {}),
    ],
)
def test_what_cannot_be_a_choice_here_is_counted(
    part: str, findings: list[Finding], names: list[str], dropped: dict[str, int]
) -> None:
    made = written(part, *findings)
    assert [name for one in made.result for name in one["value"]["choices"]] == names
    assert dict(made.dropped) == dropped


def test_the_words_that_name_no_choice_are_counted() -> None:
    made = written(DEFECTS, *(value(word, "defects") for word in ("Snowy", "sunny", "Snowy")))
    assert made.unknown == {"Snowy": 2}


@pytest.mark.parametrize(
    ("attribute", "language", "bounds"),
    [
        ('model_language="zh"', "zh", (None, None)),
        ('model_min_pixels="100000"', "auto", (100_000, None)),
        ('model_max_pixels="200000"', "auto", (None, 200_000)),
    ],
)
def test_choices_in_another_language_or_about_another_view_are_asked_apart(
    attribute: str, language: str, bounds: tuple[int | None, int | None]
) -> None:
    plain, other = plan(config(WEATHER, having(DEFECTS, attribute)))
    assert [on.from_name for one in (plain, other) for on in one.controls] == ["weather", "defects"]
    asked = [one.query.style.language for one in (plain, other) if isinstance(one.query, Fill)]
    assert asked == ["auto", language]
    assert plain.view == ViewSpec("image")
    assert other.view == ViewSpec("image", *bounds)


def test_the_rating_of_the_contributors_guide_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide promises a tag in one file: its code runs as it is written there."""
    guide = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (code,) = [block for block in blocks if "RATING" in block]
    names = {**vars(fields), **vars(number), **vars(queries)}
    exec(textwrap.dedent(code), names)
    assert names["RATING"] is not CONTROLS["Rating"]
    monkeypatch.setitem(CONTROLS, "Rating", names["RATING"])
    monkeypatch.setitem(parsing._TAGS, "rating", names["RATING"])
    stars = config('<Rating name="stars" toName="image" maxRating="3"/>')
    (planned,) = plan(stars)
    assert planned.query == Fill(
        (Field("stars", type=queries.ValueType(queries.ValueKind.NUMBER, 1, 3, whole=True)),)
    )
    found = [(value("2", "stars"), planned.query)]
    (result,) = write_results(stars.controls[0], found, IMAGE).result
    assert (result["type"], result["value"]) == ("rating", {"rating": 2})
