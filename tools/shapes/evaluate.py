"""How well a checkpoint grounds fresh pictures, asked in the product's own words.

    python -m tools.shapes.evaluate grounding/demo/shapes --count 300

One thing is asked at a time. An answer that names several, or none that can be read, is wrong.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch
from PIL import Image
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration

from grounding.ask import Ask, Shape
from grounding.geometry import Box, Frame, Point, image_frame
from grounding.qwen.prompts import question
from tools.shapes import tokens
from tools.shapes.batches import patches, seen_at
from tools.shapes.questions import absent, box_of
from tools.shapes.scenes import Scene, Thing, scene

FRESH = 10**9
"""Seeds of evaluation pictures start here; training draws its seeds from elsewhere."""

ANSWER_TOKENS = 60


@dataclass(frozen=True, slots=True)
class Probe:
    """One question about one scene; `thing` is None where the right answer is nothing."""

    scene: Scene
    ask: Ask
    thing: Thing | None


@dataclass(slots=True)
class Scores:
    """What came of the probes: IoU of each box, and per point and per absence right or wrong."""

    ious: list[float] = field(default_factory=list)
    inside: list[bool] = field(default_factory=list)
    nothing: list[bool] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the figures on one line."""
        over = [iou > 0.5 for iou in self.ious]
        return (
            f"boxes {len(self.ious)}: mIoU {_mean(self.ious):.3f}, above 0.5 {_mean(over):.3f} · "
            f"points {len(self.inside)}: inside {_mean(self.inside):.3f} · "
            f"absent {len(self.nothing)}: [] {_mean(self.nothing):.3f}"
        )

    def add(self, probe: Probe, text: str) -> None:
        """Count the answer `text` to `probe`; an unreadable one is wrong."""
        found = read(text)
        if probe.thing is None:
            self.nothing.append(found == [])
        elif probe.ask.shape is Shape.BOX:
            self.ious.append(_iou(probe, probe.thing, found))
        else:
            self.inside.append(_inside(probe, probe.thing, found))


def probes(count: int) -> list[Probe]:
    """Return probes of `count` fresh scenes: one box, one point, one absent thing each."""
    out: list[Probe] = []
    for number in range(count):
        rng = random.Random(number)
        drawn = scene(FRESH + number)
        for shape in Shape:
            thing = rng.choice(drawn.things)
            out.append(Probe(drawn, _ask(shape, thing.name, rng), thing))
        missing = _ask(rng.choice(list(Shape)), absent(drawn, rng), rng)
        out.append(Probe(drawn, missing, None))
    return out


def read(text: str) -> list[dict[str, object]] | None:
    """Return the list in a fenced JSON `text`, or None where there is none."""
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
    for start in range(0, len(asked), size):
        part = asked[start : start + size]
        for probe, text in zip(part, answers(model, tok, part), strict=True):
            scores.add(probe, text)
    return scores


@torch.inference_mode()
def answers(
    model: Qwen2_5_VLForConditionalGeneration, tok: PreTrainedTokenizerBase, asked: Sequence[Probe]
) -> list[str]:
    """Return the model's words on each probe."""
    pictures = [_seen(probe.scene) for probe in asked]
    cells = [(p.height // 28, p.width // 28) for p in pictures]
    texts = [
        _chat(tok, question(probe.ask)).replace(tokens.IMAGE, tokens.IMAGE * (r * c))
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


def _chat(tok: PreTrainedTokenizerBase, text: str) -> str:
    parts = [{"type": "image"}, {"type": "text", "text": text}]
    turns = [{"role": "user", "content": parts}]
    chat: str = tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return chat


def _seen(drawn: Scene) -> Image.Image:
    frame = seen_at(drawn.width, drawn.height)
    return drawn.draw().resize((int(frame.width), int(frame.height)), Image.Resampling.BICUBIC)


def _ask(shape: Shape, name: str, rng: random.Random) -> Ask:
    if rng.random() < 0.5:
        return Ask(shape, classes=(name,))
    return Ask(shape, phrase=rng.choice((name, f"the {name}")))


def _place(probe: Probe, found: list[dict[str, object]] | None, key: str) -> list[float] | None:
    """Return the numbers of the one thing found, or None where there is not exactly one."""
    place = found[0].get(key) if found and len(found) == 1 else None
    return place if isinstance(place, list) else None


def _frame(probe: Probe) -> Frame:
    return seen_at(probe.scene.width, probe.scene.height)


def _iou(probe: Probe, thing: Thing, found: list[dict[str, object]] | None) -> float:
    place = _place(probe, found, "bbox_2d")
    if place is None or len(place) != 4:
        return 0.0
    x1, y1, x2, y2 = place
    box = Box.spanning((x1, y1), (x2, y2), _frame(probe))
    return box.iou(box_of(thing, probe.scene))


def _inside(probe: Probe, thing: Thing, found: list[dict[str, object]] | None) -> bool:
    place = _place(probe, found, "point_2d")
    if place is None or len(place) != 2:
        return False
    image = image_frame(probe.scene.width, probe.scene.height)
    x, y = place
    spot = Point(x, y, _frame(probe)).to(image)
    return thing.covers(spot.x, spot.y)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", default=300, show_default=True, help="Fresh pictures to ask about.")
def main(folder: Path, count: int) -> None:
    """Print how well the checkpoint in FOLDER grounds fresh pictures."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tok = AutoTokenizer.from_pretrained(folder)
    click.echo(str(judge(model, tok, probes(count))))


if __name__ == "__main__":
    main()
