"""The reading checkpoint answers new pages as well as its README says, through the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from benchmarks.accuracy.reading import (
    LINES,
    READING,
    RECEIPT,
    SCREEN,
    SPANS,
    Read,
    choice_config,
    count_config,
    film_task,
    most,
    score_button,
    score_choice,
    score_count,
    score_fields,
    score_lines,
    score_spans,
    screen_task,
    task,
)
from grounding.demo.backend import data_uri
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from tools.reading.films import film
from tools.reading.pages import Page, page
from tools.reading.samples import FILM, FILM_FILE, SCREENS
from tools.reading.tokens import tokenizer

EXAMPLES = Path(__file__).parents[2] / "examples"

PAGES = {
    (kind, number): page(f"tested {number}", kind)
    for kind in ("lines", "receipt", "single", "count", "screen")
    for number in range(24)
}
FILMS = [film(f"tested {number}") for number in range(8)]
Score = Callable[[Page, Sequence[dict[str, Any]], Read], None]


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerContext]:
    engine = LocalEngine.load(str(READING), LoadOptions(torch_threads=1))
    fetcher = Fetcher(FetchRules())
    yield WorkerContext(engine, fetcher, 200, 10**7, films=FilmReader(fetcher))
    engine.close()


def ask(data: dict[str, Any], config: str, worker: WorkerContext) -> list[dict[str, Any]]:
    """Return the results for a task's data."""
    return list(predict(Task(1, data, config, None, "v"), worker).prediction["result"])


@pytest.fixture(scope="module")
def read(worker: WorkerContext) -> Read:
    """What is right on 24 pages of each kind, and in eight films."""
    out = Read()
    for (kind, _), drawn in PAGES.items():
        if kind == "screen":
            score_button(drawn, ask(screen_task(drawn, 1)["data"], SCREEN, worker), out)
            continue
        for config, score in asked(kind, drawn):
            score(drawn, ask(task(drawn, 1)["data"], config, worker), out)
    for made in FILMS:
        score_spans(made, ask(film_task(made, 1)["data"], SPANS, worker), out)
    return out


def asked(kind: str, drawn: Page) -> list[tuple[str, Score]]:
    """Return the configs that ask about a page, each with what scores the answer."""
    if kind == "single":
        return [(choice_config(name), score_choice(name)) for name in ("shape", "colour")]
    if kind == "count":
        return [(count_config(most(drawn)), score_count(most(drawn)))]
    return [(LINES, score_lines)] if kind == "lines" else [(RECEIPT, score_fields)]


def share(flags: list[bool]) -> float:
    """Return the share of what is right."""
    return sum(flags) / len(flags)


def test_lines_are_found_and_read(read: Read) -> None:
    assert share(read.lines) >= 0.8
    assert share(read.extra) >= 0.8


def test_a_receipt_s_fields_are_filled_in(read: Read) -> None:
    assert share(read.fields) >= 0.8


def test_shape_and_colour_are_chosen(read: Read) -> None:
    assert share(read.choices) >= 0.9


def test_what_is_not_there_stays_empty(read: Read) -> None:
    assert len(read.absent) >= 10
    assert share(read.absent) >= 0.9


def test_shapes_are_counted(read: Read) -> None:
    assert share([off == 0 for off in read.counts]) >= 0.85
    assert share([abs(off) <= 1 for off in read.counts]) >= 0.9


def test_a_film_s_spans_are_found(read: Read) -> None:
    assert sum(read.spans) / len(read.spans) >= 0.85
    assert share(read.away) >= 0.9


def test_named_buttons_are_pointed_at(read: Read) -> None:
    assert share(read.buttons) >= 0.85


def test_the_example_of_a_film_has_its_spans(worker: WorkerContext) -> None:
    config, found = (EXAMPLES / "shapes-in-film" / "config.xml").read_text(), Read()
    data = {"video": data_uri(FILM_FILE.read_bytes(), ".mp4")}
    score_spans(FILM, ask(data, config, worker), found)
    assert min(found.spans) == 1
    assert all(found.away)
    told = (EXAMPLES / "shapes-in-film" / "README.md").read_text()
    for way in FILM.ways:
        ((first, last),) = way.spans
        assert f"`{way.shape}` from {first + 1} to {last}" in told


@pytest.mark.parametrize("name", SCREENS)
def test_the_example_of_screens_has_a_point_on_the_named_button(
    worker: WorkerContext, name: str
) -> None:
    config, found = (EXAMPLES / "screen-buttons" / "config.xml").read_text(), Read()
    drawn, _ = SCREENS[name]
    score_button(drawn, ask(screen_task(drawn, 1)["data"], config, worker), found)
    assert found.buttons == [True]


def test_the_checkpoint_fits_into_the_repository() -> None:
    assert sum(path.stat().st_size for path in READING.iterdir()) <= 16 * 2**20


def test_the_checkpoint_has_the_tokenizer_of_its_training() -> None:
    shipped = AutoTokenizer.from_pretrained(READING)
    assert shipped.get_vocab() == tokenizer().get_vocab()
