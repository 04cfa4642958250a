"""Measures how well a checkpoint grounds new pictures, with the product's own prompts.

    python -m tools.shapes.evaluate grounding/demo/shapes --count 300

Each kind of question has one figure. An unreadable answer is wrong. Where one thing is asked for,
an answer with several is wrong.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import torch
from PIL import Image
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration

from grounding.geometry import Box, Frame, Point, image_frame
from grounding.queries import Locate, PromptStyle, Shape
from grounding.qwen.queries.locate import write_prompt
from tools.shapes import tokens
from tools.shapes.batches import patches, seen_at
from tools.shapes.names import Tongue, said
from tools.shapes.places import box_of, inner_point, jittered
from tools.shapes.questions import EACH, Case, absent, mixed, wide
from tools.shapes.scenes import Scene, Thing, scene

FRESH = 10**9
"""First seed of the evaluation pictures; the training uses other seeds."""

ANSWER_TOKENS = 130
ROUGH = 0.15
RIGHT = 0.5

Found = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question about one scene, and the figure that it counts for."""

    kind: str
    scene: Scene
    case: Case
    strict: bool = False


@dataclass(slots=True)
class Scores:
    """The results of the probes: values or three counts for each kind of question."""

    values: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    """Per kind with several things: counts of right, found and true ones."""

    def __str__(self) -> str:
        """Return the figures on one line."""
        means = {kind: sum(values) / len(values) for kind, values in self.values.items()}
        f1 = {kind: f1_score(*counts) for kind, counts in self.counts.items()}
        return " · ".join(f"{kind} {value:.3f}" for kind, value in (means | f1).items())

    def add(self, probe: Probe, text: str) -> None:
        """Score the answer `text` to `probe`; an unreadable one is wrong."""
        found = read(text)
        if probe.kind.endswith("F1"):
            counts = self.counts.setdefault(probe.kind, [0, 0, 0])
            for k, more in enumerate(_counted(probe, found or [])):
                counts[k] += more
        else:
            self.values.setdefault(probe.kind, []).append(_value(probe, found))


def f1_score(right: int, found: int, true: int) -> float:
    """Return the harmonic mean of right / found and right / true."""
    return 2 * right / max(1, found + true)


def probes(count: int) -> list[Probe]:
    """Return probes of `count` new scenes, one of each kind for each scene."""
    out: list[Probe] = []
    for number in range(count):
        drawn, rng = scene(FRESH + number), random.Random(number)
        out += [
            Probe(kind, drawn, make(drawn, rng), kind.startswith("strict"))
            for kind, make in MAKERS.items()
        ]
    return out


def read(text: str) -> Found | None:
    """Return the list in a fenced JSON `text`, or None if there is none."""
    try:
        found = json.loads(text.removeprefix("```json").removesuffix("```"))
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def judge(
    model: Qwen2_5_VLForConditionalGeneration,
    tok: PreTrainedTokenizerBase,
    asked: Sequence[Probe],
    size: int = 30,
) -> Scores:
    """Return the scores of `model` on the probes, answered greedily `size` at a time."""
    scores = Scores()
    alike = sorted(
        asked, key=lambda probe: probe.kind
    )  # so that the answers of a batch are of similar length
    for start in range(0, len(alike), size):
        part = alike[start : start + size]
        for probe, text in zip(part, answers(model, tok, part), strict=True):
            scores.add(probe, text)
    return scores


@torch.inference_mode()
def answers(
    model: Qwen2_5_VLForConditionalGeneration, tok: PreTrainedTokenizerBase, asked: Sequence[Probe]
) -> list[str]:
    """Return the model's answer to each probe."""
    pictures = [_seen(probe.scene) for probe in asked]
    cells = [(p.height // 28, p.width // 28) for p in pictures]
    texts = [
        _chat(tok, _words(probe)).replace(tokens.IMAGE, tokens.IMAGE * (r * c))
        for probe, (r, c) in zip(asked, cells, strict=True)
    ]
    given = tok(texts, padding=True, return_tensors="pt")
    ids = given["input_ids"]
    made = model.generate(
        input_ids=ids,
        attention_mask=given["attention_mask"],
        pixel_values=torch.cat([torch.from_numpy(patches(p)) for p in pictures]),
        image_grid_thw=torch.tensor([(1, 2 * r, 2 * c) for r, c in cells]),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
    )
    words: list[str] = tok.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
    return words


def _words(probe: Probe) -> str:
    ask = probe.case.ask
    if not (ask.classes or ask.phrase):
        ask = replace(ask, style=PromptStyle(language=probe.case.tongue))
    return write_prompt(ask, _frame(probe), strict=probe.strict)


def _chat(tok: PreTrainedTokenizerBase, text: str) -> str:
    parts = [{"type": "image"}, {"type": "text", "text": text}]
    turns = [{"role": "user", "content": parts}]
    chat: str = tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return chat


def _seen(drawn: Scene) -> Image.Image:
    frame = seen_at(drawn.width, drawn.height)
    return drawn.draw().resize((int(frame.width), int(frame.height)), Image.Resampling.BICUBIC)


def _one(shape: Shape, tongue: Tongue = "en") -> Callable[[Scene, random.Random], Case]:
    def make(drawn: Scene, rng: random.Random) -> Case:
        thing = rng.choice(drawn.things)
        return Case(_ask(shape, said(thing.name, tongue), rng), tongue, (thing.name,), (thing,))

    return make


def _nothing(tongue: Tongue = "en") -> Callable[[Scene, random.Random], Case]:
    def make(drawn: Scene, rng: random.Random) -> Case:
        name = absent(drawn, rng)
        return Case(
            _ask(rng.choice((Shape.BOX, Shape.POINT)), said(name, tongue), rng), tongue, (name,), ()
        )

    return make


def _list(tongue: Tongue) -> Callable[[Scene, random.Random], Case]:
    def make(drawn: Scene, rng: random.Random) -> Case:
        names = mixed(drawn, rng.randint(2, 6), rng)
        things = tuple(thing for name in names if (thing := drawn.named(name)))
        return Case(Locate(Shape.BOX, tuple(said(n, tongue) for n in names)), tongue, names, things)

    return make


def _each(tongue: Tongue) -> Callable[[Scene, random.Random], Case]:
    def make(drawn: Scene, rng: random.Random) -> Case:
        thing = rng.choice(drawn.things)
        phrase = rng.choice(EACH[tongue]).format(x=said(thing.name, tongue))
        return Case(Locate(Shape.BOX, phrase=phrase), tongue, (thing.name,), (thing,))

    return make


def _wide(drawn: Scene, rng: random.Random) -> Case:
    case = wide(drawn, rng.choice(("en", "zh")), rng)
    return replace(case, ask=replace(case.ask, shape=Shape.BOX))


def _typed(tongue: Tongue, labels: Tongue) -> Callable[[Scene, random.Random], Case]:
    """Return what makes a phrase for one thing, beside ten labels that may lack it."""

    def make(drawn: Scene, rng: random.Random) -> Case:
        thing = rng.choice(drawn.things)
        names = mixed(drawn, 10, rng)
        if tongue == labels:  # else the product would leave only this label in the list
            names = tuple(name for name in names if name != thing.name)
        ask = Locate(Shape.BOX, tuple(said(n, labels) for n in names), said(thing.name, tongue))
        return Case(ask, labels, names, (thing,))

    return make


def _typed_absent(tongue: Tongue, labels: Tongue) -> Callable[[Scene, random.Random], Case]:
    def make(drawn: Scene, rng: random.Random) -> Case:
        name = absent(drawn, rng)
        names = tuple(n for n in mixed(drawn, 10, rng) if n != name or tongue != labels)
        ask = Locate(Shape.BOX, tuple(said(n, labels) for n in names), said(name, tongue))
        return Case(ask, labels, names, ())

    return make


def _click(names: int) -> Callable[[Scene, random.Random], Case]:
    def make(drawn: Scene, rng: random.Random) -> Case:
        thing = rng.choice(drawn.things)
        others = [name for name in mixed(drawn, 5, rng) if name != thing.name]
        named = rng.sample([thing.name, *others[: names - 1]], names) if names else []
        ask = Locate(Shape.BOX, tuple(named), around=inner_point(thing, drawn, rng))
        return Case(ask, "en", tuple(named), (thing,))

    return make


def _rough(drawn: Scene, rng: random.Random) -> Case:
    thing = rng.choice(drawn.things)
    names = (thing.name,) if rng.random() < 0.5 else ()
    ask = Locate(Shape.BOX, names, around=jittered(thing, drawn, ROUGH, rng))
    return Case(ask, "en", names, (thing,))


MAKERS: dict[str, Callable[[Scene, random.Random], Case]] = {
    "box IoU": _one(Shape.BOX),
    "point": _one(Shape.POINT),
    "absent": _nothing(),
    "zh box IoU": _one(Shape.BOX, "zh"),
    "zh absent": _nothing("zh"),
    "each IoU": _each("en"),
    "zh each IoU": _each("zh"),
    "list F1": _list("en"),
    "zh list F1": _list("zh"),
    "wide F1": _wide,
    "no label IoU": _typed("en", "en"),
    "no label, absent": _typed_absent("en", "en"),
    "zh on en labels IoU": _typed("zh", "en"),
    "zh on en labels, absent": _typed_absent("zh", "en"),
    "click, no name IoU": _click(0),
    "click, named IoU": _click(1),
    "click, list IoU": _click(4),
    "rough better": _rough,
    "strict box IoU": _one(Shape.BOX),
    "strict absent": _nothing(),
}
"""Each kind of question by the name of its figure, which ends with the measure."""


def _ask(shape: Shape, name: str, rng: random.Random) -> Locate:
    if rng.random() < 0.5:
        return Locate(shape, classes=(name,))
    return Locate(shape, phrase=rng.choice((name, f"the {name}")) if name.isascii() else name)


def _value(probe: Probe, found: Found | None) -> float:
    """Return the score of one answer: its IoU, or 1 for right and 0 for wrong."""
    if probe.kind.endswith("absent"):
        return float(found == [])
    (thing,) = probe.case.things
    if found is None or len(found) != 1:
        return 0.0
    if probe.kind == "point":
        return float(_inside(probe, thing, found[0]))
    iou = _iou(probe, thing, found[0])
    if probe.kind.endswith("better"):
        around, truth = probe.case.ask.around, box_of(thing, probe.scene)
        return float(isinstance(around, Box) and iou > around.iou(truth))
    return iou


def _counted(probe: Probe, found: Found) -> tuple[int, int, int]:
    """Return the counts of right, found and true things; each is found once, by its name."""
    left = list(probe.case.things)
    for item in found:
        fitting = (
            thing
            for thing in left
            if item.get("label") == said(thing.name, probe.case.tongue)
            and _iou(probe, thing, item) >= RIGHT
        )
        if hit := next(fitting, None):
            left.remove(hit)
    true = len(probe.case.things)
    return true - len(left), len(found), true


def _frame(probe: Probe) -> Frame:
    return seen_at(probe.scene.width, probe.scene.height)


def _iou(probe: Probe, thing: Thing, item: dict[str, object]) -> float:
    place = item.get("bbox_2d")
    if not isinstance(place, list) or len(place) != 4:
        return 0.0
    x1, y1, x2, y2 = place
    box = Box.spanning((x1, y1), (x2, y2), _frame(probe))
    return box.iou(box_of(thing, probe.scene))


def _inside(probe: Probe, thing: Thing, item: dict[str, object]) -> bool:
    place = item.get("point_2d")
    if not isinstance(place, list) or len(place) != 2:
        return False
    x, y = place
    spot = Point(x, y, _frame(probe)).to(image_frame(probe.scene.width, probe.scene.height))
    return thing.covers(spot.x, spot.y)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", default=300, show_default=True, help="Fresh pictures to ask about.")
def main(folder: Path, count: int) -> None:
    """Print how well the checkpoint in FOLDER grounds new pictures."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tok = AutoTokenizer.from_pretrained(folder)
    click.echo(str(judge(model, tok, probes(count))))


if __name__ == "__main__":
    main()
