"""One Label Studio, one backend and one host of pictures for the whole run."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from .client import Client
from .hosting import backend, picture_host
from .label_studio import label_studio
from .page import LabellingPage, chromium
from .pictures import Sample, make_samples
from .projects import Project, open_project

FIGURES = pytest.StashKey[dict[str, list[tuple[str, str]]]]()
OUTPUT = pytest.StashKey[Path]()

Opener = Callable[[str, str], Project]


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker and prepare the table of figures."""
    config.addinivalue_line("markers", "e2e: needs a real Label Studio (make e2e)")
    config.stash[FIGURES] = {}


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the measured figures and where logs and pictures are."""
    for title, rows in config.stash[FIGURES].items():
        terminalreporter.section(title)
        for name, value in rows:
            terminalreporter.write_line(f"{name:<36}{value:>12}")
    if OUTPUT in config.stash:
        terminalreporter.write_line(f"logs and pictures: {config.stash[OUTPUT]}")


@pytest.fixture(scope="session")
def output(request: pytest.FixtureRequest) -> Path:
    """The folder of logs and artefacts, outside the tree: E2E_OUTPUT, or a new temporary one."""
    wanted = os.environ.get("E2E_OUTPUT")
    parent = Path(wanted) if wanted else Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    # Each run has a folder of its own, so that none meets another's database.
    folder = Path(tempfile.mkdtemp(prefix="grounding-e2e-", dir=parent))
    request.config.stash[OUTPUT] = folder
    return folder


@pytest.fixture(scope="session")
def pictures(output: Path) -> Path:
    """The folder that the loopback host serves."""
    folder = output / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def samples(pictures: Path) -> list[Sample]:
    """Twenty pictures with truth, under every EXIF orientation."""
    return make_samples(pictures, 20)


@pytest.fixture(scope="session")
def origin(pictures: Path) -> Iterator[str]:
    """The origin of a host of the pictures."""
    with picture_host(pictures) as address:
        yield address


@pytest.fixture(scope="session")
def studio(output: Path) -> Iterator[Client]:
    """A client of a fresh Label Studio."""
    with label_studio(output) as (_, client):
        yield client


@pytest.fixture(scope="session")
def backend_url(output: Path, studio: Client, origin: str) -> Iterator[str]:
    """The address of our backend, ready to answer."""
    with backend(output, studio, origin) as server:
        yield server.url


@pytest.fixture(scope="session")
def figures(
    request: pytest.FixtureRequest, output: Path
) -> Iterator[dict[str, list[tuple[str, str]]]]:
    """Tables to print when all is done, by title; kept as figures.json too."""
    tables = request.config.stash[FIGURES]
    yield tables
    (output / "figures.json").write_text(json.dumps(tables, indent=1))


@pytest.fixture(scope="session")
def opened(studio: Client, backend_url: str, origin: str) -> Opener:
    """Return the maker of a project, from its title and labelling config."""
    return lambda title, config: open_project(studio, backend_url, origin, title, config)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all pages."""
    with chromium() as running:
        yield running


@pytest.fixture
def annotator(browser: Browser, studio: Client, output: Path) -> Iterator[LabellingPage]:
    """An annotator before a page of their own; screenshots go to the output folder."""
    page = LabellingPage(browser, studio.url, studio.token, output)
    yield page
    page.close()
