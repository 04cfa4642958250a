"""Questions about a scene and their right answers, in the product's wordings.

Most prompts come from the product's own code. A few have other wordings, so that the checkpoint
tolerates a changed prompt. An answer lists named things in the order of the question, and described
things from left to right, so that each question has one right answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Box, Frame, Point, image_frame
from grounding.queries import Language, Locate, PromptStyle, Shape
from grounding.qwen.queries.locate import NONE_CLAUSE, write_prompt
from tools.shapes.names import Tongue, said
from tools.shapes.places import box_of, ground_point, inner_point, jittered
from tools.shapes.scenes import COLOURS, NAMES, SHAPES, Scene, Thing

NONE_SHARE = 0.22
BOX_SHARE = 0.65
OTHER_WORDS_SHARE = 0.1
CHINESE_SHARE = 0.3
FOREIGN_SHARE = 0.12
"""Share of questions whose language is chosen at random, independent of the names."""
STRICT_SHARE = 0.08
GROUND_SHARE = 0.08
ALL_NAMES_SHARE = 0.04
LISTED_SHARE = 0.4
"""Share of the phrases for a kind of thing that come with a list of names."""
LISTS = (2, 3, 4, 5, 6, 8, 11, len(NAMES))
"""How many names may stand beside a phrase."""
BOTH_SHARE = 0.1
ROUGHNESS = (0.08, 0.25)

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
PHRASES: dict[Tongue, tuple[str, ...]] = {
    "en": ("the {x}", "the {x}", "{x}", "{x}", "a {x}", "all {x}s", "The {x}."),
    "zh": ("{x}", "{x}", "{x}", "所有{x}", "那个{x}", "图中的{x}"),
}
EACH: dict[Tongue, tuple[str, ...]] = {
    "en": ("each {x}", "each {x}", "every {x}", "every {x}", "Each {x}."),
    "zh": ("每一个{x}", "每一个{x}", "每个{x}", "各个{x}"),
}
KINDS: dict[Tongue, str] = {"en": "{x} shape", "zh": "{x}图形"}
BOTH: dict[Tongue, tuple[str, ...]] = {
    "en": ("the {x} and the {y}", "{x} and {y}"),
    "zh": ("{x}和{y}",),
}
QUOTES = ("{x}", "'{x}'", '"{x}"')
KEYS = {Shape.BOX: "bbox_2d", Shape.POINT: "point_2d"}


@dataclass(frozen=True, slots=True)
class Case:
    """One question about a scene, and its right answer.

    `names` are the English names in the question; `things` is the right answer in order;
    `prompt` is the question's text, and `tongue` the language of its names. `sought` is the
    English name in a phrase that comes with a list of names, and `spoken` the language of it.
    """

    ask: Locate
    tongue: Tongue
    names: tuple[str, ...]
    things: tuple[Thing, ...]
    prompt: str = ""
    sought: str = ""
    spoken: Tongue = "en"


Maker = Callable[[Scene, Tongue, random.Random], Case]
"""Makes a kind of question from a scene and the language of the names."""


def pose(scene: Scene, frame: Frame, rng: random.Random) -> Case:
    """Return a random question about `scene`; the model sees it in `frame`."""
    kinds, shares = [kind for kind, _ in QUESTIONS], [share for _, share in QUESTIONS]
    return _posed(rng.choices(kinds, shares)[0], scene, frame, rng)


def answer(case: Case, scene: Scene, model: Frame) -> str:
    """Return the right answer in Qwen2.5-VL's format, with coordinates in pixels of `model`."""
    if not case.things:
        return "```json\n[]\n```"
    items = (_item(case, thing, scene, model) for thing in case.things)
    return "```json\n[\n" + ",\n".join(items) + "\n]\n```"


def single(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question about one thing by its name."""
    shape, name = _shape(rng), _one(scene, rng)
    things = _named(scene, (name,))
    if tongue == "en" and rng.random() < OTHER_WORDS_SHARE:
        return Case(Locate(shape), tongue, (name,), things, _other_words(shape, name, rng))
    word = said(name, tongue)
    if rng.random() < 0.5:
        return Case(Locate(shape, (word,)), tongue, (name,), things)
    return Case(
        Locate(shape, phrase=rng.choice(PHRASES[tongue]).format(x=word)), tongue, (name,), things
    )


def several(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question with a list of names, or with two names in one phrase."""
    if rng.random() < BOTH_SHARE:
        names = mixed(scene, 2, rng)
        words = tuple(said(name, tongue) for name in names)
        phrase = rng.choice(BOTH[tongue]).format(x=words[0], y=words[1])
        return Case(Locate(_shape(rng), words, phrase), tongue, names, _named(scene, names))
    count = len(NAMES) if rng.random() < ALL_NAMES_SHARE else rng.choice((2, 2, 3, 3, 4, 4, 5, 6))
    names = mixed(scene, count, rng)
    words = tuple(said(name, tongue) for name in names)
    return Case(Locate(_shape(rng), words), tongue, names, _named(scene, names))


def each(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question for each thing of one name ("each red circle")."""
    name = _one(scene, rng)
    phrase = rng.choice(EACH[tongue]).format(x=said(name, tongue))
    return Case(Locate(_shape(rng), phrase=phrase), tongue, (name,), _named(scene, (name,)))


def wide(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question for each thing of one colour or shape, sometimes with a list of names."""
    word = rng.choice((*COLOURS, *SHAPES))
    if rng.random() < 0.8:
        word = rng.choice(rng.choice(scene.things).name.split())
    kind = said(word, tongue) if word in SHAPES else KINDS[tongue].format(x=said(word, tongue))
    phrase = rng.choice(EACH[tongue] + PHRASES[tongue]).format(x=kind)
    fitting = (thing for thing in scene.things if word in thing.name.split())
    things = tuple(sorted(fitting, key=_left))
    if rng.random() >= LISTED_SHARE:
        return Case(Locate(_shape(rng), (), phrase), tongue, (), things)
    return _beside(Case(Locate(_shape(rng), (), phrase), tongue, (), things), scene, rng)


def typed(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question for one thing by its name, with a list of names that may lack it.

    Names and phrase may have different languages. The answer is in that of the list; what is not
    in it keeps its own name.
    """
    name = _one(scene, rng)
    words = PHRASES[tongue] + EACH[tongue][:1]
    phrase = rng.choice(words).format(x=said(name, tongue))
    case = Case(Locate(_shape(rng), (), phrase), tongue, (), _named(scene, (name,)))
    return replace(_beside(case, scene, rng), sought=name, spoken=tongue)


def click(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question for the thing at a point; some points are on the background."""
    thing = rng.choice(scene.things)
    spot = ground_point(scene, rng) if rng.random() < GROUND_SHARE else None
    things = () if spot else (thing,)
    shape = Shape.BOX if rng.random() < 0.85 else Shape.POINT
    ask = Locate(shape, around=spot or inner_point(thing, scene, rng))
    return _labelled(Case(ask, tongue, (), things), thing, scene, rng)


def rough(scene: Scene, tongue: Tongue, rng: random.Random) -> Case:
    """Return a question for the exact box of the thing in a rough box."""
    thing = rng.choice(scene.things)
    around = jittered(thing, scene, rng.uniform(*ROUGHNESS), rng)
    return _labelled(
        Case(Locate(Shape.BOX, around=around), tongue, (), (thing,)), thing, scene, rng
    )


QUESTIONS: tuple[tuple[Maker, float], ...] = (
    (single, 0.15),
    (several, 0.36),
    (each, 0.05),
    (wide, 0.09),
    (typed, 0.13),
    (click, 0.11),
    (rough, 0.11),
)
"""Share of each kind of question."""


def absent(scene: Scene, rng: random.Random) -> str:
    """Return a name that is absent; half of the time it shares colour or shape with a thing."""
    here = {thing.name for thing in scene.things}
    near = rng.choice(scene.things) if rng.random() < 0.5 else None
    pool = [n for n in NAMES if near is None or near.colour in n or near.shape in n]
    return rng.choice([name for name in pool if name not in here])


def mixed(scene: Scene, count: int, rng: random.Random) -> tuple[str, ...]:
    """Return `count` different names of present and absent things in random order."""
    here = [thing.name for thing in scene.things]
    if count == len(NAMES):
        return tuple(rng.sample(NAMES, count))
    names = set(rng.sample(here, min(count, rng.randint(0, len(here)))))
    while len(names) < count:
        names.add(absent(scene, rng))
    return tuple(rng.sample(sorted(names), count))


def every_text(rng: random.Random, count: int) -> list[str]:
    """Return `count` random prompts and answers over all names, to train a tokenizer on.

    All kinds are equally frequent, so that the tokenizer does not depend on the shares.
    """
    texts: list[str] = []
    frame = Frame("model", 100, 100)
    for _ in range(count):
        names = (name.split() for name in rng.sample(NAMES, 2))
        boxes = ((9, 9, 40, 40), (50, 50, 90, 90))
        things = (
            Thing(colour, kind, box, (0, 0, 0))
            for (colour, kind), box in zip(names, boxes, strict=True)
        )
        picture = Scene(100, 100, (255, 255, 255), tuple(things))
        case = _posed(rng.choice(QUESTIONS)[0], picture, frame, rng)
        texts += [case.prompt, answer(case, picture, frame)]
    return texts


def _posed(make: Maker, scene: Scene, frame: Frame, rng: random.Random) -> Case:
    tongue: Tongue = "zh" if rng.random() < CHINESE_SHARE else "en"
    case = make(scene, tongue, rng)
    return case if case.prompt else replace(case, prompt=_worded(case, frame, rng))


def _worded(case: Case, frame: Frame, rng: random.Random) -> str:
    ask = case.ask
    language: Language = "auto" if ask.classes or ask.phrase else case.tongue
    if language == "auto" and rng.random() < FOREIGN_SHARE:
        language = rng.choice(("en", "zh"))
    ask = replace(ask, style=PromptStyle(language=language))
    return write_prompt(ask, frame, strict=rng.random() < STRICT_SHARE)


def _labelled(case: Case, thing: Thing, scene: Scene, rng: random.Random) -> Case:
    """Return a question about a place with the thing's name, several names or none."""
    names: tuple[str, ...] = ()
    share = rng.random()
    if share < 0.4:
        names = (thing.name,)
    elif share < 0.65:
        others = [name for name in mixed(scene, rng.randint(2, 6), rng) if name != thing.name]
        names = tuple(rng.sample([thing.name, *others], len(others) + 1))
    words = tuple(said(name, case.tongue) for name in names)
    return replace(case, ask=replace(case.ask, classes=words), names=names)


def _beside(case: Case, scene: Scene, rng: random.Random) -> Case:
    """Return a question with a list of names, in either language, beside its phrase."""
    names = mixed(scene, rng.choice(LISTS), rng)
    tongue: Tongue = rng.choice(("en", "zh"))
    words = tuple(said(name, tongue) for name in names)
    return replace(case, ask=replace(case.ask, classes=words), tongue=tongue, names=names)


def _shape(rng: random.Random) -> Shape:
    return Shape.BOX if rng.random() < BOX_SHARE else Shape.POINT


def _one(scene: Scene, rng: random.Random) -> str:
    if rng.random() < NONE_SHARE:
        return absent(scene, rng)
    return rng.choice(scene.things).name


def _named(scene: Scene, names: Sequence[str]) -> tuple[Thing, ...]:
    return tuple(thing for name in names if (thing := scene.named(name)))


def _left(thing: Thing) -> int:
    return thing.box[0]


def _item(case: Case, thing: Thing, scene: Scene, model: Frame) -> str:
    shape = case.ask.shape
    numbers = ", ".join(str(round(v)) for v in _places(shape, thing, scene, model))
    return f'\t{{"{KEYS[shape]}": [{numbers}], "label": "{said(thing.name, case.tongue)}"}}'


def _places(shape: Shape, thing: Thing, scene: Scene, model: Frame) -> tuple[float, ...]:
    if shape is Shape.BOX:
        box: Box = box_of(thing, scene).to(model)
        return box.x1, box.y1, box.x2, box.y2
    point = Point(*thing.point, image_frame(scene.width, scene.height)).to(model)
    return point.x, point.y


def _other_words(shape: Shape, name: str, rng: random.Random) -> str:
    quoted = rng.choice(QUOTES).format(x=name)
    clause = f" {NONE_CLAUSE}" if rng.random() < 0.5 else ""
    return rng.choice(OTHER_WORDS[shape]).format(x=quoted) + clause
