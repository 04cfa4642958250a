"""Tests of leases, which outlive failed renewals, and of exclusive runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

import pytest
from redis import Redis

from grounding.jobs import slots
from grounding.jobs.slots import ExclusiveRunner, Leases
from grounding.jobs.store import Job, JobStore, QueueName, StoreLimits
from grounding.waiting import Unwanted


def start(*threads: threading.Thread) -> Sequence[threading.Thread]:
    for thread in threads:
        thread.start()
    return threads


def join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_one_failed_renewal_loses_no_lease(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(redis, StoreLimits(lease_ttl=1))
    store.accept([Job("a", QueueName.BULK, "1", {"id": 1})])
    store.claim("a", "me")
    renew, rounds = store.renew, []

    def fail_once(keys: Iterable[str], owner: str) -> None:
        rounds.append(owner)
        if len(rounds) == 1:
            raise ZeroDivisionError
        renew(keys, owner)

    monkeypatch.setattr(store, "renew", fail_once)
    leases = Leases(store, "me")
    with leases.hold("a"):
        leases.start()
        time.sleep(1.5)
        assert store.leased() == {"a": True}
    leases.stop()
    assert len(rounds) > 1


def test_only_held_leases_are_renewed_and_released(redis: Redis) -> None:
    store = JobStore(redis, StoreLimits(lease_ttl=1))
    store.accept([Job(key, QueueName.BULK, "1", {"id": 1}) for key in "ab"])
    for key in "ab":
        store.claim(key, "me")
    leases = Leases(store, "me")
    with leases.hold("b"):
        pass
    with leases.hold("a"):
        leases.start()
        time.sleep(1.3)
        assert store.leased() == {"a": True, "b": False}
        leases.release()
        assert store.leased() == {"b": False}
    leases.stop()


def test_no_other_job_runs_beside_an_exclusive_one() -> None:
    runner = ExclusiveRunner()
    inside: list[str] = []
    seen: list[list[str]] = []

    def run(name: str, *, alone: bool) -> None:
        with runner.enter(alone=alone):
            inside.append(name)
            time.sleep(0.05)
            if alone:
                seen.append(list(inside))
            inside.remove(name)

    join(
        start(
            *(
                threading.Thread(target=run, args=(str(n),), kwargs={"alone": n % 3 == 0})
                for n in range(12)
            )
        )
    )
    assert sorted(map(len, seen)) == [1, 1, 1, 1]


@pytest.mark.parametrize("film_alone", [True, False])
def test_a_long_job_holds_up_nobody_for_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch, film_alone: bool
) -> None:
    """A film may run for an hour, by itself or while another's worker died."""
    monkeypatch.setattr(slots, "LONG_SECONDS", 0.3)
    runner, over, order = ExclusiveRunner(), threading.Event(), []

    def film() -> None:
        with runner.enter(alone=film_alone):
            over.wait(20)

    def run(name: str, *, alone: bool, urgent: bool) -> None:
        with runner.enter(alone=alone, urgent=urgent):
            order.append((name, time.monotonic() - begun))

    begun = time.monotonic()
    running = start(threading.Thread(target=film))
    time.sleep(0.1)
    others = [
        threading.Thread(target=run, args=(name,), kwargs={"alone": alone, "urgent": urgent})
        for name, alone, urgent in (
            ("alone", True, False),
            ("picture", False, False),
            ("annotator", False, True),
        )
    ]
    for one in others:
        start(one)
        time.sleep(0.05)
    for one in others:
        one.join(5)
    names = [name for name, _ in order]
    over.set()
    join(running)
    assert sorted(names) == ["alone", "annotator", "picture"]
    assert all(after > 0.25 for name, after in order if film_alone or name == "alone")


def test_who_is_not_wanted_waits_for_no_turn_and_lets_the_next_one_go() -> None:
    runner, over, ran = ExclusiveRunner(), threading.Event(), threading.Event()

    def check() -> None:
        raise Unwanted

    def wait() -> None:
        with pytest.raises(Unwanted), runner.enter(alone=False, check=check):
            pass

    def run(*, alone: bool) -> None:
        with runner.enter(alone=alone):
            assert over.wait(20) or not alone
            ran.set()

    alone = start(threading.Thread(target=run, kwargs={"alone": True}))
    time.sleep(0.1)
    unwanted = start(threading.Thread(target=wait))
    time.sleep(0.1)
    start(threading.Thread(target=run, kwargs={"alone": False}))
    unwanted[0].join(5)
    assert not unwanted[0].is_alive()
    assert not ran.is_set(), "the other still waits for the one that runs alone"
    over.set()
    assert ran.wait(5)
    join(alone)


def test_other_jobs_run_concurrently() -> None:
    runner, together = ExclusiveRunner(), threading.Barrier(4)

    def run() -> None:
        with runner.enter(alone=False):
            together.wait(5)

    join(start(*(threading.Thread(target=run) for _ in range(4))))


def test_an_urgent_job_waits_for_one_exclusive_job_and_not_for_all() -> None:
    runner, order = ExclusiveRunner(), []
    begun = threading.Event()

    def run(name: str, *, alone: bool, urgent: bool) -> None:
        with runner.enter(alone=alone, urgent=urgent):
            order.append(name)
            begun.set()
            time.sleep(0.1)

    jobs = start(
        *(
            threading.Thread(target=run, args=(name,), kwargs={"alone": True, "urgent": False})
            for name in "abc"
        )
    )
    begun.wait(5)
    run("urgent", alone=False, urgent=True)
    join(jobs)
    assert order.index("urgent") == 1


def test_a_waiting_job_is_overtaken_by_eight_urgent_ones_at_most() -> None:
    """As many as have slots at once with ENGINE=openai."""
    runner, order = ExclusiveRunner(), []

    def run(name: str, *, urgent: bool) -> None:
        with runner.enter(alone=True, urgent=urgent):
            order.append(name)

    def waits(number: int) -> None:
        limit = time.monotonic() + 5
        while len(runner._waiting) < number:
            assert time.monotonic() < limit
            time.sleep(0.002)

    jobs: list[threading.Thread] = []
    with runner.enter(alone=True):
        for number, name in enumerate(["bulk", *map(str, range(12))]):
            urgent = {"urgent": name != "bulk"}
            jobs += start(threading.Thread(target=run, args=(name,), kwargs=urgent))
            waits(number + 1)
    join(jobs)
    assert order == [*map(str, range(8)), "bulk", "8", "9", "10", "11"]


@pytest.mark.parametrize("urgent", [False, True])
def test_an_exclusive_job_gets_its_turn_on_a_busy_process(urgent: bool) -> None:
    runner = ExclusiveRunner()
    over = threading.Event()

    def stay_busy() -> None:
        while not over.is_set():
            with runner.enter(alone=False, urgent=urgent):
                time.sleep(0.01)

    def run() -> None:
        with runner.enter(alone=True):
            pass

    others = start(*(threading.Thread(target=stay_busy) for _ in range(4)))
    alone = threading.Thread(target=run, daemon=True)
    start(alone)
    alone.join(3)
    in_time = not alone.is_alive()
    over.set()
    join(others)
    assert in_time
