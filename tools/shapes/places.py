"""Places in a scene: boxes of its things, and positions of clicks and drawn boxes."""

from __future__ import annotations

import random

from grounding.geometry import Box, Point, image_frame
from tools.shapes.scenes import Scene, Thing

TRIES = 30


def box_of(thing: Thing, scene: Scene) -> Box:
    """Return the thing's truth box in the image frame."""
    return Box(*thing.box, image_frame(scene.width, scene.height))


def inner_point(thing: Thing, scene: Scene, rng: random.Random) -> Point:
    """Return a random point inside the thing itself, in the image frame."""
    x1, y1, x2, y2 = thing.box
    spots = ((rng.uniform(x1, x2), rng.uniform(y1, y2)) for _ in range(TRIES))
    spot = next((spot for spot in spots if thing.covers(*spot)), thing.point)
    return Point(*spot, image_frame(scene.width, scene.height))


def ground_point(scene: Scene, rng: random.Random) -> Point | None:
    """Return a random point away from every thing, in the image frame; None if there is none."""
    gap = max(scene.width, scene.height) / 12
    for _ in range(TRIES):
        x, y = rng.uniform(0, scene.width), rng.uniform(0, scene.height)
        if not any(
            t.box[0] - gap < x < t.box[2] + gap and t.box[1] - gap < y < t.box[3] + gap
            for t in scene.things
        ):
            return Point(x, y, image_frame(scene.width, scene.height))
    return None


def jittered(thing: Thing, scene: Scene, share: float, rng: random.Random) -> Box:
    """Return the thing's box with each edge moved by up to `share` of the side, clipped."""
    box = box_of(thing, scene)
    across, down = share * box.width, share * box.height
    x1, x2 = (x + rng.uniform(-across, across) for x in (box.x1, box.x2))
    y1, y2 = (y + rng.uniform(-down, down) for y in (box.y1, box.y2))
    return Box(x1, y1, x2, y2, box.frame).clip()
