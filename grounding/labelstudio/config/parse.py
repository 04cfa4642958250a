"""A project's labelling config: from XML to the controls that we serve.

`controls` has the tags that are served; other tags are ignored. A control that draws places and
cannot be served is refused by name, because a project that silently gets nothing is worse than one
that says why; `model_skip="true"` leaves a control out on purpose. Controls of other kinds, such as
choices about a text, are left alone where they are not about one image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from grounding.errors import ConfigError
from grounding.labelstudio.config.actions import doubts_of_actions
from grounding.labelstudio.config.areas import REMEMBER, doubts, doubts_of_regions, read_text_areas
from grounding.labelstudio.config.attributes import (
    PREFIX,
    SHARED_DEFAULTS,
    check_attributes,
    read_options,
    read_params,
)
from grounding.labelstudio.config.conditions import (
    inherit_conditions,
    is_per_region,
    read_only_labels,
)
from grounding.labelstudio.config.films import read_frame_rate
from grounding.labelstudio.config.interface import (
    LABELS,
    PROMPT_FIELD,
    Control,
    Label,
    LabelConfig,
    ModelTask,
    Options,
    TextArea,
)
from grounding.labelstudio.config.labels import (
    MEANING,
    check_labels,
    cut_texts,
    read_label,
    read_labels,
)
from grounding.labelstudio.config.tasks import read_reading_order, with_tasks
from grounding.labelstudio.config.unserved import LISTS, ONE_IMAGE, check_served, doubts_of_unserved
from grounding.labelstudio.config.xml import (
    VARIABLE,
    Element,
    is_in_data,
    quote,
    read,
    refused,
    size_error,
)
from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.controls.base import ControlTag
from grounding.labelstudio.labels import group_same_spelling

MAX_CONTROLS = 100
MAX_REMEMBERED = 32

_TAGS = {tag.lower(): kind for tag, kind in CONTROLS.items()}
_OWN = {"Label": {MEANING}, "TextArea": {REMEMBER}}
_KNOWN = _OWN | {
    tag: kind.attributes.keys() | _OWN.get(tag, set()) for tag, kind in CONTROLS.items()
}
"""The `model_…` attributes that each tag takes."""


def parse(xml: object, extra_params: str = "") -> LabelConfig:
    """Return what a labelling config asks of us; none of it is fetched or run.

    `extra_params` are the project's own, as `read_params` takes them. A config in which people
    label nothing yet is no error and has no controls. Raises `ConfigError` where the config is no
    XML, too large, has a control of ours that cannot be served or none that is, or an attribute
    that nobody reads; its cause is one line of ASCII of at most 120 characters, fit for an HTTP
    status line.
    """
    if not isinstance(xml, str):
        raise ConfigError(f"the labelling config is no text but {type(xml).__name__}")
    return _parse(xml, extra_params)


@lru_cache(maxsize=MAX_REMEMBERED)
def _parse(xml: str, extra_params: str) -> LabelConfig:
    """Return the parsed config: the same one for each task of a project, since none can change."""
    document = _Document(list(read(xml).walk()), read_params(extra_params).values)
    document.check()
    areas = document.areas
    controls = tuple(islice(document.controls(LabelConfig(text_areas=areas)), MAX_CONTROLS + 1))
    if len(controls) > MAX_CONTROLS:
        raise size_error(f"the labelling config has more than {MAX_CONTROLS} controls")
    kept = tuple(_with_queries(controls))
    served = with_tasks(kept)
    if not served and not document.leaves_out:
        check_served(document.elements)
    left = doubts_of_unserved(document.elements, kept, controls)
    doubts_of_served = (*doubts_of_actions(served), *doubts_of_regions(served))
    warnings = tuple(dict.fromkeys((*document.warnings(controls), *left, *doubts_of_served)))
    return LabelConfig(served, areas, warnings, read_reading_order(document.elements))


def _with_queries(controls: Sequence[Control]) -> Iterator[Control]:
    """Yield the controls without the per-region ones where nothing is drawn.

    On a film, those are left out that would ask about each region.
    """
    drawn_on = {control.to_name for control in controls if control.shape}
    return (
        c
        for c in controls
        if not c.per_region or (c.to_name in drawn_on and not (c.on_film and c.asks_of_regions))
    )


def text_areas(xml: str) -> tuple[TextArea, ...]:
    """Return the text areas of a config, even of one that cannot be served; never raising."""
    try:
        return _read_areas(list(read(xml).walk()))
    except ConfigError:
        return ()


def _read_areas(elements: Sequence[Element]) -> tuple[TextArea, ...]:
    served = [kind for e in elements if (kind := _TAGS.get(e.kind)) and not _is_skipped(e)]
    values = {kind.tag for kind in served if kind.write_value}
    return read_text_areas(
        elements,
        draws=any(kind.draws for kind in served),
        asks=bool(values - {"Choices", "TextArea"}),
    )


def _is_skipped(element: Element) -> bool:
    """Say whether a control is left to people on purpose."""
    return element.says("model_skip")


class _Document:
    """The elements of one config, in order, and how they refer to one another."""

    def __init__(self, elements: Sequence[Element], params: Mapping[str, str]) -> None:
        self.elements = elements
        self.hidden = inherit_conditions(elements[0])
        self.named = {name: e for e in elements if (name := e.get("name"))}
        self.labels_on: dict[str | None, list[Element]] = {}
        for element in elements:
            if element.kind == "labels":
                self.labels_on.setdefault(element.get("toName"), []).append(element)
        self.areas = _read_areas(elements)
        self.typed = {area.name for area in self.areas if not (area.per_region or area.filled)}
        self.repeated = {id(e) for r in elements if r.kind == "repeater" for e in r.walk()}
        variables = [(e, VARIABLE.fullmatch(e.get("value") or "")) for e in elements]
        values = [(e, found[1]) for e, found in variables if found]
        self.images = {key for e, key in values if e.kind in ("image", "video")}
        # A column that people are shown as it is need not say what to look for.
        self.shown = [e for e, key in values if key == PROMPT_FIELD and e.kind != "textarea"]
        self.leaves_out = False
        """Whether `served` has met a control that is left out on purpose."""
        self.defaults = ({"model_prompt_field": "none"} if self.shown else {}) | dict(params)

    def check(self) -> None:
        """Raise `ConfigError` for what no config may have."""
        check_attributes(self.elements, _KNOWN)
        check_labels(self.elements)
        names = Counter(e.get("name") for e in self.elements)
        twice = next((name for name, count in names.items() if name and count > 1), None)
        if twice:
            raise ConfigError(
                f'two tags have name="{quote(twice)}"',
                code="name_not_unique",
                hint="Give each tag a name of its own",
            )

    def served(self) -> Iterator[tuple[Element, ControlTag, Options]]:
        """Yield the elements that are controls of ours and not left out on purpose."""
        for element in self.elements:
            kind = _TAGS.get(element.kind)
            if kind is None:
                continue
            if not kind.serves(self._as_shown(element)):
                self.leaves_out |= _is_skipped(element)
                continue
            options = read_options(element, kind.attributes, self._defaults(kind))
            self.leaves_out |= options is None
            if options is None or options.task is ModelTask.PROMPT or self._is_typed(element):
                continue
            if kind.required or self._is_on_one_object(element, kind):
                yield element, kind, options

    def _as_shown(self, element: Element) -> Element:
        """Return an element with the conditions of the views that it is in."""
        return self.hidden.get(id(element), element)

    def _is_typed(self, element: Element) -> bool:
        """Say whether people alone type into an element."""
        return element.kind == "textarea" and element.get("name") in self.typed

    def controls(self, config: LabelConfig) -> Iterator[Control]:
        """Yield a control per tag of ours, and per `<Labels>` that goes with it."""
        for element, kind, options in self.served():
            self._check_single(element)
            control = self._control(element, kind, options)
            prompted = bool(options.prompt or options.task or config.prompt_areas())
            beside = kind.labels == "beside"
            found = self._beside(element, control, prompted) if beside else [control]
            self._check_prompt(element, found)
            yield from found

    def _control(self, element: Element, kind: ControlTag, options: Options) -> Control:
        per_region = not kind.draws and is_per_region(element)
        image, shown = self._object(element, kind), self._as_shown(element)
        asked = options.prompt is not None or options.task not in (None, ModelTask.GUI)
        return Control(
            tag=kind.tag,
            from_name=_required(element, "name"),
            to_name=_required(element, "toName"),
            data_key=_data_key(image),
            labels=_labels_of(element, kind),
            options=options,
            shape=kind.draws,
            multiple=kind.allows_several(element),
            per_region=per_region,
            accompanies=per_region and kind.accompany is not None and not asked,
            value_type=kind.value_type(element),
            value_format=kind.value_format(element),
            only_labels=read_only_labels(shown) if per_region else (),
            only_from=shown.get("whenTagName") if per_region else None,
            task=options.task,
            frame_rate=read_frame_rate(image) if image.kind == "video" else None,
        )

    def _defaults(self, kind: ControlTag) -> Mapping[str, str]:
        """Return the project's defaults for a kind of control: its prompt is for places only."""
        if kind.draws:
            return self.defaults
        return {name: text for name, text in self.defaults.items() if name in SHARED_DEFAULTS}

    def _is_on_one_object(self, element: Element, kind: ControlTag) -> bool:
        """Say whether an element can be served at all, as one that is not required need not be."""
        image = self.named.get(element.get("toName") or "")
        if image is None or image.kind not in kind.objects or not element.get("name"):
            return False
        if {id(element), id(image)} & self.repeated or image.get("valueList"):
            return False
        labelled = any(read_label(e) for e in element.walk() if e.kind == kind.label_tag)
        single = VARIABLE.fullmatch(image.get("value") or "")
        if kind.labels == "beside":
            labelled = any(map(read_labels, self.labels_on.get(element.get("toName"), ())))
        return bool(single) and (labelled or kind.labels not in ("own", "beside"))

    def warnings(self, controls: Sequence[Control]) -> Iterator[str]:
        """Yield what a config's author should know though it hinders nothing."""
        for e in self.elements:
            for attribute in e.attributes:
                if attribute.startswith(PREFIX) and not _is_used(e, attribute):
                    yield f"{e} has {attribute}, and is not served: it depends on other things"
            if e.kind == "label":
                yield from cut_texts(e)
            if self._draws_unserved(e):
                yield f"{e} is not served: it needs a name, labels, and the toName of a <Video>"
        for e in self.elements:
            if e.kind in LISTS and is_in_data(e.get("value") or ""):
                yield f"{e} takes its choices from the task's data, and is not served"
        for e in self.shown:
            yield (
                f"{e} shows ${PROMPT_FIELD}, which is therefore not asked for; "
                f'to ask for it, set model_prompt_field="{PROMPT_FIELD}"'
            )
        yield from doubts(LabelConfig(tuple(controls), self.areas))
        for control in controls:
            for twins in group_same_spelling(control.labels):
                names = ", ".join(quote(label.value) for label in twins)
                yield f"labels differ in spelling only, and need the exact string: {names}"

    def _draws_unserved(self, element: Element) -> bool:
        """Say whether an element would draw on a film, and is left alone for what it lacks."""
        kind = _TAGS.get(element.kind)
        if kind is None or not kind.draws or kind.required or _is_skipped(element):
            return False
        return not self._is_on_one_object(element, kind)

    def _check_single(self, element: Element) -> None:
        if id(element) in self.repeated:
            raise refused(
                element,
                "is in a <Repeater>: one image per task is served",
                code="multi_image_unsupported",
                hint=f'{ONE_IMAGE}, or set model_skip="true"',
            )

    def _check_prompt(self, element: Element, controls: Sequence[Control]) -> None:
        """Raise `ConfigError` for a prompt that nothing, or an image's address, would fill."""
        prompt, field = controls[0].options.prompt, controls[0].options.prompt_field
        places = prompt.fields if prompt else ()
        if LABELS in places and not controls[0].labels:
            raise refused(
                element,
                "has {labels} in model_prompt, and no labels",
                code="attribute_invalid",
                hint="Add <Labels> with the same toName, or remove {labels}",
            )
        if pictures := self.images.intersection(places):
            raise refused(
                element,
                f"has {{{quote(min(pictures), 20)}}} in model_prompt: an image's address",
                code="attribute_invalid",
                hint="Name another field of the task's data in model_prompt",
            )
        if field in self.images:
            raise refused(
                element,
                f'has model_prompt_field="{quote(field, 20)}": an image\'s address',
                code="attribute_invalid",
                hint="Name another field of the task's data in model_prompt_field",
            )

    def _beside(self, element: Element, control: Control, prompted: bool) -> list[Control]:
        """Return the control once with each `<Labels>` of its image.

        Without any, a prompt alone says what to find, and regions have no label.
        """
        beside = self.labels_on.get(control.to_name, [])
        if not beside and not prompted:
            raise refused(
                element,
                "has no <Labels> on its image",
                code="no_labels",
                hint="Add <Labels> with the same toName, or a <TextArea> to type a prompt into",
            )
        sources = [(read_labels(e), _required(e, "name")) for e in beside]
        return [replace(control, labels=x, labels_from=name) for x, name in sources] or [control]

    def _object(self, element: Element, kind: ControlTag) -> Element:
        """Return the image or film that a control is about."""
        target = _required(element, "toName")
        image = self.named.get(target)
        if image is not None and image.kind in kind.objects:
            self._check_single(image)
            return image
        problem = f"a <{quote(image.tag, 15)}>" if image else "which is nothing here"
        raise refused(
            element,
            f'has toName="{quote(target, 20)}", {problem}',
            code="control_not_on_image",
            hint="Set toName to the name of an <Image>",
        )


def _data_key(image: Element) -> str:
    """Return the key of the task's data that holds the image's address."""
    if image.get("valueList"):
        raise refused(
            image,
            "has valueList: several images in one task are not served",
            code="multi_image_unsupported",
            hint=ONE_IMAGE,
        )
    value = image.get("value") or ""
    variable = VARIABLE.fullmatch(value)
    if not variable:
        raise refused(
            image,
            f'has value="{quote(value, 30)}", not one variable',
            code="value_not_variable",
            hint='Write value="$image", with the key that the tasks have for the image',
        )
    return variable[1]


def _required(element: Element, attribute: str) -> str:
    value = element.get(attribute)
    if value is None:
        raise refused(
            element,
            f"has no {attribute}",
            code="control_not_on_image" if attribute == "toName" else "label_config_invalid",
            hint=f"Add {attribute} to the tag",
        )
    return value


def _labels_of(element: Element, kind: ControlTag) -> tuple[Label, ...]:
    """Return the labels of a control that has its own."""
    if callable(kind.labels):
        return kind.labels(element)
    return read_labels(element, kind.label_tag) if kind.labels == "own" else ()


def _is_used(element: Element, attribute: str) -> bool:
    """Say whether an attribute that its tag takes has an effect on this element."""
    kind = _TAGS.get(element.kind)
    return kind is None or kind.serves(element) or attribute in (REMEMBER, "model_skip")
