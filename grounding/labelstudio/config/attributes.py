"""The `model_…` attributes that tune a control; a project's `extra_params` have the same names.

No attribute may choose a model or a file. An attribute that its tag does not take is refused: it
would show as predictions that never come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from grounding.errors import ConfigError, closest
from grounding.labelstudio.config.interface import MAX_REGIONS, ModelTask, Options, Template
from grounding.labelstudio.config.xml import Element, current_name, quote
from grounding.labelstudio.data import clean
from grounding.queries import PromptStyle, Screen

PREFIX = "model_"

MAX_PROMPT_CHARS = 1000
MAX_FIELD_CHARS = 200
MIN_PIXELS = 28 * 28


class Attribute(NamedTuple):
    """One attribute: the option that it sets, how its text is read, and what it takes in words.

    `read` returns None for a text that it does not take.
    """

    option: str
    read: Callable[[str], Any]
    wanted: str


Attributes = Mapping[str, Attribute]
"""Attributes by name: what one control tag takes."""


def read_options(
    element: Element, attributes: Attributes, defaults: Mapping[str, str]
) -> Options | None:
    """Return what a control's attributes set, or None where the config leaves it out on purpose.

    `defaults` are texts by attribute, for what the tag itself leaves open. Raises `ConfigError`
    that names tag, attribute and cure.
    """
    options: dict[str, Any] = {}
    for name, attribute in attributes.items():
        text = element.get(name)
        used = defaults.get(name) if text is None else text
        value = None if used is None else attribute.read(used)
        if value is not None:
            options[attribute.option] = value
        elif text is not None:  # a default may suit other kinds of control only
            raise wrong(attribute.wanted, text, of=str(element), name=name)
    if options.pop("skip", False):
        return None
    _check_bounds(element, options)
    style = {f.name: options.pop(f.name) for f in fields(PromptStyle) if f.name in options}
    return Options(style=PromptStyle(**style), **options)


def of_any(name: str) -> tuple[Attribute, ...]:
    """Return the attributes of this name on any control of ours, () where there is none."""
    found = dict.fromkeys(table.get(name) for table in TABLES)
    return tuple(attribute for attribute in found if attribute)


def wrong(wanted: str, text: str, *, of: str, name: str) -> ConfigError:
    """Return the error for a `text` that the attribute `name` of a tag, `of`, does not take."""
    return ConfigError(
        f'{of} has {name}="{quote(text, 20)}"',
        code="attribute_invalid",
        hint=f"Set {name} to {wanted}, or remove it",
    )


def _check_bounds(element: Element, options: Mapping[str, Any]) -> None:
    low, high = options.get("min_pixels"), options.get("max_pixels")
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
    """Return a reader of these words, and their names for an error."""
    return lambda text: meanings.get(text.lower()), " or ".join(meanings)


def _prompt(text: str) -> Template | None:
    return Template.read(clean(text)) if len(text) <= MAX_PROMPT_CHARS else None


def _prompt_field(text: str) -> str | None:
    """Return the key of the data: empty for the word none, which turns the field off."""
    name = text.strip().removeprefix("$")
    return "" if name.lower() == "none" else (name[:MAX_FIELD_CHARS] or None)


_SKIP = {"model_skip": Attribute("skip", *_one_of({"true": True, "false": False}))}
_PROMPT = {
    "model_prompt": Attribute(
        "prompt",
        _prompt,
        f"a text of at most {MAX_PROMPT_CHARS} characters, "
        "with {{ and }} for braces that are no {field}",
    ),
}
_VIEW = {
    "model_answer": Attribute("only_asked", *_one_of({"always": False, "asked": True})),
    "model_language": Attribute("language", *_one_of({"auto": "auto", "en": "en", "zh": "zh"})),
    "model_score_threshold": Attribute("score_threshold", _number(0, 1), "a number from 0 to 1"),
    "model_min_pixels": Attribute(
        "min_pixels", _whole(MIN_PIXELS, 10**9), f"a whole number of at least {MIN_PIXELS}"
    ),
    "model_max_pixels": Attribute(
        "max_pixels", _whole(MIN_PIXELS, 10**9), f"a whole number of at least {MIN_PIXELS}"
    ),
}
_PLACES = {
    "model_prompt_field": Attribute("prompt_field", _prompt_field, "a key of the data, or none"),
    "model_prompt_mode": Attribute("raw", *_one_of({"wrap": False, "raw": True})),
    "model_labels_per_query": Attribute(
        "labels_per_query", _whole(0, 999), "a number from 0, for all, to 999"
    ),
    "model_max_regions": Attribute(
        "max_regions", _whole(1, MAX_REGIONS), f"a number from 1 to {MAX_REGIONS}"
    ),
    "model_point_width": Attribute("point_width", _number(0.01, 100), "a number from 0.01 to 100"),
}


def _formats(*names: str) -> dict[str, Attribute]:
    """Return `model_answer_format`; Qwen documents plain text for boxes and XML for points."""
    meanings = {name: name for name in names}
    return {"model_answer_format": Attribute("answer_format", *_one_of(meanings))}


def _tasks(*tasks: ModelTask) -> dict[str, Attribute]:
    """Return `model_task`, for a tag that leaves open which of these is meant."""
    return {"model_task": Attribute("task", *_one_of({str(task): task for task in tasks}))}


SMART_BOX = {
    "model_smart_box": Attribute("similar", *_one_of({"refine": False, "similar": True})),
}
"""What a smart box asks for: its own tight box, or everything like the thing in it."""

FIELD_ATTRIBUTES = _SKIP | _PROMPT | _VIEW
"""Attributes of a control that holds a value of the whole image."""
_SCREEN = {
    "model_screen": Attribute("screen", *_one_of({str(kind): kind for kind in Screen})),
}
_ZOOM = {"model_zoom": Attribute("zoom", *_one_of({"true": True, "false": False}))}
BOX_ATTRIBUTES: Attributes = (
    FIELD_ATTRIBUTES
    | _PLACES
    | SMART_BOX
    | _formats("json", "plain")
    | _tasks(ModelTask.OCR, ModelTask.DOCUMENT)
)
POINT_ATTRIBUTES: Attributes = (
    FIELD_ATTRIBUTES | _PLACES | _formats("json", "xml") | _tasks(ModelTask.GUI) | _SCREEN | _ZOOM
)
CHOICE_ATTRIBUTES: Attributes = FIELD_ATTRIBUTES | _tasks(ModelTask.GUI) | _SCREEN
"""Attributes of a list of choices."""

_CHECK = {"model_check": Attribute("check", *_one_of({"true": True, "false": False}))}
TEXT_ATTRIBUTES: Attributes = (
    FIELD_ATTRIBUTES
    | _CHECK
    | _tasks(ModelTask.PROMPT, ModelTask.FILL, ModelTask.OCR, ModelTask.GUI)
)
"""Attributes of a text area."""

_FILM = {
    "model_fps": Attribute("fps", _number(0.01, 30), "a number from 0.01 to 30"),
    "model_max_frames": Attribute("max_frames", _whole(4, 768), "a number from 4 to 768"),
    "model_max_tokens": Attribute(
        "max_tokens", _whole(1024, 131_072), "a number from 1024 to 131072"
    ),
}
SPAN_ATTRIBUTES: Attributes = (
    FIELD_ATTRIBUTES
    | {name: _PLACES[name] for name in ("model_prompt_field", "model_prompt_mode")}
    | {name: _PLACES[name] for name in ("model_labels_per_query", "model_max_regions")}
    | _FILM
)
"""Attributes of a control that draws spans of a film's time."""

TRACK_ATTRIBUTES: Attributes = {
    name: attribute for name, attribute in SPAN_ATTRIBUTES.items() if name != "model_max_tokens"
}
"""Attributes of a control that draws boxes that move."""

NUMBER_ATTRIBUTES: Attributes = FIELD_ATTRIBUTES | _CHECK | _tasks(ModelTask.FILL, ModelTask.COUNT)
"""Attributes of a number."""

DATE_ATTRIBUTES: Attributes = FIELD_ATTRIBUTES | _CHECK
"""Attributes of a date or a time of day."""

TABLES = (
    BOX_ATTRIBUTES,
    POINT_ATTRIBUTES,
    SPAN_ATTRIBUTES,
    TRACK_ATTRIBUTES,
    FIELD_ATTRIBUTES,
    CHOICE_ATTRIBUTES,
    TEXT_ATTRIBUTES,
    NUMBER_ATTRIBUTES,
    DATE_ATTRIBUTES,
)

SHARED_DEFAULTS = frozenset(_VIEW | _CHECK)
"""What a project's `extra_params` set for controls that draw nothing: its prompt is for places."""


EXTRA_PARAMS = "extra_params"
MAX_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Params:
    """The values by attribute name."""

    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The values as JSON with sorted keys; an empty text without any."""
        return json.dumps(dict(self.values), sort_keys=True) if self.values else ""


def read_params(extra_params: object) -> Params:
    """Return the parameters in `extra_params`: null, an object, or a text, empty or with one.

    A name is that of an attribute, with or without its `model_`. A blank or null value is unset.
    Raises `ConfigError`, which names the parameter and the cure, for a name that is no attribute
    too: what it is meant to set would silently stay as it is.
    """
    values: dict[str, str] = {}
    for written, value in _read_object(extra_params).items():
        name = current_name(PREFIX + written.lower().removeprefix(PREFIX))
        text = _to_text(value)
        if not of_any(name):
            raise _unknown(written, name)
        if name in values:
            raise _error(f"has {quote(written)} twice", "Keep one of the two")
        if text is None:
            raise _error(f"has no text or number in {quote(written)}", "Write one value there")
        if text.strip():
            values[name] = _check(written, name, text)
    return Params(values)


def _read_object(extra_params: object) -> Mapping[str, object]:
    try:
        text = extra_params if isinstance(extra_params, str) else json.dumps(extra_params)
        if len(text) > MAX_CHARS:
            raise _error("is too long", f"Keep it below {MAX_CHARS} characters")
        found = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError, TypeError) as exc:
        raise _not_object() from exc
    if found is not None and not isinstance(found, dict):
        raise _not_object()
    return found or {}


def _to_text(value: object) -> str | None:
    """Return a value as text, as in an attribute; None if it is not a text or a number."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value) if isinstance(value, str | int) else None


def _check(written: str, name: str, text: str) -> str:
    """Return `text` if it is valid for at least one kind of control; else raise `ConfigError`."""
    attributes = of_any(name)
    if all(attribute.read(text) is None for attribute in attributes):
        wanted = ", or ".join(attribute.wanted for attribute in attributes)
        raise wrong(wanted, text, of=EXTRA_PARAMS, name=quote(written))
    return text


def _unknown(written: str, name: str) -> ConfigError:
    near = nearest(name, sorted({one for table in TABLES for one in table}))
    cure = f"Write {near.removeprefix(PREFIX)}, or remove it" if near else "Remove it"
    return _error(f"has {quote(written)}, which no control takes", cure)


def _not_object() -> ConfigError:
    return _error("is no JSON object", 'Write it as {"score_threshold": 0.4}, or leave it empty')


def _error(problem: str, hint: str) -> ConfigError:
    return ConfigError(f"{EXTRA_PARAMS} {problem}", code="extra_params_invalid", hint=hint)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the attribute that is spelt most like `name`; None where none is alike."""
    bare = {one.removeprefix(PREFIX): one for one in known}
    return closest(name.removeprefix(PREFIX), bare)


MAX_NAME_CHARS = 25


def check_attributes(elements: Iterable[Element], known: Mapping[str, Set[str]]) -> None:
    """Raise `ConfigError` for a `model_…` attribute that its tag does not take.

    `known` has the attributes by tag, as the tag is written in the documentation.
    """
    own = {tag.lower(): names for tag, names in known.items()}
    for element in elements:
        for name in element.attributes:
            if name.startswith(PREFIX) and name not in own.get(element.kind, ()):
                raise _not_taken(element, name, known)


def _not_taken(element: Element, name: str, known: Mapping[str, Set[str]]) -> ConfigError:
    shown = quote(name, MAX_NAME_CHARS)
    cure = _right_place(name, known) or _right_name(element, name, known)
    return ConfigError(
        f"{element} has {shown}, which it does not take",
        code="attribute_unknown",
        hint=f"{cure}, or remove it" if cure else "Remove it",
    )


def _right_place(name: str, known: Mapping[str, Set[str]]) -> str:
    homes = [tag for tag, names in known.items() if name in names]
    return f"Move it to {' or '.join(homes)}" if homes else ""


def _right_name(element: Element, name: str, known: Mapping[str, Set[str]]) -> str:
    here = {one for tag, names in known.items() if tag.lower() == element.kind for one in names}
    near = nearest(name, sorted(here))
    return f"Write {near}" if near else ""
