"""Fixtures of the tests of real servers: each server is started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.settings import SHAPES
from tests.servers import running
from tests.servers.running import RealServer


@pytest.fixture(scope="module")
def vllm() -> Iterator[RealServer]:
    server = running.vllm("--structured-outputs-config", '{"backend": "guidance"}')
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def transformers() -> Iterator[RealServer]:
    server = running.transformers()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def llama() -> Iterator[RealServer]:
    server = running.llama()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shapes() -> Iterator[LocalEngine]:
    engine = LocalEngine.load(str(SHAPES), LoadOptions(device="cpu", torch_threads=1))
    yield engine
    engine.close()
