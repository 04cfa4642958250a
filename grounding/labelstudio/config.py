"""A project's labelling config: from XML to the controls that we serve.

Served are `<RectangleLabels>`, `<KeyPointLabels>`, and `<Rectangle>` and `<KeyPoint>` with the
`<Labels>` of the same image; `controls` knows the tags. Other tags are none of our business.
A control that we cannot serve is refused by name, because a project that silently gets nothing
is worse than one that says why; `model_skip="true"` leaves a control out on purpose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from grounding.ask import Manner, Shape
from grounding.errors import ConfigError, DataError
from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.interface import Control, Label, LabelConfig, Options, Remember, TextArea
from grounding.labelstudio.labels import same_spelling
from grounding.labelstudio.markup import Element, quoted, read, too_large

__all__ = [
    "Control",
    "Label",
    "LabelConfig",
    "Options",
    "TextArea",
    "data_value",
    "parse",
    "text_areas",
]

MAX_CONTROLS = 100
MAX_LABELS = 1000
MAX_LABEL_CHARS = 200
MAX_DESCRIPTION_CHARS = 1000
MAX_PROMPT_CHARS = 1000
MAX_KEYS_SHOWN = 20
MIN_PIXELS = 28 * 28

UNDEFINED_KEY = "$undefined$"
"""Label Studio's key for data that was imported before the config named one."""

VARIABLE = re.compile(r"\$([^\s,/{}$]+)")
"""`$image`, `$a.b` or `$a[0]`: one variable, and nothing around it."""

PATH_STEP = re.compile(r"[^.\[\]]+")

_TAGS = {tag.lower(): kind for tag, kind in CONTROLS.items()}


def parse(xml: object) -> LabelConfig:
    """Return what a labelling config asks of us; none of it is fetched or run.

    A config without a control of ours is no error and has no controls. Raises `ConfigError`
    where the config is no XML, too large, or has a control of ours that cannot be served; its
    cause is one line of ASCII of at most 120 characters, fit for an HTTP status line.
    """
    document = _Document(list(read(xml).walk()))
    document.check()
    areas = tuple(_text_areas(document.elements))
    controls = tuple(islice(document.controls(LabelConfig(text_areas=areas)), MAX_CONTROLS + 1))
    if len(controls) > MAX_CONTROLS:
        raise too_large(f"the labelling config has more than {MAX_CONTROLS} controls")
    return LabelConfig(controls, areas, tuple(_warnings(document.served(), controls)))


def text_areas(xml: object) -> tuple[TextArea, ...]:
    """Return the text areas of a config, even of one that cannot be served; never raising."""
    try:
        return tuple(_text_areas(read(xml).walk()))
    except ConfigError:
        return ()


def data_value(data: Mapping[str, Any], key: str) -> object:
    """Return what a task's data holds under `key`: a plain key, or a path as in a.b or a[0].

    Raises `DataError` that names the key and the keys present, never their values.
    """
    for found in (data.get(key), _at_path(data, key), data.get(UNDEFINED_KEY)):
        if found is not None:
            return found
    present = ", ".join(sorted(quoted(str(name)) for name in data)[:MAX_KEYS_SHOWN]) or "none"
    raise DataError(
        f'the task\'s data has nothing under "{quoted(key)}"; its keys: {present}',
        code="image_key_missing",
    )


class _Document:
    """The elements of one config, in order, and how they refer to one another."""

    def __init__(self, elements: Sequence[Element]) -> None:
        self.elements = elements
        self.named = {name: e for e in elements if (name := e.get("name"))}

    def check(self) -> None:
        """Raise `ConfigError` for what no config may have."""
        labels = [e for e in self.elements if e.kind == "label"]
        if len(labels) > MAX_LABELS:
            raise too_large(f"{len(labels)} labels, at most {MAX_LABELS} are served")
        for label in labels:
            _check_length(label)
        names = Counter(e.get("name") for e in self.elements)
        twice = next((name for name, count in names.items() if name and count > 1), None)
        if twice:
            raise ConfigError(
                f'two tags have name="{quoted(twice)}"',
                code="name_not_unique",
                hint="Give each tag a name of its own",
            )

    def served(self) -> list[tuple[Element, Options]]:
        """Return the elements that are controls of ours and not left out on purpose."""
        ours = [(e, _settled(e)) for e in self.elements if e.kind in _TAGS]
        return [(e, _options(settled)) for e, settled in ours if not settled.pop("skip", False)]

    def controls(self, config: LabelConfig) -> Iterator[Control]:
        """Yield a control per tag of ours, and per `<Labels>` that goes with it."""
        for element, options in self.served():
            kind = _TAGS[element.kind]
            control = Control(
                tag=kind.tag,
                from_name=_required(element, "name"),
                to_name=_required(element, "toName"),
                data_key=_data_key(self._image(element)),
                labels=() if kind.labels_beside else _labels(element),
                attributes=element.attributes,
                options=options,
            )
            prompted = bool(options.prompt or config.prompt_areas())
            yield from self._beside(element, control, prompted) if kind.labels_beside else [control]

    def _beside(self, element: Element, control: Control, prompted: bool) -> list[Control]:
        """Return the control once with each `<Labels>` of its image.

        Without any, a prompt alone says what to find, and regions have no label.
        """
        target = control.to_name
        beside = [e for e in self.elements if e.kind == "labels" and e.get("toName") == target]
        if not beside and not prompted:
            raise _refused(
                element,
                "has no <Labels> on its image",
                code="no_labels",
                hint="Add <Labels> with the same toName, or a <TextArea> to type a prompt into",
            )
        sources = [(_labels(e), _required(e, "name")) for e in beside]
        return [replace(control, labels=x, labels_from=name) for x, name in sources] or [control]

    def _image(self, element: Element) -> Element:
        target = _required(element, "toName")
        image = self.named.get(target)
        if image is not None and image.kind == "image":
            return image
        problem = f"a <{quoted(image.tag, 15)}>" if image else "which is nothing here"
        raise _refused(
            element,
            f'has toName="{quoted(target, 20)}", {problem}',
            code="control_not_on_image",
            hint="Set toName to the name of an <Image>",
        )


def _data_key(image: Element) -> str:
    """Return the key of the task's data that holds the image's address."""
    if image.get("valueList"):
        raise _refused(
            image,
            "has valueList: several images in one task are not served",
            code="multi_image_unsupported",
            hint='Use value="$image" with one image per task',
        )
    value = image.get("value") or ""
    variable = VARIABLE.fullmatch(value)
    if not variable:
        raise _refused(
            image,
            f'has value="{quoted(value, 30)}", not one variable',
            code="value_not_variable",
            hint='Write value="$image", with the key that the tasks have for the image',
        )
    return variable[1]


def _refused(element: Element, problem: str, *, code: str, hint: str) -> ConfigError:
    return ConfigError(f"{element} {problem}", code=code, hint=hint)


def _required(element: Element, attribute: str) -> str:
    value = element.get(attribute)
    if value is None:
        raise _refused(
            element,
            f"has no {attribute}",
            code="control_not_on_image" if attribute == "toName" else "label_config_invalid",
            hint=f"Add {attribute} to the tag",
        )
    return value


def _labels(element: Element) -> tuple[Label, ...]:
    """Return the labels inside a tag, however deep; those that are written twice, once."""
    found = (_label(e) for e in element.walk() if e.kind == "label")
    labels = {label.emitted: label for label in reversed([x for x in found if x])}
    if not labels:
        dynamic = (element.get("value") or "").startswith("$")
        raise _refused(
            element,
            "takes its labels from the task's data" if dynamic else "has no <Label>",
            code="no_labels",
            hint='Add a <Label value="…"/> for each class',
        )
    return tuple(reversed(labels.values()))


def _label(element: Element) -> Label | None:
    """Return the label, or None where it has neither value nor alias: the page shows none."""
    value, alias = element.get("value"), element.get("alias")
    if not (value or alias):
        return None
    described = element.get("description") or element.get("hint")
    return Label(
        value=value or alias or "",
        alias=alias,
        predicted_values=tuple(_listed(element)),
        description=described[:MAX_DESCRIPTION_CHARS] if described else None,
    )


def _check_length(label: Element) -> None:
    names = {attribute: [label.get(attribute) or ""] for attribute in ("value", "alias")}
    names["predicted_values"] = _listed(label)
    for attribute, texts in names.items():
        if max(map(len, texts), default=0) > MAX_LABEL_CHARS:
            raise too_large(f"a label's {attribute} has more than {MAX_LABEL_CHARS} characters")


def _listed(label: Element) -> list[str]:
    words = (label.get("predicted_values") or "").split(",")
    return [word.strip() for word in words if word.strip()]


def _text_areas(elements: Iterable[Element]) -> Iterator[TextArea]:
    for e in elements:
        name, to_name = e.get("name"), e.get("toName")
        if e.kind == "textarea" and name and to_name:
            smart, per_region = _yes(e, "smart", True), _yes(e, "perRegion", False)
            remember = _REMEMBER.get((e.get("model_remember") or "").lower(), Remember.OFFER)
            yield TextArea(name, to_name, smart, per_region, remember)


def _yes(element: Element, attribute: str, default: bool) -> bool:
    return _YES_NO.get((element.get(attribute) or "").lower(), default)


def _number(low: float, high: float) -> Callable[[str], float | None]:
    def read_number(text: str) -> float | None:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if low <= number <= high else None

    return read_number


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch("[1-9][0-9]{0,2}", text) else None


def _pixels(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) and int(text) >= MIN_PIXELS else None


def _one_of(meanings: Mapping[str, Any]) -> tuple[Callable[[str], Any], str]:
    """Return a reader of these words, and how to name them."""
    return lambda text: meanings.get(text.lower()), " or ".join(meanings)


def _prompt(text: str) -> str | None:
    return text.strip() if len(text) <= MAX_PROMPT_CHARS else None


_YES_NO = {"true": True, "false": False}
_REMEMBER = {str(word): word for word in Remember}

_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "model_skip": ("skip", *_one_of(_YES_NO)),
    "model_point_width": ("point_width", _number(0.01, 100), "a number from 0.01 to 100"),
    "model_score_threshold": ("score_threshold", _number(0, 1), "a number from 0 to 1"),
    "model_prompt": ("prompt", _prompt, f"a text of at most {MAX_PROMPT_CHARS} characters"),
    "model_labels_per_question": ("labels_per_question", _count, "a number from 1 to 999"),
    "model_min_pixels": ("min_pixels", _pixels, f"a whole number of at least {MIN_PIXELS}"),
    "model_max_pixels": ("max_pixels", _pixels, f"a whole number of at least {MIN_PIXELS}"),
    "model_prompt_mode": ("raw", *_one_of({"wrap": False, "raw": True})),
    "model_language": ("language", *_one_of({"auto": "auto", "en": "en", "zh": "zh"})),
}
"""The attributes that settle something: the option's name, its reader, and what it takes."""

_SMART_BOX: tuple[str, Callable[[str], Any], str] = (
    "similar",
    *_one_of({"refine": False, "similar": True}),
)
"""`model_smart_box` of rectangle controls: what a smart box asks for."""

_ANSWER_FORMATS: dict[Shape, tuple[str, Callable[[str], Any], str]] = {
    Shape.BOX: ("answer_format", *_one_of({"json": "json", "plain": "plain"})),
    Shape.POINT: ("answer_format", *_one_of({"json": "json", "xml": "xml"})),
}
"""`model_answer_format` of each shape: Qwen documents plain text for boxes, XML for points."""


def _known(element: Element) -> dict[str, tuple[str, Callable[[str], Any], str]]:
    """Return what the `model_…` attributes of this tag may settle."""
    shape = _TAGS[element.kind].shape
    own = {"model_smart_box": _SMART_BOX} if shape is Shape.BOX else {}
    return _OPTIONS | own | {"model_answer_format": _ANSWER_FORMATS[shape]}


def _settled(element: Element) -> dict[str, Any]:
    """Return the options that a tag's attributes set; raises `ConfigError` for one that cannot."""
    settled: dict[str, Any] = {}
    for attribute, (option, reader, wanted) in _known(element).items():
        text = element.get(attribute)
        if text is None:
            continue
        settled[option] = reader(text)
        if settled[option] is None:
            raise _refused(
                element,
                f'has {attribute}="{quoted(text, 20)}"',
                code="attribute_invalid",
                hint=f"Set {attribute} to {wanted}, or remove it",
            )
    low, high = settled.get("min_pixels"), settled.get("max_pixels")
    if low and high and low > high:
        raise _refused(
            element,
            f'has model_min_pixels="{low}" above model_max_pixels="{high}"',
            code="attribute_invalid",
            hint="Set model_min_pixels to at most model_max_pixels, or remove one",
        )
    return settled


def _options(settled: dict[str, Any]) -> Options:
    manner = {f.name: settled.pop(f.name) for f in fields(Manner) if f.name in settled}
    return Options(manner=Manner(**manner), **settled)


def _warnings(
    served: Iterable[tuple[Element, Options]], controls: Sequence[Control]
) -> Iterator[str]:
    """Yield what a config's author should know though it hinders nothing."""
    for element, _ in served:
        for attribute in element.attributes:
            if attribute.startswith("model_") and attribute not in _known(element):
                yield f"{element} has {quoted(attribute)}, which is not used here"
    for control in controls:
        for twins in same_spelling(control.labels):
            names = ", ".join(quoted(label.value) for label in twins)
            yield f"labels differ in spelling only, and need the exact string: {names}"


def _at_path(data: Mapping[str, Any], key: str) -> Any:
    found: Any = data
    for step in PATH_STEP.findall(key):
        found = _step(found, step)
    return found


def _step(found: Any, step: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(step)
    if isinstance(found, Sequence) and not isinstance(found, str) and step.isdigit():
        return found[int(step)] if int(step) < len(found) else None
    return None
