"""What an annotator just did in the page, read from the context that Label Studio sends.

A context holds more than what was done: with a typed prompt come the other answers for the
whole image, with a drawn region all regions of the same label. What was done is last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grounding.ask import Shape
from grounding.errors import RequestError
from grounding.geometry import PERCENT, Box, Point
from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.interface import Control, LabelConfig, TextArea
from grounding.labelstudio.labels import match, named
from grounding.labelstudio.text import clean
from grounding.labelstudio.wish import Wish

__all__ = ["Wish", "read_context"]

MAX_RESULTS = 5000
"""Results in one context: all regions of one label on one image, and then some."""

MAX_PHRASE_CHARS = 1000

OVERSHOOT = 0.01
"""Percent by which the page's own arithmetic may put a place outside of the image."""

Result = Mapping[str, Any]


def read_context(context: object, config: LabelConfig) -> Wish | None:
    """Return what the annotator wishes for, or None where none is there: `context` is null.

    A drawn place counts before a typed text, and the last of each. Other results, such as
    choices or texts of another area, are no wish: the `Wish` then has no controls. A prompt
    that was emptied is a wish without a phrase. Raises `RequestError` `context_invalid`: status
    400 for a wrong shape, 422 for a place that is none.
    """
    if context is None:
        return None
    results = _results(context)
    drawn = _last_drawn(results)
    if drawn is not None:
        return _wish_around(drawn, results, config)
    areas = {area.name: area for area in config.prompt_areas()}
    typed = [r for r in results if r.get("type") == "textarea" and _word(r, "from_name") in areas]
    return _wish_for(typed[-1], areas, config) if typed else Wish()


def _results(context: object) -> Sequence[Result]:
    results = context.get("result") if isinstance(context, Mapping) else None
    if not isinstance(results, list) or not all(isinstance(r, Mapping) for r in results):
        raise _invalid("the context has no list of results", status=400)
    if len(results) > MAX_RESULTS:
        raise _invalid(f"the context has {len(results)} results")
    return results


def _word(result: Result, key: str) -> str | None:
    word = result.get(key)
    return word if isinstance(word, str) else None


def _wish_for(typed: Result, areas: Mapping[str, TextArea], config: LabelConfig) -> Wish:
    """Return a typed wish: for the controls on the area's image, or those it names a label of."""
    area = areas[typed["from_name"]]
    phrase = _text(typed)
    on_image = [c for c in config.controls if c.to_name == area.to_name] or config.controls
    meant = [c for c in on_image if named(phrase, c.labels)] or on_image
    return Wish(phrase or None, from_name=area.name, controls=tuple(meant))


def _text(typed: Result) -> str:
    """Return the text last added to an area: its value is a list, one text per addition."""
    value = typed.get("value")
    texts = value.get("text") if isinstance(value, Mapping) else None
    last = next(reversed(texts), None) if isinstance(texts, list) else texts
    text = "" if last is None else last
    if not isinstance(text, str):
        raise _invalid("the prompt is no text", status=400)
    if len(text) > MAX_PHRASE_CHARS:
        raise _invalid(f"the prompt has more than {MAX_PHRASE_CHARS} characters")
    return clean(text)


def _last_drawn(results: Sequence[Result]) -> Result | None:
    """Return the place drawn last; a point that says "not here" leaves the one before it."""
    drawn = [r for r in results if _word(r, "type") in _READERS]
    if drawn and drawn[-1].get("is_positive") is False:
        drawn = [r for r in drawn if r.get("is_positive") is True]
    return drawn[-1] if drawn else None


def _wish_around(drawn: Result, results: Sequence[Result], config: LabelConfig) -> Wish:
    value = drawn.get("value")
    if not isinstance(value, Mapping):
        raise _invalid("a drawn region has no value", status=400)
    place = _READERS[drawn["type"]](value)
    label = _drawn_label(drawn, results)
    controls = _answering(drawn, place, label, config)
    return Wish(None, place, label, _word(drawn, "from_name"), tuple(controls))


def _drawn_label(drawn: Result, results: Sequence[Result]) -> str | None:
    """Return the label of a region; `<Labels>` puts it into a second result of the same id."""
    of_region = [r for r in results if r is drawn or ("id" in r and r["id"] == drawn.get("id"))]
    values = [r["value"] for r in of_region if isinstance(r.get("value"), Mapping)]
    found = (v.get(key) for key in (drawn["type"], "labels") for v in values)
    lists = (names for names in found if isinstance(names, list) and names)
    first = next((names[0] for names in lists), None)
    return first if isinstance(first, str) else None


def _answering(
    drawn: Result, place: Box | Point, label: str | None, config: LabelConfig
) -> list[Control]:
    """Return who answers: a box where it was drawn; a point is to be boxed by who can.

    Of several that box on this image, those that have the point's label; where none boxes,
    the control that the point was drawn with.
    """
    own = [c for c in config.controls if c.from_name == _word(drawn, "from_name")]
    if isinstance(place, Box):
        return own
    boxing = [
        c
        for c in config.controls
        if c.to_name == drawn.get("to_name") and CONTROLS[c.tag].shape is Shape.BOX
    ]
    knowing = [c for c in boxing if label and match(label, c.labels)]
    return knowing or boxing or own


def _point(value: Result) -> Point:
    return Point(_percent(value, "x"), _percent(value, "y"), PERCENT).clip()


def _box(value: Result) -> Box:
    if value.get("rotation"):
        raise _invalid("the drawn box is turned", hint="Draw it upright")
    x, y = _percent(value, "x"), _percent(value, "y")
    corner = (x + _percent(value, "width"), y + _percent(value, "height"))
    return Box.spanning((x, y), corner, PERCENT).clip()


def _percent(value: Result, key: str) -> float:
    number = value.get(key)
    if not isinstance(number, int | float) or not -OVERSHOOT <= number <= 100 + OVERSHOOT:
        raise _invalid(f"a drawn region's {key} is no percentage")
    return float(number)


def _invalid(cause: str, *, hint: str = "", status: int = 422) -> RequestError:
    return RequestError(cause, code="context_invalid", hint=hint, status=status)


_READERS: dict[str, Callable[[Result], Box | Point]] = {
    "rectanglelabels": _box,
    "rectangle": _box,
    "keypointlabels": _point,
    "keypoint": _point,
}
"""How each type of drawn region says where it is."""
