"""The operator's page with thousands of projects: some are shown, the others can be reached."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.store import PROJECTS, Job, JobStore, QueueName, milliseconds
from grounding.web.operator.listing import SHOWN_PROJECTS

BROWSER = {"Accept": "text/html"}
MANY = 5000


@pytest.fixture
def store(redis: Redis) -> JobStore:
    """Project 1 is used first, 5,000 last; every tenth one failed, and 17 has a task that waits."""
    store = JobStore(redis)
    names = [f"{number}.1795" for number in range(1, MANY + 1)]
    jobs = [Job(name, QueueName.BULK, name, {"id": 1}) for name in names[::10]]
    store.accept(jobs)
    for job in jobs:
        store.fail(job.key, ImageMissing("the picture is not there"))
    store.accept([Job("waits", QueueName.BULK, "17.1795", {"id": 2})], deliver_after=0)
    store.accept([Job("lacks", QueueName.BULK, "23.1795", {"id": 2})], deliver_after=0)
    store.finish("lacks", {"result": [], "model_version": "v"}, "nothing")
    now = milliseconds(redis)
    redis.zadd(PROJECTS, {name: now - MANY + place for place, name in enumerate(names)})
    return store


def show(client: FlaskClient, address: str = "./") -> str:
    """Return the page at an address that a page had."""
    return client.get(address.removeprefix("."), headers=BROWSER).text


def shown(page: str) -> list[int]:
    """Return the numbers of the projects in a page's table."""
    table = page[page.index('<section id="projects">') : page.index('<section id="failures">')]
    return [int(number) for number in re.findall(r'<tr><td class="name">(\d+)</td>', table)]


def link(page: str, rel: str) -> str:
    """Return the address of the next or the previous page."""
    (found,) = re.findall(rf'rel="{rel}" href="([^"]+)"', page)
    return str(found)


def test_those_at_work_come_first_then_the_latest_and_the_others_are_counted(
    client: FlaskClient, store: JobStore
) -> None:
    page = show(client)
    latest = list(range(MANY, MANY - SHOWN_PROJECTS + 2, -1))
    assert shown(page) == [17, 23, *latest]
    assert f"1 to {SHOWN_PROJECTS} of\n5,000" in page
    assert len(page) < 60_000, "it had two million characters"


def test_every_project_is_on_one_page(client: FlaskClient, store: JobStore) -> None:
    address, seen = "./", list[int]()
    for _ in range(MANY // SHOWN_PROJECTS - 1):
        page = show(client, address)
        seen += shown(page)
        address = link(page, "next")
    last = show(client, address)
    assert sorted(seen + shown(last)) == list(range(1, MANY + 1))
    assert 'rel="next"' not in last
    assert shown(show(client, link(last, "prev"))) == seen[-SHOWN_PROJECTS:]


@pytest.mark.parametrize("words", ["find=321", "find=321.1795", "find=+321+"])
def test_one_project_is_found_by_its_number(
    client: FlaskClient, store: JobStore, words: str
) -> None:
    page = show(client, f"./?{words}")
    assert shown(page) == [321]
    assert "the picture is not there" in page
    assert "What failed last in these projects" in page


def test_a_number_of_no_project_is_told(client: FlaskClient, store: JobStore) -> None:
    page = show(client, "./?find=%3Cb%3E9999")
    assert "No project &lt;b&gt;9999 has asked" in page
    assert shown(page) == []


@pytest.mark.parametrize("word", ["0", "-1", "x", "9" * 30, "٣", "101"])
def test_a_page_that_is_none_is_the_first_or_the_last(
    client: FlaskClient, store: JobStore, word: str
) -> None:
    assert len(shown(show(client, f"./?page={word}"))) == SHOWN_PROJECTS


def test_a_project_of_any_page_can_be_cancelled(client: FlaskClient, store: JobStore) -> None:
    store.accept([Job("more", QueueName.BULK, "2.1795", {"id": 3})])
    assert "Drop 1 waiting task of project\n2?" in show(client, "./?cancel=2.1795")


def test_without_its_script_the_page_comes_again_as_it_was(
    client: FlaskClient, store: JobStore
) -> None:
    for words in ("?page=3", "?find=17"):
        assert f"url=./{words}" in show(client, f"./{words}")
    assert "url=./?find=17&amp;page=1" not in show(client, "./?find=17&page=1")


def test_a_few_projects_need_no_pages(client: FlaskClient, redis: Redis) -> None:
    JobStore(redis).accept([Job("a", QueueName.BULK, "3.5", {"id": 1})])
    page = show(client)
    assert shown(page) == [3]
    assert "Find" not in page


def test_jobs_tells_of_one_project_where_it_is_named(client: FlaskClient, store: JobStore) -> None:
    everything = client.get("/jobs").json
    assert len(everything["projects"]) == MANY  # type: ignore[index]
    one = client.get("/jobs?project=11.1795").json
    assert [project["project"] for project in one["projects"]] == ["11.1795"]  # type: ignore[index]
    assert [failed["project"] for failed in one["failed"]] == ["11.1795"]  # type: ignore[index]
    assert client.get("/jobs?project=none").json["projects"][0]["done"] == 0  # type: ignore[index]
