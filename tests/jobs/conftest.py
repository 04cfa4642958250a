"""A loopback Label Studio, and what is owed to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.faults.label_studio import Studio, label_studio
from tests.jobs.house import House


@pytest.fixture
def studio() -> Iterator[Studio]:
    with label_studio() as running:
        yield running


@pytest.fixture
def house(redis: Redis, studio: Studio) -> House:
    return House(redis, studio)
