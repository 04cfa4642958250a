"""Tests of what operators see: every project's jobs, one job, and the metrics."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.store import Job, JobStore, QueueName
from tests.serving import CONFIG, PROMPT, STATUS, Start, predict, request, said, typed


def test_jobs_shows_the_counts_of_every_project_and_why_tasks_failed(
    client: FlaskClient, worker: list[int]
) -> None:
    predict(client, 1, 4, 5)
    predict(client, 6, 7, project="2.2")
    shown = client.get("/jobs").json
    first, second = sorted(shown["projects"], key=lambda one: one["project"])  # type: ignore[index]
    assert first == {
        "project": "1.1795316671",
        "pending": 0,
        "running": 0,
        "done": 2,
        "failed": 1,
        "refused": 0,
        "reasons": {"image_not_found": 1},
        "left_out": {},
        "undelivered": 0,
        "undelivered_reason": "",
        "config_error": "",
        "deliveries": {"answered": 2},
        "retriable": 1,
        "run": {"of": 3, "ended": 3},
        "rate": None,
        "seconds_left": None,
    }
    assert (second["project"], second["done"]) == ("2.2", 2)
    (failed,) = shown["failed"]  # type: ignore[index]
    assert (failed["task"], failed["code"]) == (1, "image_not_found")
    assert failed["reason"].startswith("the picture is not there")
    job = client.get(f"/jobs/{failed['job']}").json
    assert (job["queue"], job["undelivered"]) == ("bulk", False)  # type: ignore[index]
    assert (job["state"], job["reason"]) == ("failed", failed["reason"])  # type: ignore[index]


def test_pending_and_running_jobs_are_counted_apart(client: FlaskClient, redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([Job(key, QueueName.BULK, "1", {"id": 1}) for key in "abc"])
    store.claim("a", "someone")
    (project,) = client.get("/jobs").json["projects"]  # type: ignore[index]
    assert (project["pending"], project["running"]) == (2, 1)
    assert client.get("/jobs/a").json["state"] == "leased"  # type: ignore[index]


def test_a_failure_that_has_since_succeeded_leaves_the_list(
    client: FlaskClient, redis: Redis
) -> None:
    store = JobStore(redis)

    def end(key: str, task: int, *, project: str = "1", fails: bool = False) -> None:
        store.accept([Job(key, QueueName.BULK, project, {"id": task})])
        if fails:
            store.fail(key, ImageMissing("not there"))
        else:
            store.finish(key, {"result": []}, "nothing")

    for key, task in (("a", 1), ("b", 2), ("c", 1)):
        end(key, task, fails=True)
    end("d", 2, project="2")
    shown = client.get("/jobs").json["failed"]  # type: ignore[index]
    assert sorted(one["job"] for one in shown) == ["b", "c"]  # "a" was about the task of "c"
    end("e", 1)
    (left,) = client.get("/jobs").json["failed"]  # type: ignore[index]
    assert (left["job"], left["task"]) == ("b", 2)


def test_jobs_shows_what_answers_left_out_and_why(client: FlaskClient, redis: Redis) -> None:
    store = JobStore(redis)
    for key, project, dropped in (
        ("a", "1", {"unknown_label": 2, "duplicate": 1}),
        ("b", "1", {"unknown_label": 3}),
        ("c", "2", {"low_score": 1}),
        ("d", "3", {}),
    ):
        store.accept([Job(key, QueueName.BULK, project, {"id": 1})])
        stored = {**dropped, "words": ["azure star"]} if dropped else {}
        store.finish(key, {"result": []}, "nothing", stored, dropped)
    store.finish("a", {"result": []}, "nothing", {}, {"unknown_label": 9})  # it has ended
    shown = client.get("/jobs").json["projects"]  # type: ignore[index]
    assert {one["project"]: one["left_out"] for one in shown} == {
        "1": {"unknown_label": 5, "duplicate": 1},
        "2": {"low_score": 1},
        "3": {},
    }
    job = client.get("/jobs/b").json
    assert job["left_out"] == {"unknown_label": 3, "words": ["azure star"]}  # type: ignore[index]


def test_jobs_shows_why_a_config_is_refused_until_it_is_mended(
    client: FlaskClient, worker: list[int]
) -> None:
    """Label Studio does not ask to connect again when a config changes."""

    def shown() -> str:
        (project,) = client.get("/jobs").json["projects"]  # type: ignore[index]
        return str(project["config_error"])

    misspelt = CONFIG.replace(' name="box"', ' name="box" model_score_treshold="1"')
    broken = request(4, label_config=misspelt)
    assert client.post("/predict", json=broken).status_code == 400
    assert shown() == (
        '<RectangleLabels name="box"> has model_score_treshold, which it does not take. '
        "Write model_score_threshold, or remove it"
    )
    predict(client, 4)
    assert shown() == ""
    talking = misspelt.replace("</View>", f"{PROMPT}{STATUS}</View>")
    (entry,) = predict(client, 4, params=typed("cat"), label_config=talking)
    assert said(entry) == [shown()]


def test_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    answer = client.get("/jobs/nothing")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "job_unknown")  # type: ignore[index]


def test_metrics_hold_the_counters_that_add_up(client: FlaskClient, worker: list[int]) -> None:
    predict(client, 1, 4, 5)
    answer = client.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert values["grounding_tasks_accepted_total"] == 3
    assert values['grounding_tasks_done_total{verdict="nothing"}'] == 2
    assert values['grounding_tasks_failed_total{code="image_not_found"}'] == 1
    assert values['grounding_attempts_total{reason="asked"}'] == 3
    assert values['grounding_worker_ready{worker="test"}'] == 1
    assert values['grounding_queue_depth{queue="bulk"}'] == 0
    assert values["grounding_tasks_pending"] == values["grounding_leases_active"] == 0
    assert values["grounding_oldest_pending_seconds"] == 0


@pytest.mark.parametrize("path", ["/jobs", "/jobs/a", "/metrics"])
def test_status_without_a_queue_is_a_503(env: pytest.MonkeyPatch, start: Start, path: str) -> None:
    env.setenv("REDIS_URL", "redis://127.0.0.1:1")
    answer = start().get(path)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "queue_unavailable")  # type: ignore[index]
