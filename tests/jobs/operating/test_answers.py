"""Tests of the last answers: a bounded number of small pictures, for an hour, and no error."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image
from redis import Redis

from grounding.geometry import PixelBounds
from grounding.jobs.connection import connect
from grounding.jobs.keys import redis_key
from grounding.jobs.operating.answers import KEPT_SECONDS, MAX_BYTES, LastAnswers
from grounding.jobs.operating.thumbnails import AnswerRecorder
from grounding.media.views import View, whole
from grounding.pipeline import TaskResult
from grounding.qwen.answers import Verdict
from grounding.tasks import Task
from tests.serving import FOUND


@pytest.fixture
def view() -> View:
    return whole(Image.effect_noise((1600, 900), 80).convert("RGB"), PixelBounds(28, 784, 10**6))


def result(view: View | None) -> TaskResult:
    return TaskResult({"result": FOUND}, Verdict.FOUND, {}, {}, {}, view)


def task(number: int) -> Mapping[str, Any]:
    return Task(number, {}, "", None, "v", "7.5").payload()


def note(redis: Redis, number: int, shown: View | None, most: int = 3) -> None:
    AnswerRecorder(redis, most).note(task(number), result(shown))


def test_only_so_many_are_kept_the_latest_first_and_the_rest_leave_nothing(
    redis: Redis, view: View
) -> None:
    for number in range(6):
        note(redis, number, view)
    kept = LastAnswers(redis, 3).read()
    assert [one.task for one in kept] == [5, 4, 3]
    assert [tuple(one.size) for one in kept] == [(1600, 900)] * 3
    assert list(kept[0].result) == FOUND
    names = {key.decode() for key in redis.scan_iter()}
    assert names == {"grounding:2:answers", *(f"grounding:2:thumbnail:{one.key}" for one in kept)}
    assert all(0 < redis.ttl(name) <= KEPT_SECONDS for name in names)


def test_a_picture_is_small_even_of_noise(redis: Redis, view: View) -> None:
    note(redis, 1, view)
    (one,) = LastAnswers(redis, 3).read()
    file = LastAnswers(redis, 3).picture(one.key)
    assert file is not None
    assert len(file) < 30_000
    with Image.open(io.BytesIO(file)) as picture:
        assert (picture.format, max(picture.size)) == ("JPEG", 240)


def test_one_worker_keeps_one_a_second(redis: Redis, view: View) -> None:
    recorder = AnswerRecorder(redis, 3)
    for number in range(5):
        recorder.note(task(number), result(view))
    assert [one.task for one in LastAnswers(redis, 3).read()] == [0]


def test_nothing_is_kept_where_it_is_off_or_no_whole_picture_was_shown(
    redis: Redis, view: View
) -> None:
    note(redis, 1, view, most=0)
    note(redis, 1, None)
    assert list(redis.scan_iter()) == []


@pytest.mark.parametrize(
    ("regions", "picture"), [([{"x": "y" * MAX_BYTES}], b"p"), ([], b"p" * (MAX_BYTES + 1))]
)
def test_what_is_too_large_is_not_kept(
    redis: Redis, regions: list[dict[str, Any]], picture: bytes
) -> None:
    LastAnswers(redis, 3).keep(("7", 1), (10, 10), regions, picture)
    assert list(redis.scan_iter()) == []


def test_without_redis_or_its_memory_the_task_goes_on(redis: Redis, view: View) -> None:
    note(connect("redis://127.0.0.1:1"), 1, view)
    redis.config_set("maxmemory", 1)
    try:
        note(redis, 1, view)
    finally:
        redis.config_set("maxmemory", 0)
    assert LastAnswers(redis, 3).read() == []


def test_whatever_cannot_be_kept_costs_one_line(
    redis: Redis, view: View, caplog: pytest.LogCaptureFixture
) -> None:
    unwritable = TaskResult({"result": [{"x": {1}}]}, Verdict.FOUND, {}, {}, {}, view)
    AnswerRecorder(redis, 3).note(task(1), unwritable)
    AnswerRecorder(redis, 3).note({}, result(view))
    view.pixels.close()
    AnswerRecorder(redis, 3).note(task(2), result(view))
    assert [one.task for one in LastAnswers(redis, 3).read()] == [None]
    assert [one.levelname for one in caplog.records] == ["WARNING"] * 2


KEPT = {"key": "k", "project": "7", "task": 1, "at": 1.0, "size": [64, 48], "result": []}


@pytest.mark.parametrize(
    "row",
    [
        "\xff", "no JSON", "[1]", "7", "{}", {"key": 7}, {"project": None}, {"at": "then"},
        {"at": float("nan")}, {"size": [0, 9]}, {"size": [9]}, {"size": ["9", "9"]}, {"size": 9},
        {"result": {"x": 1}}, {"result": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_of_another_release_is_not_shown_and_hides_no_other(redis: Redis, row: Any) -> None:
    text = row if isinstance(row, str) else json.dumps(KEPT | row)
    redis.lpush(redis_key("answers"), json.dumps(KEPT), text.encode("latin-1"), json.dumps(KEPT))
    assert [one.key for one in LastAnswers(redis, 9).read()] == ["k", "k"]


def test_a_row_that_is_not_ours_is_pushed_out_like_any_other(redis: Redis, view: View) -> None:
    redis.rpush(redis_key("answers"), "junk", "[1]", '{"key": 5}')
    for number in range(6):
        note(redis, number, view)
    assert redis.llen(redis_key("answers")) == 3
    assert [one.task for one in LastAnswers(redis, 3).read()] == [5, 4, 3]
