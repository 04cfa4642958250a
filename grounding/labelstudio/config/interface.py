"""What a labelling config says, as values: labels, controls and text areas.

Label Studio calls the whole a labelling interface. `config.parse` reads it from XML; nothing
here knows XML, and nothing but `config` makes these values in earnest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from grounding.labelstudio.config.template import Template
from grounding.queries import PromptStyle

POINT_WIDTH = 0.75
"""Diameter of a key point in percent of the image's width: 6 of 800 pixels, easy to see and to
grab without hiding what it marks. The page draws nothing for a point without a width."""

MAX_REGIONS = 1000
"""Regions of one control on one image; only a model that repeats itself writes more."""

PROMPT_FIELD = "prompt"
"""The key of a task's data whose text is the task's own prompt, where a config names no other."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a control: `value` as the config writes it, and its other names.

    `description` is what the page tells people of it, `meaning` what the model is told.
    """

    value: str
    alias: str | None = None
    predicted_values: tuple[str, ...] = ()
    description: str | None = None
    meaning: str | None = None

    @property
    def emitted(self) -> str:
        """The string that regions carry: the alias where there is one, as Label Studio writes."""
        return self.alias or self.value

    @property
    def words(self) -> tuple[str, ...]:
        """The words that the model is asked for: `predicted_values`, else the value."""
        return self.predicted_values or (self.value.strip(),)


@dataclass(frozen=True, slots=True)
class Options:
    """What a control's `model_…` attributes settle.

    `point_width` is in percent of the image's width, `score_threshold` a probability below which
    a region is dropped, and `max_regions` how many are kept. `prompt` says what to look for
    instead of the labels' names, and `prompt_field` names the key of a task's data that holds the
    task's own prompt, empty for none. `labels_per_question` is how many labels share one question
    to the model: 0 is all, None as the deployment has it; `manner` is how a question is worded.
    With `similar`, a smart box asks for every thing like the one in it, not for its tight box.
    `min_pixels` and `max_pixels` bound the area of the picture that the model is shown, within
    its own bounds.
    """

    point_width: float = POINT_WIDTH
    score_threshold: float | None = None
    max_regions: int = MAX_REGIONS
    prompt: Template | None = None
    prompt_field: str = PROMPT_FIELD
    labels_per_question: int | None = None
    manner: PromptStyle = field(default_factory=PromptStyle)
    min_pixels: int | None = None
    max_pixels: int | None = None
    similar: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """One control tag on one image, with the labels that its regions may carry.

    `data_key` is the key of the task's data that holds the image's address. `labels_from` names
    the `<Labels>` tag whose labels these are, for tags that have none of their own.
    """

    tag: str
    from_name: str
    to_name: str
    data_key: str
    labels: tuple[Label, ...]
    labels_from: str | None = None
    options: Options = Options()


class Remember(StrEnum):
    """What becomes of the prompt that a project's annotators typed last: `model_remember`."""

    OFFER = "offer"
    """It stands in the text area of the next tasks."""
    PRELABEL = "prelabel"
    """It is also what pre-labelling looks for."""
    OFF = "off"
    """It is not kept."""


@dataclass(frozen=True, slots=True)
class TextArea:
    """One `<TextArea>`; `smart` ones call us when an annotator adds a text."""

    name: str
    to_name: str
    smart: bool = True
    per_region: bool = False
    remember: Remember = Remember.OFFER


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """A whole labelling config: what we serve of it, and what its author should know."""

    controls: tuple[Control, ...] = ()
    text_areas: tuple[TextArea, ...] = ()
    warnings: tuple[str, ...] = ()

    def prompt_areas(self) -> tuple[TextArea, ...]:
        """Return the text areas to type a prompt into: those named prompt…, else the only one."""
        smart = [a for a in self.text_areas if a.smart and not a.per_region and a.name != "status"]
        named = tuple(a for a in smart if a.name.casefold().startswith("prompt"))
        return named or tuple(smart if len(smart) == 1 else ())

    def memory(self) -> TextArea | None:
        """Return the prompt area whose last text is kept for the next task, if there is one."""
        areas = (a for a in self.prompt_areas() if a.remember is not Remember.OFF)
        return next(areas, None)

    @property
    def seeks_last_prompt(self) -> bool:
        """Whether pre-labelling may look for the prompt that was typed last."""
        area = self.memory()
        return area is not None and area.remember is Remember.PRELABEL

    def status_area(self) -> TextArea | None:
        """Return `<TextArea name="status" smart="false">`, where an annotator reads our errors."""
        areas = (a for a in self.text_areas if a.name == "status" and not a.smart)
        return next(areas, None)
