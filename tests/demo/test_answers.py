"""What the demo and the examples ask about their pictures is answered rightly by their model."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageOps

from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.labelstudio.config.parse import parse
from grounding.pipeline import WorkerContext, predict
from grounding.settings import SHAPES
from grounding.tasks import Task
from tests.demo.promises import (
    EXAMPLES,
    TYPED,
    Promise,
    all_names,
    ask,
    clicked,
    config_of,
    faults,
    listed,
    prompts,
    spots,
    typed,
)
from tools.samples import PICTURES, Sample, samples
from tools.shapes.names import CHINESE_WORDS, Tongue, said
from tools.shapes.scenes import NAMES

README = (EXAMPLES / "README.md").read_text()
PHRASES: dict[Tongue, tuple[str, ...]] = {"en": ("the {}", "each {}"), "zh": ("{}", "每一个{}")}

each = pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)


class Gallery:
    """Fetches the demo's pictures by their names."""

    def fetch(self, value: str, task_id: int | None = None, check: object = None) -> bytes:
        return (PICTURES / value).read_bytes()


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerContext]:
    engine = LocalEngine.load(str(SHAPES), LoadOptions(torch_threads=1))
    yield WorkerContext(engine, Gallery(), 200, 10**7)
    engine.close()


def assert_right(promises: Iterable[Promise], sample: Sample, worker: WorkerContext) -> None:
    """Ask what every promise about one picture says; what is not there has to be answered empty."""
    wrong = [faults(one, sample, ask(one, sample, worker)) for one in promises]
    assert [words for words in wrong if words] == []


@each
def test_a_picture_shows_what_its_truth_says(sample: Sample) -> None:
    with Image.open(io.BytesIO((PICTURES / sample.name).read_bytes())) as stored:
        assert stored.getexif().get(0x0112, 1) == sample.orientation
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"), float)
    off = np.abs(upright - np.asarray(sample.scene.draw(), float))
    assert off.mean() < (0.001 if sample.name.endswith(".png") else 2)


def test_some_pictures_are_turned_by_their_exif_data() -> None:
    assert {sample.orientation for sample in samples()} >= {1, 3, 6, 8}


@each
@pytest.mark.parametrize("name", ["demo", "class-list"])
def test_the_labels_of_a_config_are_found_where_they_are(
    worker: WorkerContext, sample: Sample, name: str
) -> None:
    assert_right([listed(config_of(name))], sample, worker)


@each
def test_the_counting_example_counts_what_is_there(worker: WorkerContext, sample: Sample) -> None:
    config = config_of("counting")
    names = {x.value for control in parse(config).controls for x in control.labels}
    task = Task(1, {"image": sample.name}, config, None, "v")
    (counted,) = [
        one["value"]["number"]
        for one in predict(task, worker).prediction["result"]
        if one["type"] == "number"
    ]
    assert counted == sum(thing.name in names for thing in sample.scene.things)


@each
@pytest.mark.parametrize("name", TYPED)
def test_what_is_shown_or_suggested_in_an_example_is_found_by_its_prompt(
    worker: WorkerContext, sample: Sample, name: str
) -> None:
    config = config_of(name)
    shown = {f"the {thing.name}" for one in samples() for thing in one.scene.things}
    phrases = {*prompts(), *shown}
    asked = [typed(config, phrase, phrase.removeprefix("the ")) for phrase in sorted(phrases)]
    assert_right(asked, sample, worker)


@each
def test_a_click_on_a_thing_gives_its_box(worker: WorkerContext, sample: Sample) -> None:
    config = config_of("click-to-box")
    labels = {label.value for control in parse(config).controls for label in control.labels}
    things = [thing for thing in sample.scene.things if thing.name in labels]
    asked = [clicked(config, thing, spot, sample) for thing in things for spot in spots(thing)]
    assert_right(asked, sample, worker)


@each
@pytest.mark.parametrize("tongue", get_args(Tongue))
def test_every_name_that_the_model_knows_is_found_as_a_label(
    worker: WorkerContext, sample: Sample, tongue: Tongue
) -> None:
    assert_right([listed(all_names(tongue), tongue)], sample, worker)


@each
@pytest.mark.parametrize("tongue", get_args(Tongue))
def test_every_name_that_the_model_knows_is_found_as_a_prompt(
    worker: WorkerContext, sample: Sample, tongue: Tongue
) -> None:
    asked = [
        typed(all_names(tongue), phrase.format(said(name, tongue)), name, tongue)
        for name in NAMES
        for phrase in PHRASES[tongue]
    ]
    assert_right(asked, sample, worker)


@each
def test_the_readme_of_the_examples_lists_what_a_picture_shows(sample: Sample) -> None:
    (line,) = re.findall(rf"^\| {re.escape(sample.name)} \| (.*) \|$", README, re.MULTILINE)
    assert sorted(line.removeprefix("a ").split(", a ")) == sorted(
        thing.name for thing in sample.scene.things
    )


def test_the_readme_of_the_examples_lists_the_words_that_the_model_knows() -> None:
    rows = re.findall(r"^\| (?:colours|shapes) \| (.*) \|$", README, re.MULTILINE)
    listed_words = dict(pair.split() for row in rows for pair in row.split(", "))
    assert listed_words == CHINESE_WORDS
