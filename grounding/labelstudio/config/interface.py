"""A labelling config as values: labels, controls and text areas.

Label Studio calls the whole a labelling interface. `config.parse` reads these values from XML;
nothing here knows XML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from string import Formatter

from grounding.queries import (
    CHOICE,
    PromptStyle,
    Screen,
    Shape,
    ValueKind,
    ValueType,
    find_branches,
)

LABELS = "labels"
"""The placeholder for the labels' names; any other names a field of the task's data."""


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt in parts: each is a text and the name of the placeholder after it, if any."""

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def read(cls, text: str) -> Template | None:
        """Return the template in `text`, or None if its braces are not valid.

        A literal brace is doubled, as in Python's format strings.
        """
        try:
            parsed = list(Formatter().parse(text))
        except ValueError:
            return None
        # A placeholder is a name only: a colon or an exclamation mark would add a format.
        if any(spec or conversion or name == "" for _, name, spec, conversion in parsed):
            return None
        parts = tuple((literal, name and name.strip()) for literal, name, _, _ in parsed)
        return cls(parts) if all(name != "" for _, name in parts) else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all placeholders, each once."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the prompt with the placeholders replaced by `values`, one for each field."""
        return "".join(text + (values[name] if name else "") for text, name in self.parts)


POINT_WIDTH = 0.75
"""Diameter of a key point in percent of the image's width: 6 of 800 pixels, easy to see and to
drag without hiding what it marks. The page draws nothing for a point without a width."""

FILM = "film"
"""Marks, in the model version, a tag that is served on a film."""

MAX_REGIONS = 1000
"""Most regions of one control on one image; only a model that repeats itself writes more."""

STATUS = "status"
"""The name of the text area that shows our errors."""

PROMPT_FIELD = "prompt"
"""The key of a task's data that holds the task's own prompt, unless the config names another."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a control: `value` as the config writes it, and its other names.

    `description` is what the page shows to people, `meaning` what the model is told. `path` are
    the names from the root of a tree to this one, as results carry them.
    """

    value: str
    alias: str | None = None
    predicted_values: tuple[str, ...] = ()
    description: str | None = None
    meaning: str | None = None
    path: tuple[str, ...] = ()

    @property
    def emitted(self) -> str:
        """The string that results carry: the alias where there is one, as Label Studio writes."""
        return self.alias or self.value

    @property
    def words(self) -> tuple[str, ...]:
        """The words that the model is asked for: `predicted_values`, or the value without any."""
        return self.predicted_values or (self.value.strip(),)


class ModelTask(StrEnum):
    """What the model does for a control whose tag leaves it open: `model_task`."""

    PROMPT = "prompt"
    """Nothing: annotators type prompts into this text area."""
    FILL = "fill"
    """It fills in a value."""
    OCR = "ocr"
    """It reads the print: line by line with places, or all of it as one text."""
    DOCUMENT = "document"
    """It takes a page apart: headings, paragraphs, tables, pictures and their text."""
    COUNT = "count"
    """It counts: what is drawn on the image, or what the control's prompt says."""
    GUI = "gui"
    """It follows an instruction on a screen: the action, and where it is done."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a control's `model_…` attributes set.

    `point_width` is in percent of the image's width. Regions with a probability below
    `score_threshold` are dropped, and at most `max_regions` are kept. `prompt` says what to look
    for instead of the labels' names. `prompt_field` names the key of the task's data that holds the
    task's own prompt; empty for none. `labels_per_query` is how many labels share one query: 0
    is all, None is the deployment's setting. `style` is how a query is worded. With `similar`, a
    smart box asks for everything like the thing in it instead of its tight box. With `only_asked`,
    the control answers annotators only, and is no part of pre-labelling. `min_pixels` and
    `max_pixels` bound the area of the view in pixels, within the model's own bounds. `task` is what
    the model does for the control, None where its tag and its neighbours say it. With `check`, a
    value that the picture's text lacks is marked. `screen` is the kind of screen that an agent acts
    on, None where its labels say it, and with `zoom` it looks again, closer, at where it points.
    `fps`, `max_frames` and `max_tokens` say how densely a film is looked at; None leaves one to
    the deployment.
    """

    point_width: float = POINT_WIDTH
    score_threshold: float | None = None
    max_regions: int = MAX_REGIONS
    prompt: Template | None = None
    prompt_field: str = PROMPT_FIELD
    labels_per_query: int | None = None
    style: PromptStyle = field(default_factory=PromptStyle)
    min_pixels: int | None = None
    max_pixels: int | None = None
    similar: bool = False
    only_asked: bool = False
    task: ModelTask | None = None
    check: bool = False
    screen: Screen | None = None
    zoom: bool = False
    fps: float | None = None
    max_frames: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """One control tag on one image or film.

    `data_key` is the key of the task's data that holds the file's address. `frame_rate` is how many
    frames a second the page counts on its film, as a number or the key of the task's data that has
    it; None on an image. `labels` are the labels or choices that its results may carry.
    `labels_from` names the `<Labels>` tag that they come from, for tags without labels of their
    own. `shape` is the shape that it draws, None where it draws none. `multiple` allows several
    choices. With `per_region` it adds to the regions of
    other controls; one that `accompanies` takes the text that the model wrote with a place.
    With `only_labels` it belongs to regions with one of these labels, as the config writes them,
    and with `only_from` to those of the tag of this name.
    `value_type` is the type of its value; `value_format` is how the page writes a date, in the
    directives of strftime. `task` is what the model does for it where that is more than its tag
    says: the config's own, or what its labels and neighbours make of it. A text that is `named`
    says which action it is of, where no choices do. With
    `described`, a text area takes what the model says of each of its regions; one that
    `asks_by_name` asks of those for which the model said nothing, since its name says what for.
    """

    tag: str
    from_name: str
    to_name: str
    data_key: str
    labels: tuple[Label, ...]
    labels_from: str | None = None
    options: Options = Options()
    shape: Shape | None = None
    multiple: bool = False
    per_region: bool = False
    value_type: ValueType = CHOICE
    value_format: str = ""
    accompanies: bool = False
    only_labels: tuple[str, ...] = ()
    only_from: str | None = None
    task: ModelTask | None = None
    named: bool = False
    frame_rate: float | str | None = None
    described: bool = False
    asks_by_name: bool = False

    @property
    def on_film(self) -> bool:
        """Whether it is about a film."""
        return self.frame_rate is not None

    @property
    def takes_answers(self) -> bool:
        """Whether typed questions are answered in it: it is a text that is filled when asked."""
        text = self.value_type.kind is ValueKind.TEXT and not self.shape
        return text and self.options.only_asked and not self.per_region

    @property
    def has_levels(self) -> bool:
        """Whether it has so many paths that the model is asked for them level by level."""
        paths = [word for label in self.labels for word in label.words]
        return self.value_type.kind is ValueKind.PATH and bool(find_branches(paths))

    @property
    def describes_by_name(self) -> bool:
        """Whether its name alone says that it describes what is seen."""
        return self.asks_by_name and self.task is ModelTask.FILL

    @property
    def counts_regions(self) -> bool:
        """Whether it is the number of what is drawn on its image, and asks nothing."""
        return self.task is ModelTask.COUNT and self.options.prompt is None

    @property
    def asks_of_regions(self) -> bool:
        """Whether it asks the model about each region that others draw."""
        return self.per_region and (self.asks_by_name or not self.accompanies)

    def follows(self, drawing: Control) -> bool:
        """Say whether it belongs to regions that another control draws, of some label or any."""
        return self.only_from in (None, drawing.from_name, drawing.labels_from)

    def is_about(self, drawing: Control, label: Label | None) -> bool:
        """Say whether it belongs to the regions with a label that another control draws."""
        names = {label.value, label.emitted} if label else set()
        labelled = not self.only_labels or not names.isdisjoint(self.only_labels)
        return labelled and self.follows(drawing)


class Remember(StrEnum):
    """What happens to the prompt that a project's annotators typed last: `model_remember`."""

    OFF = "off"
    """It is not kept."""
    PRELABEL = "prelabel"
    """Pre-labelling looks for it."""


@dataclass(frozen=True, slots=True)
class TextArea:
    """One `<TextArea>`; the page calls us when an annotator adds a text to a `smart` one.

    With `filled`, the model fills it in, and nobody types prompts into it. One that is `hidden` is
    not always shown.
    """

    name: str
    to_name: str
    smart: bool = True
    per_region: bool = False
    remember: Remember = Remember.OFF
    filled: bool = False
    hidden: bool = False

    @property
    def is_promptlike(self) -> bool:
        """Whether its name says that prompts are typed into it."""
        return self.name.casefold().startswith("prompt")


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """A whole labelling config: the parts that we serve, and warnings for its author.

    `reading_order` is the config's `<Relation>` between an element of a page and the next one.
    """

    controls: tuple[Control, ...] = ()
    text_areas: tuple[TextArea, ...] = ()
    warnings: tuple[str, ...] = ()
    reading_order: str | None = None

    def companions(self, control: Control) -> tuple[Control, ...]:
        """Return the per-region controls that add to the regions that `control` draws."""
        return tuple(
            one for one in self.controls if one.per_region and one.to_name == control.to_name
        )

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of a task's data that its controls look at, each once."""
        return tuple(dict.fromkeys(control.data_key for control in self.controls))

    @property
    def prelabels(self) -> bool:
        """Whether any control answers where no annotator asks."""
        return any(
            not one.options.only_asked and not one.per_region and self.has_to_count(one)
            for one in self.controls
        )

    def has_to_count(self, control: Control) -> bool:
        """Say whether pre-labelling draws what a control counts; so of one that does not count."""
        drawn = {c.to_name for c in self.controls if c.shape and not c.options.only_asked}
        return not control.counts_regions or control.to_name in drawn

    @property
    def later_tags(self) -> tuple[str, ...]:
        """The tags served here that the first release did not serve: part of the model version.

        A config without them keeps the version that it had.
        """
        values = [control for control in self.controls if not control.shape]
        of_regions = {f"{one.tag}:region" for one in values if one.asks_of_regions}
        reading = {f"{one.tag}:{one.task}" for one in self.controls if one.shape and one.task}
        films = {f"{one.tag}:{FILM}" for one in self.controls if one.on_film}
        levels = {f"{one.tag}:levels" for one in values if one.has_levels}
        names = {f"{one.tag}:name" for one in values if one.asks_by_name}
        tags = {one.tag for one in values} | of_regions | reading | films | levels | names
        return tuple(sorted(tags))

    @property
    def on_films(self) -> bool:
        """Whether any control is about a film."""
        return any(one.on_film for one in self.controls)

    def prompt_areas(self) -> tuple[TextArea, ...]:
        """Return the text areas to type a prompt into: those named prompt…, or the only one."""
        smart = [a for a in self.text_areas if a.smart and not (a.per_region or a.filled)]
        open_ = [a for a in smart if a.name != STATUS]
        named = tuple(a for a in open_ if a.is_promptlike)
        return named or tuple(open_ if len(open_) == 1 else ())

    def memory(self) -> TextArea | None:
        """Return the prompt area whose last text pre-labelling looks for, if there is one."""
        areas = (a for a in self.prompt_areas() if a.remember is Remember.PRELABEL)
        return next(areas, None)

    def status_area(self) -> TextArea | None:
        """Return `<TextArea name="status" smart="false">`, which shows our errors to annotators."""
        areas = (a for a in self.text_areas if a.name == STATUS and not a.smart)
        return next(areas, None)
