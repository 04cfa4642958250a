"""Fixtures of the tests of `grounding.labelstudio`."""

from __future__ import annotations

import pytest

from grounding.labelstudio import labels
from grounding.labelstudio.config import parse


@pytest.fixture(scope="session", autouse=True)
def empty_caches() -> None:
    """Forget what was parsed before: mutmut tests a mutant in a fork of a process that ran all."""
    for one in (*vars(parse).values(), *vars(labels).values()):
        if hasattr(one, "cache_clear"):
            one.cache_clear()
