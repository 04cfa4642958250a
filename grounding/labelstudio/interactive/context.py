"""Reads what an annotator asks for from the context that Label Studio sends.

A context holds more than the last action: a typed prompt comes with the other answers for the
whole image, and a drawn region with all regions of the same label. The last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.geometry import Box, Point
from grounding.labelstudio.config.interface import Control, LabelConfig, TextArea
from grounding.labelstudio.data import strip_markup
from grounding.labelstudio.interactive.commands import choose_answer, choose_controls
from grounding.labelstudio.labels import match
from grounding.labelstudio.places import (
    MOVING,
    Result,
    context_error,
    is_drawn,
    last_key_frame,
    read_place,
    read_text,
)
from grounding.queries import Shape

MAX_PHRASE_CHARS = 1000
"""Characters of one prompt."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What an annotator typed or drew, and the controls that answer it.

    `phrase` is the typed text. `around` is the drawn place, in the percent frame, and `label` the
    label it was drawn with. `excluded` are points, in the percent frame, that the answer leaves
    out. In a film, `frame` is the page's frame, from 1, that the place was drawn in. `from_name` is
    the tag that the text or the place came from. `controls` are those that answer; without any,
    nothing was asked.
    """

    phrase: str | None = None
    around: Point | Box | None = None
    label: str | None = None
    from_name: str | None = None
    controls: tuple[Control, ...] = ()
    excluded: tuple[Point, ...] = ()
    frame: int | None = None

    @property
    def typed(self) -> bool:
        """Whether it came from a text area: a text typed there, or one that was emptied."""
        return self.from_name is not None and self.around is None


MAX_RESULTS = 5000
"""Results in one context: more than all regions of one label on one image."""

BOX_KEYS = ("x", "y", "width", "height", "rotation")
POINT_KEYS = ("x", "y")


@dataclass(frozen=True, slots=True)
class AnnotatorRequest:
    """A context, read once.

    `results` are all results that the page sent. `reduced` is the smallest context from which
    `read_context` reads the same `intent`: without ids and without what does not change the
    intent, so that the same request is the same job.
    """

    intent: Intent
    reduced: Mapping[str, Any]
    results: Sequence[Result]


def read_request(context: object, config: LabelConfig) -> AnnotatorRequest:
    """Return what an annotator asks for with `context`.

    A drawn place takes precedence over a typed text, and the last of each counts. Other results,
    such as choices or the text of another area, ask for nothing: the intent then has no controls.
    An emptied prompt is an intent without a phrase. Raises `RequestError` `context_invalid`:
    status 400 for a wrong shape, 422 for a value outside its range.
    """
    results = _read_results(context)
    drawn = find_drawn(results)
    if drawn is not None:
        intent = _drawn_intent(drawn, results, config)
        reduced = [_reduce(r, None) for r in _negatives(results)] + [_reduce(drawn, intent.label)]
        return AnnotatorRequest(intent, {"result": reduced}, results)
    areas = {area.name: area for area in config.prompt_areas()}
    typed = _last_typed(results, areas)
    if typed is None:
        return AnnotatorRequest(Intent(), {"result": []}, results)
    intent = _typed_intent(typed, areas[typed["from_name"]], config)
    value = {"text": [intent.phrase or ""]}
    text = {"type": "textarea", "from_name": intent.from_name, "value": value}
    return AnnotatorRequest(intent, {"result": [text]}, results)


def read_context(context: object, config: LabelConfig) -> Intent | None:
    """Return what an annotator asks for, or None if `context` is null: nobody is waiting.

    Raises as `read_request` does.
    """
    return None if context is None else read_request(context, config).intent


def find_drawn(results: Sequence[Result]) -> Result | None:
    """Return the region drawn last, or None.

    If that is a point that says "not here", it is the last point that says "here" instead.
    """
    drawn = [r for r in results if is_drawn(r)]
    if drawn and drawn[-1].get("is_positive") is False:
        drawn = [r for r in drawn if r.get("is_positive") is True]
    return drawn[-1] if drawn else None


def _read_results(context: object) -> Sequence[Result]:
    found = context.get("result") if isinstance(context, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(r, Mapping) for r in found):
        raise context_error("the context has no list of results", status=400)
    if len(found) > MAX_RESULTS:
        raise context_error(f"the context has {len(found)} results")
    return found


def _last_typed(results: Sequence[Result], areas: Mapping[str, TextArea]) -> Result | None:
    found = (r for r in reversed(results) if r.get("type") == "textarea")
    return next((r for r in found if read_text(r, "from_name") in areas), None)


def _reduce(drawn: Result, label: str | None) -> dict[str, Any]:
    """Return a drawn region with only the keys that ask for something, and its label in it."""
    if drawn["type"] == MOVING:
        last = last_key_frame(drawn["value"])
        value = {"sequence": [{key: last[key] for key in ("frame", *BOX_KEYS) if key in last}]}
    else:
        keys = BOX_KEYS if isinstance(read_place(drawn), Box) else POINT_KEYS
        value = {key: drawn["value"][key] for key in keys if key in drawn["value"]}
    labels = {} if label is None else {"labels": [label]}
    kept = {key: drawn[key] for key in ("type", "from_name", "to_name") if read_text(drawn, key)}
    sign = {"is_positive": drawn["is_positive"]} if "is_positive" in drawn else {}
    return {**kept, **sign, "value": {**value, **labels}}


def _typed_intent(typed: Result, area: TextArea, config: LabelConfig) -> Intent:
    """Return a typed intent, for the controls on the area's image that the prompt is for."""
    phrase = _read_phrase(typed)
    on_image = [c for c in config.controls if c.to_name == area.to_name] or config.controls
    controls = choose_answer(phrase, on_image) or choose_controls(phrase, on_image)
    return Intent(phrase or None, from_name=area.name, controls=controls)


def _read_phrase(typed: Result) -> str:
    """Return the text last added to an area: its value is a list, one text per addition."""
    value = typed.get("value")
    texts = value.get("text") if isinstance(value, Mapping) else None
    last = next(reversed(texts), None) if isinstance(texts, list) else texts
    text = "" if last is None else last
    if not isinstance(text, str):
        raise context_error("the prompt is no text", status=400)
    if len(text) > MAX_PHRASE_CHARS:
        raise context_error(f"the prompt has more than {MAX_PHRASE_CHARS} characters")
    return strip_markup(text, MAX_PHRASE_CHARS)


def _drawn_intent(drawn: Result, results: Sequence[Result], config: LabelConfig) -> Intent:
    around = read_place(drawn)
    label = _read_label(drawn, results)
    controls = _choose_answering(drawn, around, label, config)
    excluded = tuple(p for r in _negatives(results) if isinstance(p := read_place(r), Point))
    frame = last_key_frame(drawn["value"])["frame"] if drawn["type"] == MOVING else None
    name = read_text(drawn, "from_name")
    return Intent(None, around, label, name, tuple(controls), excluded, frame)


def _negatives(results: Sequence[Result]) -> list[Result]:
    """Return the points that say "not here"; the page removes them when an answer is accepted."""
    return [r for r in results if is_drawn(r) and r.get("is_positive") is False]


def _read_label(drawn: Result, results: Sequence[Result]) -> str | None:
    """Return a region's label; `<Labels>` writes it to a second result with the same id."""
    of_region = [r for r in results if r is drawn or ("id" in r and r["id"] == drawn.get("id"))]
    values = [r["value"] for r in of_region if isinstance(r.get("value"), Mapping)]
    found = (v.get(key) for key in (drawn["type"], "labels") for v in values)
    lists = (names for names in found if isinstance(names, list) and names)
    first = next((names[0] for names in lists), None)
    return first if isinstance(first, str) else None


def _choose_answering(
    drawn: Result, around: Box | Point, label: str | None, config: LabelConfig
) -> list[Control]:
    """Return the controls that answer a drawn region.

    A box is answered by its own control. A point is answered by the controls that draw boxes on
    its image: those that have the point's label, else all. If there are none, it is answered by
    the control it was drawn with.
    """
    own = [c for c in config.controls if c.from_name == read_text(drawn, "from_name")]
    if isinstance(around, Box):
        return own
    boxing = [
        c for c in config.controls if c.to_name == drawn.get("to_name") and c.shape is Shape.BOX
    ]
    labelled = [c for c in boxing if label and match(label, c.labels)]
    return labelled or boxing or own
