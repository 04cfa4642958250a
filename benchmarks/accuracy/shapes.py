"""Measures the accuracy of the shapes checkpoint through the real `/predict`: `make accuracy`.

Each picture is new to the model. It is asked for one class that is present and one that is absent,
with a rectangle control and a key-point control. Places are compared in percent of the upright
picture. The same pictures are asked with lists of labels, and with typed text, clicks and boxes.

Hard pictures (small, touching or similar things) are asked for a present class and a similar absent
one. They measure the scores: the area under the ROC curve of score against IoU ≥ 0.5 is the
probability that a right box has a higher score than a wrong one. It is judged only where there are
enough boxes of both kinds to rank. Two more tables, without goals, show the same at IoU ≥ 0.8, and
how many boxes of a score are that good.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import get_args

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.accuracy.page import AT_ONCE, KINDS, list_row, page_row
from benchmarks.accuracy.scores import FEWEST, Judged, auroc, share, worth
from benchmarks.accuracy.trials import RIGHT, Regions, Row, Trial, answers, boxes, overlap, trial
from grounding.demo.backend import BackendClient, local_backend
from grounding.geometry import PERCENT, Point, image_frame
from grounding.settings import SHAPES
from tools.shapes.names import Tongue
from tools.shapes.scenes import NAMES

FIRST_SEED = 90_000_000
"""Not among the seeds of the training, so that every picture is new to the model."""


@dataclass(slots=True)
class Scores:
    """The measurements: one figure per picture and query."""

    ious: list[float] = field(default_factory=list)
    inside: list[bool] = field(default_factory=list)
    empty: list[bool] = field(default_factory=list)
    plain: list[Judged] = field(default_factory=list)
    """Each box on a picture that is not hard."""
    hard: list[Judged] = field(default_factory=list)


def config(name: str) -> str:
    """Return a labelling config with a box and a point control for `name`."""
    labels = f'<Label value="{name}"/>'
    return (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="box" toName="image">{labels}</RectangleLabels>'
        f'<KeyPointLabels name="point" toName="image">{labels}</KeyPointLabels></View>'
    )


def measure(backend: BackendClient, name: str, trials: Sequence[Trial], scores: Scores) -> None:
    """Ask for one class on the pictures where it is present or absent, and score the answers."""
    asked = [one for one in trials if name in (one.present.name, one.absent)]
    entries = answers(backend, [one.task for one in asked], config(name))
    for one, entry in zip(asked, entries, strict=True):
        regions = list(entry["result"]) if entry else []
        scores.plain += _judge(regions, one, name)
        if one.absent == name:
            scores.empty.append(bool(entry) and not regions)
        else:
            scores.ious.append(_iou(regions, one))
            scores.inside.append(_inside(regions, one))


def rank(backend: BackendClient, name: str, trials: Sequence[Trial], scores: Scores) -> None:
    """Ask for one class as `measure` does; record the score and IoU of each box."""
    asked = [one for one in trials if name in (one.present.name, one.absent)]
    entries = answers(backend, [one.task for one in asked], config(name))
    for one, entry in zip(asked, entries, strict=True):
        scores.hard += _judge(entry["result"] if entry else (), one, name)


def _judge(regions: Regions, one: Trial, name: str) -> list[Judged]:
    """Return each box of the answer for `name` with its score and IoU; without a score, it is 0."""
    there = one.present.name == name
    return [
        Judged(
            region.get("score", 0.0), overlap(region, one.present, one.picture) if there else 0.0
        )
        for region in boxes(regions)
    ]


def _iou(regions: Regions, one: Trial) -> float:
    """Return the IoU with the truth; 0 unless the answer is exactly one box."""
    found = boxes(regions)
    return overlap(found[0], one.present, one.picture) if len(found) == 1 else 0.0


def _inside(regions: Regions, one: Trial) -> bool:
    """Return whether the answer is exactly one point, inside the thing itself."""
    values = [r["value"] for r in regions if r["type"] == "keypointlabels"]
    if len(values) != 1:
        return False
    frame = image_frame(one.picture.width, one.picture.height)
    point = Point(values[0]["x"], values[0]["y"], PERCENT).to(frame)
    return one.present.covers(point.x, point.y)


def rows(scores: Scores) -> list[Row]:
    """Return the rows about single labels."""
    return [
        ("boxes: mean IoU", sum(scores.ious) / len(scores.ious), 0.75, len(scores.ious)),
        ("boxes above IoU 0.5", _share([i > 0.5 for i in scores.ious]), 0.85, len(scores.ious)),
        ("points inside", _share(scores.inside), 0.85, len(scores.inside)),
        ("absent answered empty", _share(scores.empty), 0.90, len(scores.empty)),
        ("hard pictures: boxes of IoU ≥ 0.5", share(scores.hard, RIGHT), 0.80, len(scores.hard)),
        *_rank_row(scores.hard),
    ]


def _rank_row(judged: Sequence[Judged]) -> list[Row]:
    """Return the row about ranking; none where too few boxes are right, or too few are wrong."""
    right = sum(one.iou >= RIGHT for one in judged)
    if min(right, len(judged) - right) < FEWEST:
        return []
    return [("hard pictures: AUROC of the score", auroc(judged, RIGHT), 0.80, len(judged))]


def report(
    measured: Sequence[Row], title: str = "The shapes checkpoint, through /predict"
) -> tuple[Table, bool]:
    """Return the rows as a table, and whether every goal is reached."""
    table = Table(title=title)
    for column in ("measure", "reached", "goal", "of"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for name, value, goal, count in measured:
        table.add_row(name, f"{value:.3f}", f"{goal:.2f}", str(count))
    return table, all(value >= goal for _, value, goal, _ in measured)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


@contextmanager
def over_http() -> Iterator[BackendClient]:
    """Run a backend whose worker uses the same checkpoint through an OpenAI-compatible server."""
    from grounding.engines.local.engine import LocalEngine
    from grounding.engines.local.loading import LoadOptions
    from tests.engines.openai_server import KEY, MODEL, Behaviour, serving

    engine = LocalEngine.load(str(SHAPES), LoadOptions(torch_threads=1))
    bounds = engine.profile.min_pixels, engine.profile.max_pixels
    with serving(engine, Behaviour()) as server:
        settings = {
            "engine": "openai",
            "server": "vllm",
            "openai_base_url": server.url,
            "openai_api_key": KEY,
            "model": MODEL,
            "min_pixels": bounds[0],
            "max_pixels": bounds[1],
            "image_format": "png",
            "interactive_slots": AT_ONCE,
        }
        with local_backend(**settings) as backend:
            yield backend
    engine.close()


@click.command()
@click.option("--pictures", default=300, show_default=True, help="How many of each kind.")
@click.option("--seed", default=FIRST_SEED, show_default=True, help="The first picture's seed.")
@click.option("--http", is_flag=True, help="Use the checkpoint through a server.")
def main(pictures: int, seed: int, *, http: bool) -> None:
    """Measure the shapes checkpoint; exit 1 if a goal is missed."""
    console = Console()
    scores = Scores()
    trials = [trial(seed + n) for n in range(pictures)]
    hard = [trial(seed + n, hard=True) for n in range(pictures)]
    with over_http() if http else local_backend(model="", interactive_slots=AT_ONCE) as backend:
        with console.status("starting") as status:
            backend.wait_ready(status.update)
        for name in track(NAMES, description="asking for labels", console=console):
            measure(backend, name, trials, scores)
            rank(backend, name, hard, scores)
        listed = [list_row(backend, trials, tongue) for tongue in get_args(Tongue)]
        kinds = track(KINDS, description="typing, clicking and drawing", console=console)
        paged = [page_row(backend, kind, trials) for kind in kinds]
    table, reached = report([*rows(scores), *listed, *paged])
    console.print(table)
    console.print(worth("Scores of boxes", scores.plain))
    console.print(worth("Scores of boxes on hard pictures", scores.hard))
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
