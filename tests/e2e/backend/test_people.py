"""The commands for engineers and leads against the real Label Studio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.conftest import Opener
from tests.e2e.pictures import Sample
from tests.e2e.projects import BOXES

pytestmark = pytest.mark.e2e

TASKS = 6


def run(studio: Client, backend_url: str, origin: str, *words: object) -> Any:
    """Return what a command prints as JSON, with its exit status."""
    settings = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.personal_access_token(),
        "PORT": backend_url.rpartition(":")[2],
        "GROUNDING_ALLOWED_ORIGINS": origin,
    }
    command = [sys.executable, "-m", "grounding", *map(str, words), "--json"]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_project_is_prelabelled_annotated_and_evaluated(
    opened: Opener, studio: Client, backend_url: str, origin: str, samples: list[Sample]
) -> None:
    project = opened("people", BOXES)
    project.add(samples[:TASKS])
    asked = ("--project", project.id)
    status, found = run(studio, backend_url, origin, "prelabel", *asked)
    assert (status, found["stored"] + found["late"]) == (0, TASKS)
    predictions = studio.predictions(project.id)
    assert [p.model_version for p in predictions] == [found["version"]] * TASKS
    status, again = run(studio, backend_url, origin, "prelabel", *asked)
    assert (status, again["had"], again["wanted"]) == (0, TASKS, 0), "as Label Studio would ask"

    # Of the first annotator: all is kept, but the first region of the first task is deleted.
    for number, prediction in enumerate(predictions):
        studio.annotate(
            prediction.task, prediction.result[1:] if number == 0 else prediction.result
        )
    status, report = run(studio, backend_url, origin, "evaluate", *asked)
    edits = report["edits"]["all"]
    regions = sum(len(prediction.result) for prediction in predictions)
    assert (status, report["tasks"]) == (0, TASKS)
    assert (edits["kept"], edits["deleted"], edits["missed"]) == (regions - 1, 1, 0)
    assert report["all"]["recall"] == 1


def test_the_doctor_finds_a_connected_project_well(
    opened: Opener, studio: Client, backend_url: str, origin: str, samples: list[Sample]
) -> None:
    project = opened("doctor", BOXES)
    project.add(samples[:3])
    _, found = run(studio, backend_url, origin, "doctor", "--project", project.id)
    wrong = {one["what"]: one["seen"] for one in found if one["level"] == "fault"}
    assert wrong.keys() <= {"queue"}, wrong  # that of the backend lies in a folder of its own
    looked_at = {one["what"] for one in found}
    assert {"Label Studio", "token", "connection", "project"} <= looked_at
    assert f"pictures of {origin}" in looked_at
