"""Projects with our backend connected: labelling configs, tasks, and what was saved for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from .client import Client, Prediction
from .pictures import NAMES, Sample, sample_name

RETRIEVE_WITHIN_S = 400
LATE_S = 30
"""What the backend could not answer within one request may arrive later by itself."""

PUSHED = "pushed"

LABELS = "".join(f'<Label value="{name}"/>' for name in NAMES)
ALIASES = {name: f"class-{index}" for index, name in enumerate(NAMES)}
ALIASED = "".join(f'<Label value="{name}" alias="{word}"/>' for name, word in ALIASES.items())


def view(*tags: str) -> str:
    """Return a labelling config of an image and these tags."""
    return '<View><Image name="image" value="$image"/>' + "".join(tags) + "</View>"


def view_above(*tags: str) -> str:
    """Return a labelling config of these tags and an image below them, as a screenshot shows."""
    return "<View>" + "".join(tags) + '<Image name="image" value="$image"/></View>'


def rectangles(labels: str = LABELS) -> str:
    """Return a RectangleLabels tag called "box" with these labels."""
    return f'<RectangleLabels name="box" toName="image">{labels}</RectangleLabels>'


BOXES = view(rectangles())
BOXES_AND_POINTS = view(
    rectangles(), f'<KeyPointLabels name="point" toName="image">{LABELS}</KeyPointLabels>'
)
SPLIT_TAGS = view(
    '<Rectangle name="box" toName="image"/>',
    f'<Labels name="what" toName="image">{LABELS}</Labels>',
)
BOXES_WITH_ALIASES = view(rectangles(ALIASED))
PROMPTED = view(
    '<TextArea name="prompt" toName="image" editable="true" maxSubmissions="1"/>', rectangles()
)


@dataclass(frozen=True)
class Retrieval:
    """What is saved after so many presses of "Retrieve predictions" and so long a wait."""

    saved: list[Prediction]
    presses: int
    seconds: float


@dataclass(frozen=True)
class Project:
    """A project of Label Studio with our backend connected."""

    studio: Client
    id: int
    backend: int
    origin: str

    def add(self, samples: Sequence[Sample]) -> None:
        """Import one task a sample: by turns uploaded, at an http address and as a data URI."""
        self.studio.upload(self.id, [sample.path for sample in samples[0::3]])
        hosted = [(s, f"{self.origin}/{s.path.name}") for s in samples[1::3]]
        inline = [(s, s.data_uri()) for s in samples[2::3]]
        data = [{"name": s.name, "image": address} for s, address in hosted + inline]
        if data:
            self.studio.import_tasks(self.id, data)

    def retrieve(self, expected: int) -> Retrieval:
        """Press "Retrieve predictions", and again while fewer than `expected` are saved.

        A backend answers what it has by Label Studio's deadline, so a slow machine needs several
        presses, as a person would.
        """
        began, presses = time.monotonic(), 0
        saved: list[Prediction] = []
        while len(saved) < expected and time.monotonic() - began < RETRIEVE_WITHIN_S:
            self.studio.retrieve_predictions(self.id)
            presses += 1
            saved = self.studio.wait_for_predictions(self.id, expected, LATE_S)
        return Retrieval(saved, presses, time.monotonic() - began)

    def can_import(self, saved: Prediction) -> bool:
        """Whether Label Studio's import endpoint takes a saved result too, and all of it.

        It checks what a retrieval does not, and drops the whole prediction. What it made is
        deleted, so that tests of one project find the same in any order.
        """
        pushed = {"task": saved.task, "result": saved.result, "model_version": PUSHED}
        kept = self.studio.push(self.id, pushed)
        made = [one for one in self.studio.predictions(self.id) if one.model_version == PUSHED]
        for one in made:
            self.studio.delete_prediction(one.id)
        return kept == 1 and [one.result for one in made] == [saved.result]

    def model_version(self) -> str:
        """Return the version that the backend's /setup gave to Label Studio."""
        (ours,) = self.studio.backends(self.id)
        return str(ours["model_version"])

    def samples_by_task(self, samples: Sequence[Sample]) -> dict[int, Sample]:
        """Return the sample that each task shows; tasks of other pictures are left out."""
        by_name = {sample.name: sample for sample in samples}
        named = [(task.id, sample_name(task.data)) for task in self.studio.tasks(self.id)]
        return {task: by_name[name] for task, name in named if name in by_name}

    def pair(
        self, predictions: Sequence[Prediction], samples: Sequence[Sample]
    ) -> list[tuple[Prediction, Sample]]:
        """Return each prediction with the sample that its task shows."""
        of_task = self.samples_by_task(samples)
        return [(found, of_task[found.task]) for found in predictions]


def open_project(studio: Client, backend_url: str, origin: str, title: str, config: str) -> Project:
    """Return a new project with `config` and our backend connected."""
    project = studio.create_project(title, config)
    return Project(studio, project, studio.connect(project, backend_url), origin)
