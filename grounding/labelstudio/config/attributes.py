"""The `model_…` attributes that tune a control; a project's `extra_params` have the same names.

An attribute that we do not know settles nothing: other backends have theirs, and none may
choose a model or a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from grounding.errors import ConfigError
from grounding.labelstudio.config.interface import MAX_REGIONS, Options
from grounding.labelstudio.config.template import Template
from grounding.labelstudio.config.xml import Element, quote
from grounding.labelstudio.text import clean
from grounding.queries import PromptStyle, Shape

PREFIX = "model_"

MAX_PROMPT_CHARS = 1000
MAX_FIELD_CHARS = 200
MIN_PIXELS = 28 * 28


class Attribute(NamedTuple):
    """What one attribute settles: the option, how its text is read, and what it takes.

    `read` returns None for a text that is none of that.
    """

    option: str
    read: Callable[[str], Any]
    wanted: str


def options(element: Element, shape: Shape, defaults: Mapping[str, str]) -> Options | None:
    """Return what a control's attributes settle, or None where it is left out on purpose.

    `defaults` are texts by attribute, for what the tag itself leaves open. Raises `ConfigError`
    that names tag, attribute and cure.
    """
    settled: dict[str, Any] = {}
    for name, attribute in known(shape).items():
        text = element.get(name)
        given = defaults.get(name) if text is None else text
        value = None if given is None else attribute.read(given)
        if value is not None:
            settled[attribute.option] = value
        elif text is not None:  # a default that suits another kind of control is none here
            raise wrong(attribute.wanted, text, of=str(element), name=name)
    if settled.pop("skip", False):
        return None
    _check_bounds(element, settled)
    manner = {f.name: settled.pop(f.name) for f in fields(PromptStyle) if f.name in settled}
    return Options(manner=PromptStyle(**manner), **settled)


def known(shape: Shape) -> Mapping[str, Attribute]:
    """Return the attributes of a control that draws `shape`, by name."""
    own = {SMART_BOX: _SMART_BOX} if shape is Shape.BOX else {}
    return _ATTRIBUTES | own | {ANSWER_FORMAT: _ANSWER_FORMATS[shape]}


def of_any(name: str) -> tuple[Attribute, ...]:
    """Return what an attribute of this name may be on any of our controls: () if unknown."""
    found = dict.fromkeys(known(shape).get(name) for shape in Shape)
    return tuple(attribute for attribute in found if attribute)


def wrong(wanted: str, text: str, *, of: str, name: str) -> ConfigError:
    """Return the error for a `text` that is not what `name` of a tag, `of`, wants."""
    return ConfigError(
        f'{of} has {name}="{quote(text, 20)}"',
        code="attribute_invalid",
        hint=f"Set {name} to {wanted}, or remove it",
    )


def _check_bounds(element: Element, settled: Mapping[str, Any]) -> None:
    low, high = settled.get("min_pixels"), settled.get("max_pixels")
    if low and high and low > high:
        raise ConfigError(
            f"{element} has model_min_pixels above model_max_pixels",
            code="attribute_invalid",
            hint=f"Set model_min_pixels, {low}, to at most model_max_pixels, {high}, or remove one",
        )


def _number(low: float, high: float) -> Callable[[str], float | None]:
    def read_number(text: str) -> float | None:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if low <= number <= high else None

    return read_number


def _whole(low: int, high: int) -> Callable[[str], int | None]:
    def read_whole(text: str) -> int | None:
        digits = re.fullmatch("[0-9]{1,9}", text)
        return int(text) if digits and low <= int(text) <= high else None

    return read_whole


def _one_of(meanings: Mapping[str, Any]) -> tuple[Callable[[str], Any], str]:
    """Return a reader of these words, and how to name them."""
    return lambda text: meanings.get(text.lower()), " or ".join(meanings)


def _prompt(text: str) -> Template | None:
    return Template.read(clean(text)) if len(text) <= MAX_PROMPT_CHARS else None


def _prompt_field(text: str) -> str | None:
    """Return the data's key: empty for the word none, which asks for no such field."""
    name = text.strip().removeprefix("$")
    return "" if name.lower() == "none" else (name[:MAX_FIELD_CHARS] or None)


ANSWER_FORMAT = "model_answer_format"
SMART_BOX = "model_smart_box"

_ATTRIBUTES = {
    "model_skip": Attribute("skip", *_one_of({"true": True, "false": False})),
    "model_prompt": Attribute(
        "prompt",
        _prompt,
        f"a text of at most {MAX_PROMPT_CHARS} characters, "
        "with {{ and }} for braces that are no {field}",
    ),
    "model_prompt_field": Attribute("prompt_field", _prompt_field, "a key of the data, or none"),
    "model_prompt_mode": Attribute("raw", *_one_of({"wrap": False, "raw": True})),
    "model_language": Attribute("language", *_one_of({"auto": "auto", "en": "en", "zh": "zh"})),
    "model_labels_per_question": Attribute(
        "labels_per_question", _whole(0, 999), "a number from 0, for all, to 999"
    ),
    "model_score_threshold": Attribute("score_threshold", _number(0, 1), "a number from 0 to 1"),
    "model_max_regions": Attribute(
        "max_regions", _whole(1, MAX_REGIONS), f"a number from 1 to {MAX_REGIONS}"
    ),
    "model_point_width": Attribute("point_width", _number(0.01, 100), "a number from 0.01 to 100"),
    "model_min_pixels": Attribute(
        "min_pixels", _whole(MIN_PIXELS, 10**9), f"a whole number of at least {MIN_PIXELS}"
    ),
    "model_max_pixels": Attribute(
        "max_pixels", _whole(MIN_PIXELS, 10**9), f"a whole number of at least {MIN_PIXELS}"
    ),
}

_ANSWER_FORMATS = {
    Shape.BOX: Attribute("answer_format", *_one_of({"json": "json", "plain": "plain"})),
    Shape.POINT: Attribute("answer_format", *_one_of({"json": "json", "xml": "xml"})),
}
"""`model_answer_format` of each shape: Qwen documents plain text for boxes, XML for points."""

_SMART_BOX = Attribute("similar", *_one_of({"refine": False, "similar": True}))
"""What a smart box asks for: its own tight box, or everything like what is in it."""
