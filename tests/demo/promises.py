"""What the demo's model is asked about its pictures, and what is wrong with an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from grounding.geometry import PERCENT, Box, Point, image_frame
from grounding.labelstudio.config.parse import parse
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from tools.samples import DEMO, Sample
from tools.shapes.names import Tongue, said
from tools.shapes.places import box_of
from tools.shapes.scenes import CENTROIDS, NAMES, Thing

EXAMPLES = Path(__file__).parents[2] / "examples"
LEAST_IOU = 0.8
TYPED = ("boxes-points-status", "typed-boxes", "typed-points")
Regions = Sequence[Mapping[str, Any]]
Wanted = Mapping[tuple[str, str], Sequence[str]]
"""The names of the things that a control, by name, is asked for by a label."""


@dataclass(frozen=True)
class Promise:
    """What is asked with a labelling config, and what each control and label stands for."""

    config: str
    wanted: Wanted
    context: Mapping[str, Any] | None = None


def config_of(example: str) -> str:
    """Return the labelling config of an example, or of the demo by the name "demo"."""
    folder = DEMO if example == "demo" else EXAMPLES / example
    return (folder / "config.xml").read_text()


@cache
def all_names(tongue: Tongue) -> str:
    """Return a config with boxes, points and a prompt for every name that the model knows."""
    labels = "".join(f'<Label value="{said(name, tongue)}"/>' for name in NAMES)
    return (
        '<View><Image name="image" value="$image"/><TextArea name="prompt" toName="image"/>'
        f'<RectangleLabels name="box" toName="image">{labels}</RectangleLabels>'
        f'<KeyPointLabels name="point" toName="image">{labels}</KeyPointLabels></View>'
    )


def prompts() -> list[str]:
    """Return what the buttons and READMEs of the examples say to type."""
    texts = [path.read_text() for path in sorted(EXAMPLES.rglob("*.xml"))]
    ready = {word for text in texts for word in re.findall(r'<Shortcut value="([^"]+)"', text)}
    readmes = [path.read_text() for path in sorted(EXAMPLES.rglob("*.md"))]
    named = {word for text in readmes for word in re.findall("`(the [a-z]+ [a-z]+)`", text)}
    return sorted(ready | named)


def listed(config: str, tongue: Tongue = "en") -> Promise:
    """Return the promise for every label of a config."""
    english = {said(name, tongue): name for name in NAMES}
    wanted = {
        (control.from_name, label.emitted): [english[word] for word in label.words]
        for control in parse(config).controls
        for label in control.labels
    }
    return Promise(config, wanted)


def typed(config: str, phrase: str, name: str, tongue: Tongue = "en") -> Promise:
    """Return the promise to an annotator who types `phrase`, which means the things of `name`."""
    value = {"text": [phrase]}
    area = {"id": "typed", "from_name": "prompt", "to_name": "image", "type": "textarea"}
    wanted = {(control.from_name, said(name, tongue)): [name] for control in parse(config).controls}
    return Promise(config, wanted, {"result": [{**area, "value": value}]})


def clicked(config: str, thing: Thing, spot: tuple[float, float], sample: Sample) -> Promise:
    """Return the promise to an annotator who clicks on a thing, with its name as the label."""
    frame = image_frame(sample.scene.width, sample.scene.height)
    place = Point(*spot, frame).to(PERCENT)
    value = {"x": place.x, "y": place.y, "width": 0.2, "keypointlabels": [thing.name]}
    click = {"id": "click", "from_name": "click", "to_name": "image", "type": "keypointlabels"}
    context = {"result": [{**click, "value": value, "is_positive": True}]}
    return Promise(config, {("box", thing.name): [thing.name]}, context)


def spots(thing: Thing) -> Iterator[tuple[float, float]]:
    """Yield the middle of a thing, and four places around it that lie inside too."""
    x1, y1, x2, y2 = thing.box
    u, v = CENTROIDS[thing.shape]
    for across, down in ((0.0, 0.0), (-0.1, 0.0), (0.1, 0.0), (0.0, -0.1), (0.0, 0.1)):
        yield x1 + (u + across) * (x2 - x1), y1 + (v + down) * (y2 - y1)


def ask(promise: Promise, sample: Sample, worker: WorkerContext) -> Regions:
    """Return the regions of the prediction for one picture."""
    task = Task(1, {"image": sample.name}, promise.config, promise.context, "v", sample.name)
    regions: Regions = predict(task, worker).prediction["result"]
    return regions


def faults(promise: Promise, sample: Sample, regions: Regions) -> list[str]:
    """Return what is wrong with the regions of one answer, in words."""
    left = list(regions)
    wrong: list[str] = []
    for (control, label), names in promise.wanted.items():
        mine = [region for region in left if _is_of(region, control, label)]
        left = [region for region in left if region not in mine]
        things = [thing for name in names if (thing := sample.scene.named(name))]
        wrong += _unfit(f"{control} of {label}", mine, things, sample)
    return wrong + [f"a stray {region['type']} {region['value']}" for region in left]


def _unfit(what: str, regions: Regions, things: Iterable[Thing], sample: Sample) -> Iterator[str]:
    """Yield the things that no region fits, and the regions that fit no thing."""
    free = list(regions)
    for thing in things:
        fitting = next((region for region in free if fits(region, thing, sample)), None)
        if fitting is None:
            yield f"{what} {thing.box} not found: {[dict(one['value']) for one in free]}"
        else:
            free.remove(fitting)
    yield from (f"{what}, where none is: {dict(region['value'])}" for region in free)


def fits(region: Mapping[str, Any], thing: Thing, sample: Sample) -> bool:
    """Say whether a box has IoU `LEAST_IOU` with a thing's, or a point lies inside the thing."""
    return (
        iou(region, thing, sample) >= LEAST_IOU if is_box(region) else inside(region, thing, sample)
    )


def is_box(region: Mapping[str, Any]) -> bool:
    """Say whether a region is a box, not a point."""
    return "height" in region["value"]


def iou(region: Mapping[str, Any], thing: Thing, sample: Sample) -> float:
    """Return the IoU of a box with the thing's true box."""
    value = region["value"]
    far = (value["x"] + value["width"], value["y"] + value["height"])
    truth = box_of(thing, sample.scene)
    return Box.spanning((value["x"], value["y"]), far, PERCENT).iou(truth)


def inside(region: Mapping[str, Any], thing: Thing, sample: Sample) -> bool:
    """Say whether a point lies inside the thing itself."""
    frame = image_frame(sample.scene.width, sample.scene.height)
    spot = Point(region["value"]["x"], region["value"]["y"], PERCENT).to(frame)
    return thing.covers(spot.x, spot.y)


def _is_of(region: Mapping[str, Any], control: str, label: str) -> bool:
    value = region["value"]
    return bool(region["from_name"] == control and value[region["type"]] == [label])
