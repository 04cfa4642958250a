"""What workers say of themselves, and who may read it how often."""

from __future__ import annotations

from redis import Redis

from grounding.jobs.heartbeat import NAMES, WORKERS, Heartbeat, reports


def test_reports_are_read_without_looking_at_every_key(redis: Redis) -> None:
    for name in ("b", "a"):
        Heartbeat(redis, name, "shapes").tell(phase="ready")
    redis.config_resetstat()
    assert [report.worker for report in reports(redis)] == ["a", "b"]
    assert not {"cmdstat_scan", "cmdstat_keys"} & redis.info("commandstats").keys()


def test_a_silent_worker_is_gone_and_one_that_speaks_again_is_back(redis: Redis) -> None:
    silent = Heartbeat(redis, "silent", "shapes")
    silent.tell(phase="ready")
    redis.delete(WORKERS + "silent")
    assert reports(redis) == []
    assert redis.smembers(NAMES) == set(), "names do not pile up"
    silent.tell(detail="back")
    assert [report.detail for report in reports(redis)] == ["back"]
