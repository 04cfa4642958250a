"""Fixtures for the engines: one tiny checkpoint for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.settings import SHAPES
from tests.engines.checkpoints import FAMILIES, save_checkpoint
from tests.engines.checkpoints import tokenizer as tiny_tokenizer
from tests.engines.openai_server import Behaviour, Server, serving

CPU = LoadOptions(device="cpu")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def folders(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    names = (name for name in FAMILIES if name != "qwen2_5_vl")
    others = {f: save_checkpoint(tmp_path_factory.mktemp(f), f) for f in names}
    return others | {"qwen2_5_vl": tiny}


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture
def engine(tiny: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine.load(str(tiny), CPU)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def shapes() -> Iterator[LocalEngine]:
    """The shapes checkpoint, which knows what it sees; to the last bit the same, asked again."""
    engine = LocalEngine.load(str(SHAPES), replace(CPU, in_flight=False))
    yield engine
    engine.close()


@pytest.fixture
def behaviour() -> Behaviour:
    """How this test's server behaves."""
    return Behaviour()


@pytest.fixture
def server(shapes: LocalEngine, behaviour: Behaviour) -> Iterator[Server]:
    """The shapes checkpoint behind HTTP."""
    with serving(shapes, behaviour) as running:
        yield running
