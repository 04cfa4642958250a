"""What an annotator just did in the page, read from the context that Label Studio sends.

A context holds more than what was done: with a typed prompt come the other answers for the
whole image, with a drawn region all regions of the same label. What was done is last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grounding.geometry import Box, Point
from grounding.labelstudio.config.interface import Control, LabelConfig, TextArea
from grounding.labelstudio.interactive.intent import MAX_PHRASE_CHARS, Intent, addressed
from grounding.labelstudio.labels import match
from grounding.labelstudio.places import Result, invalid, is_drawn, place, word
from grounding.labelstudio.text import plain
from grounding.queries import Shape

MAX_RESULTS = 5000
"""Results in one context: all regions of one label on one image, and then some."""

BOX_KEYS = ("x", "y", "width", "height", "rotation")
POINT_KEYS = ("x", "y")


def read_context(context: object, config: LabelConfig) -> Intent | None:
    """Return what the annotator wishes for, or None where none is there: `context` is null.

    A drawn place counts before a typed text, and the last of each. Other results, such as
    choices or texts of another area, are no wish: the `Intent` then has no controls. A prompt
    that was emptied is a wish without a phrase. Raises `RequestError` `context_invalid`: status
    400 for a wrong shape, 422 for a place that is none.
    """
    if context is None:
        return None
    sent = results(context)
    drawn = last_drawn(sent)
    if drawn is not None:
        return _wish_around(drawn, sent, config)
    areas = {area.name: area for area in config.prompt_areas()}
    typed = [r for r in sent if r.get("type") == "textarea" and word(r, "from_name") in areas]
    return _wish_for(typed[-1], areas, config) if typed else Intent()


def essence(context: object, config: LabelConfig) -> dict[str, Any]:
    """Return the least context that is the same wish, so that the same wish is the same job.

    A context as sent carries ids, and regions and texts that are no part of what is asked.
    Raises as `read_context` does.
    """
    wish = read_context(context, config) or Intent()
    sent = results(context)
    drawn = last_drawn(sent)
    if drawn is not None:
        asked = [_bare(r, None) for r in _negatives(sent)] + [_bare(drawn, wish.label)]
    elif wish.from_name:
        value = {"text": [wish.phrase or ""]}
        asked = [{"type": "textarea", "from_name": wish.from_name, "value": value}]
    else:
        asked = []
    return {"result": asked}


def results(context: object) -> Sequence[Result]:
    """Return what a context holds; `RequestError` status 400 where it has no list of results."""
    sent = context.get("result") if isinstance(context, Mapping) else None
    if not isinstance(sent, list) or not all(isinstance(r, Mapping) for r in sent):
        raise invalid("the context has no list of results", status=400)
    if len(sent) > MAX_RESULTS:
        raise invalid(f"the context has {len(sent)} results")
    return sent


def last_drawn(sent: Sequence[Result]) -> Result | None:
    """Return the place drawn last; a point that says "not here" leaves the one before it."""
    drawn = [r for r in sent if is_drawn(r)]
    if drawn and drawn[-1].get("is_positive") is False:
        drawn = [r for r in drawn if r.get("is_positive") is True]
    return drawn[-1] if drawn else None


def _bare(drawn: Result, label: str | None) -> dict[str, Any]:
    """Return a drawn region without what does not ask; its label in the one result."""
    keys = BOX_KEYS if isinstance(place(drawn), Box) else POINT_KEYS
    value = {key: drawn["value"][key] for key in keys if key in drawn["value"]}
    labels = {} if label is None else {"labels": [label]}
    kept = {key: drawn[key] for key in ("type", "from_name", "to_name") if word(drawn, key)}
    sign = {"is_positive": drawn["is_positive"]} if "is_positive" in drawn else {}
    return {**kept, **sign, "value": {**value, **labels}}


def _wish_for(typed: Result, areas: Mapping[str, TextArea], config: LabelConfig) -> Intent:
    """Return a typed wish, for those of the controls on the area's image that it addresses."""
    area = areas[typed["from_name"]]
    phrase = _text(typed)
    on_image = [c for c in config.controls if c.to_name == area.to_name] or config.controls
    return Intent(phrase or None, from_name=area.name, controls=addressed(phrase, on_image))


def _text(typed: Result) -> str:
    """Return the text last added to an area: its value is a list, one text per addition."""
    value = typed.get("value")
    texts = value.get("text") if isinstance(value, Mapping) else None
    last = next(reversed(texts), None) if isinstance(texts, list) else texts
    text = "" if last is None else last
    if not isinstance(text, str):
        raise invalid("the prompt is no text", status=400)
    if len(text) > MAX_PHRASE_CHARS:
        raise invalid(f"the prompt has more than {MAX_PHRASE_CHARS} characters")
    return plain(text, MAX_PHRASE_CHARS)


def _wish_around(drawn: Result, sent: Sequence[Result], config: LabelConfig) -> Intent:
    around = place(drawn)
    label = _drawn_label(drawn, sent)
    controls = _answering(drawn, around, label, config)
    excluded = tuple(spot for r in _negatives(sent) if isinstance(spot := place(r), Point))
    return Intent(None, around, label, word(drawn, "from_name"), tuple(controls), excluded)


def _negatives(sent: Sequence[Result]) -> list[Result]:
    """Return the points that say "not here"; with the answer accepted, the page removes them."""
    return [r for r in sent if is_drawn(r) and r.get("is_positive") is False]


def _drawn_label(drawn: Result, sent: Sequence[Result]) -> str | None:
    """Return the label of a region; `<Labels>` puts it into a second result of the same id."""
    of_region = [r for r in sent if r is drawn or ("id" in r and r["id"] == drawn.get("id"))]
    values = [r["value"] for r in of_region if isinstance(r.get("value"), Mapping)]
    found = (v.get(key) for key in (drawn["type"], "labels") for v in values)
    lists = (names for names in found if isinstance(names, list) and names)
    first = next((names[0] for names in lists), None)
    return first if isinstance(first, str) else None


def _answering(
    drawn: Result, around: Box | Point, label: str | None, config: LabelConfig
) -> list[Control]:
    """Return who answers: a box where it was drawn; a point is to be boxed by who can.

    Of several that box on this image, those that have the point's label; where none boxes,
    the control that the point was drawn with.
    """
    own = [c for c in config.controls if c.from_name == word(drawn, "from_name")]
    if isinstance(around, Box):
        return own
    boxing = [
        c for c in config.controls if c.to_name == drawn.get("to_name") and c.shape is Shape.BOX
    ]
    knowing = [c for c in boxing if label and match(label, c.labels)]
    return knowing or boxing or own
