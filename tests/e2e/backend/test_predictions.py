"""Label Studio asks, our backend answers, and what Label Studio saved is near the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.client import Client, Prediction, Refused
from tests.e2e.conftest import Opener
from tests.e2e.pictures import NAMES, Sample
from tests.e2e.projects import (
    ALIASES,
    BOXES,
    BOXES_AND_POINTS,
    BOXES_WITH_ALIASES,
    PROMPTED,
    SPLIT_TAGS,
    Project,
)
from tests.e2e.score import Corners, Figures, boxes, corners, iou, labels, measure

pytestmark = pytest.mark.e2e

MEAN_IOU = 0.75
ABOVE_HALF = 0.85
POINTS_INSIDE = 0.85
FOUND = 0.7
"""The accuracy figures are of what was found; this keeps them from being of next to nothing."""

FEW = 2
PROMPTS = 5

Tables = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Retrieved:
    """Twenty tasks after "Retrieve predictions"."""

    project: Project
    pairs: list[tuple[Prediction, Sample]]
    figures: Figures

    @property
    def predictions(self) -> list[Prediction]:
        """All that Label Studio saved."""
        return [found for found, _ in self.pairs]

    def boxes(self, sample: Sample) -> list[tuple[str, Corners]]:
        """Return what was found in one picture."""
        return next(boxes(found) for found, shown in self.pairs if shown == sample)


@pytest.fixture(scope="session")
def retrieved(opened: Opener, samples: list[Sample], figures: Tables) -> Retrieved:
    """Twenty tasks with boxes and points, predictions retrieved once."""
    project = opened("boxes and points", BOXES_AND_POINTS)
    project.add(samples)
    retrieval = project.retrieve(len(samples))
    pairs = project.pair(retrieval.saved, samples)
    measured = measure(pairs)
    figures["boxes and points of twenty pictures"] = [
        ("seconds until all were saved", f"{retrieval.seconds:.0f}"),
        ('presses of "Retrieve predictions"', str(retrieval.presses)),
        *measured.rows(),
    ]
    return Retrieved(project, pairs, measured)


def test_every_task_has_exactly_one_prediction(retrieved: Retrieved) -> None:
    """None is lost on the way and none is stored twice."""
    tasks = [task.id for task in retrieved.project.studio.tasks(retrieved.project.id)]
    assert Counter(found.task for found in retrieved.predictions) == Counter(tasks)
    assert len(tasks) == 20


def test_predictions_carry_the_version_that_setup_gave(retrieved: Retrieved) -> None:
    """Otherwise Label Studio would ask again for ever."""
    versions = {found.model_version for found in retrieved.predictions}
    assert versions == {retrieved.project.model_version()}


def test_boxes_lie_where_the_things_are(retrieved: Retrieved) -> None:
    """In percent of the upright picture, whatever its size, EXIF turn and way here."""
    figures = retrieved.figures
    assert len(figures.ious) >= FOUND * figures.wanted, figures
    assert figures.mean_iou >= MEAN_IOU, figures
    assert figures.above_half >= ABOVE_HALF, figures


def test_points_lie_inside_their_things(retrieved: Retrieved) -> None:
    """Inside the painted polygon, not only its box."""
    figures = retrieved.figures
    assert len(figures.hits) >= FOUND * figures.wanted, figures
    assert figures.points_inside >= POINTS_INSIDE, figures


def test_regions_carry_configured_labels_only(retrieved: Retrieved) -> None:
    """Each region has exactly one label, and the project has it."""
    regions = [region for found in retrieved.predictions for region in found.result]
    assert regions
    assert all(len(labels(region)) == 1 for region in regions)
    assert {label for region in regions for label in labels(region)} <= set(NAMES)


def test_regions_give_the_size_of_the_upright_picture(retrieved: Retrieved) -> None:
    """Exports turn percent into pixels by it."""
    for found, sample in retrieved.pairs:
        sizes = {(region["original_width"], region["original_height"]) for region in found.result}
        assert sizes <= {(sample.scene.width, sample.scene.height)}


def test_retrieving_again_adds_nothing(retrieved: Retrieved) -> None:
    """Label Studio leaves out tasks that have a prediction of our version."""
    project = retrieved.project
    again = project.retrieve(len(retrieved.predictions))
    assert {found.id for found in again.saved} == {found.id for found in retrieved.predictions}


def test_backend_connects_before_the_project_has_labels(opened: Opener) -> None:
    """A new project's config is empty, and people connect before they configure."""
    project = opened("nothing configured", "<View></View>")
    (ours,) = project.studio.backends(project.id)
    assert ours["readable_state"] == "Connected"


def test_broken_config_is_explained_where_one_connects(studio: Client, backend_url: str) -> None:
    """Label Studio shows our reason in its error, and adds no backend."""
    broken = BOXES.replace("<RectangleLabels", '<RectangleLabels model_score_threshold="high"')
    project = studio.create_project("broken config", broken)
    with pytest.raises(Refused, match=r"Reason: 400 Client Error: .*model_score_threshold"):
        studio.connect(project, backend_url)
    assert studio.backends(project) == []


def test_rectangle_and_labels_tags_are_stored_as_one_region(
    opened: Opener, retrieved: Retrieved, samples: list[Sample]
) -> None:
    """Each region is two results of one id: the same box as with one tag, and what it is."""
    project = opened("separate tags", SPLIT_TAGS)
    project.add(samples[:FEW])
    pairs = project.pair(project.retrieve(FEW).saved, samples)
    assert len(pairs) == FEW
    for found, sample in pairs:
        parts = Counter((region["id"], region["type"]) for region in found.result)
        ids = {region["id"] for region in found.result}
        assert parts == Counter((i, kind) for i in ids for kind in ("rectangle", "labels"))
        assert_alike(boxes(found), retrieved.boxes(sample))
    assert any(found.result for found, _ in pairs)


def test_aliases_are_stored_instead_of_values(
    opened: Opener, retrieved: Retrieved, samples: list[Sample]
) -> None:
    """The page knows a region's label by its alias where it has one."""
    project = opened("aliased labels", BOXES_WITH_ALIASES)
    project.add(samples[:FEW])
    pairs = project.pair(project.retrieve(FEW).saved, samples)
    assert len(pairs) == FEW
    for found, sample in pairs:
        aliased = sorted((ALIASES[label], box) for label, box in retrieved.boxes(sample))
        assert_alike(boxes(found), aliased)
    assert any(found.result for found, _ in pairs)


def test_broken_picture_costs_only_its_own_task(
    opened: Opener, samples: list[Sample], pictures: Path, origin: str
) -> None:
    """The good ones are saved; a missing picture and one of other bytes get no prediction."""
    (pictures / "broken.jpg").write_bytes(b"this is no picture")
    project = opened("broken among good", BOXES)
    broken = project.studio.import_tasks(
        project.id, [{"image": f"{origin}/missing.jpg"}, {"image": f"{origin}/broken.jpg"}]
    )
    project.add(samples[:3])
    saved = {found.task for found in project.retrieve(3).saved}
    tasks = {task.id for task in project.studio.tasks(project.id)}
    assert saved == tasks - set(broken)
    assert len(saved) == 3


def test_prompts_are_answered_on_the_labelling_page(opened: Opener, samples: list[Sample]) -> None:
    """What an annotator types is found, boxed and labelled, in most of a few pictures."""
    project = opened("prompted", PROMPTED)
    project.add(samples[:PROMPTS])
    shown = project.samples_by_task(samples)
    answers = [prompted_iou(project, task, sample) for task, sample in shown.items()]
    assert sum(answer > 0.5 for answer in answers) > PROMPTS / 2, answers


def prompted_iou(project: Project, task: int, sample: Sample) -> float:
    """Type the name of a thing; return how well the best box with its label fits it."""
    thing = sample.wanted[0]
    typed = {"text": [f"the {thing.name}"]}
    prompt = {"value": typed, "from_name": "prompt", "to_name": "image", "type": "textarea"}
    answer = project.studio.interact(project.backend, task, [prompt])
    regions = [r for r in answer["data"]["result"] if r["type"] == "rectanglelabels"]
    fits = [
        iou(corners(r), sample.percent(thing.box)) for r in regions if labels(r) == [thing.name]
    ]
    return max(fits, default=0.0)


def assert_alike(found: list[tuple[str, Corners]], wanted: list[tuple[str, Corners]]) -> None:
    """The same labels in nearly the same places: batches of other sizes round otherwise."""
    assert [label for label, _ in found] == [label for label, _ in wanted]
    for (_, one), (_, other) in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=3)
