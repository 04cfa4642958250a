"""Questions about a scene and their right answers, in the words the product uses.

Three in four use `grounding.qwen.prompts.question` itself; the rest are other wordings of the
same, so that a change of prompt does not lose the checkpoint.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from grounding.ask import Ask, Shape
from grounding.geometry import Box, Frame, Point, image_frame
from grounding.qwen.prompts import NONE_CLAUSE, question
from tools.shapes.scenes import NAMES, Scene, Thing

NONE_SHARE = 0.25
BOX_SHARE = 0.6
LIST_SHARE = 0.15
OTHER_WORDS_SHARE = 0.25

OTHER_WORDS = {
    Shape.BOX: (
        "Outline the position of each {x} and output all the coordinates in JSON format.",
        "Locate {x} in this image and output the bbox coordinates in JSON format.",
        "Locate every {x} in the image. Report bbox coordinates in JSON format.",
        "Locate every instance that belongs to the following categories: {x}. "
        "Report bbox coordinates in JSON format.",
        "Detect the {x} and output its bbox coordinates in JSON format.",
        "Find all {x}s in the picture and output the bounding boxes in JSON format.",
    ),
    Shape.POINT: (
        "Point to {x} in this image and output the point_2d coordinates in JSON format.",
        "Point to the {x}, output its coordinates in JSON format.",
        "Point to every instance that belongs to the following categories: {x}. "
        "Report point_2d coordinates in JSON format.",
        "Locate the {x} in this image and output the point coordinates in JSON format.",
        "Point at each {x} and output all the point_2d coordinates in JSON format.",
    ),
}
PHRASES = ("the {x}", "the {x}", "{x}", "{x}", "every {x}", "a {x}", "all {x}s", "The {x}.")
QUOTES = ("{x}", "'{x}'", '"{x}"')
KEYS = {Shape.BOX: "bbox_2d", Shape.POINT: "point_2d"}


@dataclass(frozen=True, slots=True)
class Case:
    """One question about a scene: its text, what it names and which of that is there."""

    shape: Shape
    prompt: str
    names: tuple[str, ...]
    things: tuple[Thing, ...]


def pose(scene: Scene, rng: random.Random) -> Case:
    """Return a random question about `scene`."""
    shape = Shape.BOX if rng.random() < BOX_SHARE else Shape.POINT
    if rng.random() < LIST_SHARE:
        names = _several(scene, rng)
        prompt = question(Ask(shape, classes=names))
    else:
        names = (_one(scene, rng),)
        prompt = _words(shape, names[0], rng)
    things = tuple(thing for name in names if (thing := scene.named(name)))
    return Case(shape, prompt, names, things)


def answer(case: Case, scene: Scene, model: Frame) -> str:
    """Return the right answer as Qwen2.5-VL writes it, coordinates in pixels of `model`."""
    if not case.things:
        return "```json\n[]\n```"
    items = (_item(case.shape, thing, scene, model) for thing in case.things)
    return "```json\n[\n" + ",\n".join(items) + "\n]\n```"


def box_of(thing: Thing, scene: Scene) -> Box:
    """Return the thing's truth box in the image frame."""
    return Box(*thing.box, image_frame(scene.width, scene.height))


def _item(shape: Shape, thing: Thing, scene: Scene, model: Frame) -> str:
    numbers = ", ".join(str(round(v)) for v in _places(shape, thing, scene, model))
    return f'\t{{"{KEYS[shape]}": [{numbers}], "label": "{thing.name}"}}'


def _places(shape: Shape, thing: Thing, scene: Scene, model: Frame) -> tuple[float, ...]:
    if shape is Shape.BOX:
        box = box_of(thing, scene).to(model)
        return box.x1, box.y1, box.x2, box.y2
    point = Point(*thing.point, image_frame(scene.width, scene.height)).to(model)
    return point.x, point.y


def _words(shape: Shape, name: str, rng: random.Random) -> str:
    if rng.random() < OTHER_WORDS_SHARE:
        quoted = rng.choice(QUOTES).format(x=name)
        clause = f" {NONE_CLAUSE}" if rng.random() < 0.5 else ""
        return rng.choice(OTHER_WORDS[shape]).format(x=quoted) + clause
    if rng.random() < 0.5:
        return question(Ask(shape, classes=(name,)))
    return question(Ask(shape, phrase=rng.choice(PHRASES).format(x=name)))


def _one(scene: Scene, rng: random.Random) -> str:
    if rng.random() < NONE_SHARE:
        return absent(scene, rng)
    return rng.choice(scene.things).name


def _several(scene: Scene, rng: random.Random) -> tuple[str, ...]:
    """Return two or three different names, present and absent ones mixed."""
    here = [thing.name for thing in scene.things]
    names = set(rng.sample(here, rng.randint(1, min(2, len(here)))))
    count = rng.randint(2, 3)
    while len(names) < count:
        names.add(absent(scene, rng))
    return tuple(rng.sample(sorted(names), count))


def absent(scene: Scene, rng: random.Random) -> str:
    """Return a name of nothing here; half of them share colour or shape with something here."""
    here = {thing.name for thing in scene.things}
    near = rng.choice(scene.things) if rng.random() < 0.5 else None
    pool = [n for n in NAMES if near is None or near.colour in n or near.shape in n]
    return rng.choice([name for name in pool if name not in here])


def every_text(rng: random.Random, count: int) -> list[str]:
    """Return `count` random prompts and answers over all names, to train a tokenizer on."""
    texts: list[str] = []
    frame = Frame("model", 100, 100)
    for _ in range(count):
        names = (name.split() for name in rng.sample(NAMES, 2))
        things = (Thing(colour, kind, (9, 9, 40, 40), (0, 0, 0)) for colour, kind in names)
        picture = Scene(100, 100, (255, 255, 255), tuple(things))
        case = pose(picture, rng)
        texts += [case.prompt, answer(case, picture, frame)]
    return texts
