"""`<VideoRectangle>`: boxes that move through a film, with labels of a `<Labels>` beside it.

A region is a list of key frames, between which the page moves the box evenly. The page knows a
frame by the config's `frameRate`, counted from 1; the last key frame before a gap, and that at the
end, are not enabled, or the box would stay to the end of the film. The label stands in the
region's own value: import drops a prediction that has it as a result of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from grounding.geometry import PERCENT, Frame, KeyFrame
from grounding.labelstudio.config.attributes import TRACK_ATTRIBUTES
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.controls.base import (
    Companions,
    ControlTag,
    Drawn,
    Drop,
    Region,
    Results,
    Value,
    are_texts,
    complete,
    emitted_names,
    is_number,
    new_id,
)
from grounding.labelstudio.films import thin
from grounding.labelstudio.labels import find_queried, match
from grounding.labelstudio.locating import plan_places
from grounding.queries import Finding, Locate, Query, Shape, Track

KIND = "videorectangle"

MIN_PERCENT = 0.01
"""Least side of a box in percent of the film's: the page cannot show less."""


def write_tracks(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Companions,
) -> Results:
    """Return a region for each track, in order, with its label and its companions."""
    results = Results()
    for finding, query in found:
        if not isinstance(query, Locate):
            continue
        label = find_queried(query.classes, control.labels) or match(
            finding.label or "", control.labels
        )
        if drop := _flaw(control, finding, label, results):
            results.drop(drop, finding.label)
            continue
        region = _region(control, finding)
        names = emitted_names("labels", label)
        results.result.append(complete(region, control.from_name, KIND, names))
        for accompany in companions(label):
            results.result.extend(accompany(region, finding))
        results.drawn.append(Drawn(control, None, label, region))
    return results


def _flaw(control: Control, finding: Finding, label: Label | None, results: Results) -> Drop | None:
    score, least = finding.score, control.options.score_threshold
    if finding.track is None or not finding.track.moments:
        return Drop.WRONG_SHAPE
    if not all(_is_finite(finding)):
        return Drop.NOT_FINITE
    if label is None and control.labels:
        return Drop.UNKNOWN_LABEL
    if score is not None and least is not None and score < least:
        return Drop.LOW_SCORE
    return Drop.TOO_MANY if len(results.drawn) >= control.options.max_regions else None


def _is_finite(finding: Finding) -> Iterator[bool]:
    for moment in finding.track.moments if finding.track else ():
        box = moment.box
        yield all(map(math.isfinite, (moment.time, box.x1, box.y1, box.x2, box.y2)))


def _region(control: Control, finding: Finding) -> Region:
    track, rate = finding.track, control.frame_rate
    assert track is not None and isinstance(rate, float)  # noqa: S101, PT018  `_flaw` and the task
    keys = thin(to_key_frames(track, rate))
    count = max(1, round(track.duration * rate))
    value = {
        "framesCount": count,
        "duration": track.duration,
        "sequence": [_entry(key, rate) for key in keys],
    }
    notes = [note for note in finding.warnings if note]
    return {
        "id": new_id(),
        "to_name": control.to_name,
        "value": value,
        **({} if finding.score is None else {"score": finding.score}),
        **({"meta": {"text": notes}} if notes else {}),
    }


def to_key_frames(track: Track, rate: float) -> list[KeyFrame]:
    """Return a track as key frames of a page that counts `rate` frames a second, from 1.

    Of two moments in one frame the later counts, and the last ends the track.
    """
    count = max(1, round(track.duration * rate))
    keys: dict[int, KeyFrame] = {}
    for moment in track.moments:
        frame = min(max(1, round(moment.time * rate) + 1), count)
        keys[frame] = KeyFrame(frame, moment.box.to(PERCENT).clip(), moment.stays)
    made = list(keys.values())
    return [*made[:-1], KeyFrame(made[-1].frame, made[-1].box, False)] if made else []


def _entry(key: KeyFrame, rate: float) -> dict[str, Any]:
    box = key.box
    return {
        "frame": key.frame,
        "time": key.frame / rate,
        "enabled": key.enabled,
        "rotation": 0,
        "x": box.x1,
        "y": box.y1,
        "width": max(box.width, MIN_PERCENT),
        "height": max(box.height, MIN_PERCENT),
    }


def are_key_frames(value: Value) -> bool:
    """Say whether the page can read a value: key frames in order, and labels if there are any."""
    keys = value.get("sequence")
    if not isinstance(keys, list) or not keys or not all(map(_is_key, keys)):
        return False
    frames = [key["frame"] for key in keys]
    counted = type(value.get("framesCount")) is int and is_number(value.get("duration"))
    return counted and frames == sorted(set(frames)) and are_texts(value.get("labels", ["-"]))


def _is_key(key: Any) -> bool:
    if not isinstance(key, dict) or type(key.get("frame")) is not int or key["frame"] < 1:
        return False
    sides = [key.get(side) for side in ("x", "y", "width", "height")]
    placed = all(is_number(side) and 0 <= float(side or 0) <= 100 for side in sides)
    return placed and type(key.get("enabled")) is bool and is_number(key.get("time"))


VIDEO_RECTANGLE = ControlTag(
    "VideoRectangle",
    TRACK_ATTRIBUTES,
    plan_places,
    write_tracks,
    draws=Shape.BOX,
    labels="beside",
    objects=frozenset({"video"}),
    required=False,
    is_sound=are_key_frames,
)
