"""Fixtures of the tests of `grounding.labelstudio`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from grounding.labelstudio import labels
from grounding.labelstudio.config import parse


@pytest.fixture(scope="session", autouse=True)
def empty_caches() -> None:
    """Forget what was parsed before: mutmut tests a mutant in a fork of a process that ran all."""
    for one in (*vars(parse).values(), *vars(labels).values()):
        if hasattr(one, "cache_clear"):
            one.cache_clear()


@dataclass
class Calls:
    """How often a method was called."""

    count: int = 0


CountCalls = Callable[[type, str], Calls]


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> CountCalls:
    """Return what counts, from then on, the calls of a method of a class."""

    def begin(owner: type, name: str) -> Calls:
        calls, method = Calls(), getattr(owner, name)

        def counted(*args: Any) -> Any:
            calls.count += 1
            return method(*args)

        monkeypatch.setattr(owner, name, counted)
        return calls

    return begin
